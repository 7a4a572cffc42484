"""What a planner decides: the schedule, and where everything lies in the arena."""

from __future__ import annotations

from dataclasses import dataclass

from ..program import Program


@dataclass(frozen=True)
class Segment:
    """Steps (indices into the plan's program) that run together."""

    first: int
    count: int

    @property
    def steps(self) -> range:
        return range(self.first, self.first + self.count)


@dataclass(frozen=True)
class Block:
    """A piece of the arena: a tensor's rows or a step's scratch, held during some segments."""

    name: str
    offset: int
    bytes: int
    first_segment: int
    last_segment: int


@dataclass(frozen=True)
class Plan:
    """A program in its order of execution, its segments, and the arena.

    `ring_rows` and `offsets` are one a tensor (0 for constants), `scratch_offsets` and
    `scratch_bytes` one a step. `lower_bound` is the most that is alive in any segment: no packing
    can need less.
    """

    program: Program
    segments: tuple[Segment, ...]
    ring_rows: tuple[int, ...]
    offsets: tuple[int, ...]
    scratch_offsets: tuple[int, ...]
    scratch_bytes: tuple[int, ...]
    arena_bytes: int
    lower_bound: int
    blocks: tuple[Block, ...]

    @property
    def peak_segment(self) -> int:
        """The segment in which the highest byte of the arena is in use."""
        top = max(self.blocks, key=lambda block: block.offset + block.bytes)
        return top.first_segment
