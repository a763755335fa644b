#!/usr/bin/env python3
"""ONNX's own cases of operators, each inside of a small classifier: what `resnet` answers beside ONNX Runtime.

    python tests/exporters/operators.py target/release/resnet [FILTER]

The cases are those of `onnx.backend.test`. What an operator reads as data is made from the image, as numbers near those
of the case; what exporters store (axes, shapes, scales, weights) are constants. What it gives is mixed into ten scores by
a matrix of random numbers. Each case is tried three times: with its first input alone made from the image, with all of
them, and for any number of images where it means the same for each.

ONNX Runtime computes without optimizations; where it has no kernel, ONNX's reference evaluator takes its place, and where
the two differ, whichever is nearer. An answer is right within 5e-4 of the spread of the scores, with bfloat16 within 5e-3.
Prints what is not right, then the counts; exits with 1 if an answer is wrong or the program fails. Takes five minutes.
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
import warnings
import zlib
from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto as T
from onnx import helper, numpy_helper
from onnx.backend.test.loader import load_model_tests
from onnx.reference import ReferenceEvaluator
from PIL import Image

SIDE, CLASSES, PLANES = 32, 10, 8
SPREAD, SPREAD_BF16 = 5e-4, 5e-3
VARIANTS = ["first", "all", "batch"]

FLOATS = {T.FLOAT, T.FLOAT16, T.DOUBLE, T.BFLOAT16}
INTEGERS = {T.INT8, T.INT16, T.INT32, T.INT64, T.UINT8, T.UINT16, T.UINT32, T.UINT64}
NUMBERS = FLOATS | INTEGERS | {T.BOOL}

# What no image classifier holds, or what a case of one operator cannot show.
NOT_MEANT = re.compile(
    r"test_(sequence|optional|identity_opt|identity_sequence|loop|scan|if_|string|regex|strnorm|tfidf|label_encoder|"
    r"ai_onnx_ml|adagrad|adam|momentum|nesterov|sce|nllloss|bernoulli|split_to_sequence|concat_from_sequence|"
    r"training_dropout|batchnorm_.*training|image_decoder|gradient|random|multinomial|range_.*expanded$)"
)

# The inputs that exporters store, by operator.
STORED = {
    "AffineGrid": [1], "Attention": [3, 6], "BatchNormalization": [1, 2, 3, 4], "BitShift": [1], "BlackmanWindow": [0],
    "CenterCropPad": [1], "Clip": [1, 2], "Col2Im": [1, 2], "ConstantOfShape": [0], "Conv": [1, 2], "ConvInteger": [1, 2, 3],
    "ConvTranspose": [1, 2], "CumProd": [1], "CumSum": [1], "DFT": [1, 2], "DeformConv": [1, 3], "DequantizeLinear": [1, 2],
    "Dropout": [1, 2], "Expand": [1], "GRU": range(1, 6), "GroupNormalization": [1, 2], "HammingWindow": [0],
    "HannWindow": [0], "InstanceNormalization": [1, 2], "LSTM": range(1, 8), "LayerNormalization": [1, 2],
    "MatMulInteger": [2, 3], "MaxUnpool": [2], "MelWeightMatrix": range(5), "NonMaxSuppression": [2, 3, 4], "OneHot": [1, 2],
    "PRelu": [1], "Pad": [1, 2, 3], "QLinearConv": range(1, 9), "QLinearMatMul": [1, 2, 4, 5, 6, 7], "QuantizeLinear": [1, 2],
    "RMSNormalization": [1], "RNN": range(1, 6), "Range": [0, 1, 2], "ReduceL1": [1], "ReduceL2": [1], "ReduceLogSum": [1],
    "ReduceLogSumExp": [1], "ReduceMax": [1], "ReduceMean": [1], "ReduceMin": [1], "ReduceProd": [1], "ReduceSum": [1],
    "ReduceSumSquare": [1], "Reshape": [1], "Resize": [1, 2, 3], "ReverseSequence": [1], "RoiAlign": [1, 2],
    "RotaryEmbedding": [1, 2, 3], "STFT": [1, 2, 3], "Slice": [1, 2, 3, 4], "Split": [1], "Squeeze": [1],
    "TensorScatter": [2], "Tile": [1], "TopK": [1], "Trilu": [1], "Unsqueeze": [1], "Upsample": [1],
}

SAID = """[preprocess]
resize = [32, 32]
crop = [32, 32]
mean = [0, 0, 0]
std = [1, 1, 1]
[output]
kind = "scores"
"""


class Unfit(Exception):
    """Why a case makes no classifier."""


class Graph:
    """A graph while it is written down; `values` are numbers of the image that nothing has read yet."""

    def __init__(self, batch):
        self.nodes, self.stored, self.batch, self.at = [], [], batch, 0
        weights = (np.random.RandomState(1).randn(PLANES, 3, 3, 3) * 0.3).astype(np.float32)
        planes = self.node("Conv", "own_image", self.store(weights), pads=[1] * 4, kernel_shape=[3, 3])
        self.values = self.node("Flatten", planes, axis=1)

    def node(self, op, *reads, **attributes):
        name = f"own_{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, reads, [name], name=name, **attributes))
        return name

    def store(self, values, name=None):
        tensor = onnx.TensorProto()
        tensor.CopyFrom(values if isinstance(values, onnx.TensorProto) else numpy_helper.from_array(np.asarray(values)))
        tensor.name = name or f"own_constant_{len(self.stored)}"
        self.stored.append(tensor)
        return tensor.name

    def integers(self, *values):
        return self.store(np.array(values, np.int64))

    def rows(self, value, size):
        return self.node("Reshape", value, self.integers(-1 if self.batch else 1, size))

    def cut(self, count):
        if self.at + count > PLANES * SIDE * SIDE:
            self.at = 0
        start, self.at = self.at, self.at + count
        return self.node("Slice", self.values, *[self.integers(i) for i in [start, self.at, 1, 1]])

    def of_image(self, values, kind):
        """A value of this type near `values`, and equal to them where they are whole, that the image moves."""
        if self.batch and not values.ndim:
            raise Unfit("no axis for images")
        values = values[:1] if self.batch else values
        if not values.size:
            raise Unfit("no numbers")
        # Of a large value all numbers move by the same.
        shape = list(values.shape) if values.size <= PLANES * SIDE * SIDE else [1] * values.ndim
        cut = self.cut(int(np.prod(shape)))
        shape[:1] = [-1] if self.batch else shape[:1]
        moved = self.node("Reshape", cut, self.integers(*shape))
        if kind in INTEGERS:
            whole = values.view(np.int64) if values.dtype == np.uint64 else values.astype(np.int64)
            none = self.node("Cast", self.node("Floor", self.node("Sigmoid", moved)), to=T.INT64)
            made = self.node("Add", self.store(whole), none)
            return made if kind == T.INT64 else self.node("Cast", made, to=kind)
        near = values.astype(np.float32) - np.float32(0.5 if kind == T.BOOL else 0)
        made = self.node("Add", self.store(near), self.node("Mul", moved, self.store(np.float32(0.01))))
        if kind == T.BOOL:
            return self.node("Greater", made, self.store(np.float32(0)))
        return made if kind == T.FLOAT else self.node("Cast", made, to=kind)


def opset(model):
    """The case's operator set, in an older number that means the same where ONNX Runtime knows no newer."""
    version = max(next(o.version for o in model.opset_import if not o.domain), 10)
    since = lambda node, version: onnx.defs.get_schema(node.op_type, version, "").since_version
    newest = 24
    try:
        same = all(since(node, version) == since(node, newest) for node in model.graph.node)
    except onnx.defs.SchemaError:
        same = False
    return newest if version > newest and same else version


