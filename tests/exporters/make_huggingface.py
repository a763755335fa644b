"""Hugging Face's classifiers by Optimum, from a directory as a hub has it, with the JSON files that it leaves."""

import shutil

import numpy as np
import torch
import transformers
from optimum.exporters.onnx import main_export
from optimum.onnxruntime import ORTQuantizer
from optimum.onnxruntime.configuration import AutoQuantizationConfig

from torch_zoo import calibrated, dynamo
from zoo import FILES, due, keep, not_made, varied, wanted

SMALL = dict(hidden_size=96, num_hidden_layers=4, num_attention_heads=3, intermediate_size=384)
IMAGENET = dict(image_mean=[0.485, 0.456, 0.406], image_std=[0.229, 0.224, 0.225])
STRETCHED = dict(size={"height": 224, "width": 224}, resample=2)
CONVNEXT = dict(size={"shortest_edge": 224}, crop_pct=0.875, **IMAGENET)

# Network, image processor with what its repositories set, configuration
MODELS = {
    "resnet50": ("ResNet", "ConvNext", CONVNEXT | {"resample": 3}, {}),
    "resnet18": ("ResNet", "ConvNext", CONVNEXT | {"resample": 3},
                 dict(layer_type="basic", depths=[2, 2, 2, 2], hidden_sizes=[64, 128, 256, 512])),
    "vit": ("ViT", "ViT", STRETCHED, SMALL),
    "deit": ("DeiT", "DeiT", dict(size={"height": 256, "width": 256}, resample=3, crop_size={"height": 224, "width": 224}, **IMAGENET), SMALL),
    "beit": ("Beit", "Beit", dict(size={"height": 224, "width": 224}, resample=2, do_center_crop=False), SMALL | {"use_mean_pooling": True}),
    "dinov2": ("Dinov2", "Bit", dict(size={"shortest_edge": 256}, crop_size={"height": 224, "width": 224}, resample=3, **IMAGENET),
               dict(hidden_size=96, num_hidden_layers=4, num_attention_heads=3, image_size=224)),
    "swin": ("Swin", "ViT", STRETCHED | {"resample": 3} | IMAGENET, {}),
    "convnext": ("ConvNext", "ConvNext", CONVNEXT | {"resample": 3}, {}),
    "regnet": ("RegNet", "ConvNext", CONVNEXT, {}),
    "mobilenet-v2": ("MobileNetV2", "MobileNetV2", dict(size={"shortest_edge": 256}, crop_size={"height": 224, "width": 224}), {}),
    "mobilevit": ("MobileViT", "MobileViT", dict(size={"shortest_edge": 288}, crop_size={"height": 256, "width": 256}), {}),
    "efficientnet": ("EfficientNet", "EfficientNet", dict(size={"height": 224, "width": 224}, resample=2), dict(image_size=224)),
    "poolformer": ("PoolFormer", "PoolFormer", dict(size={"shortest_edge": 224}, crop_pct=0.9, resample=3, **IMAGENET), {}),
    "levit": ("Levit", "Levit", dict(size={"shortest_edge": 224}, resample=3, **IMAGENET), {}),
    "cvt": ("Cvt", "ConvNext", dict(size={"shortest_edge": 224}, crop_pct=0.875, **IMAGENET), {}),
}


class Logits(torch.nn.Module):
    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, pixel_values):
        return self.network(pixel_values=pixel_values).logits


def exported(saved, **options):
    return lambda directory: main_export(str(saved), str(directory), task="image-classification", do_validation=False, **options)


for name, (family, processor, settings, config) in MODELS.items():
    files = [f"hf-{name}-optimum", f"hf-{name}-dynamo"]
    changed = [f"hf-{name}-optimum-o3"] * (name == "vit") + [f"hf-{name}-optimum-dynamic"] * (name in ("resnet18", "vit"))
    if not wanted(*files, *changed):
        continue
    try:
        labels = {i: f"thing {i}" for i in range(400)}
        config = getattr(transformers, f"{family}Config")(id2label=labels, label2id={v: k for k, v in labels.items()}, **config)
        network = getattr(transformers, f"{family}ForImageClassification")(config).eval()
        processor = getattr(transformers, f"{processor}ImageProcessor")(**settings)
        preprocess = lambda image: processor(image, return_tensors="np")["pixel_values"][0].astype(np.float32)
        images = due(preprocess)
        calibrated(Logits(network), varied(preprocess))
    except Exception as error:
        not_made(files[:1], "Hugging Face, Optimum", error)
        not_made(files[1:], "Hugging Face, dynamo", error)
        continue
    saved = FILES.parent / "saved" / name
    network.save_pretrained(saved)
    processor.save_pretrained(saved)
    keep(files[0], "Hugging Face, Optimum", exported(saved), images)

    def by_torch(directory):
        for file in saved.glob("*.json"):
            shutil.copy(file, directory)
        dynamo(Logits(network), images, names=("pixel_values", "logits"))(directory)

    keep(files[1], "Hugging Face, dynamo", by_torch, images)
    if name == "vit":
        keep("hf-vit-optimum-o3", "Hugging Face, Optimum", exported(saved, optimize="O3"), images)

    if name in ("resnet18", "vit"):

        def dynamic(directory):
            quantizer = ORTQuantizer.from_pretrained(FILES / f"hf-{name}-optimum")
            how = AutoQuantizationConfig.avx2(is_static=False, per_channel=False)
            quantizer.quantize(save_dir=directory, quantization_config=how)

        keep(f"hf-{name}-optimum-dynamic", "Hugging Face, Optimum", dynamic, images, rounded=True)
    shutil.rmtree(saved)
