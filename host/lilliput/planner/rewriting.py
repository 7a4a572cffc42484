"""Chooses which steps to rewrite, for less memory: in patches, in groups of channels, in slices.

A schedule is cut into parts: plain segments, as `search.py` finds them, and runs that are
rewritten. What crosses the cuts is held whole, so each part's bytes depend on itself alone, and
multiply-accumulates add up: dynamic programming over the cuts finds the parts within a limit of
bytes that compute the least twice.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ..format.constants import CONSTANTS_ALIGNMENT
from ..program import Program
from .channel_groups import Grouping, extra_macs, group, groupings, needed_bytes
from .dataflow import Dataflow, dataflow
from .output_slices import PARTS, Slicing, can_slice, slice_outputs
from .packing import align
from .patches import Patching, fed_inputs, largest_patch, patch, patched_macs, runs
from .plan import Segment
from .residency import constants_bytes
from .scratch import scratch_bytes
from .search import Search, search

_SHAPES = ((1, 2), (1, 3), (2, 2), (3, 3), (1, 4), (4, 4))
"""Patches by rows and columns: strips of the width first, which recompute the least."""
_WORTHWHILE = 0.5
"""Of the least plain peak: runs that plain segments do with less are left alone."""


Rewriting = Patching | Grouping | Slicing


@dataclass(frozen=True)
class Part:
    """Steps `first` to `end` (exclusive): the most bytes alive, the multiply-accumulates beyond
    the model's own, and how they are rewritten; None for a plain segment."""

    first: int
    end: int
    bytes: int
    extra: int
    rewriting: Rewriting | None = None


def rewritten_programs(
    flow: Dataflow,
    plain: Search,
    *,
    max_macs: float,
    streams_input: bool = True,
    paged: bool = False,
    most: int = 6,
) -> list[Program]:
    """Programs with rewritten runs that need ever less memory than the `plain` segments, at no more
    than `max_macs` times the multiply-accumulates: at most so many, the last with the least memory
    found."""
    program = flow.program
    allowed = int((max_macs - 1) * program.macs)
    limit = plain.least_peak()
    parts = [*_plain_parts(plain, limit), *_grouped_parts(flow, limit, allowed, paged)]
    if paged:
        parts += _sliced_parts(flow, plain)
    if allowed > 0:
        parts += _patched_parts(flow, plain, allowed, streams_input, paged)
    choices = _trade_offs(len(program.steps), parts, limit, allowed)
    distinct = list(dict.fromkeys(choices))
    if len(distinct) > most:
        last = len(distinct) - 1
        distinct = [distinct[round(number * last / (most - 1))] for number in range(most)]
    return [_rewritten(program, rewritings, streams_input) for rewritings in distinct]


def _plain_parts(plain: Search, limit: int) -> Iterator[Part]:
    for candidates in plain.ending:
        for candidate in candidates:
            if candidate.bytes < limit:
                yield Part(candidate.first, candidate.end, candidate.bytes, 0)


def _grouped_parts(flow: Dataflow, limit: int, allowed: int, paged: bool) -> Iterator[Part]:
    """Blocks in channel groups that need less than `limit` bytes."""
    for grouping in groupings(flow.program, with_macs=allowed > 0):
        block = grouping.block
        extra = extra_macs(flow.program, grouping)
        if extra > allowed:
            continue
        needed = needed_bytes(flow, grouping, least_scratch=allowed > 0)
        if paged:
            needed += constants_bytes(flow, Segment(block.first, block.end - block.first))
        if needed < limit:
            yield Part(block.first, block.end, needed, extra, grouping)


def _sliced_parts(flow: Dataflow, plain: Search) -> Iterator[Part]:
    """Fully connected steps whose weights take several pages, one after the other."""
    limit = plain.least_peak()
    for index, step in enumerate(flow.program.steps):
        if not can_slice(flow.program, step):
            continue
        alone = next(c for c in plain.ending[index + 1] if c.first == index)
        weights = len(step.constants)
        for parts in PARTS:
            needed = alone.bytes - weights + weights // parts + CONSTANTS_ALIGNMENT
            if needed < limit:
                yield Part(index, index + 1, needed, 0, Slicing(index, parts))


