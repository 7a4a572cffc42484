"""Which tensors must have the same scale and zero point, and what that scale is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from lilliput.graph import Graph, Operator, Quantization
from lilliput.passes.rewriting import append_tensor
from lilliput.quantize.ranges import Range, activation_quantization, covered_range

# Operators that move int8 numbers about, or pick or average them, without a rescale.
SHARING_KINDS = frozenset(
    {
        "AVERAGE_POOL_2D",
        "CONCATENATION",
        "MAX_POOL_2D",
        "PAD",
        "PADV2",
        "RESHAPE",
        "RESIZE_BILINEAR",
        "RESIZE_NEAREST_NEIGHBOR",
        "SLICE",
        "SPLIT",
        "STRIDED_SLICE",
        "TRANSPOSE",
    }
)

_FLOAT32 = np.dtype(np.float32)


def fixed_quantization(kind: str) -> Quantization | None:
    """The output quantisation that TFLite's specification prescribes for an operator, if any."""
    if kind in ("SOFTMAX", "LOGISTIC"):
        return Quantization.per_tensor(1.0 / 256.0, -128)
    if kind == "TANH":
        return Quantization.per_tensor(1.0 / 128.0, 0)
    return None


@dataclass(frozen=True)
class ActivationPlan:
    """A float graph that is ready to be quantised, and the quantisation of its activations.

    The graph may have QUANTIZE operators (float to float for now) where a tensor of prescribed
    scale meets others that it should share a scale with.
    """

    graph: Graph
    quantizations: dict[int, Quantization]

    @property
    def float_graph(self) -> Graph:
        """The graph that computes in float what the int8 graph approximates, operator by operator.

        LiteRT has no QUANTIZE from float to float; RESHAPE to the same shape stands for it.
        """
        return self.graph.with_operators(
            [
                replace(op, kind="RESHAPE") if op.kind == "QUANTIZE" else op
                for op in self.graph.operators
            ]
        )


def plan_activations(graph: Graph, ranges: Mapping[int, Range]) -> ActivationPlan:
    """Chooses the quantisation of every activation.

    Tensors joined by operators of `SHARING_KINDS` get one quantisation, which covers the union of
    their ranges; outputs of SOFTMAX, LOGISTIC and TANH get the prescribed one, and so do the
    tensors that share with them, unless these need a wider range: then a QUANTIZE separates them.
    """
    ranges = {**_constant_ranges(graph), **ranges}
    for index, op in graph.producers().items():
        prescribed = fixed_quantization(op.kind)
        if prescribed is not None:
            ranges[index] = covered_range(prescribed)
    graph, ranges = _separate(graph, ranges)
    fixed = _fixed_outputs(graph)
    quantizations: dict[int, Quantization] = {}
    for members in _groups(graph):
        prescriptions = [fixed[i] for i in members if i in fixed]
        if prescriptions:
            shared = prescriptions[0]
        else:
            shared = activation_quantization(_union([ranges[i] for i in members if i in ranges]))
        quantizations.update(dict.fromkeys(members, shared))
    return ActivationPlan(graph, _respect_kernels(graph, quantizations))


def _constant_ranges(graph: Graph) -> dict[int, Range]:
    """Ranges of the float constants that operators of `SHARING_KINDS` read."""
    found = {}
    for op in graph.operators:
        for index in op.inputs if op.kind in SHARING_KINDS else ():
            data = graph.tensors[index].data
            if data is not None and data.dtype == _FLOAT32:
                found[index] = Range(float(data.min()), float(data.max()))
    return found


def _fixed_outputs(graph: Graph) -> dict[int, Quantization]:
    found = {}
    for op in graph.operators:
        prescribed = fixed_quantization(op.kind)
        if prescribed is not None:
            found[op.outputs[0]] = prescribed
    return found


def _union(ranges: list[Range]) -> Range:
    whole = Range(0.0, 0.0)
    for values in ranges:
        whole = whole.union(values)
    return whole


def _groups(graph: Graph) -> list[list[int]]:
    """Float activations (and constants of shared operators) that must have one quantisation."""
    parent = {i: i for i, tensor in enumerate(graph.tensors) if tensor.dtype == _FLOAT32}

    def root(index: int) -> int:
        while parent[index] != index:
            parent[index] = parent[parent[index]]
            index = parent[index]
        return index

    members = {*graph.inputs, *(i for op in graph.operators for i in op.outputs)}
    for op in graph.operators:
        if op.kind in SHARING_KINDS:
            for index in op.inputs:
                members.add(index)
                parent[root(index)] = root(op.outputs[0])
    groups: dict[int, list[int]] = {}
    for index in sorted(members):
        if index in parent:
            groups.setdefault(root(index), []).append(index)
    return list(groups.values())


def _separate(graph: Graph, ranges: dict[int, Range]) -> tuple[Graph, dict[int, Range]]:
    """Puts a QUANTIZE behind prescribed outputs whose group does not fit the prescription."""
    fixed = _fixed_outputs(graph)
    for members in _groups(graph):
        prescribed = [index for index in members if index in fixed]
        others = [ranges[i] for i in members if i not in fixed and i in ranges]
        if not prescribed or len(members) == 1:
            continue
        first = fixed[prescribed[0]]
        fits = all(fixed[index].same_as(first) for index in prescribed) and all(
            values.inside(covered_range(first), float(first.scale[0])) for values in others
        )
        if not fits:
            for index in prescribed:
                graph, ranges = _requantized(graph, ranges, index)
    return graph, ranges


def _requantized(
    graph: Graph, ranges: dict[int, Range], index: int
) -> tuple[Graph, dict[int, Range]]:
    """Lets the sharing readers of a tensor read a requantised copy."""
    tensor = graph.tensors[index]
    graph, copy = append_tensor(graph, replace(tensor, name=f"{tensor.name}/requantized"))
    operators: list[Operator] = []
    for op in graph.operators:
        if op.kind in SHARING_KINDS and index in op.inputs:
            op = replace(op, inputs=tuple(copy if i == index else i for i in op.inputs))
        operators.append(op)
        if index in op.outputs:
            operators.append(Operator("QUANTIZE", (index,), (copy,)))
    return graph.with_operators(operators), {**ranges, copy: ranges[index]}


def _respect_kernels(
    graph: Graph, quantizations: dict[int, Quantization]
) -> dict[int, Quantization]:
    """Widens outputs whose kernel cannot scale up as far as the calibrated range asks.

    LiteRT's HARD_SWISH computes its result in 1/128 of the input's scale and only scales it down.
    """
    for op in graph.operators:
        if op.kind != "HARD_SWISH":
            continue
        source, result = quantizations[op.inputs[0]], quantizations[op.outputs[0]]
        least = float(source.scale[0]) / 64.0
        if float(result.scale[0]) < least:
            widened = Quantization.per_tensor(least, int(result.zero_point[0]))
            # Tensors that share a quantisation hold the same object.
            quantizations = {i: widened if q is result else q for i, q in quantizations.items()}
    return quantizations
