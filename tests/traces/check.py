#!/usr/bin/env python3
"""Traces of the real binary as a collector gets them: check.py BINARY

What a request's spans are and say, what becomes of a client's `traceparent`, and that no collector, however bad, costs a
request. Prints each claim that holds.
"""

import collections
import concurrent.futures
import json
import subprocess
import sys
import threading

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from receiver import PATIENCE, Receiver, answer, well
from server import MODEL, PHOTO, ROOT, Server, command

BINARY = sys.argv[1]
TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
STAGES = {"read": 1, "queue": 2, "decode": 1, "preprocess": 1, "infer": 1, "respond": 1}
SERVICE = "inference.GRPCInferenceService"
LOST, AGAIN = "traces are lost", "traces reach the collector again"


def serve(receiver, *flags, **variables):
    """A server that exports to a receiver at once."""
    return Server(
        BINARY, *flags, OTEL_EXPORTER_OTLP_ENDPOINT=receiver.endpoint, **{"OTEL_BSP_SCHEDULE_DELAY": "20", **variables}
    )


def trace_of(answer):
    """The ids of trace and span that an answer tells, and its flags."""
    version, trace, span, flags = answer.headers["traceparent"].split("-")
    assert version == "00", answer.headers
    return trace, span, flags


def told(span):
    """A span's attributes."""
    values = {item.key: item.value for item in span.attributes}
    assert len(values) == len(span.attributes), f"twice: {span}"
    return {key: getattr(value, value.WhichOneof("value")) for key, value in values.items()}


def tree(spans):
    """A trace's span of the request, and those of its stages, which must be its children within its time."""
    [root] = [span for span in spans if span.kind == span.SPAN_KIND_SERVER]
    stages = [span for span in spans if span is not root]
    for span in stages:
        assert span.kind == span.SPAN_KIND_INTERNAL and span.parent_span_id == root.span_id, span
        assert root.start_time_unix_nano <= span.start_time_unix_nano <= span.end_time_unix_nano, span
        assert span.end_time_unix_nano <= root.end_time_unix_nano, span
    assert len({span.span_id for span in spans}) == len(spans)
    return root, sorted(stages, key=lambda span: (span.start_time_unix_nano, span.end_time_unix_nano))


def names(stages):
    return dict(collections.Counter(span.name for span in stages))


def multipart(*images):
    parts = [b'--B\r\nContent-Disposition: form-data; name="file"; filename="x"\r\n\r\n' + image + b"\r\n" for image in images]
    return b"".join(parts) + b"--B--\r\n", "multipart/form-data; boundary=B"


def request_is_a_tree(server, receiver):
    answer = server.ask(traceparent=f"00-{TRACE}-{SPAN}-01", tracestate="a=1,b=2", User_Agent="check/1")
    assert answer.status == 200
    trace, span, flags = trace_of(answer)
    assert (trace, flags) == (TRACE, "01")
    root, stages = tree(receiver.trace(TRACE))
    assert root.name == "POST /classify" and root.span_id.hex() == span
    assert root.parent_span_id.hex() == SPAN and root.trace_state == "a=1,b=2"
    line = server.line_of(answer)
    assert line["trace_id"] == TRACE
    assert told(root) == {
        "http.request.method": "POST",
        "http.response.status_code": 200,
        "http.route": "/classify",
        "url.path": "/classify",
        "url.scheme": "http",
        "network.protocol.version": "1.1",
        "client.address": "127.0.0.1",
        "user_agent.original": "check/1",
        "resnet.request_id": answer.headers["X-Request-Id"],
        "resnet.model": MODEL,
        "resnet.images": 1,
        "resnet.failed": 0,
    }, told(root)
    assert root.status.code == root.status.STATUS_CODE_UNSET
    order = [span.name for span in stages]
    assert order == ["read", "queue", "decode", "preprocess", "queue", "infer", "respond"], order
    for one, next in zip(stages, stages[1:]):
        assert one.end_time_unix_nano <= next.start_time_unix_nano, (one, next)
    of = {span.name: told(span) for span in stages}
    assert of["infer"] == {"resnet.model": MODEL, "resnet.batch_size": line["batch_size"]}, of
    pools = [told(span)["resnet.pool"] for span in stages if span.name == "queue"]
    assert pools == ["prep", "engine"], pools
    for name in STAGES:
        taken = sum(s.end_time_unix_nano - s.start_time_unix_nano for s in stages if s.name == name)
        assert abs(taken / 1e6 - line[f"{name}_ms"]) < 0.002, (name, taken, line)


