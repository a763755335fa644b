"""torchvision's networks by both exporters of PyTorch: operator sets, batches, sides, external data, half precision."""

import copy

import torch
from onnxconverter_common import float16
from torch import nn
from timm.data.transforms import ResizeKeepRatio
from torchvision import models, transforms
import onnx
from onnx import numpy_helper

from torch_zoo import calibrated, dynamo, legacy
from zoo import MEAN, STD, cropped, due, keep, not_made, standard, varied, wanted
import numpy as np

MODES = torch.onnx.TrainingMode


def files(network, *files, side=224, **arguments):
    """Files of one network: each a name, an exporter, and its arguments; made only where one is still missing."""
    names = [f"tv-{network}-{name}" for name, *_ in files]
    if not wanted(*names):
        return
    torch.manual_seed(1)
    sized = lambda image: standard(image, side)
    try:
        made = getattr(models, network)(weights=None, **arguments)
        calibrated(made, varied(sized))
    except Exception as error:
        not_made(names, "torchvision", error)
        return
    images = due(sized)
    for name, (_, export, options) in zip(names, files):
        options = dict(options)
        about = options.pop("about", {})
        change = options.pop("change", lambda network: network)
        to = options.pop("to", lambda images: images)
        exporter = "torchvision, dynamo" if export is dynamo else "torchvision, TorchScript"
        if not wanted(name):
            continue
        try:
            changed, taken = change(made), to(images)
        except Exception as error:
            not_made([name], exporter, error)
            continue
        keep(name, exporter, export(changed, taken, **options), taken, **about)


class Wrapped(nn.Module):
    """A network with something before and behind it."""

    def __init__(self, network, before=lambda x: x, behind=lambda y: y):
        super().__init__()
        self.network, self.before, self.behind = network, before, behind

    def forward(self, x):
        return self.behind(self.network(self.before(x)))


def normalized(pixels):
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (MEAN, STD))
    return (pixels.permute(0, 3, 1, 2).float() / 255 - mean) / std


def bytes_of(_):
    return due(lambda image: np.asarray(cropped(image, 224)))


def halves(how):
    """The file of single precision, converted as onnxconverter-common does."""

    def export(network, images, **options):
        def make(directory):
            legacy(network, images, **options)(directory)
            path = str(directory / "model.onnx")
            onnx.save(float16.convert_float_to_float16(onnx.load(path), **how), path)

        return make

    return export


def training(network, images, **options):
    """Exported without eval(), as people do by mistake; due is what the same weights give after it.

    The exporter runs the example through the network, which moves its running statistics: those of the file count.
    """
    network = copy.deepcopy(network)

    def make(directory):
        legacy(network, images, training=MODES.TRAINING, do_constant_folding=False, **options)(directory)
        weights = {w.name: torch.from_numpy(numpy_helper.to_array(w).copy()) for w in onnx.load(directory / "model.onnx").graph.initializer}
        network.load_state_dict(weights, strict=False)
        legacy(network.eval(), images, file=f"../{directory.name}.due.onnx", **options)(directory)

    return make


