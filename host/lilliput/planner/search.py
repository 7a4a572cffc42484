"""Chooses the segments: which runs of steps stream, and which run step by step.

Dynamic programming over the cuts of the execution order. What crosses a cut is held whole; inside a
segment every tensor is a ring. A segmentation needs as many bytes as its hungriest segment, and
reads as much flash as all of them together: `Search.segments` finds, among the segmentations
within a limit of bytes, the one that reads the least flash with the fewest kernel calls.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .dataflow import Dataflow, call_count
from .flash import least_calls, merges_rows, step_reads
from .packing import align, overlap_saving
from .plan import Segment
from .residency import constants_bytes
from .timing import Timing, least_distance, ring

_BEGINS_SEGMENT = frozenset({"INPUT", "CROSS_ENTROPY", "SQUARED_ERROR"})  # an inference ends there


@dataclass(frozen=True)
class Candidate:
    """A possible segment: steps `first` to `end` (exclusive), the most bytes alive in it, the
    bytes of constants that it reads and its kernel calls."""

    first: int
    end: int
    bytes: int
    flash: int
    calls: int


@dataclass(frozen=True)
class Search:
    """All segments worth a thought, by the step behind their end."""

    ending: tuple[tuple[Candidate, ...], ...]

    def least_peak(self) -> int:
        """The fewest bytes that any segmentation needs, by the sum of what is alive. ValueError
        when all need more than the search allowed."""
        least = self.least_peak_from(0)[-1]
        if least is None:
            raise ValueError("every segmentation needs more bytes than allowed")
        return least

    def least_peak_from(self, first: int) -> list[int | None]:
        """The fewest bytes that any segmentation from step `first` on needs, by the step behind
        its end; None where there is none."""
        peak: list[int | None] = [None] * len(self.ending)
        peak[first] = 0
        for end in range(first + 1, len(self.ending)):
            for candidate in self.ending[end]:
                before = peak[candidate.first]
                if before is not None:
                    needed, least = max(before, candidate.bytes), peak[end]
                    peak[end] = needed if least is None else min(least, needed)
        return peak

    def segments(self, limit: int | None = None) -> tuple[Candidate, ...]:
        """The segments that read the least flash, then with the fewest calls, each within `limit`
        bytes; ValueError when there are none."""
        best: list[tuple[int, int] | None] = [(0, 0)]
        chosen: list[Candidate | None] = [None]
        for candidates in self.ending[1:]:
            least: tuple[int, int] | None = None
            last: Candidate | None = None
            for candidate in candidates:
                before = best[candidate.first]
                if before is None or (limit is not None and candidate.bytes > limit):
                    continue
                cost = before[0] + candidate.flash, before[1] + candidate.calls
                if least is None or cost < least:
                    least, last = cost, candidate
            best.append(least)
            chosen.append(last)
        if chosen[-1] is None:
            raise ValueError(f"no segments need {limit} bytes or fewer")
        path: list[Candidate] = []
        while (part := chosen[path[-1].first if path else -1]) is not None:
            path.append(part)
        return tuple(reversed(path))

    def trade_offs(self) -> list[tuple[Candidate, ...]]:
        """All segmentations at which less memory needs more flash reads, most memory first."""
        least = self.least_peak()
        found = [self.segments()]
        while (peak := max(candidate.bytes for candidate in found[-1])) > least:
            found.append(self.segments(peak - 1))
        return found


def as_segments(candidates: tuple[Candidate, ...]) -> tuple[Segment, ...]:
    """The candidates as a plan has them."""
    return tuple(Segment(c.first, c.end - c.first) for c in candidates)


def search(
    flow: Dataflow,
    scratch: tuple[int, ...],
    *,
    streams_input: bool = True,
    paged: bool = False,
    most: int | None = None,
) -> Search:
    """Looks at all legal segments, of at most `most` bytes. One that needs more bytes than the
    hungriest single step is of no use: running it step by step reads no more flash."""
    count = len(flow.program.steps)
    fixed = _fixed(flow)
    growths = [_Growth(flow, scratch, first, paged, fixed) for first in range(count)]
    ending: list[list[Candidate]] = [[] for _ in range(count + 1)]
    for first, growth in enumerate(growths):
        ending[first + 1].append(growth.add(first))
    limit = max(candidates[0].bytes for candidates in ending[1:])
    if most is not None:
        limit = min(limit, most)
        ending = [[c for c in candidates if c.bytes <= limit] for candidates in ending]
    for first, growth in enumerate(growths):
        if flow.program.steps[first].kind == "INPUT" and not streams_input:
            continue
        for index in range(first + 1, growth.most_end):
            candidate = growth.add(index, limit)
            if growth.kept + growth.lasting > limit:
                break
            if candidate.bytes <= limit:
                ending[candidate.end].append(candidate)
    return Search(tuple(map(tuple, ending)))


@dataclass(frozen=True)
class _Fixed:
    """What all segments ask for: bytes of each tensor, aligned, and for each step the first from
    which it cannot be in a segment."""

    sizes: tuple[int, ...]
    blocked_until: tuple[int, ...]


def _fixed(flow: Dataflow) -> _Fixed:
    program = flow.program
    return _Fixed(
        tuple(align(tensor.bytes) for tensor in program.tensors),
        tuple(
            index if step.kind in _BEGINS_SEGMENT else _last_needed_whole(flow, index) + 1
            for index, step in enumerate(program.steps)
        ),
    )


class _Growth:
    """A segment that grows step by step, and what is alive in it.

    `whole` are the bytes of whole maps: those from before, of which `kept` are needed to the end,
    and the segment's that are needed after it; `lasting` those of rings and sums in use during all
    of the segment; `passing`, by step, those of rings and scratch in use during some of its steps.
    """

    def __init__(
        self, flow: Dataflow, scratch: tuple[int, ...], first: int, paged: bool, fixed: _Fixed
    ) -> None:
        program = flow.program
        self.flow = flow
        self.fixed = fixed
        self.scratch = scratch
        self.first = first
        self.paged = paged
        sources = [
            tensor
            for tensor, index in flow.producer.items()
            if index < first <= flow.last_use[tensor]
        ]
        self.whole = sum(align(program.tensors[tensor].bytes) for tensor in sources)
        self.kept = sum(
            align(program.tensors[tensor].bytes)
            for tensor in sources
            if flow.last_use[tensor] == len(program.steps)
        )
        self.dying = {
            tensor: flow.last_use[tensor]
            for tensor in sources
            if flow.last_use[tensor] < len(program.steps)
        }
        self.lasting = 0
        self.passing = np.zeros(len(program.steps), np.int64)
        self.flash = 0
        self.calls = 0
        self.outputs: set[int] = set()  # maps of the segment that are held whole
        self.savings: dict[tuple[int, int], int] = {}
        self.timing = Timing(flow, first)

    @property
    def most_end(self) -> int:
        """The step behind the longest legal segment."""
        blocked_until = self.fixed.blocked_until
        for index in range(self.first + 1, len(blocked_until)):
            if blocked_until[index] > self.first:
                return index
        return len(blocked_until)

    def add(self, index: int, limit: int | None = None) -> Candidate:
        """Appends step `index`; returns the segment so far. Of one that cannot be within `limit`
        the bytes are an upper bound."""
        flow = self.flow
        program = flow.program
        step = program.steps[index]
        self.timing.add_step()
        if flow.producer.get(root := program.root(step.output)) == index:
            self.whole += self.fixed.sizes[root]
        if root == step.output:
            self.outputs.add(step.output)
        if step.is_sink:
            self.lasting += align(self.scratch[index])
        else:
            self.passing[index] += align(self.scratch[index])
        if index > self.first:
            self._close_rings(index)
        total = self.whole + self.lasting + int(self.passing[self.first : index + 1].max())
        segment = Segment(self.first, index - self.first + 1)
        if self.paged:
            total += constants_bytes(flow, segment)
        calls = call_count(program, step)
        if index == self.first:
            alone = 1 if merges_rows(program, step) else calls
            # What it reads when it begins a longer segment, in which its rows come one by one.
            self.flash, self.calls = step_reads(program, step, calls), calls
            flash, calls = step_reads(program, step, alone), alone
        else:
            calls = least_calls(program, step, self.timing.calls[index - self.first])
            self.flash += step_reads(program, step, calls)
            self.calls += calls
            flash, calls = self.flash, self.calls
        if limit is None or total - self._most_saving(index) <= limit:
            total -= self._saving(index)
        return Candidate(self.first, index + 1, total, flash, calls)

    def _close_rings(self, index: int) -> None:
        """Maps that step `index` is the last to read become rings."""
        flow = self.flow
        for tensor in {use.tensor for use in flow.uses[index]}:
            writer = flow.producer.get(tensor, -1)
            if writer < self.first or flow.last_use[tensor] != index:
                continue
            if flow.program.steps[writer].is_sink:
                continue
            feature_map = flow.program.tensors[tensor]
            rows, passes = ring(flow, self.timing, tensor)
            self.outputs.discard(tensor)
            self.whole -= self.fixed.sizes[tensor]
            if passes:
                self.passing[writer : index + 1] += align(rows * feature_map.row_bytes)
            else:
                self.lasting += align(rows * feature_map.row_bytes)

    def _most_saving(self, index: int) -> int:
        """A bound of what `_saving` finds, from sizes alone."""
        sizes = self.fixed.sizes
        dying = max(
            (sizes[source] for source, last in self.dying.items() if last <= index), default=0
        )
        return min(dying, max((sizes[output] for output in self.outputs), default=0))

    def _saving(self, index: int) -> int:
        """The most that one output saves by lying over an input that dies in the segment."""
        best = 0
        for source, last in self.dying.items():
            if last <= index:
                for output in self.outputs:
                    if self._most_saved(output, source) <= best:
                        continue
                    pair = output, source
                    if pair not in self.savings:
                        self.savings[pair] = self._saved(output, source)
                    best = max(best, self.savings[pair])
        return best

    def _most_saved(self, output: int, source: int) -> int:
        """What laying one wholly over the other saves: quicker to know than their distance."""
        return min(self.fixed.sizes[output], self.fixed.sizes[source])

    def _saved(self, output: int, source: int) -> int:
        tensors = self.flow.program.tensors
        distance = self._distance(output, source)
        return overlap_saving(tensors[output].bytes, tensors[source].bytes, distance)

    def _distance(self, output: int, source: int) -> int:
        """By how much an output must begin before a source that dies, for all of its readers."""
        flow = self.flow
        return max(
            least_distance(flow, self.timing, flow.producer[output], use)
            for reader in flow.readers[source]
            if reader >= self.first
            for use in flow.uses[reader]
            if flow.program.root(use.tensor) == source
        )


def needs_whole(flow: Dataflow, index: int, first: int) -> bool:
    """Whether a step reads a tensor of the segment that begins at step `first` as a whole: a view
    of it, transposed, or put together from patches."""
    return _last_needed_whole(flow, index) >= first


def _last_needed_whole(flow: Dataflow, index: int) -> int:
    """The last step that writes what step `index` reads as a whole; -1 for none."""
    is_transposed = flow.program.steps[index].kind == "TRANSPOSE"
    return max(
        (
            flow.last_writer[root]
            for use in flow.uses[index]
            for root in [flow.program.root(use.tensor)]
            if root in flow.last_writer
            and (is_transposed or root != use.tensor or flow.is_patched(root))
        ),
        default=-1,
    )
