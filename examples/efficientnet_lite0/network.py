"""EfficientNet-Lite0 as a float graph of Lilliput, with PyTorch's weights.

The network is that of TensorFlow's TPU repository (EfficientNet without squeeze-and-excite, swish
replaced by ReLU6, stem and head of fixed width); PyTorch's names of the tensors are those of the
package `efficientnet-lite-pytorch`, whose weights were converted from TensorFlow's. Padding is
TensorFlow's "same", batch normalisation has an epsilon of 1e-3 and is folded here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from lilliput.graph import Graph
from lilliput.graph_builder import GraphBuilder

INPUT_SIZE = 224
CLASSES = 1000
# Real value of a pixel: (pixel - 127) / 128, for pixels 0 and 255.
PIXEL_RANGE = (-127 / 128, 128 / 128)
_EPSILON = 1e-3


@dataclass(frozen=True)
class Stage:
    """`blocks` inverted bottlenecks; the first has the stride, the others skip connections."""

    blocks: int
    kernel: int
    stride: int
    expansion: int
    filters: int


STAGES = (
    Stage(1, 3, 1, 1, 16),
    Stage(2, 3, 2, 6, 24),
    Stage(2, 5, 2, 6, 40),
    Stage(3, 3, 2, 6, 80),
    Stage(3, 5, 1, 6, 112),
    Stage(4, 5, 2, 6, 192),
    Stage(1, 3, 1, 6, 320),
)


class _Layers(GraphBuilder):
    """Layers with PyTorch's weights."""

    def __init__(self, weights: Mapping[str, np.ndarray]) -> None:
        super().__init__()
        self.weights = weights

    def layer(
        self, source: int, name: str, norm: str, stride: int = 1, activation: str = "relu6"
    ) -> int:
        """A convolution without bias and its batch normalisation, depthwise where the weights are.

        PyTorch's weights are OIHW, and [channels, 1, H, W] of a depthwise convolution.
        """
        weights = self.weights[f"{name}.weight"].astype(np.float64)
        gain = self.weights[f"{norm}.weight"].astype(np.float64) / np.sqrt(
            self.weights[f"{norm}.running_var"].astype(np.float64) + _EPSILON
        )
        bias = self.weights[f"{norm}.bias"] - self.weights[f"{norm}.running_mean"] * gain
        folded = weights * gain[:, None, None, None]
        depthwise = weights.shape[1] == 1 and self.tensors[source].shape[3] > 1
        layout = (1, 2, 3, 0) if depthwise else (0, 2, 3, 1)
        return self.convolution(
            source, name, folded.transpose(layout), bias,
            stride=stride, depthwise=depthwise, activation=activation,
        )  # fmt: skip

    def block(self, source: int, name: str, stride: int, expansion: int) -> int:
        """An inverted bottleneck: expand, filter, project; a skip connection where shapes allow."""
        inside = source
        if expansion > 1:
            inside = self.layer(inside, f"{name}._expand_conv", f"{name}._bn0")
        inside = self.layer(inside, f"{name}._depthwise_conv", f"{name}._bn1", stride)
        inside = self.layer(inside, f"{name}._project_conv", f"{name}._bn2", activation="none")
        shape = self.tensors[inside].shape
        if shape == self.tensors[source].shape:
            return self.add(f"{name}_add", inside, source)
        return inside


def efficientnet_lite0(weights: Mapping[str, np.ndarray]) -> Graph:
    """The float network: input float32[1, 224, 224, 3], output 1000 logits, float32[1, 1000].

    weights: PyTorch's tensors by name. Raises KeyError naming a tensor that is missing.
    """
    made = _Layers(weights)
    image = made.tensor("image", (1, INPUT_SIZE, INPUT_SIZE, 3))
    current = made.layer(image, "_conv_stem", "_bn0", stride=2)
    index = 0
    for stage in STAGES:
        for repeat in range(stage.blocks):
            stride = stage.stride if repeat == 0 else 1
            current = made.block(current, f"_blocks.{index}", stride, stage.expansion)
            index += 1
    pooled = made.mean(made.layer(current, "_conv_head", "_bn1"), "mean")
    logits = made.fully_connected(pooled, "_fc", weights["_fc.weight"], weights["_fc.bias"])
    return made.graph("efficientnet_lite0", [image], [logits])
