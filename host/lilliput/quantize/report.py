"""What quantisation cost, operator by operator."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from lilliput.exporters.tflite import write_tflite
from lilliput.graph import Graph, Operator
from lilliput.litert import Session
from lilliput.passes.rewriting import without_unused_tensors
from lilliput.quantize.calibration import Progress, Sample
from lilliput.quantize.ranges import dequantize_values, quantize_values
from lilliput.quantize.single_operator import activation_operands, single_operator_session

# Reported for signals that quantisation leaves as they are (the noise is zero).
EXACT_DB = 200.0

# Operators that only move numbers: they add no noise of their own.
_MOVING = frozenset(
    {"PAD", "PADV2", "RESHAPE", "SLICE", "SPLIT", "STRIDED_SLICE", "TRANSPOSE", "CONCATENATION"}
)


@dataclass(frozen=True)
class Layer:
    """One operator in the report.

    name: its output tensor. kind: the operator. shape: of the output. sqnr_db: signal to
    quantisation noise ratio of its output, in decibels, in the int8 network, whose noise includes
    that of all operators before. alone_db: the ratio at the network's outputs (the worst of them)
    when this operator alone is int8 and all others are float; the lowest hurts most.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    sqnr_db: float
    alone_db: float


@dataclass(frozen=True)
class Report:
    """The layers in order of execution, and the ratio at the network's outputs by their name.

    Measured against the float network, with LiteRT's reference kernels for int8.
    """

    layers: tuple[Layer, ...]
    outputs: dict[str, float]

    @property
    def worst(self) -> Layer | None:
        """The layer that hurts most: the one with the lowest `alone_db`; None without layers."""
        return min(self.layers, key=lambda layer: layer.alone_db, default=None)


@dataclass
class Noise:
    """Signal and noise energy summed over samples."""

    signal: float = 0.0
    noise: float = 0.0

    def add(self, expected: np.ndarray, actual: np.ndarray) -> None:
        """Takes in one sample's float values and what the int8 network made of them."""
        reals = expected.astype(np.float64)
        self.signal += float(np.sum(reals**2))
        self.noise += float(np.sum((reals - actual) ** 2))

    @property
    def decibels(self) -> float:
        """10 log10(signal / noise); `EXACT_DB` without noise."""
        if self.noise <= 0.0:
            return EXACT_DB
        if self.signal <= 0.0:
            return -EXACT_DB
        return float(10.0 * np.log10(self.signal / self.noise))


def measure(
    planned: Graph,
    quantized: Graph,
    samples: Sequence[Sample],
    progress: Progress | None = None,
) -> Report:
    """Compares an int8 graph with its float graph (same operators and indices of activations).

    Without samples the report is empty.
    """
    if not samples:
        return Report((), {})
    floats = _float_tensors(planned, samples)
    noises = {i: Noise() for op in planned.operators for i in op.outputs}
    noises.update({index: Noise() for index in planned.outputs})
    session = Session(write_tflite(quantized), reference=True, keep_tensors=True)
    for number, sample in enumerate(samples):
        if progress is not None:
            progress("measure", number, len(samples))
        session.run(
            [
                quantize_values(value, quantized.quantization(index))
                for index, value in zip(quantized.inputs, sample, strict=True)
            ]
        )
        values = session.tensors()
        for index, noise in noises.items():
            noise.add(floats[number][index], _reals(quantized, index, values[index]))
    if progress is not None:
        progress("measure", len(samples), len(samples))
    layers = []
    shown = [n for n, op in enumerate(quantized.operators) if op.kind not in _MOVING]
    for done, number in enumerate(shown):
        if progress is not None:
            progress("measure layers", done, len(shown))
        float_op, op = planned.operators[number], quantized.operators[number]
        output = planned.tensors[op.outputs[0]]
        layers.append(
            Layer(
                output.name,
                op.kind,
                output.shape,
                noises[op.outputs[0]].decibels,
                _alone(planned, quantized, float_op, op, samples, floats),
            )
        )
    if progress is not None:
        progress("measure layers", len(shown), len(shown))
    outputs = {planned.tensors[i].name: noises[i].decibels for i in planned.outputs}
    return Report(tuple(layers), outputs)


def _reals(graph: Graph, index: int, values: np.ndarray) -> np.ndarray:
    """What stored numbers mean; indices of an ARG_MAX mean themselves."""
    if graph.tensors[index].quantization is None:
        return values.astype(np.float32)
    return dequantize_values(values, graph.quantization(index))


def _float_tensors(graph: Graph, samples: Sequence[Sample]) -> list[dict[int, np.ndarray]]:
    session = Session(write_tflite(graph), reference=False, keep_tensors=True)
    kept = {*graph.inputs, *(i for op in graph.operators for i in op.outputs)}
    tensors = []
    for sample in samples:
        session.run(sample)
        tensors.append({i: v for i, v in session.tensors().items() if i in kept})
    return tensors


def _alone(
    planned: Graph,
    quantized: Graph,
    float_op: Operator,
    op: Operator,
    samples: Sequence[Sample],
    floats: Sequence[dict[int, np.ndarray]],
) -> float:
    """The ratio at the graph's outputs when only this operator computes in int8."""
    session = single_operator_session(quantized, op, reference=True)
    operands = activation_operands(quantized, op)
    result = op.outputs[0]
    rest = _after(planned, float_op)
    rest_session = None
    if rest.operators:
        rest_session = Session(write_tflite(without_unused_tensors(rest)), reference=False)
    noises = {index: Noise() for index in planned.outputs}
    for sample, expected in zip(samples, floats, strict=True):
        numbers = [quantize_values(expected[i], quantized.quantization(i)) for i in operands]
        reals = _reals(quantized, result, session.run(numbers)[0])
        actual = {index: expected[index] for index in planned.outputs}
        if rest_session is not None:
            given = [*sample, reals.astype(np.float32)]
            actual.update(zip(rest.outputs, rest_session.run(given), strict=True))
        if result in actual:
            actual[result] = reals
        for index, noise in noises.items():
            noise.add(expected[index], actual[index])
    return min(noise.decibels for noise in noises.values())


def _after(graph: Graph, op: Operator) -> Graph:
    """The graph with the result of `op` as one more input, and only what depends on it.

    Indices of tensors are kept.
    """
    dependent = set(op.outputs)
    for other in graph.operators:
        if other is not op and dependent.intersection(other.inputs):
            dependent.update(other.outputs)
    outputs = tuple(i for i in graph.outputs if i in dependent and i not in op.outputs)
    needed = set(outputs)
    operators: list[Operator] = []
    for other in reversed(graph.operators):
        if other is not op and needed.intersection(other.outputs):
            operators.append(other)
            needed.update(other.inputs)
    return replace(
        graph,
        operators=tuple(reversed(operators)),
        inputs=(*graph.inputs, op.outputs[0]),
        outputs=outputs,
    )
