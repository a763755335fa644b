#!/usr/bin/env python3
"""Quantizes an image classifier with ONNX Runtime's own tool: the 8-bit files that the engines are compared on.

Static quantization, 8-bit activations and weights, calibrated by the smallest and largest values that some photos give.
Preprocessing is torchvision's for ImageNet, or what the flags say. README.md beside it tells how to run it.
"""

import argparse
import pathlib
import sys

import numpy as np
import onnx
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process
from PIL import Image

MEAN = [0.485, 0.456, 0.406]
STD = [0.229, 0.224, 0.225]
FILTERS = {"bilinear": Image.BILINEAR, "bicubic": Image.BICUBIC}


def tensor(path, args):
    """The normalized center crop of a photo, [1, 3, side, side]."""
    image = Image.open(path).convert("RGB")
    resize, side = args.resize, args.side
    width, height = image.size
    size = (resize, int(resize * height / width)) if width <= height else (int(resize * width / height), resize)
    image = image.resize(size, FILTERS[args.filter])
    left, top = (int(round((n - side) / 2)) for n in image.size)
    pixels = np.asarray(image.crop((left, top, left + side, top + side)), np.float32)
    mean, std = np.float32(args.mean), np.float32(args.std)
    return np.ascontiguousarray(((pixels / np.float32(255) - mean) / std).transpose(2, 0, 1))[None]


class Photos(CalibrationDataReader):
    """Photos of a folder, in the order of their names."""

    def __init__(self, name, paths, args):
        self.feeds = ({name: tensor(path, args)} for path in paths)

    def get_next(self):
        return next(self.feeds, None)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=pathlib.Path, help=".onnx file in single precision")
    parser.add_argument("photos", type=pathlib.Path, help="folder of photos to calibrate on")
    parser.add_argument("out", type=pathlib.Path, help="file to write")
    parser.add_argument("--format", choices=["qdq", "qoperator"], default="qdq")
    parser.add_argument("--per-tensor", action="store_true", help="one scale for all of a layer's weights")
    parser.add_argument("--activations", choices=["u8", "s8"], default="u8")
    parser.add_argument("--count", type=int, default=64, help="photos [%(default)s]")
    parser.add_argument("--resize", type=int, default=256)
    parser.add_argument("--side", type=int, default=224)
    parser.add_argument("--filter", choices=list(FILTERS), default="bilinear", help="of the resize [%(default)s]")
    parser.add_argument("--mean", type=float, nargs=3, default=MEAN, help="of red, green and blue [%(default)s]")
    parser.add_argument("--std", type=float, nargs=3, default=STD, help="the same [%(default)s]")
    args = parser.parse_args()
    paths = sorted(path for path in args.photos.iterdir() if path.suffix.lower() in {".jpg", ".jpeg", ".png"})
    if not paths:
        sys.exit(f"{args.photos}: no photos")
    prepared = args.out.with_suffix(".prepared.onnx")
    quant_pre_process(str(args.model), str(prepared), skip_symbolic_shape=True)
    name = onnx.load(str(prepared), load_external_data=False).graph.input[0].name
    quantize_static(
        str(prepared),
        str(args.out),
        Photos(name, paths[: args.count], args),
        quant_format=QuantFormat.QDQ if args.format == "qdq" else QuantFormat.QOperator,
        per_channel=not args.per_tensor,
        activation_type=QuantType.QUInt8 if args.activations == "u8" else QuantType.QInt8,
        weight_type=QuantType.QInt8,
    )
    prepared.unlink()


if __name__ == "__main__":
    main()