def exports_say_who_they_are(server, receiver):
    path, head = receiver.heads[0]
    assert path == "/v1/traces" and head["Content-Type"] == "application/x-protobuf"
    assert head["Authorization"] == "Bearer x=1", head
    [of_resource] = receiver.requests[0].resource_spans
    resource = told(of_resource.resource)
    assert resource["service.name"] == "birds" and resource["deployment.environment.name"] == "tést", resource
    assert resource["telemetry.sdk.language"] == "rust" and resource["service.version"], resource
    [of_scope] = of_resource.scope_spans
    assert (of_scope.scope.name, of_scope.scope.version) == ("resnet", resource["service.version"])


def without_a_caller_a_trace_begins(server, receiver):
    for wrong in ({}, {"traceparent": "00-" + "0" * 32 + f"-{SPAN}-01"}, {"traceparent": "ff", "tracestate": "a=1"}):
        answer = server.ask(**wrong)
        trace, span, flags = trace_of(answer)
        assert trace != TRACE and flags == "01"
        root, stages = tree(receiver.trace(trace))
        assert root.span_id.hex() == span and not root.parent_span_id and not root.trace_state, root
        assert names(stages) == STAGES and server.line_of(answer)["trace_id"] == trace


def long_state_is_not_handed_on(server, receiver):
    trace = "2" * 32
    server.ask(traceparent=f"00-{trace}-{SPAN}-01", tracestate="a=" + "1" * 511)
    root, _ = tree(receiver.trace(trace))
    assert root.parent_span_id.hex() == SPAN and not root.trace_state


def caller_decides_who_is_recorded(server, receiver):
    trace = "1" * 32
    answer = server.ask(traceparent=f"00-{trace}-{SPAN}-00")
    assert trace_of(answer)[::2] == (trace, "00")
    assert server.line_of(answer)["trace_id"] == trace
    after, _, _ = trace_of(server.ask())
    receiver.trace(after)  # what had been recorded before it would be there
    assert not [span for span in receiver.spans if span.trace_id.hex() == trace]


def images_have_their_own_stages(server, receiver):
    body, kind = multipart(PHOTO, b"no image", *[PHOTO] * 8)
    trace, _, _ = trace_of(server.ask(body=body, content_type=kind))
    root, stages = tree(receiver.trace(trace))
    of_root = told(root)
    assert (of_root["resnet.images"], of_root["resnet.failed"]) == (10, 1), of_root
    assert root.status.code == root.status.STATUS_CODE_UNSET
    by_index = collections.defaultdict(list)
    for span in stages:
        by_index[told(span).get("resnet.index")].append(span)
    assert names(by_index.pop(None)) == {"read": 1, "respond": 1}
    # The first eight, of which the second has no answer.
    assert sorted(by_index) == [0, 2, 3, 4, 5, 6, 7], sorted(by_index)
    for spans in by_index.values():
        assert names(spans) == {name: n for name, n in STAGES.items() if name not in ("read", "respond")}
    batches = collections.defaultdict(list)
    for span in stages:
        if span.name == "infer":
            batches[span.start_time_unix_nano, span.end_time_unix_nano].append(told(span)["resnet.batch_size"])
    # Nobody else asks, so that a batch's images are this request's; two of them are not told apart.
    for sizes in batches.values():
        assert len(set(sizes)) == 1 and len(sizes) <= sizes[0] <= len(sizes) + 2, batches


def refusals_and_failures_have_codes(server, receiver):
    def asked(**more):
        answer = server.ask(**more)
        root, stages = tree(receiver.trace(trace_of(answer)[0]))
        return answer, root, told(root), stages

    answer, root, of_root, stages = asked(body=b"GIF89a cut")
    assert answer.status == 422 and root.status.code == root.status.STATUS_CODE_UNSET
    assert of_root["http.response.status_code"] == 422 and of_root["resnet.code"] == json.loads(answer.body)["code"]
    assert names(stages) == {"read": 1} and "error.type" not in of_root
    answer, root, of_root, _ = asked(path="/models/none/classify")
    assert root.name == "POST /models/{name}/classify" and of_root["resnet.code"] == "unknown_model", of_root
    assert "resnet.model" not in of_root
    answer, root, of_root, _ = asked(X_Request_Timeout_Ms="1", body=PHOTO)
    assert answer.status in (503, 504), answer.status  # as it learns how long an answer takes, it refuses
    assert root.status.code == root.status.STATUS_CODE_ERROR
    assert root.status.message == of_root["resnet.code"] == json.loads(answer.body)["code"]
    assert of_root["error.type"] == str(answer.status)
    answer, root, of_root, _ = asked(method="BREW")
    assert (answer.status, root.name) == (405, "HTTP /classify")
    assert (of_root["http.request.method"], of_root["http.request.method_original"]) == ("_OTHER", "BREW")


