"""When each row of a streamed segment is computed, and how many rows its rings must hold.

The core runs a segment in sweeps (see `execute.c`): in each, every step in turn computes the rows
whose inputs exist, but no more than its rows per sweep. A row's time is the sweep in which it is
computed. Times depend on the steps before only, so one timing serves all segments that begin at
the same step.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from ..program import FeatureMap, Step
from .dataflow import Dataflow, Use, call_count

ELEMENTWISE = frozenset(
    {
        "TABLE",
        "PRELU",
        "SOFTMAX",
        "ADD",
        "SUBTRACT",
        "MULTIPLY",
        "CLAMP_GRADIENT",
        "SUM_GRADIENTS",
        "MULTIPLY_GRADIENT",
        "TABLE_GRADIENT",
    }
)
"""Kernels that read an element before they write the one in its place."""

_INPUT_GRADIENTS = frozenset({"CONVOLUTION_GRADIENT", "DEPTHWISE_GRADIENT"})


@dataclass(eq=False)
class Timing:
    """Times of a segment's steps from `first` on, of as many as have been added.

    `calls[k]` is the time of each call of step first + k (one an output row; for a sink, one an
    input row), `outputs[k]` the time at which each of its output rows exists, and
    `rows_per_sweep[k]` its limit. `pace`: sweeps that the slowest pacing step takes.
    """

    flow: Dataflow
    first: int
    rows_per_sweep: list[int] = field(default_factory=list)
    calls: list[np.ndarray] = field(default_factory=list)
    outputs: list[np.ndarray] = field(default_factory=list)
    pace: int = 1

    def add_step(self) -> None:
        """Adds the next step.

        A step that reads nothing of its own segment paces it, with one row a sweep or, for an
        input, perhaps more; the others may compute as many rows as they need to keep up (more than
        one after an upsampling). A gradient that reads weights which the segment may change has no
        limit: what it can compute it computes before they change.
        """
        flow, program = self.flow, self.flow.program
        index = self.first + len(self.calls)
        step = program.steps[index]
        local = [use for use in flow.uses[index] if flow.producer.get(use.tensor, -1) >= self.first]
        count = call_count(program, step)
        limit = -(-count // self.pace) if local else _rows_at_a_time(flow, step)
        if not local:
            self.pace = max(self.pace, -(-count // limit))
        if step.is_training and step.arena_inputs and step.kind in _INPUT_GRADIENTS:
            limit = count
        times = _limited(np.maximum.accumulate(self._ready(local, count)), limit)
        self.rows_per_sweep.append(limit)
        self.calls.append(times)
        height = program.tensors[step.output].height
        self.outputs.append(np.full(height, times[-1]) if step.is_sink else times)

    def _ready(self, local: list[Use], count: int) -> np.ndarray:
        """The sweep in which the inputs of each call exist."""
        ready = np.zeros(count, np.int64)
        for use in local:
            written = self.outputs[self.flow.producer[use.tensor] - self.first]
            exists = written[np.maximum(use.last, 0)]
            np.maximum(ready, np.where(use.last >= 0, exists, 0), out=ready)
        return ready


def segment_timing(flow: Dataflow, first: int, end: int) -> Timing:
    """Times of the steps `first` to `end` (exclusive) when they run as one segment."""
    timing = Timing(flow, first)
    for _ in range(first, end):
        timing.add_step()
    return timing


def _rows_at_a_time(flow: Dataflow, step: Step) -> int:
    """Rows that a pacing step computes in a sweep: an input as many as its reader strides over,
    where these end with the last one that the reader needs, so that its ring need not be larger.
    Fewer sweeps cost less time."""
    readers = [flow.program.steps[use.step] for use in flow.direct.get(step.output, ())]
    if step.kind != "INPUT" or len(readers) != 1:
        return 1
    edge = next(edge for edge in readers[0].edges if edge.tensor == step.output)
    is_exact = edge.divisor == 1 and edge.step > 1 and (edge.last + 1) % edge.step == 0
    return edge.step if is_exact else 1


def _limited(ready: np.ndarray, limit: int) -> np.ndarray:
    """The sweep of each row when at most `limit` rows are computed in one."""
    if limit >= ready.size:
        return ready
    if limit == 1:
        steps = np.arange(ready.size)
        return np.maximum.accumulate(ready - steps) + steps
    times = np.empty_like(ready)
    for phase in range(limit):
        rows = ready[phase::limit]
        steps = np.arange(rows.size)
        times[phase::limit] = np.maximum.accumulate(rows - steps) + steps
    return np.maximum.accumulate(times)


def ring(flow: Dataflow, timing: Timing, tensor: int) -> tuple[int, bool]:
    """Rows of the ring of a tensor that its own segment alone reads, and whether it is passing:
    no row of it outlives the sweep in which it is computed."""
    producer = flow.producer[tensor]
    uses = flow.direct.get(tensor, ())
    rows = max((_rows_in_flight(timing, producer, use) for use in uses), default=1)
    passes = all(_is_passing(timing, producer, use) for use in uses)
    return min(rows, flow.program.tensors[tensor].height), passes


def _rows_in_flight(timing: Timing, producer: int, use: Use) -> int:
    """Rows of a tensor that must exist at once for one of its readers in the segment.

    When the reader computes a call, every row that the producer has finished by that sweep is
    there, and the first row that the call reads must not have been overwritten.
    """
    produced = timing.outputs[producer - timing.first]
    called = timing.calls[use.step - timing.first]
    existing = produced.searchsorted(called, side="right")
    return max(int((existing - use.first).max()), 1)


def _is_passing(timing: Timing, producer: int, use: Use) -> bool:
    """Whether a reader uses every row in the sweep in which it is computed, and never later."""
    produced = timing.outputs[producer - timing.first]
    called = timing.calls[use.step - timing.first]
    return bool((produced[np.minimum(use.first, produced.size - 1)] == called).all())


def _is_alike(source: FeatureMap, output: FeatureMap) -> bool:
    """Whether each element of an output lies as far into its map as that of the source."""
    return source.shape == output.shape and source.row_bytes == output.row_bytes


def least_distance(flow: Dataflow, timing: Timing, writer: int, use: Use) -> int:
    """Bytes by which a writer's whole output must begin before a whole map that a step reads for
    the last time in this segment, so that no row is overwritten while it is needed.

    Output row y may cover the input rows before the first that is read in the sweep of row y or
    later. The output's own size means: no overlap.
    """
    step = flow.program.steps[writer]
    output, source = flow.program.tensors[step.output], flow.program.tensors[use.tensor]
    if step.is_sink or not source.is_contiguous:
        return output.bytes
    if writer == use.step and step.kind in ELEMENTWISE and _is_alike(source, output):
        return 0
    times = timing.outputs[writer - timing.first]
    called = timing.calls[use.step - timing.first]
    needed = use.least_from[called.searchsorted(times, side="left")]
    ends = np.arange(1, output.height + 1) * output.row_bytes
    distance = int((ends - needed * source.row_bytes).max())
    return min(max(distance, 0), output.bytes)
