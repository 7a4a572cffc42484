"""Cross-layer equalisation: channels rescaled so that they all fill the range of their tensor.

After Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias Correction" (2019),
section 4.1: dividing a channel of one operator's output by a factor, and multiplying the weights of
the next operator that read it, changes nothing in float. The factors here come from the channels'
magnitudes on samples, and their strength from an estimate of the noise that follows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from lilliput.exporters.tflite import write_tflite
from lilliput.graph import Activation, Convolution, Graph, Operator, Pad, Pool, Reduce, Tensor
from lilliput.litert import Session
from lilliput.passes.rewriting import append_tensor, bias_index, used_once
from lilliput.quantize.calibration import Progress, Sample
from lilliput.quantize.ranges import INT8_MAX, INT8_MIN
from lilliput.quantize.weights import CHANNEL_AXES, WEIGHT_LIMIT

# Exponents that are tried: 0 leaves the channels alone, 1 makes them all equally large.
_STRENGTHS = (0.0, 0.25, 0.5, 0.75, 1.0)

# No channel is enlarged by more than this, so that one that is nearly dead does not dominate.
_LARGEST_FACTOR = 64.0

# Operators f with f(a * x) = a * f(x), channel by channel, for a > 0.
_HOMOGENEOUS = frozenset(
    {
        "AVERAGE_POOL_2D",
        "LEAKY_RELU",
        "MAX_POOL_2D",
        "MEAN",
        "PAD",
        "RELU",
        "RESHAPE",
        "RESIZE_BILINEAR",
        "RESIZE_NEAREST_NEIGHBOR",
    }
)
_HOMOGENEOUS_ACTIVATIONS = frozenset({"none", "relu"})


@dataclass(frozen=True)
class _Pair:
    """Places of two weighted operators with only homogeneous ones between them."""

    first: int
    second: int


@dataclass(frozen=True)
class _Channels:
    """Per channel of a tensor: the largest magnitude and the mean square in a typical sample."""

    magnitude: np.ndarray
    power: np.ndarray


def equalize(graph: Graph, samples: Sequence[Sample], progress: Progress | None = None) -> Graph:
    """The same function in float, with channels rescaled between pairs of weighted operators.

    samples: float32 inputs. Pairs are joined by nothing but pools, means, pads, resizes, reshapes
    and ReLUs that nothing else reads.
    """
    pairs = _pairs(graph)
    if not pairs:
        return graph
    statistics = _channel_statistics(graph, pairs, samples, progress)
    for pair in pairs:
        graph = _rescaled(graph, pair, statistics[pair.first])
    return graph


def _pairs(graph: Graph) -> list[_Pair]:
    readers = graph.consumers()
    once = used_once(graph)
    places = {id(op): number for number, op in enumerate(graph.operators)}
    found = []
    for number, op in enumerate(graph.operators):
        if op.kind not in CHANNEL_AXES or not _is_homogeneous(op):
            continue
        index = op.outputs[0]
        while index in once:
            reader = readers[index][0]
            if reader.kind in CHANNEL_AXES:
                if _reads_channels(graph, op, reader, index):
                    found.append(_Pair(number, places[id(reader)]))
                break
            if reader.kind not in _HOMOGENEOUS or not _keeps_channels(
                graph, reader, graph.tensors[op.outputs[0]].shape[-1]
            ):
                break
            index = reader.outputs[0]
    return found


def _is_homogeneous(op: Operator) -> bool:
    attributes = op.attributes
    if isinstance(attributes, (Convolution, Pool, Activation)):
        return attributes.activation in _HOMOGENEOUS_ACTIVATIONS
    return True


def _keeps_channels(graph: Graph, op: Operator, channels: int) -> bool:
    """Whether a homogeneous operator mixes no channels, and leaves them innermost."""
    attributes = op.attributes
    if isinstance(attributes, Pad):
        return attributes.value == 0.0 and not attributes.before[-1] and not attributes.after[-1]
    if isinstance(attributes, Reduce):
        return len(graph.tensors[op.inputs[0]].shape) - 1 not in attributes.axes
    if op.kind == "RESHAPE":
        return graph.tensors[op.outputs[0]].shape[-1] % channels == 0
    return _is_homogeneous(op)


def _reads_channels(graph: Graph, op: Operator, reader: Operator, index: int) -> bool:
    """Whether the reader's weights have a dimension for the channels that `op` computes."""
    channels = graph.tensors[op.outputs[0]].shape[-1]
    if reader.inputs[0] != index or graph.tensors[reader.inputs[1]].data is None:
        return False
    if graph.tensors[op.inputs[1]].data is None:
        return False
    if reader.kind == "FULLY_CONNECTED":
        # It reads rows flattened, or reshaped before: the channels come again and again.
        return graph.tensors[reader.inputs[1]].shape[-1] % channels == 0
    if reader.kind == "DEPTHWISE_CONV_2D":
        return graph.tensors[index].shape[-1] == channels
    # A grouped convolution's weights do not have all channels.
    return graph.tensors[reader.inputs[1]].shape[-1] == channels


