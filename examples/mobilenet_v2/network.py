"""MobileNetV2 as a float graph of Lilliput: the architecture of `keras.applications`, untrained.

Widths, strides and kernels, and so every tensor's shape, are those of Keras' MobileNetV2, without
TensorFlow. (Keras pads before strided convolutions itself; it comes to the same as "same".) Batch
normalisation counts as folded. Weights are random with He's variance, so that activations stay in
range.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from lilliput.graph import (
    Activation,
    Attributes,
    Convolution,
    Graph,
    Operator,
    Reduce,
    Softmax,
    Tensor,
)

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
_FLOAT32 = np.dtype(np.float32)


@dataclass
class _Builder:
    """Appends operators with random weights to a graph under construction."""

    generator: np.random.Generator
    tensors: list[Tensor] = field(default_factory=list)
    operators: list[Operator] = field(default_factory=list)

    def tensor(self, name: str, shape: tuple[int, ...], data: np.ndarray | None = None) -> int:
        self.tensors.append(Tensor(name, shape, _FLOAT32, data))
        return len(self.tensors) - 1

    def constant(self, name: str, shape: tuple[int, ...], deviation: float) -> int:
        values = self.generator.normal(0.0, deviation, shape).astype(np.float32)
        return self.tensor(name, shape, values)

    def operator(
        self, kind: str, name: str, inputs: tuple[int, ...], shape: tuple[int, ...], how: Attributes
    ) -> int:
        output = self.tensor(name, shape)
        self.operators.append(Operator(kind, inputs, (output,), how))
        return output

    def convolution(
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
        _, height, width, depth = self.tensors[source].shape
        taps = kernel * kernel * (1 if depthwise else depth)
        kept = (1, kernel, kernel, depth) if depthwise else (channels, kernel, kernel, depth)
        operands = (
            source,
            self.constant(f"{name}/weights", kept, (2.0 / taps) ** 0.5),
            self.constant(f"{name}/bias", (channels,), 0.1),
        )
        how = Convolution("same", (stride, stride), (1, 1), activation)
        shape = (1, -(-height // stride), -(-width // stride), channels)
        kind = "DEPTHWISE_CONV_2D" if depthwise else "CONV_2D"
        return self.operator(kind, name, operands, shape, how)


def mobilenet_v2(size: int, width: float, seed: int = 0) -> Graph:
    """MobileNetV2: input float32[1, size, size, 3], output 1000 probabilities, float32[1, 1000].

    width: the multiplier of all numbers of channels (`alpha` in Keras).
    """
    builder = _Builder(np.random.default_rng(seed))
    image = builder.tensor("image", (1, size, size, 3))
    current = builder.convolution(image, "Conv1", _rounded(32 * width), kernel=3, stride=2)
    index = 0
    for expansion, filters, blocks, first_stride in STAGES:
        for repeat in range(blocks):
            stride = first_stride if repeat == 0 else 1
            name = f"block_{index}" if index else "expanded_conv"
            current = _block(builder, current, name, stride, expansion, _rounded(filters * width))
            index += 1
    last = max(_rounded(1280 * width), 1280)
    current = builder.convolution(current, "Conv_1", last)
    current = builder.operator("MEAN", "pool", (current,), (1, last), Reduce((1, 2)))
    operands = (
        current,
        builder.constant("predictions/weights", (CLASSES, last), last**-0.5),
        builder.constant("predictions/bias", (CLASSES,), 0.1),
    )
    shape = (1, CLASSES)
    logits = builder.operator("FULLY_CONNECTED", "logits", operands, shape, Activation())
    scores = builder.operator("SOFTMAX", "predictions", (logits,), shape, Softmax())
    name = f"mobilenet_v2_{width}_{size}"
    return Graph(tuple(builder.tensors), tuple(builder.operators), (image,), (scores,), name)


def _block(
    builder: _Builder, source: int, name: str, stride: int, expansion: int, filters: int
) -> int:
    """An inverted bottleneck: expand, filter, project; a skip connection where shapes allow."""
    channels = builder.tensors[source].shape[3]
    wide = channels * expansion
    inside = source
    if expansion > 1:
        inside = builder.convolution(inside, f"{name}_expand", wide)
    inside = builder.convolution(
        inside, f"{name}_depthwise", wide, kernel=3, stride=stride, depthwise=True
    )
    inside = builder.convolution(inside, f"{name}_project", filters, activation="none")
    if stride == 1 and channels == filters:
        shape = builder.tensors[source].shape
        return builder.operator("ADD", f"{name}_add", (source, inside), shape, Activation())
    return inside


def _rounded(channels: float) -> int:
    """A number of channels divisible by 8, not below 90% of what was asked (as in Keras)."""
    nearest = max(8, int(channels + 4) // 8 * 8)
    return nearest + 8 if nearest < 0.9 * channels else nearest
