#!/usr/bin/env python3
"""Has Triton's own load generator ask a real server: every door that it knows, with nothing said about the server.

    tests/clients/check_perf_analyzer.py target/debug/resnet DIR

Needs libb64 (Debian's libb64-0d). DIR is where what is in perf_analyzer.txt was put:

    pip install --no-deps --target DIR -r tests/clients/perf_analyzer.txt

An older tritonclient is among it, because newer ones do not carry the program. Its tensors are zeros here: what it calls
random are random bytes, among which there is always one that is no number, and the server refuses those.
"""

import csv
import json
import os
import pathlib
import subprocess
import sys
import tempfile

from check import MODEL, ROOT, Server

# What perf_analyzer is told beside model and address, by the door.
DOORS = {
    "REST, binary": ["-i", "http"],
    "REST, JSON": ["-i", "http", "--input-tensor-format", "json", "--output-tensor-format", "json"],
    "REST, asynchronous, eight images": ["-i", "http", "--async", "-b", "8"],
    "gRPC": ["-i", "grpc"],
    "gRPC, eight images": ["-i", "grpc", "-b", "8"],
    "gRPC, one stream": ["-i", "grpc", "--async", "--streaming"],
    "TorchServe's predictions": ["-i", "http", "--service-kind", "torchserve"],
}
REQUESTS = 100


def main():
    binary, tools = sys.argv[1:] if len(sys.argv) == 3 else sys.exit(__doc__)
    tools = pathlib.Path(tools).resolve()
    program = tools / "bin/perf_analyzer"
    program.chmod(0o755)
    server = Server(binary)
    try:
        ask(server, program, tools / "nvidia/cuda_runtime/lib")
    finally:
        server.stop()


def ask(server, program, libraries):
    with tempfile.TemporaryDirectory() as scratch:
        scratch = pathlib.Path(scratch)
        photo = str(ROOT / "tests/fixtures/photos/espresso.png")
        (scratch / "photo.json").write_text(json.dumps({"data": [{"TORCHSERVE_INPUT": [photo]}]}))
        for name, door in DOORS.items():
            report = scratch / "report.csv"
            address = server.grpc if "grpc" in door else server.http
            command = [
                program, "-m", MODEL, "-u", address, "--concurrency-range", "2", "--request-count", str(REQUESTS), "-f", report,
                *door,
            ]
            command += ["--input-data", scratch / "photo.json" if "torchserve" in door else "zero"]
            ran = subprocess.run(
                command, env={**os.environ, "LD_LIBRARY_PATH": str(libraries)}, capture_output=True, text=True, timeout=300
            )
            assert ran.returncode == 0, f"{name}: {ran.returncode}\n{ran.stdout}\n{ran.stderr}"
            [row] = csv.DictReader(report.open())
            print(f"{name:34} {REQUESTS} requests, p99 {int(row['p99 latency']) / 1e3:.1f} ms")
            report.unlink()
    [asked] = server.get(f"/v2/models/{MODEL}/stats")["model_stats"]
    assert asked["inference_count"] >= REQUESTS * len(DOORS), asked
    assert asked["inference_stats"]["fail"]["count"] == 0, asked


if __name__ == "__main__":
    main()
