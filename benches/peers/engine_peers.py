#!/usr/bin/env python3
"""Compares `resnet bench engine` with ONNX Runtime and OpenVINO on one ONNX file. README.md beside it tells how to run it.

Each round asks every runtime once, one after the other, so that a machine that gets slower or faster meets all alike.
A figure is the median over the rounds; a ratio is the median of the rounds' ratios, above 1 where resnet is faster.
"""

import argparse
import json
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import threading
import time

import numpy as np
import onnxruntime
import openvino

ROOT = pathlib.Path(__file__).resolve().parents[2]

# Workers that run at the same time, and threads that each of them shares a run with.
MODES = {
    "one-thread": (1, 1),
    "two-threads": (1, 2),
    "two-workers": (2, 1),
}

# Runs before the first measured one: buffers are made, weights packed.
WARM_UP = 3


class OnnxRuntime:
    """A session a worker; single precision, or that of a quantized file."""

    name = "onnxruntime"

    def __init__(self, args, case):
        self.case, self.input = case, case.images(args.side)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = case.threads
        options.inter_op_num_threads = 1
        providers = ["CPUExecutionProvider"]
        sessions = [onnxruntime.InferenceSession(args.model, options, providers=providers) for _ in range(case.workers)]
        feed = {sessions[0].get_inputs()[0].name: self.input}
        self.runs = [lambda session=session: session.run(None, feed) for session in sessions]
        for run in self.runs:
            repeat(run, WARM_UP)

    def images_per_second(self, seconds):
        rates = [0.0] * len(self.runs)

        def work(index):
            runs, elapsed = until(self.runs[index], seconds)
            rates[index] = runs * self.case.batch / elapsed

        threads = [threading.Thread(target=work, args=(index,)) for index in range(1, len(self.runs))]
        for thread in threads:
            thread.start()
        work(0)
        for thread in threads:
            thread.join()
        return sum(rates)


class OpenVino:
    """One compiled model with a stream a worker, in the precision of the case."""

    name = "openvino"

    def __init__(self, args, case):
        self.case, self.input = case, case.images(args.side)
        core = openvino.Core()
        model = core.read_model(args.model)
        model.reshape(list(self.input.shape))
        compiled = core.compile_model(model, "CPU", {
            "INFERENCE_PRECISION_HINT": "bf16" if case.precision == "bf16" else "f32",
            "INFERENCE_NUM_THREADS": case.workers * case.threads,
            "NUM_STREAMS": case.workers,
            "PERFORMANCE_HINT": "LATENCY" if case.workers == 1 else "THROUGHPUT",
        })
        self.requests = [compiled.create_infer_request() for _ in range(case.workers)]
        for request in self.requests:
            repeat(lambda: request.infer([self.input]), WARM_UP)

    def images_per_second(self, seconds):
        if len(self.requests) == 1:
            runs, elapsed = until(lambda: self.requests[0].infer([self.input]), seconds)
            return runs * self.case.batch / elapsed
        # Every request is started again as soon as it is done, which is what keeps all streams busy.
        runs, begin = 0, time.perf_counter()
        for request in self.requests:
            request.start_async([self.input])
        while time.perf_counter() - begin < seconds:
            for request in self.requests:
                if request.wait_for(1):
                    runs += 1
                    request.start_async([self.input])
        for request in self.requests:
            request.wait()
            runs += 1
        return runs * self.case.batch / (time.perf_counter() - begin)