def every_route_of_inference_is_told_and_no_other(server, receiver):
    before = len([span for span in receiver.spans if span.kind == span.SPAN_KIND_SERVER])
    for path in ("/livez", "/readyz", "/ping", "/metrics", "/", "/models", "/v2", f"/v2/models/{MODEL}", "/openapi.json"):
        asked = server.ask(path, None, "GET", traceparent=f"00-{TRACE}-{SPAN}-01")
        assert asked.status == 200 and "traceparent" not in asked.headers, path
    assert server.ask("/classify", None, "OPTIONS").status == 204
    tensor = {"name": "input", "datatype": "FP32", "shape": [1, 3, 64, 64], "data": [0.5] * (3 * 64 * 64)}
    infer = json.dumps({"inputs": [tensor]}).encode()
    of_tensor = {name: n for name, n in STAGES.items() if name != "decode"}
    for path, route, body, expected in (
        (f"/models/{MODEL}/classify", "/models/{name}/classify", PHOTO, STAGES),
        (f"/predictions/{MODEL}", "/predictions/{model}", PHOTO, STAGES),
        (f"/predictions/{MODEL}/1", "/predictions/{model}/{version}", PHOTO, STAGES),
        (f"/v2/models/{MODEL}/infer", "/v2/models/{model}/infer", infer, of_tensor),
        (f"/v2/models/{MODEL}/versions/1/infer", "/v2/models/{model}/versions/{version}/infer", infer, of_tensor),
    ):
        asked = server.ask(path, body)
        assert asked.status == 200, (path, asked.body)
        root, stages = tree(receiver.trace(trace_of(asked)[0]))
        assert root.name == f"POST {route}" and told(root)["url.path"] == path
        assert names(stages) == expected, (path, names(stages))
    after = len([span for span in receiver.spans if span.kind == span.SPAN_KIND_SERVER])
    assert after == before + 5, (before, after)


def calls():
    """A gRPC message of the service by its name."""
    files = descriptor_pb2.FileDescriptorSet.FromString((ROOT / "src/grpc/inference.bin").read_bytes())
    pool = descriptor_pool.DescriptorPool()
    for file in files.file:
        pool.Add(file)
    return lambda name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"inference.{name}"))


