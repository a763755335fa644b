#!/usr/bin/env python3
"""Asks a real server with clients that nobody here wrote: tritonclient, kserve, grpcio's health checks and reflection,
Prometheus' parsers.

    tests/clients/check.py target/debug/resnet

Each function below is a claim. The answers over all doors must be the same numbers, to the bit.
"""

import base64
import json
import pathlib
import re
import subprocess
import sys
import tempfile
import threading
import urllib.request

import grpc
import numpy as np
import prometheus_client.parser
import tritonclient.grpc as triton_grpc
import tritonclient.http as triton_http
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from google.protobuf.descriptor_pool import DescriptorPool
from prometheus_client.openmetrics import parser as openmetrics
from tritonclient.utils import InferenceServerException

ROOT = pathlib.Path(__file__).resolve().parents[2]
MODEL = "resnet18-tiny"
PHOTO = (ROOT / "tests/fixtures/photos/espresso.png").read_bytes()
SIDE, CLASSES = 64, 200
LARGER = "efficientnet-lite0"


class Server:
    """A server of our own on free ports, and what it has logged."""

    def __init__(self, binary, *flags, models=f"{MODEL},{LARGER}", **variables):
        command = [binary, "serve", "--model", models, "--port", "0", "--grpc-port", "0", "--log-format", "json"]
        self.process = subprocess.Popen(
            [*command, *flags], stderr=subprocess.PIPE, text=True, env={"PATH": "/usr/bin:/bin", **variables}
        )
        self.log = []
        found = {}
        for line in self.process.stderr:
            entry = json.loads(line)
            self.log.append(entry)
            found.update({k: entry[k] for k in ("address", "grpc_address") if k in entry})
            if "address" in found:
                break
        else:
            sys.exit(f"the server did not start: {self.log}")
        self.http = found["address"].split("://")[1]
        self.grpc = found["grpc_address"]
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        for line in self.process.stderr:
            self.log.append(json.loads(line))

    def stop(self):
        self.process.terminate()
        code = self.process.wait(30)
        assert code == 0, f"exit code {code}: {self.log[-5:]}"

    def get(self, path):
        with urllib.request.urlopen(f"http://{self.http}{path}") as answer:
            return json.load(answer)

    def post(self, path, body, **headers):
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        request = urllib.request.Request(f"http://{self.http}{path}", body, headers)
        with urllib.request.urlopen(request) as answer:
            return answer.headers, answer.read()


def refused(call, *words, status=None):
    """That a call raises, with these words and this status."""
    try:
        call()
    except InferenceServerException as error:
        text = str(error)
        assert all(word in text for word in words), text
        assert status is None or error.status() == status, (error.status(), text)
        return
    raise AssertionError(f"nothing was refused, expected: {words}")


def expected(server):
    """Logits and probabilities of the photo, from the door that has no JSON and no client."""
    headers, body = server.post(f"/v2/models/{MODEL}/infer", PHOTO, Inference_Header_Content_Length="0")
    length = int(headers["Inference-Header-Content-Length"])
    outputs = json.loads(body[:length])["outputs"]
    sizes = [output["parameters"]["binary_data_size"] for output in outputs]
    assert [output["name"] for output in outputs] == ["logits", "probabilities"], outputs
    numbers = np.frombuffer(body[length:], "<f4")
    assert sum(sizes) == numbers.nbytes
    assert numbers.size == 2 * CLASSES
    return numbers[:CLASSES], numbers[CLASSES:]


def photos(module, *images):
    """An input of encoded images."""
    tensor = module.InferInput("input", [len(images)], "BYTES")
    data = np.empty(len(images), object)
    data[:] = images
    if module is triton_http:
        tensor.set_data_from_numpy(data, binary_data=True)
    else:
        tensor.set_data_from_numpy(data)
    return [tensor]


def numpy_input(module, data, datatype, **how):
    tensor = module.InferInput("input", list(data.shape), datatype)
    tensor.set_data_from_numpy(data, **how)
    return [tensor]


