"""The graph's ports: int8 models that speak float or uint8 at their edges become int8 there."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from lilliput.graph import Graph, Operator, Quantization, Tensor, UnsupportedModel
from lilliput.passes.rewriting import describe, rename_tensors, replace_tensor

_FLOAT32 = np.dtype(np.float32)
_INT8 = np.dtype(np.int8)
_INT32 = np.dtype(np.int32)
_UINT8 = np.dtype(np.uint8)

# uint8 and int8 of the same scale differ by this much, so that all 256 values correspond.
_UINT8_OFFSET = 128


def strip_float_ports(graph: Graph) -> Graph:
    """Removes QUANTIZE behind float or uint8 inputs and DEQUANTIZE or QUANTIZE before such outputs.

    The int8 tensor on the other side becomes the port and takes the port's name. A port whose
    conversion is not one-to-one (several differing QUANTIZEs, a uint8 port of another scale) is
    left as it is; `require_uniform_type` then says what is wrong with it.
    """
    for index in graph.inputs:
        graph = _strip_input(graph, index)
    for position in range(len(graph.outputs)):
        graph = _strip_output(graph, position)
    return graph


def _strip_input(graph: Graph, index: int) -> Graph:
    port = graph.tensors[index]
    readers = [op for op in graph.operators if index in op.inputs]
    if port.dtype not in (_FLOAT32, _UINT8) or index in graph.outputs or not readers:
        return graph
    inner = readers[0].outputs[0]
    tensor = graph.tensors[inner]
    for op in readers:
        result = graph.tensors[op.outputs[0]]
        if op.kind != "QUANTIZE" or result.dtype != _INT8 or result.quantization is None:
            return graph
        if not result.quantization.same_as(tensor.quantization):
            return graph
        if port.dtype == _UINT8 and not _one_to_one(port.quantization, result.quantization):
            return graph
    graph = replace_tensor(graph, inner, replace(tensor, name=port.name))
    graph = rename_tensors(graph, {op.outputs[0]: inner for op in readers[1:]})
    return replace(
        graph,
        inputs=tuple(inner if i == index else i for i in graph.inputs),
        operators=tuple(op for op in graph.operators if index not in op.inputs),
    )


def _strip_output(graph: Graph, position: int) -> Graph:
    index = graph.outputs[position]
    port = graph.tensors[index]
    op = graph.producers().get(index)
    if op is None or any(index in other.inputs for other in graph.operators):
        return graph
    inner = op.inputs[0]
    tensor = graph.tensors[inner]
    from_float = op.kind == "DEQUANTIZE" and tensor.dtype == _INT8
    from_uint8 = (
        op.kind == "QUANTIZE"
        and port.dtype == _UINT8
        and tensor.dtype == _INT8
        and _one_to_one(port.quantization, tensor.quantization)
    )
    if not (from_float or from_uint8):
        return graph
    if inner not in graph.inputs and inner not in graph.outputs:
        graph = replace_tensor(graph, inner, replace(tensor, name=port.name))
    outputs = tuple(inner if i == index else i for i in graph.outputs)
    return replace(
        graph,
        outputs=outputs,
        operators=tuple(other for other in graph.operators if other is not op),
    )


def _one_to_one(unsigned: Quantization | None, signed: Quantization | None) -> bool:
    if unsigned is None or signed is None:
        return False
    return np.array_equal(unsigned.scale, signed.scale) and np.array_equal(
        unsigned.zero_point, signed.zero_point + _UINT8_OFFSET
    )


def require_uniform_type(graph: Graph) -> None:
    """Checks that all activations are float32, or all int8 (the result of ARG_MAX: int32).

    Raises UnsupportedModel that names the first operator where the types meet.
    """
    first = _activation_type(graph, graph.inputs[0])
    for index in graph.inputs:
        tensor = graph.tensors[index]
        if _activation_type(graph, index) not in (_FLOAT32, _INT8):
            raise UnsupportedModel(
                f"input tensor {tensor.name!r} is {tensor.dtype}; inputs must be float32 or int8 "
                "(uint8 with the int8 tensor's scale): export the model with such inputs"
            )
        if tensor.dtype != first:
            raise UnsupportedModel(
                f"input tensor {tensor.name!r} is {tensor.dtype}, input tensor "
                f"{graph.tensors[graph.inputs[0]].name!r} is {first}; export the model all int8 "
                "or all float"
            )
    for op in graph.operators:
        for index in (*op.inputs, *op.outputs):
            if index >= 0 and not graph.tensors[index].is_constant:
                _require_type(graph, op, graph.tensors[index], first)
    for op in graph.operators:
        if first == _INT8:
            _require_int8_operands(graph, op)


def _activation_type(graph: Graph, index: int) -> np.dtype:
    return graph.tensors[index].dtype


def _require_type(graph: Graph, op: Operator, tensor: Tensor, first: np.dtype) -> None:
    if tensor.dtype == first:
        return
    is_result = tensor is graph.tensors[op.outputs[0]]
    if op.kind == "ARG_MAX" and is_result and tensor.dtype == _INT32:
        return
    if op.kind in ("QUANTIZE", "DEQUANTIZE"):
        what = f"converts between {first} and {tensor.dtype} inside the model"
    else:
        what = f"has the {tensor.dtype} tensor {tensor.name!r} in a model whose input is {first}"
    raise UnsupportedModel(
        f"{describe(graph, op)} {what}; export the model all int8 (full integer quantisation), or "
        "give the float model and let lilliput quantise it"
    )


def _require_int8_operands(graph: Graph, op: Operator) -> None:
    """Constants next to int8 activations must be quantised too."""
    for index in op.inputs:
        if index >= 0 and graph.tensors[index].dtype == _FLOAT32:
            raise UnsupportedModel(
                f"{describe(graph, op)} has the float32 constant {graph.tensors[index].name!r} "
                "among int8 operands; export the model with full integer quantisation"
            )
