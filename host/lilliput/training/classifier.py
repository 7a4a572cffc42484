"""Replaces a model's classifier by one of other classes."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from ..graph import Activation, Graph, Operator, Quantization, Tensor, UnsupportedModel

_LOGIT_SCALE = 0.125
"""Of the new logits: -16 to 16 in steps that change a probability by 3% of itself at most."""
_WEIGHT_RANGE = 4.0
"""The largest new weight, times the square root of the inputs: room to grow to four times what
they begin with."""


def replace_classifier(graph: Graph, classes: int, *, seed: int = 0) -> Graph:
    """The int8 graph up to its last layer with weights, and a fully connected layer of `classes`
    outputs in that one's place. A softmax behind it is left out: training has it in its loss.

    The new weights are uniform in +-1 / sqrt(inputs), by the seed; the biases are 0.

    Raises ValueError for fewer than 2 classes, UnsupportedModel when the last layer sees more than
    one position of a map.
    """
    if classes < 2:
        raise ValueError(f"{classes} classes: a classifier needs 2 or more")
    position = _last_layer(graph)
    old = graph.operators[position]
    source = graph.tensors[old.inputs[0]]
    inputs = _inputs(graph, old)
    assert source.quantization is not None
    input_scale = float(source.quantization.scale[0])
    weight_scale = _WEIGHT_RANGE / math.sqrt(inputs) / 127
    dice = np.random.default_rng(seed)
    reals = dice.uniform(-1, 1, (classes, inputs)) / math.sqrt(inputs)
    weights = np.rint(reals / weight_scale).astype(np.int8)
    zeros = np.zeros(classes, np.int32)
    scales = np.full(classes, weight_scale, np.float32)
    name = graph.tensors[old.outputs[0]].name
    tensors = [
        *graph.tensors,
        Tensor(
            f"{name}_weight", weights.shape, weights.dtype, weights, Quantization(scales, zeros)
        ),
        Tensor(
            f"{name}_bias",
            zeros.shape,
            zeros.dtype,
            zeros,
            Quantization((scales * input_scale).astype(np.float32), zeros),
        ),
        Tensor(
            name,
            (1, classes),
            np.dtype(np.int8),
            quantization=Quantization.per_tensor(_LOGIT_SCALE, 0),
        ),
    ]
    count = len(graph.tensors)
    new = Operator("FULLY_CONNECTED", (old.inputs[0], count, count + 1), (count + 2,), Activation())
    operators = (*graph.operators[:position], new)
    return replace(graph, tensors=tuple(tensors), operators=operators, outputs=(count + 2,))


def _last_layer(graph: Graph) -> int:
    kinds = ("CONV_2D", "FULLY_CONNECTED")
    positions = [i for i, op in enumerate(graph.operators) if op.kind in kinds]
    if not positions:
        raise UnsupportedModel(
            "the model has no layer with weights that a classifier could replace"
        )
    return positions[-1]


def _inputs(graph: Graph, layer: Operator) -> int:
    """The features that the classifier sees."""
    weights = graph.tensors[layer.inputs[1]]
    inputs = int(np.prod(weights.shape[1:]))
    if graph.tensors[layer.inputs[0]].elements != inputs:
        raise UnsupportedModel(
            f"the last layer, {graph.tensors[layer.outputs[0]].name}, sees "
            f"{graph.tensors[layer.inputs[0]].shape}: only one that sees all of its input at once "
            "can be replaced by a classifier of other classes"
        )
    return inputs
