"""The Pareto front: what more memory buys."""

from __future__ import annotations

from dataclasses import dataclass

from ..program import Program
from .dataflow import Dataflow, dataflow
from .flash import flash_read_bytes
from .packing import PATIENCE
from .placing import place_segments
from .plan import Plan, Segment
from .schedule import operator_by_operator, order_inputs
from .scratch import scratch_bytes
from .search import Candidate, as_segments, search

_MOST_POINTS = 12  # placed for each way of input
_PATIENCE = 300  # with which all but the smallest are packed


@dataclass(frozen=True)
class Point:
    """A plan and what it costs.

    `macs_ratio` is the multiply-accumulates of one inference over those of the model: rows are
    streamed, so nothing is computed twice. `input` is "fed" (in place or row by row from the
    caller's buffer) or "resident" (in the arena).
    """

    plan: Plan
    arena_bytes: int
    flash_read_bytes: int
    input: str
    macs_ratio: float = 1.0

    def dominates(self, other: Point) -> bool:
        """Whether this is as good in everything, for the same way of input."""
        return (
            self.input == other.input
            and self.arena_bytes <= other.arena_bytes
            and self.macs_ratio <= other.macs_ratio
            and self.flash_read_bytes <= other.flash_read_bytes
        )


def front(program: Program) -> list[Point]:
    """The plans of which none is worse than another in every way: fed ones first, by arena."""
    return [point for fed in (True, False) for point in trade_offs(program, streams_input=fed)]


def trade_offs(program: Program, *, streams_input: bool) -> list[Point]:
    """The front for one way of input, by arena: from the least to where more buys nothing."""
    program = order_inputs(program)
    flow = dataflow(program)
    scratch = scratch_bytes(program)
    choices = search(flow, scratch, streams_input=streams_input).trade_offs()
    schedules = [
        operator_by_operator(flow, streams_input=streams_input),
        *(as_segments(choice) for choice in _spread(choices)),
    ]
    kind = "fed" if streams_input else "resident"
    patience = [_PATIENCE] * (len(schedules) - 1) + [PATIENCE]
    return undominated(
        [
            _point(flow, segments, scratch, kind, effort)
            for segments, effort in zip(schedules, patience, strict=True)
        ]
    )


def layer_by_layer(program: Program) -> Plan:
    """Operator by operator with the whole input in the arena: what other engines do."""
    program = order_inputs(program)
    flow = dataflow(program)
    return place_segments(
        flow, operator_by_operator(flow, streams_input=False), scratch_bytes(program)
    )


def undominated(points: list[Point]) -> list[Point]:
    """The points that no other dominates, by arena; of equal ones the first."""
    kept: list[Point] = []
    for point in sorted(points, key=lambda p: (p.arena_bytes, p.flash_read_bytes)):
        if not any(other.dominates(point) for other in kept):
            kept.append(point)
    return kept


def _point(
    flow: Dataflow,
    segments: tuple[Segment, ...],
    scratch: tuple[int, ...],
    kind: str,
    patience: int,
) -> Point:
    made = place_segments(flow, segments, scratch, patience=patience)
    return Point(made, made.arena_bytes, flash_read_bytes(flow, made), kind)


def _spread(choices: list[tuple[Candidate, ...]]) -> list[tuple[Candidate, ...]]:
    """At most so many of a list, its ends among them."""
    last = len(choices) - 1
    if last < _MOST_POINTS:
        return choices
    places = {round(number * last / (_MOST_POINTS - 1)) for number in range(_MOST_POINTS)}
    return [choices[place] for place in sorted(places)]
