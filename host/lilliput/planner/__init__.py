"""Decides the order of execution and the place of every byte in the arena.

A schedule is a list of segments; `Schedule.STREAMED` lets the search choose them,
`Schedule.OPERATORS` runs step by step. Times and rings are computed from the very rules by which
the core executes, so nothing can run out of room on the device.
"""

from __future__ import annotations

import enum

from ..program import Program
from .budget import BudgetError, budget_error
from .dataflow import dataflow
from .front import Point, front, layer_by_layer, trade_offs
from .placing import place_segments
from .plan import Block, Plan, Segment
from .schedule import operator_by_operator, order_inputs
from .scratch import scratch_bytes
from .search import as_segments, search

__all__ = [
    "Block",
    "BudgetError",
    "Plan",
    "Point",
    "Schedule",
    "Segment",
    "budget_error",
    "front",
    "layer_by_layer",
    "place",
    "plan",
]


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
    sram: int | None = None,
) -> Plan:
    """Places a program in the smallest arena found; with `sram`, in at most so many bytes, and
    such that the least flash is read.

    With `streams_input` a graph input is fed row by row from the caller's buffer where that helps;
    without, it is resident. With `keep_all` no tensor is overwritten, so that every one can be
    read after an inference. When `paged`, the arena has room for the constants of one segment at a
    time, so that the model's file need not be in memory.

    Raises BudgetError, which says what is in the way, when `sram` is not enough.
    """
    program = order_inputs(program)
    if keep_all:
        segments = tuple(Segment(index, 1) for index in range(len(program.steps)))
        made = place(program, segments, scratch_bytes(program), keep_all=True, paged=paged)
    elif sram is not None and schedule is Schedule.STREAMED and not paged:
        points = trade_offs(program, streams_input=streams_input)
        fitting = [point for point in points if point.arena_bytes <= sram]
        made = min(
            fitting or points,
            key=lambda point: (
                (point.flash_read_bytes, point.arena_bytes)
                if fitting
                else (point.arena_bytes, point.flash_read_bytes)
            ),
        ).plan
    else:
        made = _smallest(program, schedule, streams_input=streams_input, paged=paged)
    if sram is not None and made.arena_bytes > sram:
        fed = made
        if not streams_input:
            fed = plan(program, schedule=schedule, keep_all=keep_all, paged=paged)
        raise budget_error(made, sram, fed_bytes=fed.arena_bytes, is_fed=streams_input)
    return made


def place(
    program: Program,
    segments: tuple[Segment, ...],
    scratch: tuple[int, ...],
    *,
    keep_all: bool = False,
    paged: bool = False,
) -> Plan:
    """Packs a schedule into an arena. The program's inputs must be in order (`order_inputs`)."""
    return place_segments(dataflow(program), segments, scratch, keep_all=keep_all, paged=paged)


def _smallest(program: Program, schedule: Schedule, *, streams_input: bool, paged: bool) -> Plan:
    """The smallest arena found: that of least peak, unless it packs badly."""
    flow = dataflow(program)
    scratch = scratch_bytes(program)
    plans: list[Plan] = []
    if schedule is Schedule.STREAMED:
        found = search(flow, scratch, streams_input=streams_input, paged=paged)
        least = found.least_peak()
        for limit in (least, least + least // 64):
            segments = as_segments(found.segments(limit))
            plans.append(place_segments(flow, segments, scratch, paged=paged))
            if plans[-1].arena_bytes <= limit:
                return min(plans, key=lambda candidate: candidate.arena_bytes)
    segments = operator_by_operator(flow, streams_input=streams_input)
    plans.append(place_segments(flow, segments, scratch, paged=paged))
    return min(plans, key=lambda candidate: candidate.arena_bytes)
