"""Small programs of training steps, built by hand, and what the C core computes with them.

Their gradients come from a SQUARED_ERROR at the program's input: input less target, times a power
of two, so that a test chooses every one of them.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import _lilliput
import numpy as np

from lilliput.format import write
from lilliput.format.structs import size_of
from lilliput.lower.packing import pack_pairs
from lilliput.planner import Schedule, plan
from lilliput.program import Edge, FeatureMap, Port, Program, Step, Training

DONE = 0x7FFF
CONTEXT_BYTES = 1  # lil_field_id
STATE = "<IIiiiiII"  # lil_training
RATE_ONE = (1 << 30, 1)  # mantissa and exponent of the learning rate 1
LIMIT = 32767
_DTYPES = {"int8": np.int8, "int16": np.int16, "bits": np.uint8, "int32": np.int32}


@dataclass(frozen=True)
class Window:
    """A sliding window: (height, width) each; `pad` above and left of the map."""

    kernel: tuple[int, int] = (1, 1)
    stride: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)
    pad: tuple[int, int] = (0, 0)
    groups: int = 1

    @property
    def span(self) -> int:
        return (self.kernel[0] - 1) * self.dilation[0]

    def fields(self) -> dict[str, int]:
        """A `lil_window`."""
        return {
            "kernel_height": self.kernel[0],
            "kernel_width": self.kernel[1],
            "stride_height": self.stride[0],
            "stride_width": self.stride[1],
            "dilation_height": self.dilation[0],
            "dilation_width": self.dilation[1],
            "pad_top": self.pad[0],
            "pad_left": self.pad[1],
            "groups": self.groups,
        }

    def forward_edge(self, tensor: int) -> Edge:
        return Edge(tensor, self.stride[0], -self.pad[0], self.span - self.pad[0])

    def backward_edge(self, tensor: int) -> Edge:
        return Edge(tensor, 1, self.pad[0] - self.span, self.pad[0], self.stride[0])


@dataclass
class Outline:
    """A program under construction. Tensor 0 is the input, whose gradient is tensor 1; further
    inputs are int8 maps with zero points."""

    tensors: list[FeatureMap] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)
    inputs: list[Port] = field(default_factory=list)
    trained: list[bytes] = field(default_factory=list)
    target_bytes: int = 0
    velocity_bytes: int = 0
    momentum: float = 0.0
    accumulated: int = 1

    def map(self, shape: Sequence[int], dtype: str = "int16", zero_point: int = 0) -> int:
        height, width, channels = shape
        name = f"t{len(self.tensors)}"
        self.tensors.append(
            FeatureMap(name, height, width, channels, zero_point=zero_point, dtype=dtype)
        )
        return len(self.tensors) - 1

    def input(self, shape: Sequence[int], zero_point: int = 0) -> int:
        """An int8 input map."""
        tensor = self.map(shape, "int8", zero_point)
        patch = {"patch": {"input": len(self.inputs)}}
        self.steps.append(Step("INPUT", f"input{tensor}", tensor, parameters=patch))
        self.inputs.append(Port(tensor, f"input{tensor}", (1, *shape), 1.0, zero_point))
        return tensor

    def gradient(self, shape: Sequence[int]) -> int:
        """A gradient of the given shape: an input less the target."""
        source = self.input(shape)
        self.target_bytes = int(np.prod(shape))
        whole = Edge(source, 0, 0, shape[0] - 1)
        return self.add(
            "SQUARED_ERROR", shape, (whole,), {"loss": {"multiplier": 1 << 30, "shift": 1}}
        )

    def add(
        self,
        kind: str,
        shape: Sequence[int],
        edges: Sequence[Edge],
        parameters: Mapping[str, Mapping[str, object]],
        *,
        dtype: str = "int16",
        constants: bytes = b"",
        is_sink: bool = False,
        is_pointwise: bool = False,
        activation: tuple[int, int] = (-128, 127),
        trained: int | None = None,
        arena_inputs: int = 0,
        velocity: int | None = None,
    ) -> int:
        """A training step and its output; `trained` is what `train` returned, `velocity` what
        `add_velocities` did."""
        output = self.map(shape, dtype)
        if velocity is not None:
            constants += bytes(-len(constants) % 4) + struct.pack("<I", velocity)
        self.steps.append(
            Step(
                kind,
                f"{kind.lower()}{output}",
                output,
                tuple(edges),
                is_pointwise=is_pointwise,
                is_sink=is_sink,
                activation=activation,
                parameters=parameters,
                constants=constants,
                trained_offset=trained,
                arena_inputs=arena_inputs,
                has_velocity=velocity is not None,
                is_training=True,
            )
        )
        return output

    def layer(
        self,
        kind: str,
        source: int,
        shape: Sequence[int],
        constants: bytes,
        window: Window | None,
        *,
        trained: int | None = None,
        arena_inputs: int = 0,
    ) -> int:
        """A CONVOLUTION, or with no window a FULLY_CONNECTED, of the inference, and its output."""
        output = self.map(shape, "int8")
        height = self.tensors[source].height
        self.steps.append(
            Step(
                kind,
                f"{kind.lower()}{output}",
                output,
                (window.forward_edge(source) if window else Edge(source, 1, 0, 0),),
                is_sink=window is None,
                is_pointwise=window == Window() and height > 1,
                parameters={"window": window.fields()} if window else {},
                constants=constants,
                trained_offset=trained,
                arena_inputs=arena_inputs,
            )
        )
        return output

    def add_velocities(self, size: int) -> int:
        """Where so many bytes of velocities lie in the arena. After `gradient`, before `train`."""
        offset = self._trained_start
        self.velocity_bytes += -(-size // 4) * 4
        return offset

    def train(self, bias: np.ndarray, weights: bytes = b"") -> int:
        """Where a bias (int32) and packed weights lie in the arena. After `gradient`."""
        offset = self._trained_start + sum(map(len, self.trained))
        data = bias.astype("<i4").tobytes() + weights
        self.trained.append(data + bytes(-len(data) % 4))
        return offset

    @property
    def _trained_start(self) -> int:
        start = size_of("lil_training") + -(-self.target_bytes // 4) * 4
        return start + self.velocity_bytes

    def program(self, class_count: int = 0) -> Program:
        size = self._trained_start + sum(map(len, self.trained))
        return Program(
            tensors=tuple(self.tensors),
            steps=tuple(self.steps),
            inputs=tuple(self.inputs),
            outputs=(Port(0, "scores", self.inputs[0].shape, 1.0, 0),),
            training=Training(
                size,
                self.target_bytes,
                class_count,
                self.velocity_bytes,
                self.momentum,
                self.accumulated,
            ),
        )


@dataclass(frozen=True)
class Stepped:
    """What training left behind: the state, every map that was asked for, the trained constants
    and their velocities."""

    step: int
    loss: float
    gradient_exponent: int
    saturated: int
    maps: dict[int, np.ndarray]
    trained: bytes
    velocities: bytes


def train_step(
    outline: Outline,
    inputs: Sequence[np.ndarray],
    target: np.ndarray,
    *,
    read: Sequence[int] = (),
    rate: tuple[int, int] = RATE_ONE,
    seed: int = 0,
    steps_before: int = 0,
    schedule: Schedule | None = None,
    class_count: int = 0,
) -> Stepped:
    """One training step in the C core. With a `schedule` it is planned as for a board, and then the
    maps `read` must be ones that no later step overwrites; without, every map is kept."""
    return train_steps(
        outline,
        [(inputs, target)],
        read=read,
        rate=rate,
        seed=seed,
        steps_before=steps_before,
        schedule=schedule,
        class_count=class_count,
    )


def train_steps(
    outline: Outline,
    samples: Sequence[tuple[Sequence[np.ndarray], np.ndarray]],
    *,
    read: Sequence[int] = (),
    rate: tuple[int, int] = RATE_ONE,
    seed: int = 0,
    steps_before: int = 0,
    schedule: Schedule | None = None,
    class_count: int = 0,
) -> Stepped:
    """Training steps with one sample after the other, each its inputs and its target."""
    program = outline.program(class_count)
    is_kept = schedule is None
    planned = plan(program, keep_all=is_kept, schedule=schedule or Schedule.OPERATORS)
    data = write(planned.program, planned)
    _lilliput.verify(data)
    context = np.zeros(_lilliput.field(data, CONTEXT_BYTES, 0) // 4, np.int32)
    arena = np.full(planned.arena_bytes // 4 + 1, -1515870811, np.int32)  # 0xA5A5A5A5
    _lilliput.begin(data, context)
    assert _lilliput.reset(data, context, arena) == DONE
    memory = arena.view(np.uint8)
    memory[:32] = np.frombuffer(struct.pack(STATE, seed, steps_before, *[0] * 6), np.uint8)
    trained = b"".join(outline.trained)
    begin = program.training.bytes - len(trained)
    memory[begin : begin + len(trained)] = np.frombuffer(trained, np.uint8)
    for inputs, target in samples:
        _lilliput.begin_step(data, context, arena, np.ascontiguousarray(target), *rate)
        wanted = _lilliput.run(data, context, arena, None)
        while wanted != DONE:
            wanted = _lilliput.run(data, context, arena, np.ascontiguousarray(inputs[wanted]))
    state = struct.unpack_from(STATE, memory)
    maps = {}
    for index in read:
        tensor = planned.program.tensors[index]
        maps[index] = np.zeros(tensor.shape, _DTYPES[tensor.dtype])
        _lilliput.read_tensor(data, arena, index, maps[index])
    return Stepped(
        state[1],
        state[4] / 65536,
        state[5],
        state[6],
        maps,
        memory[begin:][: len(trained)].tobytes(),
        memory[begin - outline.velocity_bytes : begin].tobytes(),
    )


def layer_constants(weights: np.ndarray, bias: np.ndarray | None = None, shift: int = 0) -> bytes:
    """Constants of a convolution or fully connected layer with the factor 2^(shift - 1) for all
    channels, and no bias: what does not matter but to its output. weights: int8, (C, ...)."""
    return _tables(len(weights), bias, shift) + pack_pairs(weights).tobytes()


def grouped_constants(weights: np.ndarray, groups: int) -> bytes:
    """The same for a convolution in groups."""
    return _tables(len(weights)) + pack_pairs(weights, groups).tobytes()


def depthwise_constants(weights: np.ndarray) -> bytes:
    """weights: int8 of shape (height, width, C)."""
    return _tables(weights.shape[-1]) + weights.tobytes()


def _tables(channels: int, bias: np.ndarray | None = None, shift: int = 0) -> bytes:
    biases = np.zeros(channels, "<i4") if bias is None else bias.astype("<i4")
    table = biases.tobytes() + np.full(channels, 1 << 30, "<i4").tobytes()
    table += np.full(channels, shift, np.int8).tobytes()
    return table + bytes(-len(table) % 4)


def factors(values: Sequence[float], *, clamps: bool = False) -> bytes:
    """int32 multiplier[C] and int8 shift[C] of reals: multiplier * 2^(shift - 31), or with
    `clamps` multiplier * 2^-(16 + shift)."""
    mantissas, exponents = np.frexp(np.asarray(values, np.float64))
    multipliers = np.round(mantissas * 2**31).astype(np.int64)
    is_one = np.abs(multipliers) == 2**31
    exponents = np.where(is_one, exponents + 1, exponents)
    multipliers = np.where(is_one, multipliers // 2, multipliers).astype("<i4")
    shifts = 15 - exponents if clamps else exponents
    return multipliers.tobytes() + shifts.astype(np.int8).tobytes()
