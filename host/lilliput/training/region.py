"""The arena's first bytes: the state of training, the target, and the trained constants."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..format.structs import size_of
from ..program import Program, Step, Training
from .scheme import Scheme

_ALIGNMENT = 8  # the arena's


@dataclass(frozen=True)
class Region:
    """Arena offsets of the trained layers' constants, by layer, and what lies before them."""

    offsets: dict[str, int]
    training: Training


def region(program: Program, scheme: Scheme, class_count: int, target_bytes: int) -> Region:
    """Lays the region out: state, target, then the trained layers in order of execution."""
    end = size_of("lil_training") + _aligned(target_bytes, 4)
    offsets: dict[str, int] = {}
    for step in program.steps:
        if step.name in scheme.trained and step.constants:
            offsets[step.name] = end
            end += 4 * program.tensors[step.output].channels
            if step.name in scheme.weights:
                end += _aligned(len(packed_weights(program, step)), 4)
    return Region(offsets, Training(_aligned(end, _ALIGNMENT), target_bytes, class_count))


def packed_weights(program: Program, step: Step) -> bytes:
    """The weights of a layer as the file packs them."""
    return step.constants[_weights_offset(program, step) :]


def effective_scales(program: Program, step: Step) -> np.ndarray:
    """The real factor from a layer's sums to its output's integers, a channel: float64[C]."""
    channels = program.tensors[step.output].channels
    multiplier = np.frombuffer(step.constants, "<i4", channels, 4 * channels)
    shift = np.frombuffer(step.constants, "i1", channels, 8 * channels)
    return np.asarray(np.ldexp(multiplier.astype(np.float64), shift.astype(np.int64) - 31))


def weight_scales(program: Program, step: Step) -> np.ndarray:
    """The real value of a weight of 1 in each of a layer's output channels: float64[C]."""
    output = program.tensors[step.output]
    source = program.tensors[step.edges[0].tensor]
    return effective_scales(program, step) * output.scale / source.scale


def _weights_offset(program: Program, step: Step) -> int:
    return _aligned(9 * program.tensors[step.output].channels, 4)


def _aligned(value: int, alignment: int) -> int:
    return -(-value // alignment) * alignment
