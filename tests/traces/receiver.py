"""A collector that decodes what comes, and answers well or badly."""

import http.server
import threading
import time

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

PATIENCE = 300


def well(handler):
    """As a collector that has taken everything."""
    answer(handler, 200, ExportTraceServiceResponse().SerializeToString())


def answer(handler, status, body):
    handler.send_response(status)
    handler.send_header("Content-Type", "application/x-protobuf")
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)


class Receiver:
    """Listens on a port of 127.0.0.1; `behave` is how each request is answered, which may change at any time."""

    def __init__(self, port=0, behave=well):
        self.behave = behave
        self.requests, self.spans, self.heads = [], [], []
        self.changed = threading.Condition()
        receiver = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver._take(self.path, self.headers, body)
                receiver.behave(self)

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self.server.daemon_threads = True
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def endpoint(self):
        return f"http://127.0.0.1:{self.port}"

    def _take(self, path, headers, body):
        request = ExportTraceServiceRequest.FromString(body)
        with self.changed:
            self.heads.append((path, headers))
            self.requests.append(request)
            for of_resource in request.resource_spans:
                for of_scope in of_resource.scope_spans:
                    self.spans.extend(of_scope.spans)
            self.changed.notify_all()

    def wait(self, what, found):
        """What `found` makes of this receiver, once that is something."""
        end = time.monotonic() + PATIENCE
        with self.changed:
            while not (result := found(self)):
                left = end - time.monotonic()
                assert left > 0, f"{what}: not among {len(self.spans)} spans"
                self.changed.wait(left)
            return result

    def trace(self, trace_id, requests=1):
        """The spans of a trace, once that of its last request is there: it comes behind those of its stages."""

        def whole(_):
            spans = [span for span in self.spans if span.trace_id.hex() == trace_id]
            own = [span for span in spans if span.kind == span.SPAN_KIND_SERVER]
            return spans if len(own) >= requests else None

        return self.wait(f"trace {trace_id}", whole)

    def stop(self):
        self.server.shutdown()
        self.server.server_close()
