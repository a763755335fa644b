#!/usr/bin/env python3
"""Preprocessing by resnet and by Pillow with numpy, on one thread each, pass by pass in turn over the same photos.

Needs: pip install numpy pillow; the repository with a Rust toolchain; RESNET_TEST_ASSETS as in docs/TESTING.md
Usage: preprocess_vs_pillow.py [--rounds 10]

Pillow's side is what a Python service does with an upload: Image.open, convert, resize, crop, and normalizing by numpy
into [1, 3, 224, 224]. A round is a pass of each; the medians over the rounds are compared.
"""
import argparse
import glob
import io
import os
import statistics
import subprocess
import sys
import time

os.environ.setdefault("OMP_NUM_THREADS", "1")
import numpy as np
import PIL
from PIL import Image, features

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
MEAN = np.float32([0.485, 0.456, 0.406])
STD = np.float32([0.229, 0.224, 0.225])
RESIZE, CROP = 256, 224


def photos():
    assets = os.environ.get("RESNET_TEST_ASSETS", os.path.join(ROOT, "..", "shared"))
    files = sorted(glob.glob(os.path.join(assets, "eval", "photos", "*.JPEG")))
    if not files:
        sys.exit(f"no photos in {assets}/eval/photos: set RESNET_TEST_ASSETS")
    return [open(f, "rb").read() for f in files]


def pillow_pass(files):
    """Seconds a photo for decode, resize with crop, and normalize."""
    spent = [0.0, 0.0, 0.0]
    for data in files:
        start = time.perf_counter()
        image = Image.open(io.BytesIO(data)).convert("RGB")
        decoded = time.perf_counter()
        w, h = image.size
        w, h = (RESIZE, int(RESIZE * h / w)) if w <= h else (int(RESIZE * w / h), RESIZE)
        left, top = int(round((w - CROP) / 2.0)), int(round((h - CROP) / 2.0))
        image = image.resize((w, h), Image.BILINEAR).crop((left, top, left + CROP, top + CROP))
        resized = time.perf_counter()
        x = (np.asarray(image).astype(np.float32) / np.float32(255) - MEAN) / STD
        np.ascontiguousarray(x.transpose(2, 0, 1))[None]
        end = time.perf_counter()
        for i, part in enumerate((decoded - start, resized - decoded, end - resized)):
            spent[i] += part / len(files)
    return spent


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--rounds", type=int, default=10)
    a = p.parse_args()
    files = photos()
    subprocess.run(["cargo", "bench", "--bench", "preprocess", "--no-run"], cwd=ROOT, check=True)
    bench = subprocess.Popen(["cargo", "bench", "-q", "--bench", "preprocess", "--", "--passes"], cwd=ROOT, text=True,
                             stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def resnet_pass():
        bench.stdin.write("\n")
        bench.stdin.flush()
        return [float(v) for v in bench.stdout.readline().split()]

    resnet_pass(), pillow_pass(files)  # warm-up
    rounds = [(resnet_pass(), pillow_pass(files)) for _ in range(a.rounds)]
    bench.stdin.close()
    bench.wait()

    def median(values):
        return statistics.median(values) * 1000

    decode, rest = (median(r[i] for r, _ in rounds) for i in range(2))
    total = median(sum(r) for r, _ in rounds)
    p_decode, p_resize, p_normalize = (median(p[i] for _, p in rounds) for i in range(3))
    p_total = median(sum(p) for _, p in rounds)
    ratios = [sum(p) / sum(r) for r, p in rounds]
    print(f"{len(files)} photos, {a.rounds} rounds, one thread, median ms a photo")
    print(f"pillow {PIL.__version__} (libjpeg-turbo {features.version('libjpeg_turbo')}), numpy {np.__version__}: "
          f"decode {p_decode:.2f}, resize and crop {p_resize:.2f}, normalize {p_normalize:.2f}, all {p_total:.2f}")
    print(f"resnet: decode {decode:.2f}, resize, crop and normalize {rest:.2f}, all {total:.2f}")
    print(f"resnet is {statistics.median(ratios):.2f} times as fast (rounds: {min(ratios):.2f} to {max(ratios):.2f})")


if __name__ == "__main__":
    main()
