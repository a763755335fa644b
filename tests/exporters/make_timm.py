"""timm's networks by both exporters of PyTorch, with the config.json that timm writes beside its weights."""

import json

import numpy as np
import timm
import torch

from torch_zoo import calibrated, dynamo, legacy
from zoo import due, keep, not_made, varied, wanted

BOTH = """resnet50d seresnet50 ecaresnet50t resnetv2_50 resnetv2_50x1_bit resnetblur50 resnest50d resnet50_gn skresnet34
nf_resnet50 convnextv2_atto mobilenetv4_conv_small""".split()
ONE = """resnet10t resnet26t resnetaa50 resnetrs50 res2net50_26w_4s gernet_m cspresnet50 resnext50d_32x4d tresnet_m resnet50s
seresnext50_32x4d repvgg_b0 mobilenetv3_large_100 legacy_seresnet50 efficientnet_lite0 tf_efficientnet_b0 ghostnet_100
efficientformer_l1 deit_tiny_patch16_224 mobileone_s0 fastvit_t8 hgnet_tiny inception_next_atto xception41 rexnet_100
dla34 hrnet_w18_small lcnet_050 edgenext_xx_small mixer_s32_224 eca_nfnet_l0 vovnet39a levit_128s mobilevit_xxs""".split()


def with_config(export, network):
    """As timm.models.save_for_hf leaves it."""

    def make(directory):
        export(directory)
        about = {"architecture": network.pretrained_cfg["architecture"], "num_classes": network.num_classes,
                 "pretrained_cfg": {k: v for k, v in network.pretrained_cfg.items() if v is not None}}
        (directory / "config.json").write_text(json.dumps(about, default=str))

    return make


# Trained for an input that is not square, as `--input-size` and `--crop-mode` of timm's scripts do it.
NOT_SQUARE = {
    "resnet10t-wide": dict(input_size=(3, 192, 320)),
    "resnet10t-tall-squash": dict(input_size=(3, 288, 160), crop_mode="squash"),
    "mobilenetv3_small_050-tall": dict(input_size=(3, 256, 128), crop_pct=1.0),
}

for name in [*NOT_SQUARE, *ONE, *BOTH]:
    exports = [legacy, dynamo] if name in BOTH else [legacy]
    names = [f"timm-{name}-{'o17' if export is legacy else 'dynamo'}" for export in exports]
    if not wanted(*names):
        continue
    torch.manual_seed(1)
    exporters = ["timm, TorchScript", "timm, dynamo"]
    try:
        network = timm.create_model(name.split("-")[0], pretrained=False)
        network.pretrained_cfg = dict(network.pretrained_cfg) | NOT_SQUARE.get(name, {})
        # What timm itself takes from that config for inference.
        transform = timm.data.create_transform(**timm.data.resolve_data_config(network.pretrained_cfg))
        preprocess = lambda image: transform(image).numpy()
        images = due(preprocess)
        calibrated(network, varied(preprocess))
        if hasattr(network, "fuse"):
            network.fuse()
    except Exception as error:
        for file, exporter in zip(names, exporters):
            not_made([file], exporter, error)
        continue
    for export, file, exporter in zip(exports, names, exporters):
        keep(file, exporter, with_config(export(network, images), network), images)
