"""What the weights of a convolution or fully connected operator meet: patches of its input."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lilliput.exporters.tflite import write_tflite
from lilliput.graph import Convolution, Graph, Operator
from lilliput.litert import Session
from lilliput.lower.geometry import same_padding
from lilliput.quantize.calibration import Progress, Sample
from lilliput.quantize.ranges import dequantize_values, quantize_values

POSITIONS = 128
"""Patches of an operator that are looked at in one sample."""

MOST_TAPS = 2048
"""An operator with more weights a channel has no products of different taps: there are too many."""


@dataclass(frozen=True)
class PatchStatistics:
    """Means over patches x of an operator's input, in reals, group by group.

    mean: of x, float64[groups, taps]. products: of x_i * x_j, float64[groups, taps, taps]; or of
    x_i squared, float64[groups, taps], for more than `MOST_TAPS` taps.
    """

    mean: np.ndarray
    products: np.ndarray


def patch_statistics(
    graph: Graph,
    operators: Sequence[Operator],
    samples: Sequence[Sample],
    progress: Progress | None = None,
) -> list[PatchStatistics]:
    """Statistics of the patches that the weights of each of `operators` meet.

    graph: int8. operators: of kind CONV_2D or FULLY_CONNECTED. samples: float32 inputs, at least
    one.
    """
    session = Session(write_tflite(graph), reference=False, keep_tensors=True)
    sums: list[list[np.ndarray]] = []
    for number, sample in enumerate(samples):
        if progress is not None:
            progress("look at layers", number, len(samples))
        session.run(quantized_inputs(graph, sample))
        tensors = session.tensors()
        found = [_means(_patches(graph, op, tensors[op.inputs[0]])) for op in operators]
        if not sums:
            sums = [[mean, products] for mean, products in found]
        else:
            for held, (mean, products) in zip(sums, found, strict=True):
                held[0] += mean
                held[1] += products
    if progress is not None:
        progress("look at layers", len(samples), len(samples))
    return [
        PatchStatistics(mean / len(samples), products / len(samples)) for mean, products in sums
    ]


def quantized_inputs(graph: Graph, sample: Sample) -> list[np.ndarray]:
    """A sample's reals as the int8 numbers that the graph takes."""
    return [
        quantize_values(value, graph.quantization(index))
        for index, value in zip(graph.inputs, sample, strict=True)
    ]


def _means(patches: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    count = patches.shape[1]
    mean = patches.mean(axis=1, dtype=np.float64)
    if patches.shape[2] > MOST_TAPS:
        return mean, np.square(patches).mean(axis=1, dtype=np.float64)
    return mean, (patches.swapaxes(1, 2) @ patches).astype(np.float64) / count


def _patches(graph: Graph, op: Operator, numbers: np.ndarray) -> np.ndarray:
    """Evenly spread patches of an operator's int8 input: float32[groups, patches, taps]."""
    values = dequantize_values(numbers, graph.quantization(op.inputs[0]))
    shape = graph.tensors[op.inputs[1]].shape
    if not isinstance(op.attributes, Convolution):
        rows = values.reshape(1, -1, shape[1])
        return rows[:, _spread(rows.shape[1])]
    kernel, how = shape[1:3], op.attributes
    result = graph.tensors[op.outputs[0]].shape[1:3]
    padded = _padded(values[0], how, kernel, result)
    place = _spread(result[0] * result[1])
    top, left = place // result[1] * how.stride[0], place % result[1] * how.stride[1]
    rows = top[:, None, None] + np.arange(kernel[0])[None, :, None] * how.dilation[0]
    columns = left[:, None, None] + np.arange(kernel[1])[None, None, :] * how.dilation[1]
    windows = padded[rows, columns]  # patches, kernel height, kernel width, channels
    groups = windows.shape[3] // shape[3]
    split = windows.reshape(len(place), -1, groups, shape[3])
    return np.ascontiguousarray(split.transpose(2, 0, 1, 3)).reshape(groups, len(place), -1)


def _padded(
    values: np.ndarray, how: Convolution, kernel: Sequence[int], result: Sequence[int]
) -> np.ndarray:
    """A map with the zeros around it that its windows reach."""
    before = [0, 0]
    if how.explicit_padding is not None:
        before = [how.explicit_padding[0], how.explicit_padding[2]]
    elif how.padding == "same":
        before = [
            same_padding(values.shape[i], kernel[i], how.stride[i], how.dilation[i])
            for i in range(2)
        ]
    reach = [
        (result[i] - 1) * how.stride[i] + (kernel[i] - 1) * how.dilation[i] + 1 for i in range(2)
    ]
    after = [max(reach[i] - before[i] - values.shape[i], 0) for i in range(2)]
    return np.pad(values, [*zip(before, after, strict=True), (0, 0)])


def _spread(count: int) -> np.ndarray:
    if count <= POSITIONS:
        return np.arange(count)
    return np.arange(POSITIONS) * count // POSITIONS