def array(value):
    if value is None or isinstance(value, list):
        raise Unfit("a sequence or an optional value")
    return numpy_helper.to_array(value) if isinstance(value, onnx.TensorProto) else np.asarray(value)


def classifier(case, of, variant):
    """A case as a classifier; `of` is the case that it spells out, or itself."""
    model, (reads, gives) = case.model, case.data_sets[0]
    if any(o.domain for o in model.opset_import):
        raise Unfit("another domain")
    graph = Graph(variant == "batch")
    single = of.model.graph.node[0] if len(of.model.graph.node) == 1 else None
    stored = set(STORED.get(single.op_type, []) if single else [])
    inputs = []
    for i, (value, about) in enumerate(zip(reads, model.graph.input)):
        kind = about.type.tensor_type.elem_type
        at = list(single.input).index(about.name) if single and about.name in single.input else i
        if kind == T.STRING:
            raise Unfit("strings")
        inputs.append((about.name, array(value), kind, at not in stored and kind in NUMBERS))
    data = [name for name, _, kind, is_data in inputs if is_data and kind in FLOATS] or [i[0] for i in inputs if i[3]]
    called = {}
    for (name, values, kind, is_data), raw in zip(inputs, reads):
        if is_data and (variant == "all" or name in data[:1]):
            called[name] = graph.of_image(values, kind)
        else:
            graph.store(raw if isinstance(raw, onnx.TensorProto) else values, name)
    for i, node in enumerate(model.graph.node):
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        copy.name = f"tested_{i}"
        for j, name in enumerate(copy.input):
            copy.input[j] = called.get(name, name)
        graph.nodes.append(copy)
    graph.stored.extend(model.graph.initializer)
    parts, count = [], 0
    for value, about in zip(gives, model.graph.output):
        kind, values = about.type.tensor_type.elem_type, array(value)
        if kind in (T.STRING, T.COMPLEX64, T.COMPLEX128) or not values.size or not np.isfinite(values.astype(np.float32)).all():
            raise Unfit("its result is no finite number")
        if graph.batch and not values.ndim:
            raise Unfit("no axis for images")
        size = int(np.prod(values.shape[1:] if graph.batch else values.shape))
        number = about.name if kind == T.FLOAT else graph.node("Cast", about.name, to=T.FLOAT)
        parts.append(graph.rows(number, size))
        count += size
    joined = parts[0] if len(parts) == 1 else graph.node("Concat", *parts, axis=1)
    mixing = np.random.RandomState(zlib.crc32(case.name.encode())).randn(count, CLASSES) / np.sqrt(count)
    mixed = graph.node("MatMul", joined, graph.store(mixing.astype(np.float32)))
    # So that classes differ by image whatever the operator gives.
    own = graph.node("Mul", graph.cut(CLASSES), graph.store(np.float32(0.01)))
    graph.nodes.append(helper.make_node("Add", [mixed, own], ["own_scores"], name="own_scores"))
    batch = "N" if graph.batch else 1
    made = helper.make_graph(
        graph.nodes, "case",
        [helper.make_tensor_value_info("own_image", T.FLOAT, [batch, 3, SIDE, SIDE])],
        [helper.make_tensor_value_info("own_scores", T.FLOAT, [batch, CLASSES])],
        graph.stored,
    )
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", opset(model))], functions=list(model.functions), ir_version=10)


