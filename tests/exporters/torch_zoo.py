"""Calibrated networks of PyTorch, and its two exporters."""

import torch
from torch import nn

from zoo import varied

torch.set_num_threads(1)


def calibrated(network, images=None, seed=0, spread=2.0):
    """Random norms, statistics near those of the photos, logits that are centred and spread over the photos.

    Networks whose answers depend on the last bits of their input, as LeViT's with norms about 1, get smaller norms: two
    runtimes that are both right would answer otherwise.
    """
    images = torch.from_numpy(varied()) if images is None else torch.as_tensor(images)
    for gain in (1.0, 0.5, 0.25, 0.125):
        randomized(network, images, seed, spread, gain)
        if steady(network, images[::3]):
            return network
    raise ValueError("its answers depend on the last bits of its input")


def steady(network, images):
    """Whether a change of the input by one part in a million leaves the answers as they are."""
    with torch.no_grad():
        answers = [answer(network, x).softmax(1) for x in (images, images * (1 + 1e-6 * torch.randn_like(images)))]
    return (answers[0] - answers[1]).abs().max().item() < 1e-4


def randomized(network, images, seed, spread, gain):
    torch.manual_seed(seed)
    norms = [m for m in network.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    others = [m for m in network.modules() if isinstance(m, (nn.GroupNorm, nn.LayerNorm))]
    with torch.no_grad():
        for norm in norms + others:
            if norm.weight is not None:
                norm.weight.uniform_(0.6, 1.4).mul_(gain)
                norm.bias.normal_(0, 0.2)
        network.eval()
        for norm in norms:
            norm.train()
            norm.momentum = None
            norm.reset_running_stats()
        if norms:
            network(images)
        for norm in norms:
            norm.eval()
            norm.momentum = 0.1
            norm.running_var.clamp_min_(1e-4).mul_(torch.exp(0.2 * torch.randn_like(norm.running_var)))
        spread_logits(network, images[::3], spread)


def answer(network, images):
    got = network(images)
    got = getattr(got, "logits", got)
    return (got[0] if isinstance(got, (tuple, list)) else got).flatten(1)


def spread_logits(network, images, spread):
    classes = answer(network, images).shape[1]
    lasts = [m for m in network.modules() if getattr(m, "out_features", getattr(m, "out_channels", 0)) == classes]
    if not lasts:
        return
    last = lasts[-1]
    if not last.weight.any():
        nn.init.normal_(last.weight, std=0.05)
    logits = answer(network, images)
    deviation = (logits - logits.mean(0)).std().item()
    if deviation > 1e-9:
        last.weight.mul_(spread / deviation)
    if last.bias is not None:
        last.bias.sub_(answer(network, images).mean(0) - 0.5 * torch.randn(classes))


def legacy(network, images, opset=17, batch=None, open_sides=False, names=("input", "output"), file="model.onnx", **more):
    """torch.onnx.export(dynamo=False), as a function of a directory."""
    axes = {} if batch else {name: {0: "batch"} for name in names}
    if open_sides:
        axes[names[0]] |= {2: "height", 3: "width"}
    example = torch.as_tensor(images[: batch or 1])

    def make(directory):
        torch.onnx.export(
            network, (example,), str(directory / file), dynamo=False, opset_version=opset,
            input_names=[names[0]], output_names=list(names[1:]), dynamic_axes=axes or None, **more,
        )

    return make


def dynamo(network, images, opset=None, batch=None, open_sides=False, names=("input", "output"), file="model.onnx", **more):
    """torch.onnx.export(dynamo=True), as a function of a directory."""
    axes = {} if batch else {0: torch.export.Dim("batch", min=1, max=64)}
    if open_sides:
        axes |= {2: torch.export.Dim.AUTO, 3: torch.export.Dim.AUTO}
    example = torch.as_tensor(images[: batch or 2])

    def make(directory):
        torch.onnx.export(
            network, (example,), str(directory / file), dynamo=True, opset_version=opset, verbose=False,
            input_names=[names[0]], output_names=list(names[1:]), dynamic_shapes=(axes,) if axes else None,
            **{"external_data": False, **more},
        )

    return make
