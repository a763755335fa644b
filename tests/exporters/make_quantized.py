"""What tools make of finished files: ONNX Runtime's quantizers and optimizer, onnxslim, onnxsim, onnxconverter-common."""

import shutil

import numpy as np
import onnx
import onnxruntime as ort
from onnx import version_converter
from onnxconverter_common import auto_mixed_precision
from onnxruntime import quantization as q
from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

from zoo import FILES, keep, not_made, standard, varied

STANDARD = varied(standard)
DUE = STANDARD[::3]


class Photos(q.CalibrationDataReader):
    def __init__(self, file):
        name = ort.InferenceSession(file).get_inputs()[0].name
        self.feeds = iter([{name: image[None]} for image in STANDARD])

    def get_next(self):
        return next(self.feeds, None)


def static(source, layout, **options):
    def make(directory):
        prepared = str(directory / "prepared.onnx")
        q.shape_inference.quant_pre_process(source, prepared)
        q.quantize_static(prepared, str(directory / "model.onnx"), Photos(prepared), quant_format=layout, **options)
        (directory / "prepared.onnx").unlink()

    return make


def dynamic(source, **options):
    return lambda directory: q.quantize_dynamic(source, str(directory / "model.onnx"), **options)


def blocks(source):
    def make(directory):
        quantizer = MatMulNBitsQuantizer(onnx.load(source), block_size=32)
        quantizer.process()
        quantizer.model.save_model_to_file(str(directory / "model.onnx"))

    return make


def optimized(source, level):
    def make(directory):
        options = ort.SessionOptions()
        options.graph_optimization_level = level
        options.optimized_model_filepath = str(directory / "model.onnx")
        ort.InferenceSession(source, options, providers=["CPUExecutionProvider"])

    return make


def extended(quantize):
    """A quantized file as the optimizer saves it at level extended."""

    def make(directory):
        quantize(directory)
        plain = directory / "plain.onnx"
        (directory / "model.onnx").rename(plain)
        optimized(str(plain), LEVELS.ORT_ENABLE_EXTENDED)(directory)
        plain.unlink()

    return make


def other_set(source, opset):
    def make(directory):
        onnx.save(version_converter.convert_version(onnx.load(source), opset), str(directory / "model.onnx"))

    return make


def slim(source):
    import onnxslim

    return lambda directory: onnxslim.slim(source, str(directory / "model.onnx"))


def simplified(source):
    import onnxsim

    return lambda directory: onnx.save(onnxsim.simplify(source)[0], str(directory / "model.onnx"))


def by_reference(source):
    """Weights in many small files beside the model, as `convert_model_to_external_data` writes them."""

    def make(directory):
        onnx.save_model(onnx.load(source), str(directory / "model.onnx"), save_as_external_data=True, all_tensors_to_one_file=False)

    return make


def mixed(source):
    def make(directory):
        name = ort.InferenceSession(source).get_inputs()[0].name
        made = auto_mixed_precision.auto_convert_mixed_precision(onnx.load(source), {name: DUE[:1]}, rtol=0.05, atol=0.05, keep_io_types=True)
        onnx.save(made, str(directory / "model.onnx"))

    return make


