"""The real binary as a process, what it logs, and how it is asked."""

import atexit
import http.client
import json
import pathlib
import subprocess
import threading
import time

from receiver import PATIENCE

ROOT = pathlib.Path(__file__).resolve().parents[2]
PHOTO = (ROOT / "tests/fixtures/photos/espresso.png").read_bytes()
MODEL = "resnet18-tiny"


def command(binary, *flags):
    ports = ["--port", "0", "--grpc-port", "0"]
    # However slow this machine is, nothing is refused.
    patience = ["--max-queue-wait", "5m", "--request-timeout", "5m"]
    return [binary, "serve", "--model", MODEL, *ports, *patience, "--log-format", "json", *flags]


class Server:
    """A server of our own on free ports, with these variables and no others."""

    def __init__(self, binary, *flags, **variables):
        environment = {"PATH": "/usr/bin:/bin", **variables}
        self.process = subprocess.Popen(command(binary, *flags), stderr=subprocess.PIPE, text=True, env=environment)
        atexit.register(self.process.kill)  # where a check has failed
        self.log, self.changed, self.ended = [], threading.Condition(), False
        threading.Thread(target=self._read, daemon=True).start()
        self.grpc = self.line("gRPC", lambda line: "grpc_address" in line)["grpc_address"]
        self.http = self.line("ready", lambda line: "address" in line)["address"].split("://")[1]

    def _read(self):
        for line in self.process.stderr:
            with self.changed:
                self.log.append(json.loads(line))
                self.changed.notify_all()
        with self.changed:
            self.ended = True
            self.changed.notify_all()

    def line(self, what, wanted):
        """The first line of the log that is wanted, once it is there."""
        end = time.monotonic() + PATIENCE
        with self.changed:
            while not (found := [line for line in self.log if wanted(line)]):
                left = end - time.monotonic()
                assert left > 0 and not self.ended, f"no line: {what}: {self.log}"
                self.changed.wait(left)
            return found[0]

    def line_of(self, answer):
        """The line of an answer's request."""
        id = answer.headers["X-Request-Id"]
        return self.line(id, lambda line: line["target"] == "resnet::access" and line["request_id"] == id)

    def message(self, words):
        return self.line(words, lambda line: words in line["message"])

    def messages(self, words):
        with self.changed:
            return [line for line in self.log if words in line["message"]]

    def ask(self, path="/classify", body=PHOTO, method="POST", **headers):
        """One request on a connection of its own; the answer has status, headers and body."""
        connection = http.client.HTTPConnection(self.http, timeout=PATIENCE)
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, body, names)
        answer = connection.getresponse()
        answer.body = answer.read()
        connection.close()
        return answer

    def stop(self):
        """Its exit code."""
        self.process.terminate()
        code = self.process.wait(PATIENCE)
        with self.changed:
            assert self.changed.wait_for(lambda: self.ended, PATIENCE), "the log has no end"
        return code
