"""The Pareto front: what more memory, and more multiply-accumulates, buy."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from ..program import Program
from .dataflow import Dataflow, dataflow
from .flash import flash_read_bytes
from .packing import PATIENCE
from .placing import place_segments, with_more_scratch
from .plan import Plan, Segment
from .rewriting import rewritten_programs
from .schedule import operator_by_operator, order_inputs
from .scratch import scratch_bytes
from .search import Candidate, Search, as_segments, search

_MOST_POINTS = 12  # placed for each way of input, without patches
_PATIENCE = 300  # with which all but the smallest and the largest are packed


@dataclass(frozen=True)
class Point:
    """A plan and what it costs.

    `macs_ratio` is the multiply-accumulates of one inference over those of the model: 1 unless
    patches recompute their halos. `input` is "fed" (in place or row by row from the caller's
    buffer) or "resident" (in the arena); `weights` are "mapped" or "paged".
    """

    plan: Plan
    arena_bytes: int
    flash_read_bytes: int
    input: str
    macs_ratio: float = 1.0
    weights: str = "mapped"

    def dominates(self, other: Point) -> bool:
        """Whether this is as good in everything, for the same ways of input and weights."""
        return (
            self.input == other.input
            and self.weights == other.weights
            and self.arena_bytes <= other.arena_bytes
            and self.macs_ratio <= other.macs_ratio
            and self.flash_read_bytes <= other.flash_read_bytes
        )


@dataclass(frozen=True)
class Way:
    """How a plan gets its input and its weights."""

    streams_input: bool = True
    paged: bool = False


def front(
    program: Program, *, max_macs: float = 1.0, ways: Iterable[Way] | None = None
) -> list[Point]:
    """The plans of which none is worse than another in every way, for each of `ways` by arena; by
    default with mapped weights, fed and resident."""
    chosen = (Way(), Way(streams_input=False)) if ways is None else ways
    return [point for way in chosen for point in trade_offs(program, way, max_macs=max_macs)]


def trade_offs(program: Program, way: Way, *, max_macs: float = 1.0) -> list[Point]:
    """The front for one way, by arena: from the least to where more buys nothing. Patches may take
    up to `max_macs` times the model's multiply-accumulates."""
    program = order_inputs(program)
    wanted = _searched(program, way)
    points = _streamed(wanted, way) + _rewritten(wanted, way, 1.0)
    if max_macs > 1:
        patched = _rewritten(_searched(program, way, least_scratch=True), way, max_macs)
        points += [point for point in patched if point.macs_ratio > 1]
    return undominated(points)


def smallest(program: Program, way: Way) -> Plan:
    """The smallest arena found that computes nothing twice."""
    program = order_inputs(program)
    searched = _searched(program, way)
    points = [_least(searched, program.macs, way, PATIENCE), *_rewritten(searched, way, 1.0)]
    if points[0].arena_bytes > points[0].plan.lower_bound:
        segments = operator_by_operator(searched.flow, streams_input=way.streams_input)
        points.append(_point(searched, segments, way, PATIENCE, program.macs))
    return min(points, key=lambda point: point.arena_bytes).plan


def choose(points: list[Point], sram: int | None = None, max_macs: float | None = None) -> Point:
    """The smallest arena; with `sram`, of those that fit the one that computes, then reads, the
    least, or the smallest when none fits. `max_macs` leaves out what computes more."""
    allowed = [point for point in points if max_macs is None or point.macs_ratio <= max_macs]
    fitting = [point for point in allowed if sram is not None and point.arena_bytes <= sram]
    if fitting:
        return min(fitting, key=lambda p: (p.macs_ratio, p.flash_read_bytes, p.arena_bytes))
    return min(allowed, key=lambda p: (p.arena_bytes, p.macs_ratio, p.flash_read_bytes))


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
    for point in sorted(points, key=lambda p: (p.arena_bytes, p.macs_ratio, p.flash_read_bytes)):
        if not any(other.dominates(point) for other in kept):
            kept.append(point)
    return kept


@dataclass(frozen=True)
class _Searched:
    """A program's uses, its kernels' scratch, and all segments worth a thought."""

    flow: Dataflow
    scratch: tuple[int, ...]
    found: Search


def _searched(program: Program, way: Way, *, least_scratch: bool = False) -> _Searched:
    flow = dataflow(program)
    scratch = scratch_bytes(program, least=least_scratch)
    found = search(flow, scratch, streams_input=way.streams_input, paged=way.paged)
    return _Searched(flow, scratch, found)


def _streamed(searched: _Searched, way: Way) -> list[Point]:
    """Points that compute nothing twice."""
    schedules = [
        operator_by_operator(searched.flow, streams_input=way.streams_input),
        *(as_segments(choice) for choice in _spread(searched.found.trade_offs())),
    ]
    patience = [PATIENCE, *[_PATIENCE] * (len(schedules) - 2), PATIENCE][-len(schedules) :]
    macs = searched.flow.program.macs
    return [
        _point(searched, segments, way, effort, macs)
        for segments, effort in zip(schedules, patience, strict=True)
    ]


def _rewritten(plain: _Searched, way: Way, max_macs: float) -> list[Point]:
    """Points of runs in patches or channel groups: the last with the least memory found. One that
    computes more than the model wants memory above all: its kernels get the least scratch, and
    more of it where there is room."""
    if plain.flow.program.training is not None:
        return []  # the backward pass belongs to the steps of the forward pass as they are
    macs = plain.flow.program.macs
    programs = rewritten_programs(
        plain.flow,
        plain.found,
        max_macs=max_macs,
        streams_input=way.streams_input,
        paged=way.paged,
    )
    points: list[Point] = []
    for number, made in enumerate(programs, 1):
        recomputes = made.macs > macs
        effort = PATIENCE if number == len(programs) else _PATIENCE
        point = _least(_searched(made, way, least_scratch=recomputes), macs, way, effort)
        if recomputes:
            point = replace(point, plan=with_more_scratch(point.plan, scratch_bytes(made)))
        points.append(point)
    return points


def _least(searched: _Searched, macs: int, way: Way, patience: int) -> Point:
    """The smallest arena of a program; `macs` are the model's own. Where the segmentation of least
    peak packs badly, one of a little more is tried."""
    least = searched.found.least_peak()
    points: list[Point] = []
    for limit in (least, least + least // 64):
        segments = as_segments(searched.found.segments(limit))
        points.append(_point(searched, segments, way, patience, macs))
        if points[-1].arena_bytes <= limit:
            break
    return min(points, key=lambda point: point.arena_bytes)


def _point(
    searched: _Searched, segments: tuple[Segment, ...], way: Way, patience: int, macs: int
) -> Point:
    flow = searched.flow
    made = place_segments(flow, segments, searched.scratch, paged=way.paged, patience=patience)
    return Point(
        made,
        made.arena_bytes,
        flash_read_bytes(flow, made),
        "fed" if way.streams_input else "resident",
        flow.program.macs / macs if macs else 1.0,
        "paged" if way.paged else "mapped",
    )


def _spread(choices: list[tuple[Candidate, ...]]) -> list[tuple[Candidate, ...]]:
    """At most so many of a list, its ends among them."""
    last = len(choices) - 1
    if last < _MOST_POINTS:
        return choices
    places = {round(number * last / (_MOST_POINTS - 1)) for number in range(_MOST_POINTS)}
    return [choices[place] for place in sorted(places)]