LEVELS = ort.GraphOptimizationLevel
U8, S8, U16, S16 = q.QuantType.QUInt8, q.QuantType.QInt8, q.QuantType.QUInt16, q.QuantType.QInt16
QDQ, OPERATORS = q.QuantFormat.QDQ, q.QuantFormat.QOperator
QUANTIZED = {
    "qdq-u8s8": lambda f: static(f, QDQ, activation_type=U8, weight_type=S8, reduce_range=True),
    "qdq-u8s8-channel": lambda f: static(f, QDQ, activation_type=U8, weight_type=S8, per_channel=True, reduce_range=True),
    "qdq-s8s8-channel": lambda f: static(f, QDQ, activation_type=S8, weight_type=S8, per_channel=True),
    "qdq-u8u8": lambda f: static(f, QDQ, activation_type=U8, weight_type=U8),
    "qdq-s8s8-symmetric": lambda f: static(f, QDQ, activation_type=S8, weight_type=S8, extra_options={"ActivationSymmetric": True}),
    "qdq-entropy": lambda f: static(f, QDQ, activation_type=U8, weight_type=S8, reduce_range=True, calibrate_method=q.CalibrationMethod.Entropy),
    "qdq-some": lambda f: static(f, QDQ, activation_type=U8, weight_type=U8, op_types_to_quantize=["Conv"]),
    "qdq-u16": lambda f: static(f, QDQ, activation_type=U16, weight_type=S8),
    "qoperator-u8u8": lambda f: static(f, OPERATORS, activation_type=U8, weight_type=U8),
    "qoperator-u8s8-channel": lambda f: static(f, OPERATORS, activation_type=U8, weight_type=S8, per_channel=True, reduce_range=True),
    "qoperator-s8s8": lambda f: static(f, OPERATORS, activation_type=S8, weight_type=S8),
    "dynamic": lambda f: dynamic(f),
    "dynamic-matmul": lambda f: dynamic(f, op_types_to_quantize=["MatMul", "Gemm"]),
    "extended-qdq": lambda f: extended(static(f, QDQ, activation_type=U8, weight_type=U8)),
    "extended-dynamic": lambda f: extended(dynamic(f)),
}
CHANGED = {
    "ort-basic": ("ONNX Runtime, optimized file", lambda f: optimized(f, LEVELS.ORT_ENABLE_BASIC)),
    "ort-extended": ("ONNX Runtime, optimized file", lambda f: optimized(f, LEVELS.ORT_ENABLE_EXTENDED)),
    "ort-all": ("ONNX Runtime, optimized file", lambda f: optimized(f, LEVELS.ORT_ENABLE_ALL)),
    "slim": ("onnxslim", slim),
    "simplified": ("onnxsim", simplified),
    "external": ("onnx, external data", by_reference),
    "o22": ("onnx, version converter", lambda f: other_set(f, 22)),
    "o15": ("onnx, version converter", lambda f: other_set(f, 15)),
}
SOURCES = {
    "resnet18": "tv-resnet18-o11/model.onnx",
    "resnet18-o20": "tv-resnet18-o20/model.onnx",
    "resnet50": "tv-resnet50-o13/model.onnx",
    "mobilenet_v2": "tv-mobilenet_v2-o17/model.onnx",
    "efficientnet_b0": "tv-efficientnet_b0-o17/model.onnx",
    "shufflenet": "tv-shufflenet_v2_x1_0-o17/model.onnx",
    "vit": "hf-vit-dynamo/model.onnx",
}
FEW = ["qdq-u8s8-channel", "qdq-s8s8-channel", "qoperator-u8u8", "dynamic", "extended-dynamic", "ort-extended", "slim", "simplified"]


def changes(network):
    """What is made of a network: name, exporter, how, whether it is rounded to 8 bits."""
    whole = network in ("resnet18", "mobilenet_v2")
    for name, how in QUANTIZED.items():
        if network == "resnet18" and name.startswith("qdq") and name.endswith("channel"):
            continue  # operator set 11 has one scale for all channels
        if network == "mobilenet_v2" and name == "extended-qdq":
            continue  # its own answers move by 0.25 when the input changes by three parts in a million
        if (whole or name in FEW) and not (network == "vit" and name.startswith("q")):
            yield f"quantized-{network}-{name}", f"ONNX Runtime, {name.split('-')[0]}", how, True
    for name, (exporter, how) in CHANGED.items():
        if whole or name in FEW:
            yield f"changed-{network}-{name}", exporter, how, False
    if network in ("resnet18", "vit"):
        yield f"changed-{network}-mixed", "onnxconverter-common, mixed precision", mixed, True
        yield f"quantized-{network}-blocks", "ONNX Runtime, 4 bits", blocks, True


def beside(file, make):
    """With the description of the file that it is made of."""

    def made(directory):
        for json in file.parent.glob("*.json"):
            shutil.copy(json, directory)
        make(directory)

    return made


for network, source in SOURCES.items():
    file = FILES / source
    for name, exporter, how, rounded in changes(network):
        if not file.exists():
            not_made([name], exporter, FileNotFoundError(f"there is no {source}"))
            continue
        images = lambda: np.load(FILES / f"{file.parent.name}.npy")
        about = {"rounded": True} if rounded else {}
        keep(name, exporter, beside(file, lambda directory: how(str(file))(directory)), images, **about)