def tells_what_there_is(client, name_of):
    """Liveness, readiness, metadata, config, statistics and the index; the same by both of Triton's clients."""
    assert client.is_server_live() and client.is_server_ready()
    assert client.is_model_ready(MODEL) and client.is_model_ready(MODEL, "1")
    server = name_of(client.get_server_metadata())
    assert server["name"] == "resnet" and "binary_tensor_data" in server["extensions"], server
    model = name_of(client.get_model_metadata(MODEL))
    assert model["name"] == MODEL and list(model["versions"]) == ["1"], model
    assert [int(n) for n in model["inputs"][0]["shape"]] == [-1, 3, SIDE, SIDE], model
    config = name_of(client.get_model_config(MODEL))
    config = config.get("config", config)
    assert int(config["max_batch_size"]) == 32 and config["input"][0]["data_type"] == "TYPE_FP32", config
    stats = name_of(client.get_inference_statistics(MODEL))["model_stats"][0]
    assert int(stats["inference_count"]) > 0 and stats["name"] == MODEL, stats
    assert int(stats["inference_stats"]["success"]["count"]) > 0, stats
    client.get_inference_statistics()
    index = name_of(client.get_model_repository_index())
    index = index["models"] if isinstance(index, dict) else index
    assert index[0]["name"] == MODEL and index[0]["state"] == "READY", index
    refused(lambda: client.get_model_metadata("nobody"), 'there is no model "nobody"')
    refused(lambda: client.get_model_metadata(MODEL, "7"), 'has no version "7"')
    refused(lambda: client.load_model(MODEL))
    refused(lambda: client.unload_model(MODEL))


def infers(module, client, server):
    """Photos, tensors and pixels, alone and several, as numbers and as classes; the same by both of Triton's clients."""
    logits, probabilities = expected(server)
    result = client.infer(MODEL, photos(module, PHOTO))
    assert np.array_equal(result.as_numpy("logits"), logits[None])
    assert np.array_equal(result.as_numpy("probabilities"), probabilities[None])
    assert (result.get_response()["model_version"] if module is triton_http else result.get_response().model_version) == "1"

    output = module.InferRequestedOutput("probabilities")
    result = client.infer(MODEL, photos(module, PHOTO, PHOTO, PHOTO), outputs=[output], request_id="42")
    assert np.array_equal(result.as_numpy("probabilities"), np.stack([probabilities] * 3))
    assert result.as_numpy("logits") is None
    response = result.get_response()
    assert (response["id"] if module is triton_http else response.id) == "42"

    output = module.InferRequestedOutput("logits", class_count=5)
    result = client.infer(MODEL, photos(module, PHOTO), outputs=[output])
    lines = [line.decode() for line in result.as_numpy("logits").ravel()]
    order = np.argsort(-logits, kind="stable")[:5]
    for line, index in zip(lines, order, strict=True):
        value, found, label = line.split(":", 2)
        assert np.float32(value) == logits[index] and int(found) == index and label, line
    assert lines[0].endswith(":193:espresso"), lines

    random = np.random.default_rng(1)
    tensor = random.standard_normal((2, 3, SIDE, SIDE)).astype(np.float32)
    both = client.infer(MODEL, numpy_input(module, tensor, "FP32")).as_numpy("logits")
    assert both.shape == (2, CLASSES) and np.isfinite(both).all()
    for row, image in zip(both, tensor, strict=True):
        alone = client.infer(MODEL, numpy_input(module, image[None], "FP32")).as_numpy("logits")
        assert np.array_equal(alone[0], row)
    pixels = random.integers(0, 256, (1, SIDE, SIDE, 3), np.uint8)
    of_pixels = client.infer(MODEL, numpy_input(module, pixels, "UINT8")).as_numpy("logits")
    preprocess = json.loads(server.get(f"/v2/models/{MODEL}")["properties"]["preprocess"])
    mean, std = (np.array(preprocess[k], np.float32) for k in ("mean", "std"))
    normalized = ((pixels.astype(np.float32) / np.float32(255) - mean) / std).transpose(0, 3, 1, 2)
    of_values = client.infer(MODEL, numpy_input(module, np.ascontiguousarray(normalized), "FP32")).as_numpy("logits")
    assert np.array_equal(of_pixels, of_values)

    client.infer(MODEL, photos(module, PHOTO), timeout=5_000_000, priority=1)
    client.infer(MODEL, photos(module, PHOTO), parameters={"mine": "x"})
    return both, tensor


