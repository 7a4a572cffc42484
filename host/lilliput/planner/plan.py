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
    def last(self) -> int:
        return self.first + self.count - 1

    @property
    def steps(self) -> range:
        return range(self.first, self.first + self.count)


@dataclass(frozen=True)
class Block:
    """A piece of the arena: a tensor's rows or a step's scratch, in use from one step to another.

    A segment's rings are in use during all of its steps, except those that no row outlives a
    sweep in: they are needed from the step that writes them to the last that reads them. `kind` is
    "map" (held whole), "ring", "scratch" or "weights".
    """

    name: str
    offset: int
    bytes: int
    first_step: int
    last_step: int
    kind: str = "map"


@dataclass(frozen=True)
class Plan:
    """A program in its order of execution, its segments, and the arena.

    `ring_rows` and `offsets` are one a tensor (0 for constants); `rows_per_sweep` (0 for no limit),
    `scratch_offsets` and `scratch_bytes` one a step. `page_offsets`, one a segment, say where its
    constants are read to; empty when the file is mapped. `lower_bound` is the most that is alive
    at any step: no packing of this schedule can need less.
    """

    program: Program
    segments: tuple[Segment, ...]
    rows_per_sweep: tuple[int, ...]
    ring_rows: tuple[int, ...]
    offsets: tuple[int, ...]
    scratch_offsets: tuple[int, ...]
    scratch_bytes: tuple[int, ...]
    page_offsets: tuple[int, ...]
    arena_bytes: int
    lower_bound: int
    blocks: tuple[Block, ...]

    @property
    def is_paged(self) -> bool:
        return bool(self.page_offsets)

    @property
    def inference_segments(self) -> int:
        """Segments up to the last that an inference runs."""
        return max(
            (
                number + 1
                for number, segment in enumerate(self.segments)
                if not all(self.program.steps[index].is_training for index in segment.steps)
            ),
            default=0,
        )

    @property
    def peak_step(self) -> int:
        """The step at which the highest byte of the arena is in use."""
        top = max(self.blocks, key=lambda block: block.offset + block.bytes)
        return top.first_step
