"""How far an operator's output may lie over an input that it is the last to read."""

from __future__ import annotations

from ..program import Edge, Program, Step

_ELEMENTWISE = frozenset({"TABLE", "PRELU", "SOFTMAX", "ADD", "SUBTRACT", "MULTIPLY"})


def least_distance(program: Program, step: Step, edge: Edge) -> int:
    """Bytes by which the output must begin before the input so that no row is overwritten early.

    Rows are computed in order, so output row y may cover all input rows before the first that row
    y reads. Elementwise kernels read each element before they write it: their output may lie in
    the very place of an input of the same shape. The output's own size means: no overlap at all.
    """
    output, source = program.tensors[step.output], program.tensors[edge.tensor]
    if step.is_sink:
        return output.bytes
    if step.kind in _ELEMENTWISE and source.shape == output.shape:
        return 0
    distance = 0
    for y in range(output.height):
        first = min(edge.first_row(y), source.height)
        distance = max(distance, (y + 1) * output.row_bytes - first * source.row_bytes)
    return min(distance, output.bytes)
