"""Decides the order of execution and the place of every byte in the arena.

A schedule is a list of segments; `Schedule.STREAMED` lets the search choose them,
`Schedule.OPERATORS` runs step by step. Times and rings are computed from the very rules by which
the core executes, so nothing can run out of room on the device.
"""

from __future__ import annotations

import enum

from ..program import Program
from .packing import align, lower_bound, pack
from .plan import Block, Plan, Segment
from .residency import residency
from .schedule import operator_by_operator, order_inputs
from .scratch import scratch_bytes
from .search import stream

__all__ = ["Block", "Plan", "Schedule", "Segment", "plan", "place"]


class Schedule(enum.Enum):
    """How segments are chosen."""

    STREAMED = "streamed"
    OPERATORS = "operators"


def plan(
    program: Program,
    *,
    schedule: Schedule = Schedule.STREAMED,
    streams_input: bool = True,
    keep_all: bool = False,
    paged: bool = False,
) -> Plan:
    """Places a program in the smallest arena found.

    With `streams_input` a graph input is fed row by row from the caller's buffer where that helps;
    without, it is resident. With `keep_all` no tensor is overwritten, so that every one can be
    read after an inference. When `paged`, the arena has room for the constants of one segment at a
    time, so that the model's file need not be in memory.
    """
    program = order_inputs(program)
    scratch = scratch_bytes(program)
    if keep_all:
        segments = tuple(Segment(index, 1) for index in range(len(program.steps)))
        return place(program, segments, scratch, keep_all=True, paged=paged)
    schedules = [operator_by_operator(program, streams_input=streams_input)]
    if schedule is Schedule.STREAMED:
        schedules.append(stream(program, scratch, streams_input=streams_input, paged=paged))
    plans = [place(program, segments, scratch, paged=paged) for segments in schedules]
    return min(plans, key=lambda candidate: candidate.arena_bytes)


def place(
    program: Program,
    segments: tuple[Segment, ...],
    scratch: tuple[int, ...],
    *,
    keep_all: bool = False,
    paged: bool = False,
) -> Plan:
    """Packs a schedule into an arena."""
    held = residency(program, segments, scratch, keep_all=keep_all, paged=paged)
    packing = pack(held.items, held.overlaps)
    offsets = [0] * len(program.tensors)
    for index, tensor in enumerate(program.tensors):
        if tensor.constant is None:
            offsets[index] = packing.offsets[held.tensor_items[program.root(index)]]
    scratch_offsets = [0] * len(program.steps)
    for index, item in held.scratch_items.items():
        scratch_offsets[index] = packing.offsets[item]
    return Plan(
        program=program,
        segments=segments,
        rows_per_sweep=held.rows_per_sweep,
        ring_rows=held.ring_rows,
        offsets=tuple(offsets),
        scratch_offsets=tuple(scratch_offsets),
        scratch_bytes=scratch,
        page_offsets=tuple(packing.offsets[item] for item in held.page_items),
        arena_bytes=packing.bytes,
        lower_bound=lower_bound(held.items, held.overlaps),
        blocks=tuple(
            Block(item.name, offset, align(item.bytes), item.first, item.last)
            for item, offset in zip(held.items, packing.offsets, strict=True)
        ),
    )