def calls_of_grpc_are_told(server, receiver):
    message = calls()
    request, response = message("ModelInferRequest"), message("ModelInferResponse")
    whole = request(model_name=MODEL)
    whole.inputs.add(name="input", datatype="FP32", shape=[1, 3, 64, 64])
    whole.raw_input_contents.append(bytes(4 * 3 * 64 * 64))
    channel = grpc.insecure_channel(server.grpc)
    infer = channel.unary_unary(f"/{SERVICE}/ModelInfer", request.SerializeToString, response.FromString)
    traces = ["a" * 32, "b" * 32, "c" * 32]
    metadata = [[("traceparent", f"00-{trace}-{SPAN}-01")] for trace in traces]

    _, call = infer.with_call(whole, metadata=metadata[0])
    head = dict(call.initial_metadata())
    root, stages = tree(receiver.trace(traces[0]))
    assert head["traceparent"] == f"00-{traces[0]}-{root.span_id.hex()}-01", head
    assert root.name == f"{SERVICE}/ModelInfer" and root.parent_span_id.hex() == SPAN
    of_root = told(root)
    for key, value in {
        "rpc.system.name": "grpc",
        "rpc.method": f"{SERVICE}/ModelInfer",
        "rpc.response.status_code": "OK",
        "resnet.model": MODEL,
        "resnet.images": 1,
    }.items():
        assert of_root[key] == value, of_root
    assert not [key for key in of_root if key.startswith(("http.", "url."))], of_root
    assert names(stages) == {name: n for name, n in STAGES.items() if name != "decode"}
    line = server.line("gRPC", lambda line: line.get("trace_id") == traces[0])
    assert line["protocol"] == "HTTP/2.0" and line["request_id"] == of_root["resnet.request_id"]

    try:
        infer(request(model_name="none"), metadata=metadata[1])
        raise AssertionError("a model that is not there answered")
    except grpc.RpcError as error:
        assert error.code() == grpc.StatusCode.NOT_FOUND
    root, stages = tree(receiver.trace(traces[1]))
    assert told(root)["rpc.response.status_code"] == "NOT_FOUND" and told(root)["resnet.code"] == "unknown_model"
    assert root.status.code == root.status.STATUS_CODE_UNSET and not stages

    # Each request of a stream for itself, all of them below the caller's span.
    stream = channel.stream_stream(
        f"/{SERVICE}/ModelStreamInfer", request.SerializeToString, message("ModelStreamInferResponse").FromString
    )
    answers = list(stream(iter([whole, whole]), metadata=metadata[2]))
    assert len(answers) == 2 and not any(answer.error_message for answer in answers)
    spans = receiver.trace(traces[2], requests=2)
    roots = [span for span in spans if span.kind == span.SPAN_KIND_SERVER]
    assert len(roots) == 2 and {root.parent_span_id.hex() for root in roots} == {SPAN}
    for root in roots:
        assert root.name == f"{SERVICE}/ModelStreamInfer"
        below = [span for span in spans if span is root or span.parent_span_id == root.span_id]
        assert names(tree(below)[1])["infer"] == 1
    channel.close()


def samplers_are_obeyed():
    receiver = Receiver()
    server = serve(receiver, OTEL_TRACES_SAMPLER="always_off")
    trace, _, flags = trace_of(server.ask(traceparent=f"00-{TRACE}-{SPAN}-01"))
    assert (trace, flags) == (TRACE, "00")
    assert server.stop() == 0 and not receiver.requests
    server = serve(receiver, OTEL_TRACES_EXPORTER="none")
    answer = server.ask(traceparent=f"00-{TRACE}-{SPAN}-01")
    assert "traceparent" not in answer.headers and server.line_of(answer)["trace_id"] == TRACE
    assert "trace_id" not in server.line_of(server.ask())
    assert server.stop() == 0 and not receiver.requests


def drain_sends_what_waits():
    receiver = Receiver()
    server = serve(receiver, OTEL_BSP_SCHEDULE_DELAY="3600000")
    traces = [trace_of(server.ask())[0] for _ in range(3)]
    assert not receiver.requests
    assert server.stop() == 0
    for trace in traces:
        assert names(tree(receiver.trace(trace))[1]) == STAGES
    assert server.messages("stopped; every accepted request was answered")


def outage_is_told_once_and_its_end_too():
    receiver = Receiver()
    port = receiver.port
    receiver.stop()
    server = serve(receiver)
    assert server.ask().status == 200
    warning = server.message(LOST)
    assert warning["level"] == "WARN" and warning["collector"] == "127.0.0.1", warning
    for _ in range(20):
        assert server.ask().status == 200
    receiver = Receiver(port)
    while not server.messages(AGAIN):
        assert server.ask().status == 200
    assert server.message(AGAIN)["lost_spans"] > 0
    trace, _, _ = trace_of(server.ask())
    receiver.trace(trace)
    assert server.stop() == 0
    assert len(server.messages(LOST)) == 1 and len(server.messages(AGAIN)) == 1


class Hang:
    """Answers nothing until it is released."""

    def __init__(self):
        self.begun, self.released = threading.Event(), threading.Event()

    def __call__(self, handler):
        self.begun.set()
        self.released.wait()
        handler.close_connection = True


def collector_that_hangs_costs_no_request():
    hang = Hang()
    receiver = Receiver(behave=hang)
    server = serve(receiver, OTEL_BSP_MAX_QUEUE_SIZE="16", OTEL_EXPORTER_OTLP_TIMEOUT="600000")
    assert server.ask().status == 200
    assert hang.begun.wait(PATIENCE)
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: server.ask(), range(100)))
    assert all(answer.status == 200 for answer in answers)
    receiver.behave = well
    hang.released.set()
    after = set()
    while not [span for span in receiver.spans if span.trace_id.hex() in after]:
        after.add(trace_of(server.ask())[0])
    # What was on its way to the collector, and what waited behind it: of a hundred requests not more than 16 spans each.
    held = {trace_of(answer)[0] for answer in answers}
    arrived = [span for span in receiver.spans if span.trace_id.hex() in held]
    assert len(arrived) <= 32, len(arrived)
    assert server.stop() == 0


