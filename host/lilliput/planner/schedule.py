"""Order, segments, and the rows that each segment's rings must hold."""

from __future__ import annotations

from dataclasses import replace

from ..program import Program, Step
from .plan import Segment


def order_inputs(program: Program) -> Program:
    """The program with each INPUT step just before the first step that needs it."""
    inputs = {step.output: step for step in program.steps if step.kind == "INPUT"}
    steps: list[Step] = []
    for step in program.steps:
        if step.kind == "INPUT":
            continue
        for edge in step.edges:
            source = inputs.pop(program.root(edge.tensor), None)
            if source is not None:
                steps.append(source)
        steps.append(step)
    return replace(program, steps=(*inputs.values(), *steps))


def operator_by_operator(program: Program) -> tuple[Segment, ...]:
    """One step a segment; a graph input streams into the step that alone reads it."""
    segments: list[Segment] = []
    index = 0
    while index < len(program.steps):
        count = 2 if _streams_into_next(program, index) else 1
        segments.append(Segment(index, count))
        index += count
    return tuple(segments)


def _streams_into_next(program: Program, index: int) -> bool:
    step = program.steps[index]
    if step.kind != "INPUT" or index + 1 == len(program.steps):
        return False
    readers = [
        reader
        for reader, other in enumerate(program.steps)
        for edge in other.edges
        if program.root(edge.tensor) == step.output
    ]
    following = program.steps[index + 1]
    direct = any(edge.tensor == step.output for edge in following.edges)
    return readers == [index + 1] and direct and following.kind != "TRANSPOSE"


def ring_rows(program: Program, segment: Segment) -> dict[int, int]:
    """Rows that the ring of each tensor computed in a segment of several steps must hold.

    Simulates the sweeps of the core's executor: see `execute.c` for the rules.
    """
    steps = [program.steps[index] for index in segment.steps]
    producer = {step.output: position for position, step in enumerate(steps)}
    totals = [_total_rows(program, step) for step in steps]
    done = [0] * len(steps)
    needed = {step.output: 1 for step in steps}

    def ready_rows(tensor: int) -> int:
        height = program.tensors[tensor].height
        if tensor not in producer:
            return height
        position = producer[tensor]
        if steps[position].is_sink:
            return height if done[position] == totals[position] else 0
        return done[position]

    def is_ready(step: Step, row: int) -> bool:
        if step.is_sink:
            return ready_rows(step.edges[0].tensor) > row
        return all(
            ready_rows(edge.tensor) > edge.last_row(row, program.tensors[edge.tensor].height)
            for edge in step.edges
        )

    def record_occupancy(step: Step, row: int) -> None:
        for edge in step.edges:
            if edge.tensor in producer:
                oldest = row if step.is_sink else edge.first_row(row)
                occupied = ready_rows(edge.tensor) - oldest
                needed[edge.tensor] = max(needed[edge.tensor], occupied)

    local = [any(edge.tensor in producer for edge in step.edges) for step in steps]
    while done != totals:
        before = list(done)
        for position, step in enumerate(steps):
            limit = totals[position] if local[position] else min(done[position] + 1, totals[position])
            while done[position] < limit and is_ready(step, done[position]):
                record_occupancy(step, done[position])
                done[position] += 1
        if done == before:
            names = ", ".join(step.name for step in steps)
            raise AssertionError(f"the segment of {names} cannot proceed")
    return {
        tensor: min(rows, program.tensors[tensor].height)
        for tensor, rows in needed.items()
        if not steps[producer[tensor]].is_sink
    }


def _total_rows(program: Program, step: Step) -> int:
    tensor = step.edges[0].tensor if step.is_sink else step.output
    return program.tensors[tensor].height
