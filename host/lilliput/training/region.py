"""The arena's first bytes: the state of training, the target, velocities and trained constants."""

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
    """Arena offsets by layer: of its trained constants, of the velocities of its biases, and of its
    weights'; and what the region holds. Of how many input channels of each layer weights are among
    the constants, see `arena_inputs`."""

    offsets: dict[str, int]
    inputs: dict[str, int]
    bias_velocities: dict[str, int]
    weight_velocities: dict[str, int]
    training: Training


def region(
    program: Program,
    scheme: Scheme,
    class_count: int,
    target_bytes: int,
    momentum: float = 0.0,
    accumulated: int = 1,
) -> Region:
    """Lays the region out: state, target, velocities if there is a momentum or an accumulation,
    then the trained layers in order of execution."""
    start = end = size_of("lil_training") + _aligned(target_bytes, 4)
    trained = [s for s in program.steps if s.name in scheme.trained and s.constants]
    bias_velocities: dict[str, int] = {}
    weight_velocities: dict[str, int] = {}
    for step in trained if momentum or accumulated > 1 else ():
        bias_velocities[step.name] = end
        end += 4 * program.tensors[step.output].channels
        if step.name in scheme.weights:
            weight_velocities[step.name] = end
            end += _aligned(2 * _trained_weights(program, step, scheme.weights[step.name]), 4)
    velocity_bytes = end - start
    offsets: dict[str, int] = {}
    inputs: dict[str, int] = {}
    for step in trained:
        offsets[step.name] = end
        end += 4 * program.tensors[step.output].channels
        if step.name in scheme.weights:
            inputs[step.name] = arena_inputs(program, step, scheme.weights[step.name])
            end += _aligned(_weight_bytes(program, step, inputs[step.name]), 4)
    training = Training(
        _aligned(end, _ALIGNMENT), target_bytes, class_count, velocity_bytes, momentum, accumulated
    )
    return Region(offsets, inputs, bias_velocities, weight_velocities, training)


def _trained_weights(program: Program, step: Step, fraction: float) -> int:
    """How many weights of a layer are trained."""
    source, output = (program.tensors[i] for i in (step.edges[0].tensor, step.output))
    groups = 1
    if step.kind == "CONVOLUTION":
        groups = int(step.parameters["window"]["groups"])  # type: ignore[call-overload]
    inputs = trained_channels(fraction, source.channels // groups)
    if step.kind == "DEPTHWISE_CONVOLUTION":
        return _kernel(program, step) * inputs * (output.channels // source.channels)
    return _kernel(program, step) * inputs * output.channels


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
