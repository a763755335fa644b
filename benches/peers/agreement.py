#!/usr/bin/env python3
"""Counts the photos to which a quantized file's answer is the class of the file in single precision.

Both are computed by ONNX Runtime and by OpenVINO, the quantized one by resnet too; preprocessing is quantize.py's. The
reference is ONNX Runtime in single precision. README.md beside it tells how to run it.
"""

import argparse
import json
import pathlib
import subprocess

import numpy as np
import onnxruntime
import openvino
import quantize


def scores(outputs):
    """The class scores among a network's outputs: those of rank two, of 1000 classes if there are such."""
    return max((np.asarray(value) for value in outputs if np.ndim(value) == 2), key=lambda value: value.shape[1] == 1000)


def onnx_runtime(model):
    session = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda tensor: int(scores(session.run(None, {name: tensor})).argmax())


def open_vino(model, side):
    network = openvino.Core().read_model(str(model))
    network.reshape([1, 3, side, side])
    compiled = openvino.Core().compile_model(network, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return lambda tensor: int(scores(compiled([tensor]).values()).argmax())


def resnet(binary, model, photos):
    command = [str(binary), "classify", "--json", "-k", "1", "--model", str(model), *map(str, photos)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return [json.loads(line)["predictions"][0]["class_index"] for line in done.stdout.splitlines()]


def main():
    root = pathlib.Path(__file__).resolve().parents[2]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=pathlib.Path, help=".onnx file in single precision")
    parser.add_argument("quantized", type=pathlib.Path, help="the same in 8 bits")
    parser.add_argument("photos", type=pathlib.Path, help="folder of photos")
    parser.add_argument("--resnet", type=pathlib.Path, default=root / "target/release/resnet", help="the binary [%(default)s]")
    parser.add_argument("--resize", type=int, default=256)
    parser.add_argument("--side", type=int, default=224)
    args = parser.parse_args()
    args.filter, args.mean, args.std = "bilinear", quantize.MEAN, quantize.STD
    photos = sorted(args.photos.iterdir())
    reference = onnx_runtime(args.model)
    peers = {"onnxruntime": onnx_runtime(args.quantized), "openvino": open_vino(args.quantized, args.side)}
    same = dict.fromkeys([*peers, "resnet"], 0)
    for photo, ours in zip(photos, resnet(args.resnet, args.quantized, photos), strict=True):
        tensor = quantize.tensor(photo, args)
        expected = reference(tensor)
        same["resnet"] += ours == expected
        for name, peer in peers.items():
            same[name] += peer(tensor) == expected
    print(json.dumps({"photos": len(photos), "same_class_as_f32": same}))


if __name__ == "__main__":
    main()
