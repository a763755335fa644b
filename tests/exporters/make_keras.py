"""Keras' networks by tf2onnx and by Keras' own export, with the model.toml that their preprocessing needs."""

import gc
import os

os.environ["KERAS_BACKEND"] = "tensorflow"

import keras
import numpy as np
import tensorflow as tf
import tf2onnx
from keras import applications

from zoo import cropped, due, keep, not_made, varied, wanted

TOML = {
    "caffe": '[preprocess]\nchannels = "bgr"\nscale = 255\nmean = [103.939, 116.779, 123.68]\nstd = [1, 1, 1]\n',
    "tf": "[preprocess]\nscale = 2\nmean = [1, 1, 1]\nstd = [1, 1, 1]\n",
    "torch": None,
    "itself": None,
}
MODELS = {
    "ResNet50": ("caffe", applications.resnet.preprocess_input, 224),
    "ResNet50V2": ("tf", applications.resnet_v2.preprocess_input, 224),
    "VGG16": ("caffe", applications.vgg16.preprocess_input, 224),
    "MobileNetV2": ("tf", applications.mobilenet_v2.preprocess_input, 224),
    "MobileNetV3Small": ("itself", lambda x: x, 224),
    "InceptionV3": ("tf", applications.inception_v3.preprocess_input, 299),
    "Xception": ("tf", applications.xception.preprocess_input, 299),
    "DenseNet121": ("torch", applications.densenet.preprocess_input, 224),
    "NASNetMobile": ("tf", applications.nasnet.preprocess_input, 224),
    "EfficientNetB0": ("itself", lambda x: x, 224),
    "EfficientNetV2B0": ("itself", lambda x: x, 224),
    "ConvNeXtTiny": ("itself", lambda x: x, 224),
}


def calibrated(network, images):
    norms = [layer for layer in network._flatten_layers() if isinstance(layer, keras.layers.BatchNormalization)]
    rng = np.random.default_rng(0)
    for norm in norms:
        norm.momentum = 0.0
        if norm.gamma is not None:
            norm.gamma.assign(rng.uniform(0.6, 1.4, norm.gamma.shape))
        norm.beta.assign(rng.normal(0, 0.2, norm.beta.shape))
    network(images, training=True)
    last = [layer for layer in network.layers if layer.get_weights()][-1]  # a flatten and a softmax may follow it
    weights = last.get_weights()
    for _ in range(2):  # scale, then centre
        logits = np.log(np.maximum(network(images).numpy(), 1e-30))
        logits -= logits.mean(1, keepdims=True)
        factor = 2 / max((logits - logits.mean(0)).std(), 1e-9) if _ == 0 else 1
        weights[0] = weights[0] * factor
        weights[1] = weights[1] * factor if _ == 0 else weights[1] - logits.mean(0)
        last.set_weights(weights)


def by_tf2onnx(network, toml, **options):
    def make(directory):
        taken = [tf.TensorSpec((None, *network.input_shape[1:]), tf.float32, name="input")]
        function = tf.function(lambda x: network(x, training=False), input_signature=taken)
        tf2onnx.convert.from_function(function, taken, opset=options.pop("opset", 15), output_path=str(directory / "model.onnx"), **options)
        described(directory, toml)

    return make


def by_keras(network, toml):
    def make(directory):
        network.export(str(directory / "model.onnx"), format="onnx", verbose=False)
        described(directory, toml)

    return make


def described(directory, toml):
    if toml:
        (directory / "model.toml").write_text(toml)


for name, (mode, function, side) in MODELS.items():
    file = f"keras-{name.lower()}"
    files = [f"{file}-tf2onnx", f"{file}-export"] + [f"{file}-nchw"] * (name in ("ResNet50", "MobileNetV2"))
    if not wanted(*files):
        continue
    preprocess = lambda image: function(np.asarray(cropped(image, side), np.float32)[None].copy())[0]
    try:
        network = getattr(applications, name)(weights=None)
        calibrated(network, varied(preprocess))
        images = due(preprocess)
    except Exception as error:
        not_made([files[0], *files[2:]], "Keras, tf2onnx", error)
        not_made(files[1:2], "Keras, its own export", error)
        continue
    keep(files[0], "Keras, tf2onnx", by_tf2onnx(network, TOML[mode]), images, kind="probabilities")
    keep(files[1], "Keras, its own export", by_keras(network, TOML[mode]), images, kind="probabilities")
    if files[2:]:
        make = by_tf2onnx(network, TOML[mode], inputs_as_nchw=["input"], opset=18)
        keep(files[2], "Keras, tf2onnx", make, images.transpose(0, 3, 1, 2), kind="probabilities")
    # One network and its exports take up to 9 GiB, which are wanted for the next.
    del network
    keras.backend.clear_session()
    gc.collect()
