"""Fully connected layers in slices of their outputs: a rewriting for paged weights.

The last layer of a network may hold a fifth of its weights, and a page holds all of a segment's. In
slices, each a segment of its own, one after the other takes the same page. Each writes its part of
the output where it belongs, so nothing is copied or computed twice.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from ..lower.channel_slices import channel_slice
from ..program import Program, Step, without_unused

PARTS = (2, 3, 4, 6, 8, 12, 16, 24, 32)
"""Numbers of slices worth a try."""


@dataclass(frozen=True)
class Slicing:
    """Step `index`, fully connected, in so many slices of its outputs."""

    index: int
    parts: int


def can_slice(program: Program, step: Step) -> bool:
    """Whether a step can be in slices: it writes one pixel, and its output is no part already."""
    output = program.tensors[step.output]
    return (
        step.kind == "FULLY_CONNECTED"
        and output.height * output.width == 1
        and output.view_of is None
        and output.channels > 1
    )


def slice_outputs(program: Program, slicing: Slicing) -> Program:
    """The program with a fully connected step in slices, of an even number of channels but for the
    last: weights lie in pairs."""
    step = program.steps[slicing.index]
    output = program.tensors[step.output]
    tensors = list(program.tensors)
    size = -(-output.channels // slicing.parts)
    size += size % 2
    slices: list[Step] = []
    for begin in range(0, output.channels, size):
        end = min(begin + size, output.channels)
        tensors.append(
            replace(output, channels=end - begin, view_of=step.output, view_offset=begin)
        )
        slices.append(
            replace(
                step,
                output=len(tensors) - 1,
                constants=channel_slice(step, output.channels, begin, end),
                macs=step.macs // output.channels * (end - begin),
            )
        )
    steps = (*program.steps[: slicing.index], *slices, *program.steps[slicing.index + 1 :])
    return without_unused(replace(program, tensors=tuple(tensors), steps=steps))
