"""A quantized file said with floats, so that ONNX Runtime computes what it means.

Its own kernels of 8 bits saturate on CPUs without VNNI. Used by check.py, which has the optimizer bring none of them
back.
"""

import numpy as np
from onnx import TensorProto, helper, numpy_helper


def by_floats(model):
    """Operators of 8 bits as those of floats between QuantizeLinear and DequantizeLinear."""
    words = Words(model.graph)
    for node in model.graph.node:
        words.say(node)
    del model.graph.node[:]
    model.graph.node.extend(words.nodes)
    return model


class Words:
    def __init__(self, graph):
        self.graph, self.nodes = graph, []
        self.weights = {tensor.name: tensor for tensor in graph.initializer}

    def say(self, node):
        read, attributes = list(node.input), node.attribute
        match node.op_type:
            case "ConvInteger" | "MatMulInteger":
                values = [self.less(read[i], read[i + 2] if len(read) > i + 2 else "") for i in (0, 1)]
                sums = self.push(node.op_type.removesuffix("Integer"), values, attributes)
                self.nodes.append(helper.make_node("Cast", [sums], node.output, to=TensorProto.INT32))
            case "QLinearConv":
                values = [self.value(*read[:3]), self.dequantized(*read[3:6])]
                if len(read) > 8:
                    values.append(self.bias(read[8], read[1], read[4]))
                self.quantize(self.push("Conv", values, attributes), read[6:8], node)
            case "QLinearAdd" | "QLinearMul":
                self.quantize(self.push(node.op_type.removeprefix("QLinear"), [self.value(*read[:3]), self.value(*read[3:6])]), read[6:8], node)
            case "QLinearGlobalAveragePool" | "QLinearAveragePool" | "QLinearLeakyRelu" | "QLinearSigmoid" | "QLinearSoftmax":
                kept = [a for a in attributes if a.name not in ("channels_last", "opset")]
                self.quantize(self.push(node.op_type.removeprefix("QLinear"), [self.value(*read[:3])], kept), read[3:5], node)
            case "QLinearWhere":
                self.quantize(self.push("Where", [read[0], self.value(*read[1:4]), self.value(*read[4:7])]), read[7:9], node)
            case "DynamicQuantizeMatMul":
                made = [f"{node.output[0]}/{what}" for what in ("bytes", "scale", "zero")]
                self.nodes.append(helper.make_node("DynamicQuantizeLinear", read[:1], made))
                read += [""] * (5 - len(read))
                self.product(*made, *read[1:4], read[4], node)
            case "MatMulIntegerToFloat":
                read += [""] * (7 - len(read))
                self.product(read[0], read[2], read[4], read[1], read[3], read[5], read[6], node)
            case "QLinearConcat":
                values = [self.value(*read[i : i + 3]) for i in range(2, len(read), 3)]
                self.quantize(self.push("Concat", values, attributes), read[:2], node)
            case "QGemm":
                values = [self.value(*read[:3]), self.dequantized(*read[3:6])]
                if read[6]:
                    values.append(self.bias(read[6], read[1], read[4]))
                product = self.push("Gemm", values, attributes)
                if len(read) > 7:
                    self.quantize(product, read[7:9], node)
                else:
                    self.nodes.append(helper.make_node("Identity", [product], node.output))
            case _:
                self.nodes.append(node)

    def push(self, operator, read, attributes=()):
        output = f"{len(self.nodes)}/{operator}"
        node = helper.make_node(operator, read, [output])
        node.attribute.extend(attributes)
        self.nodes.append(node)
        return output

    def value(self, name, scale, zero):
        return self.push("DequantizeLinear", [name, scale, zero])

    def quantize(self, value, scale, node):
        self.nodes.append(helper.make_node("QuantizeLinear", [value, *scale], node.output))

    def less(self, name, zero):
        to_float = helper.make_node("Cast", ["x"], ["y"], to=TensorProto.FLOAT).attribute
        value = self.push("Cast", [name], to_float)
        return self.push("Sub", [value, self.push("Cast", [zero], to_float)]) if zero else value

    def product(self, first, scale, zero, second, second_scale, second_zero, bias, node):
        sums = self.push("MatMul", [self.less(first, zero), self.less(second, second_zero)])
        for factor in (scale, second_scale):
            sums = self.push("Mul", [sums, factor])
        self.nodes.append(helper.make_node("Add" if bias else "Identity", [sums, bias] if bias else [sums], node.output))

    def numbers(self, name):
        return numpy_helper.to_array(self.weights[name]).astype(np.float64)

    def constant(self, values):
        tensor = numpy_helper.from_array(values.astype(np.float32), f"constant {len(self.graph.initializer)}")
        self.graph.initializer.append(tensor)
        return tensor.name

    def dequantized(self, name, scale, zero):
        weights = self.numbers(name)
        of_channels = lambda n: self.numbers(n).reshape(-1, *[1] * (weights.ndim - 1))
        return self.constant((weights - of_channels(zero)) * of_channels(scale))

    def bias(self, name, *scales):
        return self.constant(self.numbers(name) * np.prod(np.broadcast_arrays(*(self.numbers(s).reshape(-1) for s in scales)), 0))
