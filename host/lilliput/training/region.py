"""The arena's first bytes: the state of training, the target, and the trained constants."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..format.structs import size_of
from ..lower.packing import pack_pairs
from ..program import Program, Step, Training
from .scheme import Scheme, trained_channels

_ALIGNMENT = 8  # the arena's


@dataclass(frozen=True)
class Region:
    """Arena offsets of the trained layers' constants, by layer, and what lies before them. Of how
    many input channels of each layer weights are among them, see `arena_inputs`."""

    offsets: dict[str, int]
    inputs: dict[str, int]
    training: Training


def region(program: Program, scheme: Scheme, class_count: int, target_bytes: int) -> Region:
    """Lays the region out: state, target, then the trained layers in order of execution."""
    end = size_of("lil_training") + _aligned(target_bytes, 4)
    offsets: dict[str, int] = {}
    inputs: dict[str, int] = {}
    for step in program.steps:
        if step.name in scheme.trained and step.constants:
            offsets[step.name] = end
            end += 4 * program.tensors[step.output].channels
            if step.name in scheme.weights:
                inputs[step.name] = arena_inputs(program, step, scheme.weights[step.name])
                end += _aligned(_weight_bytes(program, step, inputs[step.name]), 4)
    return Region(offsets, inputs, Training(_aligned(end, _ALIGNMENT), target_bytes, class_count))


def arena_inputs(program: Program, step: Step, fraction: float) -> int:
    """Of how many input channels (of each group) a layer's weights lie in the arena when this
    fraction of them is trained: an even number or all, and all where the core splits no weights."""
    source = program.tensors[step.edges[0].tensor]
    if not _may_split(program, step):
        groups = int(step.parameters.get("window", {}).get("groups", 1))  # type: ignore[call-overload]
        return source.channels // groups
    count = trained_channels(fraction, source.channels)
    return min(count + count % 2, source.channels)


def _may_split(program: Program, step: Step) -> bool:
    if step.kind == "FULLY_CONNECTED":
        return program.tensors[step.edges[0].tensor].height == 1
    return step.kind == "CONVOLUTION" and step.parameters["window"]["groups"] == 1


def _weight_bytes(program: Program, step: Step, inputs: int) -> int:
    """Bytes of the weights of so many input channels of a layer."""
    source, output = program.tensors[step.edges[0].tensor], program.tensors[step.output]
    if not _may_split(program, step) or inputs == source.channels:
        return len(step.constants) - _weights_offset(program, step)
    weights = np.zeros((output.channels, _kernel(program, step) * inputs), np.int8)
    return pack_pairs(weights).nbytes


def _kernel(program: Program, step: Step) -> int:
    """Taps of a layer's window."""
    if step.kind == "FULLY_CONNECTED":
        source = program.tensors[step.edges[0].tensor]
        return source.height * source.width
    window = step.parameters["window"]
    return int(window["kernel_height"]) * int(window["kernel_width"])  # type: ignore[call-overload]


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
