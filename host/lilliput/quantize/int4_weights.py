"""Weights of four bits for a layer of an int8 graph.

Every channel's scale is that which costs least where the inputs are large. Then the weights are
rounded one tap after the other, and what the rounding of one adds to the layer's output is taken
off by the taps that are still to come: Frantar et al., "GPTQ: Accurate Post-Training Quantization
for Generative Pre-trained Transformers" (2022), section 3, all channels of a group at once. What
is left of the mean error goes into the bias: Nagel et al. (2019), see `bias_correction`.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from lilliput.graph import INT4_STEP, Graph, Operator, Quantization, Tensor
from lilliput.passes.rewriting import append_tensor, bias_index
from lilliput.quantize.patches import PatchStatistics
from lilliput.quantize.weights import dequantize_weights, quantize_bias

INT4_MIN, INT4_MAX = -8, 7

_SCALES = np.linspace(0.4, 1.1, 36)  # tried for each channel, of the one that clips no weight
_DAMPING = 0.01  # of the mean square of the inputs: keeps the solution where samples say little


def with_int4_weights(graph: Graph, op: Operator, statistics: PatchStatistics) -> Graph:
    """The int8 graph with four-bit weights in one operator.

    op: of kind CONV_2D or FULLY_CONNECTED. They are int8 numbers still, multiples of 16, with the
    scale that these need. The bias takes in the mean of what changes.
    """
    stored = graph.tensors[op.inputs[1]]
    reals = dequantize_weights(stored).astype(np.float64).reshape(stored.shape[0], -1)
    groups = statistics.mean.shape[0]
    numbers, scales, shifts = [], [], []
    for group, own in enumerate(np.split(reals, groups)):
        scale = _best_scales(own, _squares(statistics.products[group]))
        rounded = _rounded(own, scale, statistics.products[group])
        numbers.append(rounded)
        scales.append(scale)
        shifts.append((own - rounded * scale[:, None]) @ statistics.mean[group])
    data = (np.concatenate(numbers) * INT4_STEP).astype(np.int8).reshape(stored.shape)
    scale32 = (np.concatenate(scales) / INT4_STEP).astype(np.float32)
    zeros = np.zeros(scale32.size, np.int32)
    weights = replace(stored, data=data, quantization=Quantization(scale32, zeros))
    graph, weights_at = append_tensor(graph, weights)
    bias = _shifted_bias(graph, op, weights, np.concatenate(shifts))
    graph, bias_at = append_tensor(graph, bias)
    changed = replace(op, inputs=(op.inputs[0], weights_at, bias_at))
    return graph.with_operators([changed if each is op else each for each in graph.operators])


def _squares(products: np.ndarray) -> np.ndarray:
    squares = np.diagonal(products) if products.ndim == 2 else products
    return np.asarray(squares + _DAMPING * squares.mean() + 1e-12)


def _nearest(values: np.ndarray, scale: np.ndarray) -> np.ndarray:
    return np.clip(np.round(values / scale), INT4_MIN, INT4_MAX)


def _best_scales(weights: np.ndarray, squares: np.ndarray) -> np.ndarray:
    """For each row of `weights` the scale with the least error, weighted with the inputs'
    squares."""
    largest = np.maximum(weights.max(axis=1) / INT4_MAX, weights.min(axis=1) / INT4_MIN)
    largest = np.where(largest > 0, largest, max(float(largest.max()), 1e-12))
    candidates = largest[:, None] * _SCALES  # rows, candidates
    errors = [
        np.square(weights - _nearest(weights, scale[:, None]) * scale[:, None]) @ squares
        for scale in candidates.T
    ]
    return np.asarray(candidates[np.arange(len(weights)), np.argmin(errors, axis=0)])


def _rounded(weights: np.ndarray, scale: np.ndarray, products: np.ndarray) -> np.ndarray:
    """Integers of weights [channels, taps], as the module says; plainly rounded without products
    of different taps."""
    if products.ndim < 2:
        return _nearest(weights, scale[:, None])
    order = np.argsort(-np.diagonal(products), kind="stable")
    matrix = products[np.ix_(order, order)]
    damping = _DAMPING * float(np.diagonal(matrix).mean()) + 1e-12
    inverse = np.linalg.inv(matrix + damping * np.eye(len(matrix)))
    upper = np.linalg.cholesky((inverse + inverse.T) / 2).T
    left = weights[:, order].copy()
    rounded = np.empty_like(left)
    for tap in range(left.shape[1]):
        rounded[:, tap] = _nearest(left[:, tap], scale)
        error = (left[:, tap] - rounded[:, tap] * scale) / upper[tap, tap]
        left[:, tap + 1 :] -= error[:, None] * upper[tap, tap + 1 :]
    result = np.empty_like(rounded)
    result[:, order] = rounded
    return result


def _shifted_bias(graph: Graph, op: Operator, weights: Tensor, shift: np.ndarray) -> Tensor:
    index = bias_index(op)
    name, values = f"{weights.name}/bias", shift
    if index >= 0:
        bias, old = graph.tensors[index], graph.quantization(op.inputs[1])
        if bias.data is None:
            raise TypeError(f"bias {bias.name!r} is not a constant")
        unit = graph.quantization(op.inputs[0]).scale.astype(np.float64) * old.scale
        name, values = bias.name, bias.data.reshape(-1) * unit + shift
    return quantize_bias(name, values, graph.quantization(op.inputs[0]), weights)
