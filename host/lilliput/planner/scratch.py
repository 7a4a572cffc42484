"""How much scratch each step's kernel needs. The core itself says so: it knows its kernels."""

from __future__ import annotations

import _lilliput

from ..format.writer import write
from ..program import Program
from .plan import Plan, Segment

_FIELD_SCRATCH_BYTES = 16  # lil_field_id


def scratch_bytes(program: Program) -> tuple[int, ...]:
    """Bytes of scratch, one entry a step, asked of the core through an unplaced file."""
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
    return tuple(
        _lilliput.field(draft, _FIELD_SCRATCH_BYTES, index) for index in range(len(program.steps))
    )
