"""Decides the order of execution and the place of every byte in the arena.

For now operator by operator: one step a segment, with a graph input streamed into its only reader.
The schedule is simulated here exactly as the core executes it, so nothing can run out of room on
the device.
"""

from __future__ import annotations

from ..program import Program
from .overlap import least_distance
from .packing import Item, align, lower_bound, pack
from .plan import Block, Plan, Segment
from .schedule import operator_by_operator, order_inputs, ring_rows
from .scratch import scratch_bytes

__all__ = ["Block", "Plan", "Segment", "plan"]


def plan(program: Program, *, keep_all: bool = False) -> Plan:
    """Places a program in the smallest arena found.

    With `keep_all` no tensor is overwritten, so that every one can be read after an inference.
    """
    program = order_inputs(program)
    if keep_all:
        segments = tuple(Segment(index, 1) for index in range(len(program.steps)))
    else:
        segments = operator_by_operator(program)
    rows = _rows(program, segments)
    scratch = scratch_bytes(program)
    lives = _lifetimes(program, segments)
    tensors = sorted(lives)
    items = [
        Item(
            name=program.tensors[index].name,
            bytes=rows[index] * program.tensors[index].row_bytes,
            first=0 if keep_all else lives[index][0],
            last=len(segments) if keep_all else lives[index][1],
        )
        for index in tensors
    ]
    scratch_steps = [index for index, size in enumerate(scratch) if size > 0]
    segment_of = {index: s for s, segment in enumerate(segments) for index in segment.steps}
    for index in scratch_steps:
        name = f"scratch of {program.steps[index].name}"
        items.append(Item(name, scratch[index], segment_of[index], segment_of[index]))
    overlaps = {} if keep_all else _overlaps(program, segments, lives, tensors)
    packing = pack(items, overlaps)
    position = {tensor: i for i, tensor in enumerate(tensors)}
    offsets = [0] * len(program.tensors)
    for index, tensor in enumerate(program.tensors):
        if tensor.constant is None:
            offsets[index] = packing.offsets[position[program.root(index)]]
    scratch_offsets = [0] * len(program.steps)
    for i, index in enumerate(scratch_steps):
        scratch_offsets[index] = packing.offsets[len(tensors) + i]
    return Plan(
        program=program,
        segments=segments,
        ring_rows=rows,
        offsets=tuple(offsets),
        scratch_offsets=tuple(scratch_offsets),
        scratch_bytes=scratch,
        arena_bytes=packing.bytes,
        lower_bound=lower_bound(items, overlaps),
        blocks=tuple(
            Block(item.name, offset, align(item.bytes), item.first, item.last)
            for item, offset in zip(items, packing.offsets, strict=True)
        ),
    )


def _rows(program: Program, segments: tuple[Segment, ...]) -> tuple[int, ...]:
    rows = [tensor.height for tensor in program.tensors]
    kept = {program.root(port.tensor) for port in program.outputs}
    for segment in segments:
        if segment.count == 1:
            continue
        inside = set(segment.steps)
        for tensor, count in ring_rows(program, segment).items():
            readers = {
                index
                for index, step in enumerate(program.steps)
                for edge in step.edges
                if program.root(edge.tensor) == tensor
            }
            if readers <= inside and tensor not in kept:
                rows[tensor] = count
    return tuple(rows)


def _lifetimes(program: Program, segments: tuple[Segment, ...]) -> dict[int, tuple[int, int]]:
    """The first and last segment in which each map of the arena is in use; views count for the
    map they show, and outputs live to the end."""
    lives: dict[int, tuple[int, int]] = {}

    def use(tensor: int, segment: int) -> None:
        root = program.root(tensor)
        if program.tensors[root].constant is None:
            first, last = lives.get(root, (segment, segment))
            lives[root] = (min(first, segment), max(last, segment))

    for number, segment in enumerate(segments):
        for index in segment.steps:
            step = program.steps[index]
            use(step.output, number)
            for edge in step.edges:
                use(edge.tensor, number)
    for port in program.outputs:
        use(port.tensor, len(segments) - 1)
    return lives


def _overlaps(
    program: Program,
    segments: tuple[Segment, ...],
    lives: dict[int, tuple[int, int]],
    tensors: list[int],
) -> dict[tuple[int, int], int]:
    """For each output that may lie over a dying input, by how much it must begin before it."""
    position = {tensor: i for i, tensor in enumerate(tensors)}
    overlaps: dict[tuple[int, int], int] = {}
    for number, segment in enumerate(segments):
        if segment.count > 1:
            continue
        step = program.steps[segment.first]
        for edge in step.edges:
            root = program.root(edge.tensor)
            if root in position and lives[root][1] == number and root != step.output:
                pair = (position[step.output], position[root])
                distance = least_distance(program, step, edge)
                overlaps[pair] = max(overlaps.get(pair, 0), distance)
    return overlaps
