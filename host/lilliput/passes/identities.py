"""Operators that do nothing, or only rename the dimensions of their data."""

from __future__ import annotations

from dataclasses import replace

from lilliput.graph import Activation, Graph, Operator, Pad, Slice, Transpose
from lilliput.passes.rewriting import (
    bypass,
    replace_operators,
    rewrite,
    same_numbers,
    without_unused_tensors,
)


def drop_identities(graph: Graph) -> Graph:
    """Removes operators whose output equals their input, bit for bit and in shape."""

    def step(graph: Graph, op: Operator) -> Graph | None:
        return bypass(graph, op) if _is_identity(graph, op) else None

    return rewrite(graph, step)


def _is_identity(graph: Graph, op: Operator) -> bool:
    source, result = graph.tensors[op.inputs[0]], graph.tensors[op.outputs[0]]
    if source.shape != result.shape or not same_numbers(source, result):
        return False
    match op.kind, op.attributes:
        case (("RESHAPE" | "QUANTIZE"), _):
            return True
        case "TRANSPOSE", Transpose(permutation):
            return permutation == tuple(range(len(permutation)))
        case _, Slice(begin, stride):
            return all(
                first == 0 and (step == 1 or size == 1)
                for first, step, size in zip(begin, stride, source.shape, strict=True)
            )
        case (("PAD" | "PADV2"), Pad(before, after)):
            return not any(before) and not any(after)
        case "CONCATENATION", Activation(activation):
            return len(op.inputs) == 1 and activation == "none"
    return False


def reshape_transposes(graph: Graph) -> Graph:
    """Turns a TRANSPOSE that leaves every element where it lies in memory into a RESHAPE."""

    def step(graph: Graph, op: Operator) -> Graph | None:
        if op.kind != "TRANSPOSE" or not isinstance(op.attributes, Transpose):
            return None
        shape = graph.tensors[op.inputs[0]].shape
        moved = [axis for axis in op.attributes.permutation if shape[axis] > 1]
        if moved != sorted(moved):
            return None
        return replace_operators(graph, [op], [Operator("RESHAPE", op.inputs, op.outputs)])

    return rewrite(graph, step)


def merge_reshapes(graph: Graph) -> Graph:
    """Lets a RESHAPE of a RESHAPE, and a TRANSPOSE of a TRANSPOSE, read the first one's input."""

    def step(graph: Graph, op: Operator) -> Graph | None:
        before = graph.producers().get(op.inputs[0])
        if before is None or before.kind != op.kind:
            return None
        middle = graph.tensors[op.inputs[0]]
        if not same_numbers(graph.tensors[before.inputs[0]], middle):
            return None
        if op.kind == "RESHAPE":
            return replace_operators(graph, [op], [replace(op, inputs=before.inputs)])
        first, second = before.attributes, op.attributes
        if isinstance(first, Transpose) and isinstance(second, Transpose):
            merged = Transpose(tuple(first.permutation[axis] for axis in second.permutation))
            merged_op = replace(op, inputs=before.inputs, attributes=merged)
            return replace_operators(graph, [op], [merged_op])
        return None

    return rewrite(graph, step)


def remove_dead(graph: Graph) -> Graph:
    """Removes operators whose results nothing reads, and tensors that nothing names."""
    needed = set(graph.outputs)
    kept: list[Operator] = []
    for op in reversed(graph.operators):
        if needed.intersection(op.outputs):
            kept.append(op)
            needed.update(op.inputs)
    kept.reverse()
    return without_unused_tensors(graph.with_operators(kept))
