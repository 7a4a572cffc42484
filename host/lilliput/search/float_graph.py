"""A trained network as a graph for `convert`, without a framework in between."""

from __future__ import annotations

from ..graph import Graph
from ..graph_builder import GraphBuilder
from .named_weights import Weights
from .network import Network


def float_graph(network: Network, weights: Weights) -> Graph:
    """From images float32[1, image, image, channels] to logits float32[1, classes].

    weights: folded ones, named as `subnetwork.folded` does, in Keras's layouts.
    """
    made = GraphBuilder()

    def convolved(source: int, name: str, stride: int = 1, activation: str = "relu6") -> int:
        # Keras has [height, width, inputs, outputs], and [height, width, channels, 1].
        return made.convolution(
            source, name, weights[name].transpose(3, 0, 1, 2), weights[f"{name}_bias"],
            stride=stride, depthwise=name.endswith("_depthwise"), activation=activation,
        )  # fmt: skip

    image = made.tensor("image", (1, network.image, network.image, network.channels))
    last = convolved(image, "stem", network.stem_stride)
    for number, block in enumerate(network.blocks):
        name, before = f"block{number}", last
        if block.expands:
            last = convolved(last, f"{name}_expand")
        last = convolved(last, f"{name}_depthwise", block.stride)
        last = convolved(last, f"{name}_project", activation="none")
        last = made.add(f"{name}_add", before, last) if block.adds_input else last
    mean = made.mean(last, "mean")
    scores = made.fully_connected(mean, "scores", weights["scores"].T, weights["scores_bias"])
    return made.graph("network", [image], [scores])
