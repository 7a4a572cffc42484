"""Plans a model for the memory of one board."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

from ..format.reader import read
from ..planner import BudgetError, Plan
from .memory import Room

# Plans a model in an arena of at most so many bytes (None: in the smallest), its weights paged or
# not; returns the plan and the file.
Make = Callable[[int | None, bool], tuple[Plan, bytes]]


def fit(
    room: Room, make: Make, constants_bytes: int, *, sram: int | None = None, paged: bool = False
) -> tuple[Plan, bytes]:
    """A plan and a file that the board can load.

    The arena is at most half of the heap where that is enough: the rest is the user's. Weights are
    read in pages when the board cannot use the file where it lies, and it is too large for RAM.
    constants_bytes: of the model's weights. sram: bytes the arena may have at most. paged: read the
    weights in pages in any case.
    Raises BudgetError when no arena is small enough, ValueError when the file's front is too large.
    """
    limit = room.arena_limit if sram is None else min(sram, room.arena_limit)
    if paged or room.reads_in_pages(constants_bytes):
        plan, data = make(None, True)
        if plan.arena_bytes > limit:
            plan, data = make(max(limit, 1), True)
    else:
        plan, data = _mapped(make, limit, may_halve=sram is None)
    need = room.need_of(read(data))
    if not room.holds(need):
        raise ValueError(
            f"the model takes {need.total:,} bytes of the board's heap ({need.arena_bytes:,} of "
            f"arena), and {room.heap_bytes:,} are left beside Lilliput: use a smaller model, or "
            "firmware with a ROMFS"
        )
    return plan, data


def _mapped(make: Make, limit: int, *, may_halve: bool) -> tuple[Plan, bytes]:
    if may_halve:
        with contextlib.suppress(BudgetError):
            return make(max(limit // 2, 1), False)
    return make(max(limit, 1), False)
