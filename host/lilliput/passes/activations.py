"""RELU, RELU6 and RELU_N1_TO_1 fused into the operator before them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from lilliput.graph import Activation, Convolution, Graph, Operator, Pool
from lilliput.passes.rewriting import replace_operators, rewrite, same_numbers, used_once

_FUSED: Mapping[str, str] = {"RELU": "relu", "RELU6": "relu6", "RELU_N1_TO_1": "relu_n1_to_1"}

_CLAMPING = frozenset(
    {
        "CONV_2D",
        "DEPTHWISE_CONV_2D",
        "TRANSPOSE_CONV",
        "FULLY_CONNECTED",
        "ADD",
        "SUB",
        "MUL",
        "AVERAGE_POOL_2D",
        "MAX_POOL_2D",
    }
)


def fuse_activations(graph: Graph) -> Graph:
    """Fuses an activation into the operator whose output nothing else reads.

    int8: only where the activation does not rescale (equal quantisation on both sides); then the
    clamp is at the same integers. float: always.
    """

    def step(graph: Graph, op: Operator) -> Graph | None:
        if op.kind not in _FUSED:
            return None
        before = graph.producers().get(op.inputs[0])
        if before is None or before.kind not in _CLAMPING or op.inputs[0] not in used_once(graph):
            return None
        if not same_numbers(graph.tensors[op.inputs[0]], graph.tensors[op.outputs[0]]):
            return None
        attributes = before.attributes
        if not isinstance(attributes, (Convolution, Pool, Activation)):
            return None
        activation = _both(attributes.activation, _FUSED[op.kind])
        if activation is None:
            return None
        fused = replace(
            before, outputs=op.outputs, attributes=replace(attributes, activation=activation)
        )
        return replace_operators(graph, [before, op], [fused])

    return rewrite(graph, step)


def _both(first: str, second: str) -> str | None:
    """The one clamp that does what `first` and then `second` do; None when there is none."""
    if first == "none" or first == second:
        return second
    if {first, second} == {"relu", "relu6"}:
        return "relu6"
    return None
