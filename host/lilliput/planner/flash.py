"""How often the constants are read: bytes of flash that one inference fetches."""

from __future__ import annotations

import numpy as np

from ..program import Program, Step
from .dataflow import Dataflow, call_count
from .plan import Plan
from .residency import constants_bytes
from .timing import segment_timing


def flash_read_bytes(flow: Dataflow, plan: Plan) -> int:
    """Constants that the kernel calls of one inference read.

    A call reads all constants of its step once, except a sink's, whose weights belong to one input
    row each. A paged plan reads each segment's window once, and works from the arena.
    """
    program = plan.program
    if plan.is_paged:
        return sum(constants_bytes(flow, segment) for segment in plan.segments)
    calls = kernel_calls(flow, plan)
    return sum(map(step_reads, [program] * len(calls), program.steps, calls))


def kernel_calls(flow: Dataflow, plan: Plan) -> tuple[int, ...]:
    """How often each step's kernel is called in one inference."""
    program = plan.program
    found: list[int] = []
    for segment in plan.segments:
        timing = segment_timing(flow, segment.first, segment.first + segment.count)
        for index in segment.steps:
            times = timing.calls[index - segment.first]
            if segment.count == 1:
                times = np.zeros_like(times)
            found.append(_kernel_calls(program, program.steps[index], times, plan.ring_rows))
    return tuple(found)


def step_reads(program: Program, step: Step, calls: int) -> int:
    """Bytes of constants that a step reads in so many kernel calls."""
    total = len(step.constants) * (1 if step.is_sink else calls)
    for edge in step.edges:
        tensor = program.tensors[edge.tensor]
        if tensor.constant is not None:
            total += tensor.bytes if tensor.height > 1 else tensor.row_bytes * calls
    return total


def least_calls(program: Program, step: Step, times: np.ndarray) -> int:
    """Kernel calls of a step whose rows are computed in the sweeps `times`, if no ring wraps."""
    if not merges_rows(program, step):
        return len(times)
    return 1 + int(np.count_nonzero(times[1:] != times[:-1]))


def merges_rows(program: Program, step: Step) -> bool:
    """Whether rows that lie one behind the other are computed in one call."""
    tensors = (step.output, *(edge.tensor for edge in step.edges))
    return step.is_pointwise and all(program.tensors[t].is_contiguous for t in tensors)


def _kernel_calls(
    program: Program, step: Step, times: np.ndarray, ring_rows: tuple[int, ...]
) -> int:
    """Kernel calls of a step: a pointwise one computes the rows of a sweep at once, as far as they
    lie one behind the other."""
    if not merges_rows(program, step):
        return call_count(program, step)
    rows = np.arange(times.size)
    begins = np.diff(times, prepend=-1) != 0
    for tensor in (step.output, *(edge.tensor for edge in step.edges)):
        if program.tensors[tensor].height > 1:
            begins |= rows % ring_rows[tensor] == 0
    return int(np.count_nonzero(begins))
