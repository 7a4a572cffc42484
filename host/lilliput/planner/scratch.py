"""How much scratch each step's kernel needs. The core itself says so: it knows its kernels."""

from __future__ import annotations

import _lilliput

from ..format.writer import write
from ..program import Program
from .plan import Plan, Segment

_FIELD_SCRATCH_BYTES, _FIELD_SCRATCH_WANTED = 16, 25  # lil_field_id


def scratch_bytes(program: Program, *, least: bool = False) -> tuple[int, ...]:
    """Bytes of scratch with which each step's kernel is fastest, or the `least` that it needs: one
    entry a step, asked of the core through an unplaced file."""
    field = _FIELD_SCRATCH_BYTES if least else _FIELD_SCRATCH_WANTED
    unplaced = Plan(
        program=program,
        segments=(Segment(0, len(program.steps)),),
        rows_per_sweep=(0,) * len(program.steps),
        ring_rows=tuple(tensor.height for tensor in program.tensors),
        offsets=(0,) * len(program.tensors),
        scratch_offsets=(0,) * len(program.steps),
        scratch_bytes=(0,) * len(program.steps),
        page_offsets=(),
        arena_bytes=0,
        lower_bound=0,
        blocks=(),
    )
    draft = write(program, unplaced)
    return tuple(_lilliput.field(draft, field, index) for index in range(len(program.steps)))
