"""The order of the steps, and the schedule that runs them one by one."""

from __future__ import annotations

from dataclasses import replace

from ..program import Program, Step
from .dataflow import Dataflow
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


def operator_by_operator(flow: Dataflow, *, streams_input: bool = True) -> tuple[Segment, ...]:
    """One step a segment; a graph input streams into the step that alone reads it."""
    segments: list[Segment] = []
    index = 0
    while index < len(flow.program.steps):
        count = 2 if streams_input and _streams_into_next(flow, index) else 1
        segments.append(Segment(index, count))
        index += count
    return tuple(segments)


def _streams_into_next(flow: Dataflow, index: int) -> bool:
    program = flow.program
    step = program.steps[index]
    if step.kind != "INPUT" or index + 1 == len(program.steps):
        return False
    readers = flow.readers.get(step.output, frozenset())
    following = program.steps[index + 1]
    direct = any(edge.tensor == step.output for edge in following.edges)
    return readers == {index + 1} and direct and following.kind != "TRANSPOSE"
