"""Decides the order of execution and the place of every byte in the arena.

A schedule is a list of segments; `Schedule.STREAMED` lets the search choose them,
`Schedule.OPERATORS` runs step by step. Times and rings are computed from the very rules by which
the core executes, so nothing can run out of room on the device.
"""

from __future__ import annotations

import enum

from ..program import Program
from .budget import BudgetError
from .dataflow import dataflow
from .front import Point, Way, choose, front, layer_by_layer, smallest, trade_offs
from .placing import place_segments
from .plan import Block, Plan, Segment
from .schedule import operator_by_operator, order_inputs
from .scratch import scratch_bytes
from .ways_out import too_large

__all__ = [
    "Block",
    "BudgetError",
    "Plan",
    "Point",
    "Schedule",
    "Segment",
    "Way",
    "choose",
    "front",
    "layer_by_layer",
    "place",
    "plan",
    "too_large",
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
    max_macs: float = 1.0,
) -> Plan:
    """Places a program in the smallest arena found; with `sram`, in at most so many bytes, and
    such that the least is computed and the least flash is read.

    With `streams_input` a graph input is fed from the caller's buffer, row by row where nothing is
    computed twice; without, it is resident. With `keep_all` no tensor is overwritten, so that
    every one can be read after an inference. When `paged`, the arena has room for the constants of
    one segment at a time, so that the model's file need not be in memory. With `max_macs` above 1
    runs of steps may be computed in patches, with so many times the multiply-accumulates.

    Raises BudgetError, which says what is in the way, when `sram` is not enough.
    """
    program = order_inputs(program)
    way = Way(streams_input, paged)
    if keep_all:
        segments = tuple(Segment(index, 1) for index in range(len(program.steps)))
        made = place(program, segments, scratch_bytes(program), keep_all=True, paged=paged)
    elif schedule is Schedule.STREAMED and (sram is not None or max_macs > 1):
        made = choose(trade_offs(program, way, max_macs=max_macs), sram).plan
    elif schedule is Schedule.STREAMED:
        made = smallest(program, way)
    else:
        segments = operator_by_operator(dataflow(program), streams_input=streams_input)
        made = place(program, segments, scratch_bytes(program), paged=paged)
    if sram is not None and made.arena_bytes > sram:
        raise too_large(program, made, sram, way)
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
