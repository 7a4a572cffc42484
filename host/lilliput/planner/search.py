"""Chooses the segments: which runs of steps stream, and which run step by step.

Dynamic programming over the cuts of the execution order. What crosses a cut is held whole; inside a
segment every tensor is a ring. First the least peak over all segmentations is found (minimax),
then, among those that reach it, the one with the fewest kernel calls.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..program import Program
from .packing import align, overlap_saving
from .plan import Segment
from .residency import constants_bytes, overlap_distances
from .schedule import readers_of
from .timing import Timing, is_passing, rows_in_flight, segment_timing


@dataclass(frozen=True)
class Candidate:
    """A possible segment: steps `first` to `end` (exclusive), its bytes and kernel calls."""

    first: int
    end: int
    bytes: int
    calls: int


def stream(
    program: Program,
    scratch: tuple[int, ...],
    *,
    streams_input: bool = True,
    paged: bool = False,
) -> tuple[Segment, ...]:
    """The segments of least peak, by the sum of what is alive in each."""
    count = len(program.steps)
    candidates = [
        candidate
        for first in range(count)
        for candidate in _candidates(program, scratch, first, streams_input, paged)
    ]
    ending: list[list[Candidate]] = [[] for _ in range(count + 1)]
    for candidate in candidates:
        ending[candidate.end].append(candidate)
    peak = [0] * (count + 1)
    for end in range(1, count + 1):
        peak[end] = min(max(peak[c.first], c.bytes) for c in ending[end])
    return _fewest_calls(ending, peak[count])


def _fewest_calls(ending: list[list[Candidate]], limit: int) -> tuple[Segment, ...]:
    """Among segmentations within `limit` bytes, the one with the fewest kernel calls."""
    count = len(ending) - 1
    calls: list[float] = [0.0] + [float("inf")] * count
    chosen: list[Candidate | None] = [None] * (count + 1)
    for end in range(1, count + 1):
        for candidate in ending[end]:
            total = calls[candidate.first] + candidate.calls
            if candidate.bytes <= limit and total < calls[end]:
                calls[end], chosen[end] = total, candidate
    segments: list[Segment] = []
    end = count
    while (best := chosen[end]) is not None:
        segments.append(Segment(best.first, best.end - best.first))
        end = best.first
    return tuple(reversed(segments))


def _candidates(
    program: Program, scratch: tuple[int, ...], first: int, streams_input: bool, paged: bool
) -> list[Candidate]:
    """All segments that begin at step `first`."""
    readers = readers_of(program)
    kept = {program.root(port.tensor) for port in program.outputs}
    producer = {step.output: index for index, step in enumerate(program.steps)}
    count = len(program.steps)
    timing = segment_timing(program, first, count)
    last_use = {
        tensor: count if tensor in kept else max(readers.get(tensor, {index}))
        for tensor, index in producer.items()
    }
    # Whole maps from before, and those of the segment that are needed after it.
    whole = sum(
        align(program.tensors[tensor].bytes)
        for tensor, index in producer.items()
        if index < first <= last_use[tensor]
    )
    lasting = 0  # rings and sums that are in use during all of the segment
    passing = np.array([0 if step.is_sink else align(size) for step, size in zip(program.steps, scratch, strict=True)])
    calls = 0
    found: list[Candidate] = []
    for index in range(first, count):
        step = program.steps[index]
        if index > first and (
            step.kind == "INPUT"
            or needs_whole(program, index, first)
            or (program.steps[first].kind == "INPUT" and not streams_input)
        ):
            break
        feature_map = program.tensors[step.output]
        whole += align(feature_map.bytes)
        lasting += align(scratch[index]) if step.is_sink else 0
        calls += feature_map.height
        if index > first:
            for tensor in {edge.tensor for edge in step.edges}:
                writer = producer.get(tensor, -1)
                if writer < first or last_use[tensor] != index or program.steps[writer].is_sink:
                    continue
                ring, passes = _ring(program, timing, writer, readers[tensor])
                whole -= align(program.tensors[tensor].bytes)
                if passes:
                    passing[writer : index + 1] += ring
                else:
                    lasting += ring
        total = whole + lasting + int(passing[first : index + 1].max())
        if paged:
            total += constants_bytes(program, Segment(first, index - first + 1))
        total -= _saving(program, timing, Segment(first, index - first + 1), last_use, producer)
        single = index == first and step.is_pointwise
        found.append(Candidate(first, index + 1, total, 1 if single else calls))
    return found


def _ring(
    program: Program, timing: Timing, writer: int, readers: set[int]
) -> tuple[int, bool]:
    """Bytes of a tensor's ring, and whether no row of it outlives its sweep."""
    feature_map = program.tensors[program.steps[writer].output]
    uses = [
        (reader, edge)
        for reader in readers
        for edge in program.steps[reader].edges
        if edge.tensor == program.steps[writer].output
    ]
    rows = max(rows_in_flight(program, timing, writer, reader, edge) for reader, edge in uses)
    passes = all(is_passing(program, timing, writer, reader, edge) for reader, edge in uses)
    return align(min(rows, feature_map.height) * feature_map.row_bytes), passes


def _saving(
    program: Program,
    timing: Timing,
    segment: Segment,
    last_use: dict[int, int],
    producer: dict[int, int],
) -> int:
    """The most that one output saves by lying over an input that dies in the segment."""
    dying = {
        tensor
        for tensor, index in producer.items()
        if index < segment.first and segment.first <= last_use[tensor] <= segment.last
    }
    if not dying:
        return 0
    rings = {t for t, index in producer.items() if index >= segment.first and last_use[t] <= segment.last}
    return max(
        (
            overlap_saving(program.tensors[output].bytes, program.tensors[source].bytes, distance)
            for (output, source), distance in overlap_distances(
                program, segment, timing, dying, rings
            ).items()
        ),
        default=0,
    )


def needs_whole(program: Program, index: int, first: int) -> bool:
    """Whether a step reads a tensor of the segment as a whole: a view of it, or transposed."""
    step = program.steps[index]
    local = {program.steps[i].output for i in range(first, index)}
    return any(
        program.root(edge.tensor) in local
        and (edge.tensor not in local or step.kind == "TRANSPOSE")
        for edge in step.edges
    )
