"""MobileNetV2 as a float graph of Lilliput: the architecture of `keras.applications`, untrained.

Widths, strides and kernels, and so every tensor's shape, are those of Keras' MobileNetV2, without
TensorFlow. (Keras pads before strided convolutions itself; it comes to the same as "same".) Batch
normalisation counts as folded. Weights are random with He's variance, so that activations stay in
range.
"""

from __future__ import annotations

import numpy as np

from lilliput.graph import Graph, Softmax
from lilliput.graph_builder import GraphBuilder

CLASSES = 1000
# Expansion, filters, blocks and the first block's stride of each stage (Sandler et al., table 2).
STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)


class _Layers(GraphBuilder):
    """Layers with random weights."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.generator = np.random.default_rng(seed)

    def random(self, shape: tuple[int, ...], deviation: float) -> np.ndarray:
        return self.generator.normal(0.0, deviation, shape)

    def layer(
        self,
        source: int,
        name: str,
        channels: int,
        *,
        kernel: int = 1,
        stride: int = 1,
        depthwise: bool = False,
        activation: str = "relu6",
    ) -> int:
        """A convolution of `channels` outputs; a depthwise one keeps the number of its source."""
        depth = self.tensors[source].shape[3]
        taps = kernel * kernel * (1 if depthwise else depth)
        shape = (1, kernel, kernel, depth) if depthwise else (channels, kernel, kernel, depth)
        weights, bias = self.random(shape, (2.0 / taps) ** 0.5), self.random((channels,), 0.1)
        return self.convolution(
            source, name, weights, bias, stride=stride, depthwise=depthwise, activation=activation
        )


def mobilenet_v2(size: int, width: float, seed: int = 0) -> Graph:
    """MobileNetV2: input float32[1, size, size, 3], output 1000 probabilities, float32[1, 1000].

    width: the multiplier of all numbers of channels (`alpha` in Keras).
    """
    made = _Layers(seed)
    image = made.tensor("image", (1, size, size, 3))
    current = made.layer(image, "Conv1", _rounded(32 * width), kernel=3, stride=2)
    index = 0
    for expansion, filters, blocks, first_stride in STAGES:
        for repeat in range(blocks):
            stride = first_stride if repeat == 0 else 1
            name = f"block_{index}" if index else "expanded_conv"
            current = _block(made, current, name, stride, expansion, _rounded(filters * width))
            index += 1
    last = max(_rounded(1280 * width), 1280)
    pooled = made.mean(made.layer(current, "Conv_1", last), "pool")
    weights, bias = made.random((CLASSES, last), last**-0.5), made.random((CLASSES,), 0.1)
    logits = made.fully_connected(pooled, "logits", weights, bias)
    scores = made.operator("SOFTMAX", "predictions", (logits,), (1, CLASSES), Softmax())
    return made.graph(f"mobilenet_v2_{width}_{size}", [image], [scores])


def _block(made: _Layers, source: int, name: str, stride: int, expansion: int, filters: int) -> int:
    """An inverted bottleneck: expand, filter, project; a skip connection where shapes allow."""
    channels = made.tensors[source].shape[3]
    wide = channels * expansion
    inside = source
    if expansion > 1:
        inside = made.layer(inside, f"{name}_expand", wide)
    inside = made.layer(inside, f"{name}_depthwise", wide, kernel=3, stride=stride, depthwise=True)
    inside = made.layer(inside, f"{name}_project", filters, activation="none")
    if stride == 1 and channels == filters:
        return made.add(f"{name}_add", source, inside)
    return inside


def _rounded(channels: float) -> int:
    """A number of channels divisible by 8, not below 90% of what was asked (as in Keras)."""
    nearest = max(8, int(channels + 4) // 8 * 8)
    return nearest + 8 if nearest < 0.9 * channels else nearest
