"""MEAN: transposes moved behind it, means of means merged."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from lilliput.graph import Graph, Operator, Reduce, Tensor, Transpose
from lilliput.passes.rewriting import (
    append_tensor,
    replace_operators,
    rewrite,
    same_numbers,
    used_once,
)

_FLOAT32 = np.dtype(np.float32)


def transpose_after_reduction(graph: Graph) -> Graph:
    """Turns a MEAN of a TRANSPOSE into a TRANSPOSE of the mean over the permuted axes.

    The sums are over the same elements, so that int8 keeps its bits; what is left to transpose is
    smaller, and often nothing. (ARG_MAX stays: it runs over the last dimension only.)
    """

    def step(graph: Graph, op: Operator) -> Graph | None:
        if op.kind != "MEAN" or not isinstance(op.attributes, Reduce):
            return None
        before = graph.producers().get(op.inputs[0])
        if before is None or not isinstance(before.attributes, Transpose):
            return None
        source = graph.tensors[before.inputs[0]]
        if op.inputs[0] not in used_once(graph):
            return None
        if not same_numbers(source, graph.tensors[op.inputs[0]]):
            return None
        permutation = before.attributes.permutation
        axes = tuple(sorted(permutation[axis] for axis in op.attributes.axes))
        keep = op.attributes.keep_dims
        # Dimensions of the source that survive, in the order in which they must come out.
        wanted = [a for i, a in enumerate(permutation) if keep or i not in op.attributes.axes]
        ranks = {axis: rank for rank, axis in enumerate(sorted(wanted))}
        moved = Transpose(tuple(ranks[axis] for axis in wanted))
        result = graph.tensors[op.outputs[0]]
        shape = tuple(1 if axis in axes else source.shape[axis] for axis in sorted(wanted))
        inner = Tensor(f"{result.name}/reduced", shape, result.dtype, None, result.quantization)
        graph, index = append_tensor(graph, inner)
        reduction = replace(
            op,
            inputs=before.inputs,
            outputs=(index,),
            attributes=replace(op.attributes, axes=axes),
        )
        transpose = Operator("TRANSPOSE", (index,), op.outputs, moved)
        return replace_operators(graph, [before, op], [reduction, transpose])

    return rewrite(graph, step)


def merge_means(graph: Graph) -> Graph:
    """Turns the MEAN of a MEAN into one MEAN over both axes (float only: int8 rounds twice)."""

    def step(graph: Graph, op: Operator) -> Graph | None:
        if op.kind != "MEAN" or graph.tensors[op.outputs[0]].dtype != _FLOAT32:
            return None
        before = graph.producers().get(op.inputs[0])
        if before is None or before.kind != "MEAN" or op.inputs[0] not in used_once(graph):
            return None
        first, second = before.attributes, op.attributes
        if not isinstance(first, Reduce) or not isinstance(second, Reduce):
            return None
        if first.keep_dims != second.keep_dims:
            return None
        rank = len(graph.tensors[before.inputs[0]].shape)
        left = [axis for axis in range(rank) if first.keep_dims or axis not in first.axes]
        axes = tuple(sorted({*first.axes, *(left[axis] for axis in second.axes)}))
        merged = replace(op, inputs=before.inputs, attributes=replace(second, axes=axes))
        return replace_operators(graph, [before, op], [merged])

    return rewrite(graph, step)
