"""When each row of a streamed segment is computed, and how many rows its rings must hold.

The core runs a segment in sweeps (see `execute.c`): in each, every step in turn computes the rows
whose inputs exist, but no more than its rows per sweep. A row's time is the sweep in which it is
computed. Times depend on the steps before only, so one timing serves all segments that begin at
the same step.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..program import Edge, Program, Step

ELEMENTWISE = frozenset({"TABLE", "PRELU", "SOFTMAX", "ADD", "SUBTRACT", "MULTIPLY"})
"""Kernels that read an element before they write the one in its place."""


@dataclass(frozen=True)
class Timing:
    """Times of a segment's steps from `first` on.

    `calls[k]` is the time of each call of step first + k (one an output row; for a sink, one an
    input row), `outputs[k]` the time at which each of its output rows exists, and
    `rows_per_sweep[k]` its limit.
    """

    first: int
    rows_per_sweep: tuple[int, ...]
    calls: tuple[np.ndarray, ...]
    outputs: tuple[np.ndarray, ...]


def first_rows(program: Program, step: Step, edge: Edge) -> np.ndarray:
    """The first input row, clipped to the map, that each call of a step reads."""
    height = program.tensors[edge.tensor].height
    if step.is_sink:
        return np.arange(height)
    rows = np.arange(program.tensors[step.output].height, dtype=np.int64)
    return np.clip((rows * edge.step + edge.first) // edge.divisor, 0, height)


def last_rows(program: Program, step: Step, edge: Edge) -> np.ndarray:
    """The last input row, clipped to the map, that each call of a step reads; negative for none."""
    height = program.tensors[edge.tensor].height
    if step.is_sink:
        return np.arange(height)
    rows = np.arange(program.tensors[step.output].height, dtype=np.int64)
    return np.minimum((rows * edge.step + edge.last) // edge.divisor, height - 1)


def segment_timing(program: Program, first: int, end: int) -> Timing:
    """Times of the steps `first` to `end` (exclusive) when they run as one segment.

    A step that reads nothing of its own segment paces it with one row a sweep; the others may
    compute as many rows as they need to keep up (more than one after an upsampling).
    """
    producer: dict[int, int] = {}
    limits: list[int] = []
    calls: list[np.ndarray] = []
    outputs: list[np.ndarray] = []
    pace = 1  # rows of the tallest pacing step so far
    for index in range(first, end):
        step = program.steps[index]
        local = [edge for edge in step.edges if edge.tensor in producer]
        height = program.tensors[step.output].height
        count = program.tensors[step.edges[0].tensor].height if step.is_sink else height
        ready = np.zeros(count, np.int64)
        for edge in local:
            needed = last_rows(program, step, edge)
            exists = outputs[producer[edge.tensor]][np.maximum(needed, 0)]
            ready = np.maximum(ready, np.where(needed >= 0, exists, 0))
        if not local:
            pace = max(pace, count)
        limit = -(-count // pace) if local else 1
        times = _limited(np.maximum.accumulate(ready), limit)
        producer[step.output] = index - first
        limits.append(limit)
        calls.append(times)
        outputs.append(np.full(height, times[-1]) if step.is_sink else times)
    return Timing(first, tuple(limits), tuple(calls), tuple(outputs))


def _limited(ready: np.ndarray, limit: int) -> np.ndarray:
    """The sweep of each row when at most `limit` rows are computed in one."""
    times = np.empty_like(ready)
    for phase in range(limit):
        rows = ready[phase::limit]
        steps = np.arange(rows.size)
        times[phase::limit] = np.maximum.accumulate(rows - steps) + steps
    return np.maximum.accumulate(times)


def rows_in_flight(program: Program, timing: Timing, producer: int, consumer: int, edge: Edge) -> int:
    """Rows of a tensor that must exist at once for one of its readers in the segment.

    `producer` and `consumer` are step indices. When the consumer computes a call, every row that
    the producer has finished by that sweep is there, and the first row that the call reads must
    not have been overwritten.
    """
    produced = timing.outputs[producer - timing.first]
    called = timing.calls[consumer - timing.first]
    existing = np.searchsorted(produced, called, side="right")
    oldest = first_rows(program, program.steps[consumer], edge)
    return int(np.max(existing - oldest, initial=1))


def first_row_needed(
    program: Program, timing: Timing, consumer: int, edge: Edge, at: np.ndarray
) -> np.ndarray:
    """The first row of a whole map that a step may still read in the sweeps `at` or later."""
    called = timing.calls[consumer - timing.first]
    oldest = first_rows(program, program.steps[consumer], edge)
    height = program.tensors[edge.tensor].height
    least_from = np.minimum.accumulate(oldest[::-1])[::-1]
    following = np.searchsorted(called, at, side="left")
    return np.append(least_from, height)[following]


def is_passing(program: Program, timing: Timing, producer: int, consumer: int, edge: Edge) -> bool:
    """Whether a reader uses every row in the sweep in which it is computed, and never later."""
    produced = timing.outputs[producer - timing.first]
    called = timing.calls[consumer - timing.first]
    oldest = first_rows(program, program.steps[consumer], edge)
    return bool(np.all(produced[np.minimum(oldest, produced.size - 1)] == called))


def least_distance(program: Program, timing: Timing, writer: int, reader: int, edge: Edge) -> int:
    """Bytes by which a writer's whole output must begin before a whole map that a reader reads for
    the last time in this segment, so that no row is overwritten while it is needed.

    Output row y may cover the input rows before the first that is read in the sweep of row y or
    later. The output's own size means: no overlap.
    """
    step = program.steps[writer]
    output, source = program.tensors[step.output], program.tensors[edge.tensor]
    if step.is_sink:
        return output.bytes
    if writer == reader and step.kind in ELEMENTWISE and source.shape == output.shape:
        return 0
    times = timing.outputs[writer - timing.first]
    needed = first_row_needed(program, timing, reader, edge, times)
    ends = (np.arange(output.height) + 1) * output.row_bytes
    distance = int(np.max(ends - needed * source.row_bytes))
    return min(max(distance, 0), output.bytes)
