"""From the int8 graph to a program: TFLite operators become the kernels of the C core."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np

from ..graph import Graph, Operator, UnsupportedModel
from ..program import Port, Program, without_unused
from . import arithmetic, movement, weights
from .builder import Builder

Lowering = Callable[[Builder, Operator], None]


def _lowerings() -> Mapping[str, Lowering]:
    """How each TFLite operator is lowered: a new operator is added here."""
    return {
        "CONV_2D": weights.lower_convolution,
        "DEPTHWISE_CONV_2D": weights.lower_convolution,
        "TRANSPOSE_CONV": weights.lower_transposed_convolution,
        "FULLY_CONNECTED": weights.lower_fully_connected,
        "ADD": arithmetic.lower_binary,
        "SUB": arithmetic.lower_binary,
        "MUL": arithmetic.lower_binary,
        "LOGISTIC": arithmetic.lower_table,
        "TANH": arithmetic.lower_table,
        "RELU": arithmetic.lower_table,
        "RELU6": arithmetic.lower_table,
        "RELU_N1_TO_1": arithmetic.lower_table,
        "RELU_0_TO_1": arithmetic.lower_table,
        "LEAKY_RELU": arithmetic.lower_table,
        "HARD_SWISH": arithmetic.lower_table,
        "QUANTIZE": arithmetic.lower_table,
        "PRELU": arithmetic.lower_prelu,
        "SOFTMAX": arithmetic.lower_softmax,
        "MEAN": arithmetic.lower_mean,
        "ARG_MAX": arithmetic.lower_argmax,
        "AVERAGE_POOL_2D": movement.lower_pool,
        "MAX_POOL_2D": movement.lower_pool,
        "PAD": movement.lower_pad,
        "PADV2": movement.lower_pad,
        "CONCATENATION": movement.lower_concatenation,
        "STRIDED_SLICE": movement.lower_slice,
        "SLICE": movement.lower_slice,
        "TRANSPOSE": movement.lower_transpose,
        "RESHAPE": movement.lower_reshape,
        "RESIZE_NEAREST_NEIGHBOR": movement.lower_resize_nearest,
        "RESIZE_BILINEAR": movement.lower_resize_bilinear,
    }


def supported_operators() -> list[str]:
    """TFLite's names of the int8 operators that can be lowered."""
    return sorted(_lowerings())


def lower(graph: Graph) -> Program:
    """The program of an int8 graph with int8 inputs.

    Raises UnsupportedModel, naming the operator and its tensor, for what the core cannot run.
    """
    builder = Builder(graph)
    lowerings = _lowerings()
    inputs = tuple(_lower_input(builder, position) for position in range(len(graph.inputs)))
    for op in graph.operators:
        name = graph.tensors[op.outputs[0]].name
        if op.kind not in lowerings:
            raise UnsupportedModel(
                f"operator {op.kind} ({name}) is not supported; remove it from the model, or end "
                "the model before it and compute the rest in Python"
            )
        for index in (*op.inputs, *op.outputs):
            _require_int8(graph, op, index)
        lowerings[op.kind](builder, op)
    outputs = tuple(_lower_output(builder, index) for index in graph.outputs)
    return without_unused(
        Program(tuple(builder.tensors), tuple(builder.steps), inputs, outputs, graph.name)
    )


def _require_int8(graph: Graph, op: Operator, index: int) -> None:
    if index < 0 or graph.tensors[index].is_constant:
        return
    tensor = graph.tensors[index]
    is_index = op.kind == "ARG_MAX" and index in op.outputs
    if tensor.dtype != np.int8 and not is_index:
        raise UnsupportedModel(
            f"{op.kind}: tensor {tensor.name} is {tensor.dtype}; the engine computes in int8: "
            "quantise the model fully, or convert the float model with --calibrate"
        )


def _lower_input(builder: Builder, position: int) -> Port:
    index = builder.graph.inputs[position]
    tensor = builder.graph.tensors[index]
    if tensor.dtype != np.int8:
        raise UnsupportedModel(
            f"input {tensor.name} is {tensor.dtype}; the engine computes in int8: quantise the "
            "model fully, or convert the float model with --calibrate"
        )
    target = builder.map_of(index)
    builder.add("INPUT", target, (), parameters={"patch": {"input": position}})
    return Port(target, tensor.name, tensor.shape, builder.scale(index), builder.zero_point(index))


def _lower_output(builder: Builder, index: int) -> Port:
    tensor = builder.graph.tensors[index]
    source = builder.map_of(index)
    root = builder.root(source)
    writer = next((step for step in builder.steps if step.output == root), None)
    if writer is None or writer.kind == "INPUT":
        source = _copy(builder, source)
    quantization = tensor.quantization
    return Port(
        source,
        tensor.name,
        tensor.shape,
        1.0 if quantization is None else float(quantization.scale[0]),
        0 if quantization is None else int(quantization.zero_point[0]),
    )


def _copy(builder: Builder, source: int) -> int:
    """A map of its own for an output that is an input or a constant."""
    original = builder.tensors[source]
    builder.tensors.append(replace(original, constant=None, view_of=None))
    target = len(builder.tensors) - 1
    identity = np.arange(-128, 128).astype(np.int8).tobytes()
    edge = builder.straight_edge(source)
    builder.add("TABLE", target, (edge,), is_pointwise=True, constants=identity)
    return target
