#!/usr/bin/env python3
"""Asks a real server whatever schemathesis makes of its OpenAPI document, with all checks on: no status that is not
told, no answer against its schema, nothing of 5xx, no wrong data taken.

    tests/clients/check_openapi.py target/debug/resnet

The settings are beside it in openapi/. With a seed of its own: the same requests each time.
"""

import pathlib
import subprocess
import sys
import time

from check import MODEL, ROOT, Server

SETTINGS = pathlib.Path(__file__).with_name("openapi")
SCHEMATHESIS = pathlib.Path(sys.executable).with_name("schemathesis")


def ask(server, settings, examples):
    command = [
        SCHEMATHESIS,
        "--config-file",
        SETTINGS / settings,
        "run",
        f"http://{server.http}/openapi.json",
        "--checks=all",
        f"--max-examples={examples}",
        "--seed=1",
        "--generation-database=none",
        "--continue-on-failure",
    ]
    began = time.monotonic()
    # In its own directory, where it leaves nothing.
    done = subprocess.run(command, cwd=ROOT / "target", text=True, capture_output=True)
    assert done.returncode == 0, done.stdout[-20_000:] + done.stderr
    print(f"ok {settings} in {time.monotonic() - began:.0f} s")


def main():
    binary = pathlib.Path(sys.argv[1]).resolve()
    # Models are read again by requests; the only one cannot go.
    server = Server(binary, "--model-control", models=MODEL)
    try:
        ask(server, "any.toml", 5)
        ask(server, "served.toml", 15)
        impatient = ("overloaded", "deadline_exceeded")
        failed = [line for line in server.log if line.get("status", 0) >= 500 and line.get("code") not in impatient]
        assert not failed, failed
        server.stop()
    finally:
        server.process.kill()


if __name__ == "__main__":
    main()
