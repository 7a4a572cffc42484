"""The part of a program that a scheme trains, apart from the layers before it.

Those give the same output for a sample in every step. Computed once, it is the input of the tail,
whose losses and trained bytes are those of the whole program.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from ..format.writer import write
from ..planner import plan
from ..program import Port, Program, without_unused
from ..runtime.model import Model
from .scheme import Scheme, check

Progress = Callable[[str, int, int], None]


def tail_position(program: Program, scheme: Scheme) -> int:
    """The last step to `cut` a program before, such that all that is trained lies in the tail: one
    map no larger than the input is all that the tail reads. 0 where only the whole will do.

    Raises ValueError for a scheme that does not fit the program.
    """
    check(scheme, program)
    if len(program.inputs) != 1:
        return 0
    most = program.tensors[program.inputs[0].tensor].bytes
    position = min(i for i, s in enumerate(program.steps) if s.name in scheme.trained)
    while position > 1:
        crossing = _crossing(program, position)
        if len(crossing) == 1 and program.tensors[crossing[0]].bytes <= most:
            return position
        position -= 1
    return 0


def cut(program: Program, position: int) -> tuple[Program, Program]:
    """The program before and from a step that `tail_position` found: the output of the first is
    the input of the second. Position 1 leaves nothing but the input before it."""
    (source,) = _crossing(program, position)
    map_ = program.tensors[source]
    port = Port(source, map_.name, (1, *map_.shape), map_.scale, map_.zero_point)
    head = replace(program, steps=program.steps[:position], outputs=(port,))
    entry = replace(program.steps[0], name=map_.name, output=source)
    tail = replace(program, steps=(entry, *program.steps[position:]), inputs=(port,))
    return without_unused(head), without_unused(tail)


def outputs(program: Program, samples: np.ndarray, progress: Progress) -> np.ndarray:
    """The output of an inference of each sample, int8[samples, height, width, channels]."""
    made = np.empty((len(samples), *program.tensors[program.outputs[0].tensor].shape), np.int8)
    placed = plan(program)
    with Model(write(placed.program, placed)) as model:
        for index, sample in enumerate(samples):
            model.infer(sample, made[index])
            progress("frozen layers", index + 1, len(samples))
    return made


def _crossing(program: Program, position: int) -> list[int]:
    """Maps (roots) that steps before a position write, and steps from it on read."""
    before = {program.root(step.output) for step in program.steps[:position]}
    after = program.steps[position:]
    read = {program.root(edge.tensor) for step in after for edge in step.edges}
    return sorted(before & read)