def refuses(module, client):
    """Wrong tensors, by name; the same by both of Triton's clients."""
    bad = "400" if module is triton_http else "StatusCode.INVALID_ARGUMENT"
    ones = np.ones((1, 3, SIDE, SIDE), np.float32)

    def infer(inputs, **rest):
        return lambda: client.infer(MODEL, inputs, **rest)

    refused(infer(numpy_input(module, ones[:, :, 1:], "FP32")), "has shape [1, 3, 63, 64]", status=bad)
    refused(infer(numpy_input(module, ones.astype(np.float64), "FP64")), 'is of datatype "FP64"', status=bad)
    refused(infer(numpy_input(module, ones.astype(np.float16), "FP16")), 'is of datatype "FP16"', status=bad)
    refused(infer(numpy_input(module, ones.astype(np.int64), "INT64")), 'is of datatype "INT64"', status=bad)
    refused(infer(numpy_input(module, np.full_like(ones, np.nan), "FP32")), "has NaN as element 0", status=bad)
    other = module.InferInput("image", list(ones.shape), "FP32")
    other.set_data_from_numpy(ones)
    refused(infer([other]), 'there is no input "image"', status=bad)
    refused(infer(numpy_input(module, ones, "FP32") * 2), "there are 2 inputs", status=bad)
    refused(infer(photos(module, *[PHOTO] * 33)), "the request has 33 images, allowed are 32", status=bad)
    refused(infer(photos(module, PHOTO, b"no image")), "image 1: this is not an image")
    refused(infer(photos(module, base64.b64encode(PHOTO))), "base64")
    output = module.InferRequestedOutput("scores")
    refused(infer(photos(module, PHOTO), outputs=[output]), 'there is no output "scores"', status=bad)
    refused(lambda: client.infer("nobody", photos(module, PHOTO)), 'there is no model "nobody"')
    refused(lambda: client.infer(MODEL, photos(module, PHOTO), model_version="7"), 'has no version "7"')
    refused(infer(photos(module, PHOTO), timeout=1), "deadline")
    client.infer(MODEL, photos(module, PHOTO))


def tritonclient_http(server):
    with triton_http.InferenceServerClient(server.http, concurrency=8) as client:
        both, tensor = infers(triton_http, client, server)
        tells_what_there_is(client, lambda told: told)
        # All of it as JSON, both ways.
        outputs = [triton_http.InferRequestedOutput("logits", binary_data=False)]
        as_json = numpy_input(triton_http, tensor, "FP32", binary_data=False)
        assert np.array_equal(client.infer(MODEL, as_json, outputs=outputs).as_numpy("logits"), both)
        text = photos(triton_http, PHOTO)[0]
        text.set_data_from_numpy(np.array([base64.b64encode(PHOTO)], object), binary_data=False)
        assert np.array_equal(client.infer(MODEL, [text], outputs=outputs).as_numpy("logits")[0], expected(server)[0])
        refuses(triton_http, client)
        for encoding in ("gzip", "deflate"):
            call = lambda: client.infer(MODEL, photos(triton_http, PHOTO), request_compression_algorithm=encoding)
            refused(call, f'content-encoding "{encoding}" is not supported', status="415")
        running = [client.async_infer(MODEL, photos(triton_http, PHOTO)) for _ in range(16)]
        for request in running:
            assert np.array_equal(request.get_result().as_numpy("logits")[0], expected(server)[0])


def tritonclient_grpc(server):
    with triton_grpc.InferenceServerClient(server.grpc) as client:
        both, _ = infers(triton_grpc, client, server)
        tells_what_there_is(client, lambda told: json_of(told))
        refuses(triton_grpc, client)
        # More than gRPC's usual 4 MiB.
        batch = np.zeros((8, 3, 224, 224), np.float32)
        result = client.infer(LARGER, numpy_input(triton_grpc, batch, "FP32"))
        assert result.as_numpy("probabilities").shape == (8, 1000)
        answers, done = [], threading.Event()

        def take(result, error):
            answers.append((result, error))
            if len(answers) == 16:
                done.set()

        for _ in range(16):
            client.async_infer(MODEL, photos(triton_grpc, PHOTO), take)
        assert done.wait(60)
        for result, error in answers:
            assert error is None and np.array_equal(result.as_numpy("logits")[0], expected(server)[0])
        refused(
            lambda: client.infer(MODEL, photos(triton_grpc, PHOTO), client_timeout=0.000001), status="StatusCode.DEADLINE_EXCEEDED"
        )
    streams(server)


def streams(server):
    """Several requests on one call, a wrong one among them, are answered in order."""
    client = triton_grpc.InferenceServerClient(server.grpc)
    answers, done = [], threading.Event()

    def take(result, error):
        answers.append((result, error))
        if len(answers) == 5:
            done.set()

    client.start_stream(take)
    for number in range(5):
        image = b"no image" if number == 2 else PHOTO
        client.async_stream_infer(MODEL, photos(triton_grpc, image), request_id=str(number))
    assert done.wait(60)
    client.stop_stream()
    client.close()
    for number, (result, error) in enumerate(answers):
        if number == 2:
            assert "this is not an image" in str(error), error
        else:
            assert result.get_response().id == str(number)
            assert np.array_equal(result.as_numpy("logits")[0], expected(server)[0])


def json_of(message):
    from google.protobuf.json_format import MessageToDict

    return MessageToDict(message, preserving_proto_field_name=True)


