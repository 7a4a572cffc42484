"""Bias correction: the shift of each channel's mean that quantisation causes, taken off the bias.

After Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias Correction" (2019),
section 4.2, with the expectations measured on samples (their "empirical" variant): operators are
corrected in the order of execution, each seeing what the already corrected ones before it compute.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from lilliput.exporters.tflite import write_tflite
from lilliput.graph import Graph, Operator, Tensor
from lilliput.litert import Session
from lilliput.passes.rewriting import append_tensor, replace_tensor
from lilliput.quantize.calibration import Progress, Sample
from lilliput.quantize.ranges import dequantize_values, quantize_values
from lilliput.quantize.single_operator import (
    activation_operands,
    single_operator_session,
    without_activation,
)
from lilliput.quantize.weights import CHANNEL_AXES, dequantize_weights, quantize_bias

_FLOAT32 = np.dtype(np.float32)
_ACTIVATION_KINDS = {"relu": "RELU", "relu6": "RELU6", "relu_n1_to_1": "RELU_N1_TO_1"}


def correct_biases(
    planned: Graph,
    quantized: Graph,
    samples: Sequence[Sample],
    progress: Progress | None = None,
) -> Graph:
    """The int8 graph with corrected biases.

    planned: the float graph with the same operators, in the same order, and the same indices of
        activations as `quantized`.
    samples: float32 inputs.

    The means are taken before the fused activation, over rows and columns; of the samples' shifts
    the median counts, so that a sample far larger than the others does not decide.
    """
    expected = _expected_means(planned, samples)
    values = [
        {
            index: quantize_values(array, quantized.quantization(index))
            for index, array in zip(quantized.inputs, sample, strict=True)
        }
        for sample in samples
    ]
    last_use = _last_uses(quantized)
    for number, (float_op, op) in enumerate(
        zip(planned.operators, quantized.operators, strict=True)
    ):
        if progress is not None:
            progress("correct biases", number, len(quantized.operators))
        if op.kind in CHANNEL_AXES:
            inputs = [held[op.inputs[0]] for held in values]
            actual = _actual_means(planned, quantized, float_op, op, inputs)
            shift = np.median(expected[number] - actual, axis=0)
            quantized = _with_bias_shift(quantized, op, shift)
        session = single_operator_session(quantized, op)
        operands = activation_operands(quantized, op)
        for held in values:
            results = session.run([held[index] for index in operands])
            held.update(zip(op.outputs, results, strict=True))
            for index in operands:
                if last_use[index] == number:
                    del held[index]
    if progress is not None:
        progress("correct biases", len(quantized.operators), len(quantized.operators))
    return quantized


def _last_uses(graph: Graph) -> dict[int, int]:
    return {index: number for number, op in enumerate(graph.operators) for index in op.inputs}


def _channel_mean(values: np.ndarray) -> np.ndarray:
    return values.reshape(-1, values.shape[-1]).mean(axis=0, dtype=np.float64)


def _expected_means(graph: Graph, samples: Sequence[Sample]) -> dict[int, np.ndarray]:
    """Channel means of the float graph's weighted operators before their activation.

    By the operator's place in the graph: float64[samples, channels].
    """
    operators: list[Operator] = []
    watched: dict[int, int] = {}
    for number, op in enumerate(graph.operators):
        activation = getattr(op.attributes, "activation", "none")
        if op.kind in CHANNEL_AXES and activation != "none":
            result = graph.tensors[op.outputs[0]]
            graph, before = append_tensor(graph, replace(result, name=f"{result.name}/before"))
            operators.append(replace(without_activation(op), outputs=(before,)))
            operators.append(Operator(_ACTIVATION_KINDS[activation], (before,), op.outputs))
            watched[number] = before
        else:
            operators.append(op)
            if op.kind in CHANNEL_AXES:
                watched[number] = op.outputs[0]
    session = Session(
        write_tflite(graph.with_operators(operators)), reference=False, keep_tensors=True
    )
    means: dict[int, list[np.ndarray]] = {number: [] for number in watched}
    for sample in samples:
        session.run(sample)
        tensors = session.tensors()
        for number, index in watched.items():
            means[number].append(_channel_mean(tensors[index]))
    return {number: np.stack(rows) for number, rows in means.items()}


def _actual_means(
    planned: Graph, quantized: Graph, float_op: Operator, op: Operator, inputs: list[np.ndarray]
) -> np.ndarray:
    """Channel means that the quantised weights and bias give, on the quantised inputs.

    float64[samples, channels].
    """
    weights, bias = quantized.tensors[op.inputs[1]], quantized.tensors[op.inputs[2]]
    if bias.data is None or bias.quantization is None:
        raise TypeError(f"bias {bias.name!r} is not quantised")
    reals = (bias.data * bias.quantization.scale.astype(np.float64)).astype(np.float32)
    graph, weights_at = append_tensor(
        planned, Tensor(weights.name, weights.shape, _FLOAT32, dequantize_weights(weights))
    )
    graph, bias_at = append_tensor(graph, Tensor(bias.name, reals.shape, _FLOAT32, reals))
    plain = replace(without_activation(float_op), inputs=(float_op.inputs[0], weights_at, bias_at))
    session = single_operator_session(graph, plain)
    quantization = quantized.quantization(op.inputs[0])
    means = [
        _channel_mean(session.run([dequantize_values(value, quantization)])[0]) for value in inputs
    ]
    return np.stack(means)


def _with_bias_shift(graph: Graph, op: Operator, shift: np.ndarray) -> Graph:
    weights, bias = graph.tensors[op.inputs[1]], graph.tensors[op.inputs[2]]
    if bias.data is None or bias.quantization is None:
        raise TypeError(f"bias {bias.name!r} is not quantised")
    reals = bias.data * bias.quantization.scale.astype(np.float64) + shift
    source = graph.quantization(op.inputs[0])
    return replace_tensor(graph, op.inputs[2], quantize_bias(bias.name, reals, source, weights))
