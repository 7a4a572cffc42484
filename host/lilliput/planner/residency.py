"""What a schedule keeps in the arena, during which steps, and what may lie over what."""

from __future__ import annotations

from dataclasses import dataclass

from ..program import Program
from .dataflow import Dataflow
from .packing import Item
from .plan import Segment
from .timing import Timing, least_distance, ring, segment_timing


@dataclass(frozen=True)
class Residency:
    """The items to pack, and what the executor must obey. `tensor_items` and `scratch_items` give
    the item of a map or a step, `page_items` that of each segment's constants when paged.

    `overlaps` says, for an output and an input that it is the last to read, by how many bytes the
    output must begin before the input so that no row is overwritten while it is needed.
    """

    items: tuple[Item, ...]
    rows_per_sweep: tuple[int, ...]
    ring_rows: tuple[int, ...]
    tensor_items: dict[int, int]
    scratch_items: dict[int, int]
    page_items: tuple[int, ...]
    overlaps: dict[tuple[int, int], int]


@dataclass(frozen=True)
class _Ring:
    """The rows of a tensor that only its own segment reads, and its steps of use."""

    rows: int
    first: int
    last: int


def residency(
    flow: Dataflow,
    segments: tuple[Segment, ...],
    scratch: tuple[int, ...],
    *,
    keep_all: bool = False,
    paged: bool = False,
) -> Residency:
    """Items of a schedule. With `keep_all` every tensor is kept whole to the end; when `paged`,
    each segment's constants are in the arena while it runs."""
    program = flow.program
    timings = [segment_timing(flow, s.first, s.first + s.count) for s in segments]
    rings: dict[int, _Ring] = {}
    if not keep_all:
        for segment, timing in zip(segments, timings, strict=True):
            rings |= _rings(flow, segment, timing)
    rows = [
        rings[index].rows if index in rings else tensor.height
        for index, tensor in enumerate(program.tensors)
    ]
    lives = _lifetimes(program, segments)
    items: list[Item] = []
    tensor_items: dict[int, int] = {}
    for tensor in sorted(lives):
        feature_map = program.tensors[tensor]
        first, last = lives[tensor]
        if tensor in rings:
            first, last = rings[tensor].first, rings[tensor].last
        if keep_all:
            first, last = 0, len(program.steps)
        tensor_items[tensor] = len(items)
        kind = "ring" if tensor in rings else "map"
        size = rows[tensor] * feature_map.row_bytes
        items.append(Item(feature_map.name, size, first, last, kind))
    scratch_items: dict[int, int] = {}
    for segment in segments:
        for index in segment.steps:
            if scratch[index]:
                step = program.steps[index]
                first, last = (segment.first, segment.last) if step.is_sink else (index, index)
                scratch_items[index] = len(items)
                name = f"scratch of {step.name}"
                items.append(Item(name, scratch[index], first, last, "scratch"))
    page_items: list[int] = []
    if paged:
        for number, segment in enumerate(segments):
            page_items.append(len(items))
            size = constants_bytes(flow, segment)
            name = f"weights of segment {number}"
            items.append(Item(name, size, segment.first, segment.last, "weights"))
    overlaps: dict[tuple[int, int], int] = {}
    if not keep_all:
        for segment, timing in zip(segments, timings, strict=True):
            dying = {tensor for tensor in lives if lives[tensor][1] == segment.last}
            for (output, source), distance in overlap_distances(
                flow, segment, timing, dying - rings.keys(), set(rings)
            ).items():
                overlaps[tensor_items[output], tensor_items[source]] = distance
    limits = [
        0 if segment.count == 1 else limit
        for segment, timing in zip(segments, timings, strict=True)
        for limit in timing.rows_per_sweep
    ]
    return Residency(
        tuple(items),
        tuple(limits),
        tuple(rows),
        tensor_items,
        scratch_items,
        tuple(page_items),
        overlaps,
    )


def constants_bytes(flow: Dataflow, segment: Segment) -> int:
    """Bytes of a segment's constants in the file, from the first to the last."""
    offsets, steps = flow.constant_offsets, flow.program.steps
    begin = min(offsets[index] for index in segment.steps)
    return max(offsets[index] + len(steps[index].constants) for index in segment.steps) - begin


def _rings(flow: Dataflow, segment: Segment, timing: Timing) -> dict[int, _Ring]:
    """The rings of a segment of several steps."""
    if segment.count == 1:
        return {}
    rings: dict[int, _Ring] = {}
    for index in segment.steps:
        step = flow.program.steps[index]
        inside = flow.readers.get(step.output, frozenset())
        is_patch = flow.program.tensors[step.output].view_of is not None
        is_inside = inside <= set(segment.steps)
        if step.is_sink or is_patch or step.output in flow.kept or not is_inside:
            continue
        rows, passes = ring(flow, timing, step.output)
        rings[step.output] = _Ring(
            rows,
            index if passes else segment.first,
            max(inside, default=index) if passes else segment.last,
        )
    return rings


def _lifetimes(program: Program, segments: tuple[Segment, ...]) -> dict[int, tuple[int, int]]:
    """The first and last step at which each map is held whole: it is written during all of a
    segment and may be read to the end of one. Outputs live to the end."""
    lives: dict[int, tuple[int, int]] = {}

    def use(tensor: int, segment: Segment) -> None:
        root = program.root(tensor)
        if program.tensors[root].constant is None:
            first, last = lives.get(root, (segment.first, segment.last))
            lives[root] = (min(first, segment.first), max(last, segment.last))

    for segment in segments:
        for index in segment.steps:
            step = program.steps[index]
            use(step.output, segment)
            for edge in step.edges:
                use(edge.tensor, segment)
    for port in program.outputs:
        # They are read after the last step: not even that one may lie over them.
        root = program.root(port.tensor)
        lives[root] = (lives[root][0], len(program.steps))
    return lives


def overlap_distances(
    flow: Dataflow, segment: Segment, timing: Timing, dying: set[int], rings: set[int]
) -> dict[tuple[int, int], int]:
    """Pairs (whole output, whole input that dies here) and their least distance in bytes."""
    written = {flow.program.steps[index].output: index for index in segment.steps}
    outputs = {out: at for out, at in written.items() if flow.program.root(out) == out}
    distances: dict[tuple[int, int], int] = {}
    for reader in segment.steps:
        for use in flow.uses[reader]:
            root = flow.program.root(use.tensor)
            if root not in dying or root in outputs:
                continue
            for output, writer in outputs.items():
                if output not in rings:
                    distance = least_distance(flow, timing, writer, use)
                    pair = (output, root)
                    distances[pair] = max(distances.get(pair, 0), distance)
    return distances
