"""How a network's layers follow each other, whatever it is that computes a layer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from keras import ops

from .depthwise import depthwise
from .network import Network

Layer = Callable[[Any, str, int], Any]
"""Computes a layer by its name, with its normalisation or bias, and a stride."""
Seen = Callable[[Any, str], Any]
"""Given every map by its name; returns it, or what is to be computed with in its place."""


def logits(
    network: Network,
    image: Any,
    layer: Layer,
    scores: tuple[Any, Any],
    seen: Seen = lambda x, name: x,
) -> Any:
    """Logits [batch, classes]. scores: kernel and bias of the last layer. image: float32[batch,
    image, image, channels]."""

    def computed(x: Any, name: str, stride: int = 1) -> Any:
        x = layer(x, name, stride)
        return seen(x if name.endswith("_project") else ops.relu6(x), name)

    x = computed(seen(ops.convert_to_tensor(image), "image"), "stem", network.stem_stride)
    for number, block in enumerate(network.blocks):
        name, before = f"block{number}", x
        if block.expands:
            x = computed(x, f"{name}_expand")
        x = computed(computed(x, f"{name}_depthwise", block.stride), f"{name}_project")
        x = seen(x + before, f"{name}_add") if block.adds_input else x
    kernel, bias = scores
    return ops.matmul(seen(ops.mean(x, axis=(1, 2)), "mean"), kernel) + bias


def convolved(x: Any, kernel: Any, name: str, stride: int) -> Any:
    """A layer's convolution: depthwise where its name says so, padded as "same"."""
    if name.endswith("_depthwise"):
        return depthwise(x, kernel, stride)
    return ops.conv(x, kernel, stride, "same", "channels_last")