def kserve_clients(server):
    """In a process of its own: kserve's messages have the names of tritonclient's, and one process can have one of them."""
    script = pathlib.Path(__file__).with_name("check_kserve.py")
    subprocess.run([sys.executable, script, server.http, server.grpc], check=True)


def health_and_reflection(server):
    with grpc.insecure_channel(server.grpc) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        for service in ("", "inference.GRPCInferenceService"):
            answer = stub.Check(health_pb2.HealthCheckRequest(service=service))
            assert answer.status == health_pb2.HealthCheckResponse.SERVING
        try:
            stub.Check(health_pb2.HealthCheckRequest(service="nobody"))
            raise AssertionError("nobody is healthy")
        except grpc.RpcError as error:
            assert error.code() == grpc.StatusCode.NOT_FOUND
        watch = stub.Watch(health_pb2.HealthCheckRequest())
        assert next(watch).status == health_pb2.HealthCheckResponse.SERVING
        watch.cancel()
        database = ProtoReflectionDescriptorDatabase(channel)
        services = set(database.get_services())
        assert {"inference.GRPCInferenceService", "grpc.health.v1.Health"} <= services, services
        service = DescriptorPool(database).FindServiceByName("inference.GRPCInferenceService")
        assert "ModelStreamInfer" in service.methods_by_name
        call = channel.unary_unary("/inference.GRPCInferenceService/CudaSharedMemoryStatus")
        try:
            call(b"")
            raise AssertionError("there is no shared memory")
        except grpc.RpcError as error:
            assert error.code() == grpc.StatusCode.UNIMPLEMENTED, error


def metrics_are_read_by_prometheus_own_parsers(server):
    """Both formats, with the same series; the strict one has the exemplar of a request."""
    headers, _ = server.post("/classify", PHOTO)
    families = {}
    for accept, parse in [
        ("text/plain", prometheus_client.parser.text_string_to_metric_families),
        ("application/openmetrics-text; version=1.0.0", openmetrics.text_string_to_metric_families),
    ]:
        request = urllib.request.Request(f"http://{server.http}/metrics", headers={"Accept": accept})
        with urllib.request.urlopen(request) as answer:
            families[accept] = list(parse(answer.read().decode()))
    plain, strict = [{s.name for family in found for s in family.samples} for found in families.values()]
    assert plain == strict, plain ^ strict
    exemplars = [s.exemplar for family in list(families.values())[1] for s in family.samples if s.exemplar]
    ids = [exemplar.labels.get("request_id") for exemplar in exemplars]
    assert headers["X-Request-Id"] in ids, (headers["X-Request-Id"], ids)


def messages_are_tritons(_server):
    """That our definition agrees with that of Triton's client in every name, number and type that both have."""
    from tritonclient.grpc import model_config_pb2, service_pb2
    from google.protobuf import descriptor_pb2

    ours = descriptor_pb2.FileDescriptorSet.FromString((ROOT / "src/grpc/inference.bin").read_bytes()).file[0]
    theirs = descriptor_pb2.FileDescriptorProto()
    service_pb2.DESCRIPTOR.CopyToProto(theirs)
    config = descriptor_pb2.FileDescriptorProto()
    model_config_pb2.DESCRIPTOR.CopyToProto(config)

    def compare(mine, others, where):
        others = {message.name: message for message in others}
        for message in mine:
            if message.name.startswith(("RepositoryModelLoad", "RepositoryModelUnload")):
                continue  # KServe's, which has other fields under these names; models_come_and_go calls by Triton's
            other = others[message.name]
            fields = {field.name: field for field in other.field}
            for field in message.field:
                if (message.name, field.name) == ("ModelMetadataResponse", "properties"):
                    continue  # of the published definition alone
                found = fields[field.name]
                assert (found.number, found.label, found.type) == (field.number, field.label, field.type), (where, field)
            nested = [n for n in message.nested_type if n.name != "PropertiesEntry"]
            compare(nested, other.nested_type, f"{where}.{message.name}")

    compare(ours.message_type, [*theirs.message_type, *config.message_type], "inference")
    methods = {method.name: method for method in theirs.service[0].method}
    for method in ours.service[0].method:
        found = methods[method.name]
        assert (found.input_type, found.output_type) == (method.input_type, method.output_type), method
        assert (found.client_streaming, found.server_streaming) == (method.client_streaming, method.server_streaming)


