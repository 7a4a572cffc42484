"""Small edits of graphs that the passes share."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from lilliput.graph import Graph, Operator, Tensor


def rename_tensors(graph: Graph, renamed: Mapping[int, int]) -> Graph:
    """The graph with every use of tensor `a` turned into one of `renamed[a]`, chains followed.

    Results of operators keep their tensors: only operands and graph outputs change.
    """

    def target(index: int) -> int:
        while index in renamed:
            index = renamed[index]
        return index

    operators = tuple(
        replace(op, inputs=tuple(target(index) for index in op.inputs)) for op in graph.operators
    )
    outputs = tuple(target(index) for index in graph.outputs)
    return replace(graph, operators=operators, outputs=outputs)


def replace_tensor(graph: Graph, index: int, tensor: Tensor) -> Graph:
    """The graph with another tensor at `index`."""
    tensors = (*graph.tensors[:index], tensor, *graph.tensors[index + 1 :])
    return replace(graph, tensors=tensors)


def used_once(graph: Graph) -> frozenset[int]:
    """Computed tensors that one operand in all the graph reads and that are no graph output."""
    uses: dict[int, int] = {}
    for op in graph.operators:
        for index in op.inputs:
            uses[index] = uses.get(index, 0) + 1
    for index in graph.outputs:
        uses[index] = uses.get(index, 0) + 2
    computed = {index for op in graph.operators for index in op.outputs}
    return frozenset(index for index in computed if uses.get(index) == 1)


def without_unused_tensors(graph: Graph) -> Graph:
    """The graph without the tensors that no operator, input or output names."""
    used = {*graph.inputs, *graph.outputs}
    for op in graph.operators:
        used.update(index for index in (*op.inputs, *op.outputs) if index >= 0)
    kept = sorted(used)
    position = {old: new for new, old in enumerate(kept)}
    position[-1] = -1

    def moved(indices: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(position[index] for index in indices)

    return replace(
        graph,
        tensors=tuple(graph.tensors[index] for index in kept),
        operators=tuple(
            replace(op, inputs=moved(op.inputs), outputs=moved(op.outputs))
            for op in graph.operators
        ),
        inputs=moved(graph.inputs),
        outputs=moved(graph.outputs),
    )


def bias_index(op: Operator) -> int:
    """The bias of a convolution or fully connected operator; -1 when it has none."""
    return op.inputs[2] if len(op.inputs) > 2 else -1


def describe(graph: Graph, op: Operator) -> str:
    """An operator as error messages name it: its kind and its output tensor."""
    return f"{op.kind} {graph.tensors[op.outputs[0]].name!r}"


def rewrite(graph: Graph, step: Callable[[Graph, Operator], Graph | None]) -> Graph:
    """Applies `step` to the operators in order, over and over, until it declines all of them.

    `step` returns the rewritten graph, or None when it has nothing to do with that operator. Each
    rewrite must bring the graph nearer to an end (fewer or simpler operators).
    """
    changed = True
    while changed:
        changed = False
        for op in graph.operators:
            result = step(graph, op)
            if result is not None:
                graph = result
                changed = True
                break
    return graph


def replace_operators(
    graph: Graph, removed: Sequence[Operator], added: Sequence[Operator]
) -> Graph:
    """The graph with `added` standing where the last of `removed` stood."""
    operators: list[Operator] = []
    last = max(index for index, op in enumerate(graph.operators) if _among(op, removed))
    for index, op in enumerate(graph.operators):
        if not _among(op, removed):
            operators.append(op)
        if index == last:
            operators.extend(added)
    return replace(graph, operators=tuple(operators))


def _among(op: Operator, others: Sequence[Operator]) -> bool:
    return any(op is other for other in others)


def append_tensor(graph: Graph, tensor: Tensor) -> tuple[Graph, int]:
    """The graph with one more tensor, and its index."""
    return replace(graph, tensors=(*graph.tensors, tensor)), len(graph.tensors)


def same_numbers(first: Tensor, second: Tensor) -> bool:
    """Whether equal stored values mean equal reals in both: same type, same quantisation."""
    if first.dtype != second.dtype:
        return False
    if first.quantization is None:
        return second.quantization is None
    return first.quantization.same_as(second.quantization)


def bypass(graph: Graph, op: Operator) -> Graph | None:
    """The graph without `op`, whose output has become its first input.

    A graph output keeps its name. None when the operator stands between a graph input, or another
    graph output, and a graph output: then both ports need a tensor of their own.
    """
    source, result = op.inputs[0], op.outputs[0]
    if result in graph.outputs:
        tensor = graph.tensors[source]
        if source in graph.inputs or source in graph.outputs or tensor.is_constant:
            return None
        graph = replace_tensor(graph, source, replace(tensor, name=graph.tensors[result].name))
    without = replace(graph, operators=tuple(o for o in graph.operators if o is not op))
    return rename_tensors(without, {result: source})