def _patched_parts(
    flow: Dataflow,
    plain: Search,
    allowed: int,
    streams_input: bool,
    paged: bool,
) -> Iterator[Part]:
    """Runs in patches that need less than any plain segmentation does, where plain segments need
    much."""
    program = flow.program
    limit = plain.least_peak()
    peaks = [plain.least_peak_from(first) for first in range(len(program.steps))]
    for first, end in runs(program):
        output = program.tensors[program.steps[end - 1].output]
        fed = fed_inputs(program, Patching(first, end, 1, 1)) if streams_input else frozenset()
        begin = first - 1 if first - 1 in fed else first
        peak = peaks[begin][end]
        if peak is not None and peak < _WORTHWHILE * limit:
            continue
        beside, read = _held_bytes(flow, first, end, fed)
        if beside + read + output.bytes >= limit:
            continue
        for rows, columns in _SHAPES:
            if rows > output.height or columns > output.width:
                continue
            patching = Patching(first, end, rows, columns)
            extra = patched_macs(program, patching) - program.macs
            if extra > allowed:
                continue
            alone = largest_patch(program, patching, streams_input=streams_input)
            flow_alone, scratch = dataflow(alone), scratch_bytes(alone, least=True)
            found = search(flow_alone, scratch, paged=paged, most=limit - beside - 1)
            needed = found.least_peak_from(0)[-1]
            if needed is not None:
                yield Part(begin, end, needed + beside, extra, patching)


def _held_bytes(flow: Dataflow, first: int, end: int, fed: frozenset[int]) -> tuple[int, int]:
    """Bytes of the maps from before a run that are alive during it, but for `fed` inputs: of those
    that it does not read, and of those that it does."""
    program = flow.program
    reads = {program.root(edge.tensor) for step in program.steps[first:end] for edge in step.edges}
    beside = read = 0
    for tensor, writer in flow.producer.items():
        if writer < first <= flow.last_use[tensor] and writer not in fed:
            if tensor in reads:
                read += align(program.tensors[tensor].bytes)
            else:
                beside += align(program.tensors[tensor].bytes)
    return beside, read


Rewritings = tuple[Rewriting, ...]


def _trade_offs(count: int, parts: list[Part], limit: int, allowed: int) -> list[Rewritings]:
    """The choices of rewritings at which less memory needs more multiply-accumulates."""
    ending: list[list[Part]] = [[] for _ in range(count + 1)]
    for part in parts:
        ending[part.end].append(part)
    found: list[Rewritings] = []
    while (choice := _least_extra(ending, limit)) is not None:
        if sum(part.extra for part in choice) > allowed:
            break
        found.append(tuple(p.rewriting for p in choice if p.rewriting is not None))
        limit = max(part.bytes for part in choice)
    return found


def _least_extra(ending: list[list[Part]], limit: int) -> list[Part] | None:
    """The parts that compute the least twice, each below `limit` bytes; None when none are."""
    best: list[tuple[int, int] | None] = [(0, 0)]
    chosen: list[Part | None] = [None]
    for parts in ending[1:]:
        least: tuple[int, int] | None = None
        last: Part | None = None
        for part in parts:
            before = best[part.first]
            if before is not None and part.bytes < limit:
                cost = before[0] + part.extra, before[1] + (part.rewriting is not None)
                if least is None or cost < least:
                    least, last = cost, part
        best.append(least)
        chosen.append(last)
    if chosen[-1] is None:
        return None
    path: list[Part] = []
    while (part_before := chosen[path[-1].first if path else -1]) is not None:
        path.append(part_before)
    return path[::-1]


def _rewritten(program: Program, rewritings: Rewritings, streams_input: bool) -> Program:
    """The program with its runs rewritten; from the last, so that the steps before keep their
    numbers."""
    for rewriting in reversed(rewritings):
        if isinstance(rewriting, Grouping):
            program = group(program, rewriting)
        elif isinstance(rewriting, Slicing):
            program = slice_outputs(program, rewriting)
        else:
            program = patch(program, rewriting, streams_input=streams_input)
    return program
