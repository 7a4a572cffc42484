"""What would help a model that does not fit: other ways of input, and patches."""

from __future__ import annotations

from dataclasses import replace

from ..program import Program
from .budget import BudgetError, budget_error
from .front import Way, trade_offs
from .plan import Plan

MOST_MACS = 1.5
"""Times the model's multiply-accumulates that patches are tried with."""


def too_large(program: Program, made: Plan, sram: int, way: Way) -> BudgetError:
    """The error for a program whose smallest plan, `made`, needs more than `sram` bytes."""
    fed_bytes = None
    if not way.streams_input:
        fed = trade_offs(program, replace(way, streams_input=True))
        fed_bytes = min(point.arena_bytes for point in fed)
    patched = trade_offs(program, way, max_macs=MOST_MACS)
    fitting = [point.macs_ratio for point in patched if point.arena_bytes <= sram]
    return budget_error(made, sram, fed_bytes=fed_bytes, macs_ratio=min(fitting, default=None))
