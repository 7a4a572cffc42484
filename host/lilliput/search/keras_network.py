"""A network as a plain Keras model, on whatever backend Keras runs."""

from __future__ import annotations

from typing import Any

import keras

from .network import BlockShape, Network

BATCH_NORM_EPSILON = 1e-3


def keras_network(network: Network, *, folded: bool = False, name: str = "network") -> Any:
    """An untrained keras.Model from images float32[batch, image, image, channels] to logits
    float32[batch, classes]. Layers are named "stem", "block0_expand" and so on, their batch
    normalisations with "_norm" behind. With `folded` there are none of these, but biases.
    """
    image = keras.Input((network.image, network.image, network.channels), name="image")
    stem = _convolution(network.stem, 3, network.stem_stride, "stem", folded)
    x = _relu6("stem")(_normed(image, stem, folded))
    for number, block in enumerate(network.blocks):
        x = _block(x, block, f"block{number}", folded)
    x = keras.layers.GlobalAveragePooling2D(name="mean")(x)
    return keras.Model(image, keras.layers.Dense(network.classes, name="scores")(x), name=name)


def _block(x: Any, block: BlockShape, name: str, folded: bool) -> Any:
    before = x
    if block.expands:
        expand = _convolution(block.expanded, 1, 1, f"{name}_expand", folded)
        x = _relu6(f"{name}_expand")(_normed(x, expand, folded))
    depthwise = keras.layers.DepthwiseConv2D(
        block.kernel, block.stride, "same", use_bias=folded, name=f"{name}_depthwise"
    )
    x = _relu6(f"{name}_depthwise")(_normed(x, depthwise, folded))
    x = _normed(x, _convolution(block.outputs, 1, 1, f"{name}_project", folded), folded)
    return keras.layers.Add(name=f"{name}_add")([before, x]) if block.adds_input else x


def _convolution(channels: int, kernel: int, stride: int, name: str, folded: bool) -> Any:
    return keras.layers.Conv2D(channels, kernel, stride, "same", use_bias=folded, name=name)


def _normed(x: Any, layer: Any, folded: bool) -> Any:
    x = layer(x)
    if folded:
        return x
    norm = keras.layers.BatchNormalization(epsilon=BATCH_NORM_EPSILON, name=f"{layer.name}_norm")
    return norm(x)


def _relu6(name: str) -> Any:
    return keras.layers.ReLU(6.0, name=f"{name}_relu6")
