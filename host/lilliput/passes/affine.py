"""Batch normalisation: MUL, ADD and SUB by constants folded into the operator before (float)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from lilliput.graph import Activation, Convolution, Graph, Operator, Tensor
from lilliput.passes.rewriting import (
    append_tensor,
    bias_index,
    replace_operators,
    rewrite,
    used_once,
)

_FLOAT32 = np.dtype(np.float32)

# The dimension of the weights that counts output channels.
_CHANNEL_AXIS = {"CONV_2D": 0, "DEPTHWISE_CONV_2D": 3, "TRANSPOSE_CONV": 0, "FULLY_CONNECTED": 0}


def fold_affine(graph: Graph) -> Graph:
    """Folds `x * c`, `x + c`, `x - c` and `c - x` into the weights and bias that make x.

    Only in float graphs, where x is computed by a convolution or fully connected operator without
    activation, nothing else reads it, and c is one number or one a channel. Results change by
    float32 rounding.
    """

    def step(graph: Graph, op: Operator) -> Graph | None:
        if op.kind not in ("ADD", "SUB", "MUL") or not isinstance(op.attributes, Activation):
            return None
        constants = [n for n in (0, 1) if graph.tensors[op.inputs[n]].is_constant]
        if len(constants) != 1 or graph.tensors[op.outputs[0]].dtype != _FLOAT32:
            return None
        constant, computed = op.inputs[constants[0]], op.inputs[1 - constants[0]]
        before = graph.producers().get(computed)
        if before is None or before.kind not in _CHANNEL_AXIS or computed not in used_once(graph):
            return None
        if not isinstance(before.attributes, (Convolution, Activation)):
            return None
        if before.attributes.activation != "none":
            return None
        if graph.tensors[computed].shape != graph.tensors[op.outputs[0]].shape:
            return None
        values = _per_channel(graph.tensors[constant], graph.tensors[computed])
        if values is None:
            return None
        factor, offset = _factor_and_offset(op.kind, constants[0], values)
        return _folded(graph, before, op, factor, offset)

    return rewrite(graph, step)


def _per_channel(constant: Tensor, result: Tensor) -> np.ndarray | None:
    """The constant as one float64 a channel; None when it varies over anything else."""
    channels = result.shape[-1]
    if constant.data is None or constant.dtype != _FLOAT32:
        return None
    if constant.elements == 1:
        return np.full(channels, float(constant.data.ravel()[0]), np.float64)
    if constant.shape[-1] != channels or constant.elements != channels:
        return None
    return constant.data.ravel().astype(np.float64)


def _factor_and_offset(
    kind: str, constant_operand: int, values: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    ones, zeros = np.ones_like(values), np.zeros_like(values)
    if kind == "MUL":
        return values, zeros
    if kind == "ADD":
        return ones, values
    return (ones, -values) if constant_operand == 1 else (-ones, values)


def _folded(
    graph: Graph, before: Operator, op: Operator, factor: np.ndarray, offset: np.ndarray
) -> Graph | None:
    weights, old_bias = graph.tensors[before.inputs[1]], bias_index(before)
    if weights.data is None or (old_bias >= 0 and graph.tensors[old_bias].data is None):
        return None
    along = [1] * len(weights.shape)
    along[_CHANNEL_AXIS[before.kind]] = factor.size
    data = (weights.data.astype(np.float64) * factor.reshape(along)).astype(np.float32)
    bias = np.zeros_like(factor)
    bias_data = graph.tensors[old_bias].data if old_bias >= 0 else None
    if bias_data is not None:
        bias = bias_data.ravel().astype(np.float64)
    bias = (bias * factor + offset).astype(np.float32)
    graph, weights_at = append_tensor(graph, replace(weights, data=data))
    bias_tensor = Tensor(f"{weights.name}/bias", bias.shape, _FLOAT32, bias)
    graph, bias_at = append_tensor(graph, bias_tensor)
    activation = op.attributes.activation if isinstance(op.attributes, Activation) else "none"
    if not isinstance(before.attributes, (Convolution, Activation)):
        return None
    folded = replace(
        before,
        inputs=(before.inputs[0], weights_at, bias_at),
        outputs=op.outputs,
        attributes=replace(before.attributes, activation=activation),
    )
    return replace_operators(graph, [before, op], [folded])