def keys_lock_both_doors(binary):
    server = Server(binary, RESNET_API_KEYS="alice:alices-very-own-key-1")
    try:
        with triton_grpc.InferenceServerClient(server.grpc) as client:
            assert client.is_server_live() and client.is_server_ready()
            call = lambda **headers: client.infer(MODEL, photos(triton_grpc, PHOTO), headers=headers)
            refused(lambda: call(), "a key is needed", status="StatusCode.UNAUTHENTICATED")
            refused(lambda: call(authorization="Bearer wrong-key-of-nobody"), status="StatusCode.UNAUTHENTICATED")
            call(authorization="Bearer alices-very-own-key-1")
            call(**{"x-api-key": "alices-very-own-key-1"})
        with triton_http.InferenceServerClient(server.http) as client:
            assert client.is_server_live() and client.is_server_ready()
            refused(lambda: client.get_server_metadata(), "a key is needed", status="401")
            client.get_server_metadata(headers={"Authorization": "Bearer alices-very-own-key-1"})
    finally:
        server.stop()


def examples_of_the_document_work(server):
    """Each block of docs/OPEN_INFERENCE.md for a shell or for Python, and the answer that it shows."""
    text = (ROOT / "docs/OPEN_INFERENCE.md").read_text()
    port, grpc_port = (address.rsplit(":", 1)[1] for address in (server.http, server.grpc))
    text = text.replace("127.0.0.1:8080", f"127.0.0.1:{port}").replace("127.0.0.1:9000", f"127.0.0.1:{grpc_port}")
    blocks = re.findall(r"```(sh|python|json)\n(.*?)```", text, re.DOTALL)
    photo = ROOT / "tests/fixtures/photos/espresso.png"
    with tempfile.TemporaryDirectory() as scratch:
        directory = pathlib.Path(scratch)
        (directory / "tests").symlink_to(ROOT / "tests")
        for name in ("a.jpg", "b.png"):
            (directory / name).symlink_to(photo)
        said = ""
        for language, block in blocks:
            if language == "json":
                shown, got = json.loads(block), json.loads(said)
                data = lambda answer: [line.split(":", 1) for line in answer["outputs"][0].pop("data")]
                for (value, label), (found, same) in zip(data(shown), data(got), strict=True):
                    assert label == same and abs(float(value) - float(found)) < 0.05, (value, found)
                assert shown == got, got
                continue
            block = block.replace("pip install grpcio-health-checking\n", "").replace("python3", sys.executable)
            command = ["bash", "-euo", "pipefail", "-c", block] if language == "sh" else [sys.executable, "-c", block]
            done = subprocess.run(command, cwd=directory, capture_output=True, text=True)
            assert done.returncode == 0 and "error" not in done.stdout, (block, done)
            said = done.stdout
        assert (directory / "answer").stat().st_size > 2 * 4 * CLASSES
    assert len(blocks) == 6, "each is run"


def drains_with_an_open_stream(server):
    """A call that waits for its client does not keep the server from stopping."""
    client = triton_grpc.InferenceServerClient(server.grpc)
    seen = threading.Event()
    client.start_stream(lambda result, error: seen.set())
    client.async_stream_infer(MODEL, photos(triton_grpc, PHOTO))
    assert seen.wait(60)
    server.stop()
    client.stop_stream()
    client.close()


def models_come_and_go(binary):
    """What clients load and unload, where the server lets them."""
    server = Server(binary, "--model-control")
    try:
        for client in (triton_http.InferenceServerClient(server.http), triton_grpc.InferenceServerClient(server.grpc)):
            client.unload_model(LARGER)
            assert not ready(client, LARGER)
            client.load_model(LARGER)
            assert ready(client, LARGER) and ready(client, MODEL)
            try:
                client.load_model("no-such-model")
            except Exception as error:
                assert "no-such-model" in str(error), error
            else:
                raise AssertionError("a model that is not there was loaded")
            client.close()
    finally:
        server.stop()


def ready(client, model):
    try:
        return client.is_model_ready(model)
    except Exception:
        return False


def main():
    binary = sys.argv[1]
    server = Server(binary)
    try:
        run(binary, server)
    finally:
        server.process.kill()


def run(binary, server):
    checks = [tritonclient_http, tritonclient_grpc, kserve_clients, health_and_reflection, messages_are_tritons]
    checks += [examples_of_the_document_work, metrics_are_read_by_prometheus_own_parsers]
    only = sys.argv[2:]
    for check in [*checks, drains_with_an_open_stream]:
        if not only or check.__name__ in only:
            check(server)
            print("ok", check.__name__, flush=True)
    if not only:
        keys_lock_both_doors(binary)
        print("ok keys_lock_both_doors")
        models_come_and_go(binary)
        print("ok models_come_and_go")
    if server.process.poll() is None:
        server.stop()


if __name__ == "__main__":
    main()
