"""From a schedule to a plan: what is held when, packed."""

from __future__ import annotations

from .dataflow import Dataflow
from .packing import PATIENCE, align, lower_bound, pack
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
    offsets = [0] * len(program.tensors)
    for index, tensor in enumerate(program.tensors):
        if tensor.constant is None:
            offsets[index] = packing.offsets[held.tensor_items[program.root(index)]]
    scratch_offsets = [0] * len(program.steps)
    for index, item in held.scratch_items.items():
        scratch_offsets[index] = packing.offsets[item]
    return Plan(
        program=program,
        segments=segments,
        rows_per_sweep=held.rows_per_sweep,
        ring_rows=held.ring_rows,
        offsets=tuple(offsets),
        scratch_offsets=tuple(scratch_offsets),
        scratch_bytes=scratch,
        page_offsets=tuple(packing.offsets[item] for item in held.page_items),
        arena_bytes=packing.bytes,
        lower_bound=lower_bound(held.items, held.overlaps),
        blocks=tuple(
            Block(item.name, offset, align(item.bytes), item.first, item.last, item.kind)
            for item, offset in zip(held.items, packing.offsets, strict=True)
        ),
    )
