"""Where each operator's constants lie behind the front of a file."""

from __future__ import annotations

from ..program import Program

CONSTANTS_ALIGNMENT = 16


def constant_offsets(program: Program) -> tuple[int, ...]:
    """Bytes from the first constants to those of each step, in order of execution. Steps that are
    copies of one another, for the patches of a map, share theirs."""
    placed: dict[int, int] = {}
    offsets: list[int] = []
    end = 0
    for step in program.steps:
        offset = placed.get(id(step.constants)) if step.constants else end
        if offset is None:
            offset = placed[id(step.constants)] = end
            end += -(-len(step.constants) // CONSTANTS_ALIGNMENT) * CONSTANTS_ALIGNMENT
        offsets.append(offset)
    return tuple(offsets)
