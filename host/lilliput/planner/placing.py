"""From a schedule to a plan: what is held when, packed."""

from __future__ import annotations

from dataclasses import replace

from ..program import Program
from .dataflow import Dataflow
from .packing import ALIGNMENT, PATIENCE, align, lower_bound, pack
from .plan import Block, Plan, Segment
from .residency import residency


def place_segments(
    flow: Dataflow,
    segments: tuple[Segment, ...],
    scratch: tuple[int, ...],
    *,
    keep_all: bool = False,
    paged: bool = False,
    patience: int = PATIENCE,
) -> Plan:
    """Packs a schedule into an arena; see `packing.PATIENCE`."""
    program = flow.program
    held = residency(flow, segments, scratch, keep_all=keep_all, paged=paged)
    packing = pack(held.items, held.overlaps, patience=patience)
    persistent = 0 if program.training is None else align(program.training.bytes)
    offsets = [0] * len(program.tensors)
    for index, tensor in enumerate(program.tensors):
        if tensor.constant is None and not tensor.is_source:
            item = held.tensor_items[program.root(index)]
            inside = program.offset_in_root(index)
            offsets[index] = persistent + packing.offsets[item] + inside
    scratch_offsets = [0] * len(program.steps)
    for index, item in held.scratch_items.items():
        scratch_offsets[index] = persistent + packing.offsets[item]
    return Plan(
        program=program,
        segments=segments,
        rows_per_sweep=held.rows_per_sweep,
        ring_rows=held.ring_rows,
        offsets=tuple(offsets),
        scratch_offsets=tuple(scratch_offsets),
        scratch_bytes=scratch,
        page_offsets=tuple(persistent + packing.offsets[item] for item in held.page_items),
        arena_bytes=persistent + packing.bytes,
        lower_bound=persistent + lower_bound(held.items, held.overlaps),
        blocks=(
            *_persistent_blocks(program, persistent),
            *(
                Block(
                    item.name,
                    persistent + offset,
                    align(item.bytes),
                    item.first,
                    item.last,
                    item.kind,
                )
                for item, offset in zip(held.items, packing.offsets, strict=True)
            ),
        ),
    )


def _persistent_blocks(program: Program, size: int) -> tuple[Block, ...]:
    """What training keeps at the start of the arena."""
    last = len(program.steps) - 1
    return (Block("trained", 0, size, 0, last, "trained"),) if size else ()


def with_more_scratch(plan: Plan, wanted: tuple[int, ...]) -> Plan:
    """The plan with as much scratch for each step as it wants and as the arena has room for while
    it runs: kernels are faster with more."""
    offsets, sizes, blocks = list(plan.scratch_offsets), list(plan.scratch_bytes), list(plan.blocks)
    for index, step in enumerate(plan.program.steps):
        if step.is_sink or not 0 < sizes[index] < wanted[index]:
            continue
        own = next(
            number
            for number, block in enumerate(blocks)
            if block.kind == "scratch"
            and (block.first_step, block.last_step, block.offset) == (index, index, offsets[index])
        )
        offset, room = _largest_gap(blocks[:own] + blocks[own + 1 :], index, plan.arena_bytes)
        if room > sizes[index]:
            offsets[index], sizes[index] = offset, min(room, wanted[index])
            blocks[own] = replace(blocks[own], offset=offset, bytes=sizes[index])
    return replace(
        plan,
        scratch_offsets=tuple(offsets),
        scratch_bytes=tuple(sizes),
        blocks=tuple(blocks),
    )


def _largest_gap(blocks: list[Block], step: int, arena_bytes: int) -> tuple[int, int]:
    """Offset and bytes of the most free room in the arena during a step."""
    held = [block for block in blocks if block.first_step <= step <= block.last_step]
    room = offset = end = 0
    for begin, behind in [*sorted((b.offset, b.offset + b.bytes) for b in held), (arena_bytes, 0)]:
        if begin - end > room:
            room, offset = begin - end, end
        end = max(end, -(-behind // ALIGNMENT) * ALIGNMENT)
    return offset, room // ALIGNMENT * ALIGNMENT