def drain_does_not_wait_for_a_collector_that_hangs():
    hang = Hang()
    server = serve(Receiver(behave=hang), OTEL_EXPORTER_OTLP_TIMEOUT="600000")
    assert server.ask().status == 200
    assert hang.begun.wait(PATIENCE)
    assert server.stop() == 0  # within less than the ten minutes that the collector may take
    assert server.messages("the last traces have not been exported")
    hang.released.set()


def slow_collector_is_given_up():
    hang = Hang()
    server = serve(Receiver(behave=hang), OTEL_EXPORTER_OTLP_TIMEOUT="100")
    server.ask()
    assert "timeout" in server.message(LOST)["message"]
    hang.released.set()
    assert server.stop() == 0


def nonsense_is_told():
    def garbage(handler):
        handler.wfile.write(b"\x1b[31mwhat?\r\n\r\n")
        handler.close_connection = True

    rejected = bytes([0x0A, 0x02, 0x08, 0x03])  # partial_success { rejected_spans: 3 }
    for behave, words in (
        (lambda handler: answer(handler, 500, b""), "status 500"),
        (lambda handler: answer(handler, 404, b"<html>"), "status 404"),
        (lambda handler: answer(handler, 200, b"<html>no collector</html>"), "none of OTLP's"),
        (lambda handler: answer(handler, 200, rejected), "rejected 3 of 8 spans"),
        (garbage, ""),
    ):
        receiver = Receiver(behave=behave)
        server = serve(receiver)
        assert server.ask().status == 200
        message = server.message(LOST)["message"]
        assert words in message and message.isprintable(), message
        assert server.ask().status == 200
        assert server.stop() == 0


def what_cannot_be_served_is_refused_at_the_start():
    endpoint = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318"}
    for name, value, words in (
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc", "http/protobuf"),
        ("OTEL_TRACES_SAMPLER", "jaeger_remote", "parentbased_always_on"),
        ("OTEL_TRACES_SAMPLER_ARG", "2", "from 0 to 1"),
        ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/nowhere.pem", "No such file"),
    ):
        sampler = {"OTEL_TRACES_SAMPLER": "traceidratio"} if name.endswith("_ARG") else {}
        variables = {"PATH": "/usr/bin:/bin", **endpoint, **sampler, name: value}
        done = subprocess.run(command(BINARY), stderr=subprocess.PIPE, text=True, env=variables, timeout=PATIENCE)
        last = json.loads(done.stderr.splitlines()[-1])
        assert done.returncode in (1, 2) and last["level"] == "ERROR", done
        assert name in last["message"] and value in last["message"] and words in last["message"], last


def main():
    receiver = Receiver()
    server = serve(
        receiver,
        OTEL_SERVICE_NAME="birds",
        OTEL_RESOURCE_ATTRIBUTES="deployment.environment.name=t%C3%A9st",
        OTEL_EXPORTER_OTLP_HEADERS="authorization=Bearer%20x%3D1",
    )
    for check in (
        request_is_a_tree,
        exports_say_who_they_are,
        without_a_caller_a_trace_begins,
        long_state_is_not_handed_on,
        caller_decides_who_is_recorded,
        images_have_their_own_stages,
        refusals_and_failures_have_codes,
        every_route_of_inference_is_told_and_no_other,
        calls_of_grpc_are_told,
    ):
        check(server, receiver)
        print("ok", check.__name__.replace("_", " "), flush=True)
    assert server.stop() == 0 and not server.messages(LOST)
    for check in (
        samplers_are_obeyed,
        drain_sends_what_waits,
        outage_is_told_once_and_its_end_too,
        collector_that_hangs_costs_no_request,
        drain_does_not_wait_for_a_collector_that_hangs,
        slow_collector_is_given_up,
        nonsense_is_told,
        what_cannot_be_served_is_refused_at_the_start,
    ):
        check()
        print("ok", check.__name__.replace("_", " "), flush=True)


main()