ROUNDED = dict(rounded=True)
files("resnet18",
    ("o9-weights-as-inputs", legacy, dict(opset=9, keep_initializers_as_inputs=True, batch=1)),
    ("o11", legacy, dict(opset=11)), ("o20", legacy, dict(opset=20)), ("dynamo", dynamo, {}),
    ("softmax", legacy, dict(change=lambda n: Wrapped(n, behind=lambda y: y.softmax(1)), about=dict(kind="probabilities"))),
    ("logsoftmax", dynamo, dict(change=lambda n: Wrapped(n, behind=lambda y: y.log_softmax(1)))),
    ("sigmoid", legacy, dict(change=lambda n: Wrapped(n, behind=lambda y: (y - 4).sigmoid()), about=dict(kind="scores"))),
    ("bytes-nhwc", legacy, dict(change=lambda n: Wrapped(n, before=normalized), to=bytes_of)),
    ("bytes-nhwc-dynamo", dynamo, dict(change=lambda n: Wrapped(n, before=normalized), to=bytes_of)),
    ("script", lambda n, i, **o: legacy(torch.jit.script(n), i, **o), {}),
    ("half-inputs", halves(dict(keep_io_types=False)), dict(about=ROUNDED)),
    ("half-converter", halves(dict(keep_io_types=True)), dict(about=ROUNDED)),
)
files("resnet34", ("o13-unfolded", legacy, dict(opset=13, do_constant_folding=False)))
files("resnet50",
    ("o17-b1", legacy, dict(batch=1)), ("o13", legacy, dict(opset=13)), ("o17-b4", legacy, dict(batch=4)),
    ("o13-preserve", legacy, dict(opset=13, training=MODES.PRESERVE, do_constant_folding=False)),
    ("o13-training", training, dict(opset=13)),
    ("o11-open-sides", legacy, dict(opset=11, open_sides=True)),
    ("dynamo-b1", dynamo, dict(batch=1)), ("dynamo-external", dynamo, dict(external_data=True)),
    ("dynamo-o21", dynamo, dict(opset=21)), ("dynamo-o23", dynamo, dict(opset=23)),
    ("dynamo-open-sides", dynamo, dict(open_sides=True)), ("dynamo-unoptimized", dynamo, dict(optimize=False)),
    ("half-converter", halves(dict(keep_io_types=True)), dict(about=ROUNDED)),
)
files("resnet18", ("half", legacy, dict(change=lambda n: n.half(), to=lambda i: i.astype(np.float16), about=ROUNDED)))
files("resnet50", ("half-dynamo", dynamo, dict(change=lambda n: n.half(), to=lambda i: i.astype(np.float16), about=ROUNDED)))


def beside(toml):
    """With a model.toml."""

    def export(network, images, **options):
        def make(directory):
            legacy(network, images, **options)(directory)
            (directory / "model.toml").write_text(toml)

        return make

    return export


def not_square(name, toml, *steps):
    """Another height than width: what torchvision's transforms make of the photos."""
    transform = transforms.Compose([*steps, transforms.ToTensor(), transforms.Normalize(MEAN, STD)])
    change = lambda network: calibrated(copy.deepcopy(network), varied(lambda image: transform(image).numpy()))
    return name, beside(toml), dict(change=change, to=lambda _: due(lambda image: transform(image).numpy()))


WIDE, TALL = (160, 256), (256, 128)
files("resnet18",
    not_square("wide-stretched", "[preprocess]\nresize = [160, 256]\n", transforms.Resize(WIDE)),
    not_square("tall-cropped", "[preprocess]\nresize = 288\n", transforms.Resize(288), transforms.CenterCrop(TALL)),
    # Of which nothing is said: covered, as timm does it.
    not_square("wide", "", ResizeKeepRatio((183, 293)), transforms.CenterCrop(WIDE)),
)
files("resnet101", ("o17", legacy, {}))
files("resnet152", ("o13", legacy, dict(opset=13)))
files("resnext50_32x4d", ("dynamo", dynamo, {}))
files("resnext101_64x4d", ("dynamo", dynamo, {}))
files("wide_resnet50_2", ("o17", legacy, {}))
files("vgg16", ("o17", legacy, {}))
files("vgg11_bn", ("o17", legacy, {}))
files("alexnet", ("o17", legacy, {}))
UNSET = dict(aux_logits=False, init_weights=False)
for network, side, arguments in [
    ("densenet121", 224, {}), ("mobilenet_v2", 224, {}), ("mobilenet_v3_large", 224, {}), ("efficientnet_b0", 224, {}),
    ("efficientnet_v2_s", 224, {}), ("convnext_tiny", 224, {}), ("squeezenet1_1", 224, {}), ("googlenet", 224, UNSET),
    ("inception_v3", 299, UNSET), ("regnet_y_400mf", 224, {}), ("regnet_x_800mf", 224, {}), ("shufflenet_v2_x1_0", 224, {}),
    ("mnasnet1_0", 224, {}), ("vit_b_16", 224, {}), ("swin_t", 224, {}), ("swin_v2_t", 256, {}), ("maxvit_t", 224, {}),
]:
    files(network, ("o17", legacy, {}), ("dynamo", dynamo, {}), side=side, **arguments)
