"""The int8 graph: activations, weights and biases of a planned float graph turned into int8."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from lilliput.graph import Graph, Operator, Pad, Tensor, UnsupportedModel
from lilliput.passes.rewriting import append_tensor, bias_index, describe, replace_tensor
from lilliput.quantize.ranges import Range, activation_quantization, quantize_values
from lilliput.quantize.sharing import SHARING_KINDS, ActivationPlan
from lilliput.quantize.weights import CHANNEL_AXES, quantize_bias, quantize_weights

_FLOAT32 = np.dtype(np.float32)
_INT8 = np.dtype(np.int8)

_ELEMENTWISE = frozenset({"ADD", "SUB", "MUL", "PRELU"})

# Operators that only have an activation before and after.
_PLAIN = frozenset(
    {
        "ARG_MAX",
        "HARD_SWISH",
        "LEAKY_RELU",
        "LOGISTIC",
        "MEAN",
        "QUANTIZE",
        "RELU",
        "RELU6",
        "RELU_0_TO_1",
        "RELU_N1_TO_1",
        "SOFTMAX",
        "TANH",
    }
)


def build_int8(plan: ActivationPlan, per_channel: bool) -> Graph:
    """The int8 graph of a plan; activations keep their indices in the planned graph.

    Raises UnsupportedModel for an operator that cannot be quantised.
    """
    graph = plan.graph
    for index, quantization in plan.quantizations.items():
        tensor = graph.tensors[index]
        data = None if tensor.data is None else quantize_values(tensor.data, quantization)
        stored = replace(tensor, dtype=_INT8, data=data, quantization=quantization)
        graph = replace_tensor(graph, index, stored)
    operators: list[Operator] = []
    for op in graph.operators:
        graph, converted = _converted(graph, op, per_channel)
        operators.append(converted)
    return graph.with_operators(operators)


def _converted(graph: Graph, op: Operator, per_channel: bool) -> tuple[Graph, Operator]:
    if op.kind in CHANNEL_AXES:
        return _weighted(graph, op, per_channel)
    if op.kind in _ELEMENTWISE:
        return _with_constants(graph, op)
    if isinstance(op.attributes, Pad):
        quantization = graph.tensors[op.inputs[0]].quantization
        if quantization is None:
            raise TypeError(f"{describe(graph, op)} has no quantised input")
        value = quantize_values(np.array([op.attributes.value], np.float32), quantization)
        return graph, replace(op, attributes=replace(op.attributes, value=float(value[0])))
    if op.kind in SHARING_KINDS or op.kind in _PLAIN:
        return graph, op
    raise UnsupportedModel(
        f"{describe(graph, op)}: this operator cannot be quantised; replace it by supported ones "
        "(README lists them)"
    )


def _weighted(graph: Graph, op: Operator, per_channel: bool) -> tuple[Graph, Operator]:
    source, weights = graph.tensors[op.inputs[0]], graph.tensors[op.inputs[1]]
    bias = graph.tensors[bias_index(op)] if bias_index(op) >= 0 else None
    if source.quantization is None or weights.data is None:
        raise UnsupportedModel(
            f"{describe(graph, op)}: its weights are not constant; export the model with constants"
        )
    axis = CHANNEL_AXES[op.kind]
    scale = float(source.quantization.scale[0])
    stored = quantize_weights(weights, bias, axis, scale, per_channel)
    channels = weights.shape[axis]
    values = np.zeros(channels, np.float32)
    if bias is not None and bias.data is not None:
        values = bias.data.ravel()
    name = f"{weights.name}/bias" if bias is None else bias.name
    # Constants may serve several operators, whose inputs differ in scale: each gets its own copy.
    graph, weights_at = append_tensor(graph, stored)
    stored_bias = quantize_bias(name, values, source.quantization, stored)
    graph, bias_at = append_tensor(graph, stored_bias)
    return graph, replace(op, inputs=(op.inputs[0], weights_at, bias_at))


def _with_constants(graph: Graph, op: Operator) -> tuple[Graph, Operator]:
    """Constant operands of elementwise operators, over their own range."""
    inputs = []
    for index in op.inputs:
        tensor = graph.tensors[index]
        if tensor.data is not None and tensor.dtype == _FLOAT32:
            graph, index = append_tensor(graph, _constant(tensor, tensor.data))
        inputs.append(index)
    return graph, replace(op, inputs=tuple(inputs))


def _constant(tensor: Tensor, data: np.ndarray) -> Tensor:
    quantization = activation_quantization(Range(float(data.min()), float(data.max())))
    stored = quantize_values(data, quantization)
    return replace(tensor, dtype=_INT8, data=stored, quantization=quantization)