class Resnet:
    """A process a measurement: `resnet bench engine`."""

    name = "resnet"

    def __init__(self, args, case):
        self.report = None
        self.command = [
            str(args.resnet), "bench", "engine", "--model", args.model, "--json",
            "--batch", str(case.batch), "--workers", str(case.workers), "--threads", str(case.threads),
            "--precision", case.precision, *(["--isa", args.isa] if args.isa else []),
        ]

    def images_per_second(self, seconds):
        command = [*self.command, "--seconds", str(seconds)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            sys.exit(f"{' '.join(command)}: {done.stderr.strip()}")
        self.report = json.loads(done.stdout)
        return self.report["images_per_second"]


class Case:
    """What all runtimes are asked for."""

    def __init__(self, precision, mode, batch):
        self.precision, self.mode, self.batch = precision, mode, batch
        self.workers, self.threads = MODES[mode]

    def images(self, side):
        """Normalized pixels by chance, the same ones for everybody who asks."""
        return np.random.default_rng(1).normal(size=(self.batch, 3, side, side)).astype(np.float32)

    def peers(self):
        # ONNX Runtime has no bfloat16 convolution on x86 CPUs; bf16x3 is for those who want f32's answers.
        return [OpenVino] if self.precision == "bf16" else [OnnxRuntime, OpenVino]


def repeat(run, times):
    for _ in range(times):
        run()


def until(run, seconds):
    """Runs at least once and for at least so long; tells how often and how long."""
    runs, begin = 0, time.perf_counter()
    while True:
        run()
        runs += 1
        elapsed = time.perf_counter() - begin
        if elapsed >= seconds:
            return runs, elapsed


def measure(args, case):
    contenders = [made(args, case) for made in [*case.peers(), Resnet]]
    rates = {contender.name: [] for contender in contenders}
    for _ in range(args.rounds):
        for contender in contenders:
            rates[contender.name].append(contender.images_per_second(args.seconds))
    ours, report = rates["resnet"], contenders[-1].report
    if report["precision"] != case.precision:
        sys.exit(f"asked resnet for {case.precision}, it computed in {report['precision_reason']}")
    return {
        "precision": case.precision,
        "mode": case.mode,
        "batch": case.batch,
        "instructions": report["instructions"],
        "images_per_second": {name: round(statistics.median(values), 2) for name, values in rates.items()},
        "resnet_over": {
            name: round(statistics.median(mine / other for mine, other in zip(ours, values)), 3)
            for name, values in rates.items() if name != "resnet"
        },
        "rounds": {name: [round(value, 2) for value in values] for name, values in rates.items()},
    }


def machine():
    try:
        lines = pathlib.Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    field = {line.split(":")[0].strip(): line.split(":", 1)[1].strip() for line in lines if ":" in line}
    flags = field.get("flags", "").split()
    return {
        "cpu": field.get("model name", platform.processor()),
        "cpus": len(os.sched_getaffinity(0)),
        "flags": [flag for flag in ("avx2", "avx_vnni", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8") if flag in flags],
        "system": platform.platform(),
        "onnxruntime": onnxruntime.__version__,
        "openvino": openvino.__version__,
    }


def arguments():
    def words(allowed):
        def parse(text):
            got = text.split(",")
            wrong = [word for word in got if word not in allowed]
            if wrong:
                raise argparse.ArgumentTypeError(f"{wrong[0]!r}, allowed are {', '.join(allowed)}")
            return got
        return parse

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help=".onnx file of an image classifier")
    parser.add_argument("--resnet", type=pathlib.Path, default=ROOT / "target/release/resnet", help="the binary [%(default)s]")
    parser.add_argument("--side", type=int, default=224, help="side of the network's input [%(default)s]")
    parser.add_argument("--precisions", type=words(["f32", "bf16x3", "bf16", "int8"]), default="f32,bf16x3,bf16",
                        help="int8 with a quantized file only, and alone [%(default)s]")
    parser.add_argument("--modes", type=words(list(MODES)), default=",".join(MODES))
    parser.add_argument("--batches", type=lambda text: [int(n) for n in text.split(",")], default="1,8")
    parser.add_argument("--isa", help="highest instruction set of resnet; the peers have no such flag")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2, help="of each runtime in each round [%(default)s]")
    parser.add_argument("--json", type=pathlib.Path, help="write machine and results to this file")
    return parser.parse_args()


def main():
    args = arguments()
    about = machine()
    print(json.dumps(about), flush=True)
    if not {"avx512_bf16", "amx_bf16"} & set(about["flags"]):
        left_out = [p for p in args.precisions if p.startswith("bf16")]
        if left_out:
            print(f"left out: {', '.join(left_out)}: this CPU does not multiply bfloat16", file=sys.stderr)
        args.precisions = [p for p in args.precisions if p not in left_out]
    results = []
    for precision in args.precisions:
        for mode in args.modes:
            for batch in args.batches:
                results.append(measure(args, Case(precision, mode, batch)))
                shown = {key: value for key, value in results[-1].items() if key != "rounds"}
                print(json.dumps(shown), flush=True)
    if args.json:
        args.json.write_text(json.dumps({"machine": about, "results": results}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
