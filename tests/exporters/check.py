#!/usr/bin/env python3
"""Serves every file of target/exporters/files and compares with ONNX Runtime; README.md beside it tells how to run it.

ONNX Runtime gets what the exporter's own preprocessing makes of the photos, resnet the photos.
"""

import argparse
import collections
import hashlib
import json
import os
import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import onnx
import onnxruntime as ort

from by_floats import by_floats
from zoo import FILES, PHOTOS, ROOT

ort.set_default_logger_severity(4)

# Most that a probability may differ: by the order of sums; in files of 16 or 8 bits, where ONNX Runtime rounds in places
# and ways of its own, by several steps.
EXACT, ROUNDED = 1e-3, 0.12


def command(resnet, *arguments, seconds):
    begin = time.time()
    try:
        run = subprocess.run([resnet, *map(str, arguments)], capture_output=True, text=True, timeout=seconds)
    except subprocess.TimeoutExpired:
        return None, "", "", time.time() - begin
    return run.returncode, run.stdout, run.stderr, time.time() - begin


def model_in(directory):
    """The file that resnet takes of a directory."""
    files = sorted(directory.rglob("*.onnx"))
    named = [file for file in files if file.name == "model.onnx"]
    return (named or files)[0]


def session(file, exact=True):
    """The file in ONNX Runtime; unless `exact`, by floats, as its kernels of 8 bits saturate where a CPU has no VNNI."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    if exact:
        return ort.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    said = by_floats(onnx.load(str(file))).SerializeToString()
    return ort.InferenceSession(said, options, providers=["CPUExecutionProvider"])


def expected(of, images, output):
    """ONNX Runtime's answer for each image; a fixed batch is filled by repeating it."""
    taken = of.get_inputs()[0]
    size = taken.shape[0] if len(taken.shape) == 4 and isinstance(taken.shape[0], int) else 1
    to = {"tensor(float16)": np.float16, "tensor(uint8)": np.uint8}.get(taken.type, np.float32)
    feed = lambda image: {taken.name: np.repeat(image[None], size, 0).astype(to)}
    answers = [of.run([output or of.get_outputs()[0].name], feed(image))[0] for image in images]
    return np.stack([np.asarray(answer, np.float64).reshape(size, -1)[0] for answer in answers])


def softmax(logits):
    raised = np.exp(logits - logits.max(1, keepdims=True))
    return raised / raised.sum(1, keepdims=True)


def answers(lines, classes):
    got = np.full((len(lines), classes), np.nan)
    for row, line in zip(got, lines):
        for prediction in json.loads(line)["predictions"]:
            row[prediction["class_index"]] = prediction["probability"]
    return got


def last_line(text):
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else ""


def check(resnet, name, about, seconds):
    """What became of one file: an outcome, the words for it, and how long both took to load it."""
    file = model_in(FILES / name)
    row = {"file": name, "exporter": about["exporter"], "kind": "rounded" if about.get("rounded") else "exact"}
    begin = time.time()
    try:
        due = FILES / f"{name}.due.onnx"  # what the file means, where ONNX Runtime computes something else
        peer = session(due if due.exists() else file, exact=not about.get("rounded"))
        row["peer_seconds"] = time.time() - begin
        want = expected(peer, np.load(FILES / f"{name}.npy"), about.get("output"))
    except Exception as error:
        peer, want = None, None
        row["peer"] = f"ONNX Runtime: {last_line(str(error))[:160]}"
    code, shown, errors, _ = command(resnet, "show", FILES / name, seconds=seconds)
    if code == 0:
        row["seconds"] = int(re.search(r"loaded in (\d+) ms", shown)[1]) / 1000
        row["layers"] = re.search(r"^operators +(.*)$", shown, re.M)[1]
    if code is None:
        return row | {"outcome": "timed out", "words": f"more than {seconds} s to load"}
    if code == 101 or "panicked" in errors:
        return row | {"outcome": "panicked", "words": last_line(errors)}
    if code:
        return row | {"outcome": "refused", "words": last_line(errors).removeprefix("error: ").replace(f"{FILES}/", "")}
    classes = int(re.search(r"^output .*\[N, (\d+)", shown, re.M)[1])
    # In bfloat16, which `auto` takes where a CPU has it, answers differ by more than what is looked for here.
    precision = [] if about.get("rounded") else ["--precision", "f32"]
    arguments = ["classify", "--model", FILES / name, "--json", "-k", classes, *precision, *PHOTOS]
    code, out, errors, _ = command(resnet, *arguments, seconds=seconds)
    if code:
        outcome = {None: "timed out", 101: "panicked"}.get(code, "wrong")
        return row | {"outcome": outcome, "words": f"shown, but not run: {last_line(errors)}"}
    if want is None:
        return row | {"outcome": "served", "words": row["peer"]}
    got = answers(out.splitlines(), classes)
    want = softmax(want) if about["kind"] == "logits" else want
    if got.shape != want.shape:
        return row | {"outcome": "wrong", "words": f"{got.shape[1]} classes, due are {want.shape[1]}"}
    difference = abs(got - want).max()
    row["difference"] = float(difference)
    row["spread"] = float(np.ptp(want, axis=0).max())
    right = difference <= (ROUNDED if about.get("rounded") else EXACT)
    return row | {"outcome": "right" if right else "wrong", "words": f"differs by {difference:.1e}"}