def by_onnx_runtime(model, images):
    options = ort.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 4, 1
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, {"own_image": images})[0].astype(np.float64)


def by_evaluator(model, images):
    return np.asarray(ReferenceEvaluator(model).run(None, {"own_image": images})[0], np.float64)


def tried(compute, *inputs):
    """What it computes, or none: ONNX Runtime and the evaluator lack some operators, each others."""
    try:
        return compute(*inputs)
    except Exception:  # noqa: BLE001
        return None


def distance(scores, due):
    return float(np.abs(scores - due).max() / (np.ptp(due) or 1))


def means_the_same_for_each(model, image):
    """Whether an image's scores are the same beside another."""
    both = tried(by_onnx_runtime, model, np.concatenate([image[:, ::-1], image]))
    alone = tried(by_onnx_runtime, model, image)
    fits = both is not None and alone is not None and (both.shape, alone.shape) == ((2, CLASSES), (1, CLASSES))
    return fits and distance(both[1:], alone) < 1e-4


def by_resnet(binary, folder):
    """The scores, or the reason why there are none, and whether that is a failure."""
    command = [binary, "classify", "--json", "-k", str(CLASSES), "--model", folder / "model.onnx", folder / "photo.png"]
    try:
        run = subprocess.run(command, capture_output=True, text=True, timeout=60)
    except subprocess.TimeoutExpired:
        return "no end within 60 s", True
    if run.returncode < 0 or "panicked" in run.stderr:
        return run.stderr.strip()[-300:], True
    answer = json.loads(run.stdout.splitlines()[0]) if run.stdout else {"error": run.stderr.strip().splitlines()[-1]}
    if "error" in answer:
        return str(answer["error"]), False
    scores = np.full((1, CLASSES), np.nan)
    for row in answer["predictions"]:
        scores[0, row["class_index"]] = row["probability"]
    return scores, False


def verdict(binary, folder, model, image):
    due = [d for d in [tried(by_onnx_runtime, model, image), tried(by_evaluator, model, image)] if d is not None]
    due = [d for d in due if np.isfinite(d).all()]
    if not due:
        return "without reference", ""
    onnx.save(model, folder / "model.onnx")
    scores, failed = by_resnet(binary, folder)
    if isinstance(scores, str):
        return ("failed" if failed else "refused"), scores.replace("\n", " ")
    off = min(distance(scores, d) for d in due)
    is_bf16 = any(T.BFLOAT16 in [a.i for a in n.attribute if a.name in ("to", "dtype")] for n in model.graph.node)
    return ("right" if off <= (SPREAD_BF16 if is_bf16 else SPREAD) else "wrong"), f"off by {off:.1e}"


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("binary")
    arguments.add_argument("filter", nargs="?", default="")
    given = arguments.parse_args()
    warnings.simplefilter("ignore")
    ort.set_default_logger_severity(4)
    cases = {case.name: case for case in load_model_tests(kind="node")}
    counts, operators = Counter(), set()
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        pixels = np.random.RandomState(5).randint(0, 256, (SIDE, SIDE, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(folder / "photo.png")
        (folder / "model.toml").write_text(SAID)
        image = (pixels.astype(np.float32) / np.float32(255)).transpose(2, 0, 1)[None].copy()
        for name, case in cases.items():
            if NOT_MEANT.search(name) or not re.search(given.filter, name):
                continue
            before = None
            for variant in VARIANTS:
                try:
                    of = cases.get(re.sub(r"_expanded.*$", "", name), case)
                    model = classifier(case, of, variant)
                except Unfit:
                    continue
                same = model.SerializeToString()
                if same == before or (variant == "batch" and not means_the_same_for_each(model, image)):
                    continue
                before = same
                found, about = verdict(given.binary, folder, model, image)
                counts[found] += 1
                operators.update(node.op_type for node in case.model.graph.node if found == "right")
                if found != "right":
                    print(f"{found}: {name} ({variant}): {about}", flush=True)
    print(dict(counts), f"operators right somewhere: {len(operators)}")
    sys.exit(bool(counts["wrong"] or counts["failed"]))


if __name__ == "__main__":
    main()
