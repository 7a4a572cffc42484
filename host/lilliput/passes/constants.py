"""Operators on constants alone, computed now."""

from __future__ import annotations

from dataclasses import replace

from lilliput.exporters.tflite import write_tflite
from lilliput.graph import Graph, Operator
from lilliput.litert import run
from lilliput.passes.rewriting import replace_tensor, rewrite


def fold_constants(graph: Graph) -> Graph:
    """Replaces operators whose operands are all constants by their result.

    The result is what LiteRT's reference kernels give, bit for bit.
    """

    def step(graph: Graph, op: Operator) -> Graph | None:
        operands = [index for index in op.inputs if index >= 0]
        if not operands or not all(graph.tensors[index].is_constant for index in operands):
            return None
        if any(index in graph.outputs for index in op.outputs):
            return None
        return _evaluated(graph, op)

    return rewrite(graph, step)


def _evaluated(graph: Graph, op: Operator) -> Graph:
    """The graph with the results of `op` as constants."""
    first = op.inputs[0]
    value = graph.tensors[first].data
    if value is None:
        raise TypeError(f"{op.kind} has an operand that is not a constant")
    alone = replace_tensor(graph, first, replace(graph.tensors[first], data=None))
    alone = replace(alone, operators=(op,), inputs=(first,), outputs=op.outputs)
    results = run(write_tflite(alone), [value])
    for index, result in zip(op.outputs, results, strict=True):
        tensor = graph.tensors[index]
        graph = replace_tensor(graph, index, replace(tensor, data=result.reshape(tensor.shape)))
    return replace(graph, operators=tuple(o for o in graph.operators if o is not op))
