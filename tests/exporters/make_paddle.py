"""Paddle's networks by paddle2onnx. Run in a venv of its own: it needs an older onnx."""

import numpy as np
import paddle
from paddle.static import InputSpec
from paddle.vision import models

from zoo import due, keep, not_made, varied, wanted


def calibrated(network, images):
    paddle.seed(0)
    norms = [layer for layer in network.sublayers() if isinstance(layer, paddle.nn.BatchNorm2D)]
    rng = np.random.default_rng(0)
    for norm in norms:
        norm._momentum = 0.0
        norm.weight.set_value(rng.uniform(0.6, 1.4, norm.weight.shape).astype(np.float32))
        norm.bias.set_value(rng.normal(0, 0.2, norm.bias.shape).astype(np.float32))
    with paddle.no_grad():
        if norms:
            network.train()
            network(images)
        network.eval()
        last = [layer for layer in network.sublayers() if isinstance(layer, (paddle.nn.Linear, paddle.nn.Conv2D))][-1]
        logits = network(images)
        factor = 2 / max(float((logits - logits.mean(0)).std()), 1e-9)
        last.weight.set_value(last.weight * factor)
        last.bias.set_value(last.bias - network(images).mean(0))


for name in "resnet18 resnet50 resnext50_32x4d vgg11 mobilenet_v1 mobilenet_v2 mobilenet_v3_small shufflenet_v2_x1_0 squeezenet1_1 densenet121".split():
    file = f"paddle-{name.replace('_', '-')}"
    if not wanted(file):
        continue
    try:
        network = getattr(models, name)(pretrained=False)
        calibrated(network, paddle.to_tensor(varied().astype(np.float32)))
    except Exception as error:
        not_made([file], "Paddle, paddle2onnx", error)
        continue

    def make(directory):
        taken = [InputSpec([None, 3, 224, 224], "float32", "x")]
        paddle.onnx.export(network, str(directory / "model"), input_spec=taken, opset_version=13)

    keep(file, "Paddle, paddle2onnx", make, due().astype(np.float32))