def checked(args, name, about, binary):
    """The row of one file: as it was found before by the same `binary`, or found now, and then kept."""
    if "not_made" in about:
        return {"file": name, "exporter": about["exporter"], "outcome": "not made", "words": about["not_made"]}
    kept = FILES / f"{name}.checked"
    if kept.exists():
        row = json.loads(kept.read_text())
        if row["binary"] == binary:
            return row
    row = check(args.resnet, name, about, args.seconds) | {"binary": binary}
    kept.write_text(json.dumps(row))
    took = f"{row.get('seconds', float('nan')):.2f} s, ONNX Runtime {row.get('peer_seconds', float('nan')):.2f} s"
    print(f"{name}: {row['outcome']}, {row['words']} ({took}) {row.get('layers', '')}", file=sys.stderr, flush=True)
    return row


def table(rows):
    """By exporter: how many files became what, the slowest load of both, and why any was not right."""
    groups = collections.defaultdict(list)
    for row in rows:
        groups[row["exporter"]].append(row)
    yield "| exporter | files | right | load, median and longest | ONNX Runtime's | not right |"
    yield "|---|---|---|---|---|---|"
    for exporter, rows in sorted(groups.items()):
        right = [row for row in rows if row["outcome"] == "right"]
        span = lambda key: (lambda s: f"{np.median(s):.2f}, {max(s):.2f} s" if s else "")([r[key] for r in right if key in r])
        rest = [f"`{row['file']}` {row['outcome']}: {row['words']}".replace("|", "\\|") for row in rows if row["outcome"] != "right"]
        yield f"| {exporter} | {len(rows)} | {len(right)} | {span('seconds')} | {span('peer_seconds')} | {'<br>'.join(rest)} |"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("words", nargs="*", help="only files with one of these in their name")
    parser.add_argument("--resnet", default=os.environ.get("RESNET", str(ROOT / "target/release/resnet")))
    parser.add_argument("--seconds", type=int, default=600, help="longest time for a file, on a machine that does other work too")
    parser.add_argument("--jobs", type=int, default=1, help="files at the same time; with more than one, loads take longer")
    parser.add_argument("--most-refused", type=int, default=5, help="exit with 1 if more are refused")
    args = parser.parse_args()
    binary = hashlib.sha256(Path(args.resnet).read_bytes()).hexdigest()
    made = {said.stem: json.loads(said.read_text()) for said in sorted(FILES.glob("*.json"))}
    names = [name for name in made if not args.words or any(word in name for word in args.words)]
    with ThreadPoolExecutor(args.jobs) as pool:
        rows = list(pool.map(lambda name: checked(args, name, made[name], binary), names))
    (FILES.parent / "results.json").write_text(json.dumps(rows, indent=1))
    print("\n".join(table(rows)))
    outcomes = collections.Counter(row["outcome"] for row in rows)
    print("\n" + ", ".join(f"{count} {outcome}" for outcome, count in outcomes.most_common()))
    bad = outcomes["wrong"] + outcomes["panicked"] + outcomes["timed out"]
    sys.exit(bool(bad) or outcomes["refused"] > args.most_refused or not rows)


if __name__ == "__main__":
    main()