def _channel_statistics(
    graph: Graph, pairs: list[_Pair], samples: Sequence[Sample], progress: Progress | None
) -> dict[int, _Channels]:
    session = Session(write_tflite(graph), reference=False, keep_tensors=True)
    watched = {pair.first: graph.operators[pair.first].outputs[0] for pair in pairs}
    magnitudes: dict[int, list[np.ndarray]] = {number: [] for number in watched}
    powers: dict[int, list[np.ndarray]] = {number: [] for number in watched}
    for done, sample in enumerate(samples):
        if progress is not None:
            progress("equalise", done, len(samples))
        session.run(sample)
        tensors = session.tensors()
        for number, index in watched.items():
            values = np.abs(tensors[index].reshape(-1, tensors[index].shape[-1]))
            magnitudes[number].append(values.max(axis=0).astype(np.float64))
            powers[number].append(np.mean(values.astype(np.float64) ** 2, axis=0))
    if progress is not None:
        progress("equalise", len(samples), len(samples))
    # Medians: a sample far larger than the others must not decide.
    return {
        number: _Channels(np.median(magnitudes[number], axis=0), np.median(powers[number], axis=0))
        for number in watched
    }


def _rescaled(graph: Graph, pair: _Pair, channels: _Channels) -> Graph:
    first, second = graph.operators[pair.first], graph.operators[pair.second]
    reader = _data(graph.tensors[second.inputs[1]])
    factors = _best_factors(reader, second.kind, channels)
    if np.all(factors == 1.0):
        return graph
    weights = graph.tensors[first.inputs[1]]
    along = [1] * len(weights.shape)
    along[CHANNEL_AXES[first.kind]] = factors.size
    graph, first = _with_operand(graph, first, 1, _data(weights) * factors.reshape(along))
    if bias_index(first) >= 0:
        bias = _data(graph.tensors[first.inputs[2]])
        graph, first = _with_operand(graph, first, 2, bias * factors.reshape(bias.shape))
    graph, second = _with_operand(graph, second, 1, reader / _spread(factors, reader, second.kind))
    operators = list(graph.operators)
    operators[pair.first], operators[pair.second] = first, second
    return graph.with_operators(operators)


def _spread(factors: np.ndarray, weights: np.ndarray, kind: str) -> np.ndarray:
    """One factor for each entry of the last dimension of the reader's weights."""
    if kind == "DEPTHWISE_CONV_2D":
        # Output channel c * multiplier + m reads input channel c.
        return np.repeat(factors, weights.shape[-1] // factors.size)
    return np.tile(factors, weights.shape[-1] // factors.size)


def _best_factors(weights: np.ndarray, kind: str, channels: _Channels) -> np.ndarray:
    """What to multiply each channel by (at least 1)."""
    largest = float(channels.magnitude.max())
    if largest <= 0.0:
        return np.ones_like(channels.magnitude)
    relative = np.maximum(channels.magnitude / largest, 1.0 / _LARGEST_FACTOR)
    full = np.where(channels.magnitude > 0.0, 1.0 / relative, 1.0)
    if kind == "DEPTHWISE_CONV_2D":
        # Each output channel reads one channel, so that the weights' scales take it all.
        return full
    noises = [_noise(weights, full**strength, largest, channels) for strength in _STRENGTHS]
    return full ** _STRENGTHS[int(np.argmin(noises))]


def _noise(weights: np.ndarray, factors: np.ndarray, largest: float, channels: _Channels) -> float:
    """Expected squared error at the reader's outputs, summed, up to a constant.

    Rounding to a step of s makes an error of s^2 / 12: activations have one step, weights one for
    each output channel.
    """
    scaled = weights.reshape(weights.shape[0], -1, factors.size) / factors
    activation_step = largest / (INT8_MAX - INT8_MIN)
    from_activations = activation_step**2 * np.sum(scaled**2)
    weight_steps = np.abs(scaled).max(axis=(1, 2)) / WEIGHT_LIMIT
    power = np.sum(channels.power * factors**2) * scaled.shape[1]
    return float(from_activations + np.sum(weight_steps**2) * power)


def _data(tensor: Tensor) -> np.ndarray:
    if tensor.data is None:
        raise TypeError(f"tensor {tensor.name!r} is not a constant")
    return tensor.data.astype(np.float64)


def _with_operand(
    graph: Graph, op: Operator, operand: int, values: np.ndarray
) -> tuple[Graph, Operator]:
    """The operator with another constant in place of one (which others may share)."""
    old = graph.tensors[op.inputs[operand]]
    graph, index = append_tensor(graph, replace(old, data=values.astype(np.float32)))
    inputs = list(op.inputs)
    inputs[operand] = index
    return graph, replace(op, inputs=tuple(inputs))
