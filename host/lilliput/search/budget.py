"""What a board has for a network, and what a network costs."""

from __future__ import annotations

from dataclasses import dataclass

from ..boards import Profile
from ..planner import Schedule
from .latency import LatencyModel, is_measured, latency_model
from .memory import MemoryModel, file_bytes
from .network import Network


@dataclass(frozen=True)
class Budget:
    """The most that a network may need: bytes of arena, bytes of flash, instructions of one
    inference on `core`; None for any number. schedule: how the engine is taken to run it."""

    sram: int | None = None
    flash: int | None = None
    instructions: float | None = None
    core: str | None = None
    schedule: Schedule = Schedule.STREAMED

    def __str__(self) -> str:
        parts = [
            f"{most:,.0f} {unit}"
            for most, unit in (
                (self.sram, "bytes of arena"),
                (self.flash, "bytes of flash"),
                (self.instructions, "instructions"),
            )
            if most is not None
        ]
        return ", ".join(parts) or "no limits"


@dataclass(frozen=True)
class Cost:
    """What a network needs. instructions: predicted ones; None where no core is known."""

    arena_bytes: int
    flash_bytes: int
    macs: int
    instructions: float | None = None


class Accountant:
    """Tells the cost of networks that are within a budget, each planned once."""

    def __init__(self, budget: Budget) -> None:
        self.budget = budget
        self._memory = MemoryModel(budget.schedule, budget.sram)
        self._latency: LatencyModel | None = None
        if budget.core is not None:
            self._latency = latency_model(budget.core)
        self._known: dict[Network, Cost | None] = {}

    def cost(self, network: Network) -> Cost | None:
        """What the network needs; None when that is more than the budget."""
        if network not in self._known:
            self._known[network] = self._cost(network)
        return self._known[network]

    def _cost(self, network: Network) -> Cost | None:
        budget = self.budget
        if budget.flash is not None and network.parameters > budget.flash:
            return None  # known without a plan: every parameter takes a byte or more
        plan = self._memory.placed(network)
        if plan is None:
            return None
        flash = file_bytes(plan)
        instructions = None if self._latency is None else self._latency.instructions(plan)
        if budget.flash is not None and flash > budget.flash:
            return None
        if budget.instructions is not None and (instructions or 0.0) > budget.instructions:
            return None
        return Cost(plan.arena_bytes, flash, network.macs, instructions)


def board_budget(
    board: Profile | None,
    *,
    sram: int | None = None,
    flash: int | None = None,
    latency_ms: float | None = None,
) -> Budget:
    """The budget of a board, tightened by what the user says.

    Instructions are milliseconds at the board's clock, one instruction a cycle.
    Raises ValueError for a latency without a board, or on a core that was never measured.
    """
    if latency_ms is not None and board is None:
        raise ValueError("a latency needs a board, whose clock it counts: say --board")
    if board is None:
        return Budget(sram, flash)
    room = board.room
    instructions = None if latency_ms is None else latency_ms / 1000 * board.clock_hz
    core = board.core if latency_ms is not None or is_measured(board.core) else None
    return Budget(
        min(sram or room.arena_limit, room.arena_limit),
        min(flash or board.flash_bytes, board.flash_bytes),
        instructions,
        core,
    )
