"""Models to run: published files, and networks of a single operator with random weights."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from lilliput.conversion import convert, read_graph
from lilliput.format import write
from lilliput.format.structs import unpack
from lilliput.graph import (
    Activation,
    Attributes,
    Convolution,
    Graph,
    NoAttributes,
    Operator,
    Pool,
    Quantization,
    Reduce,
    Softmax,
    Tensor,
)
from lilliput.lower import lower
from lilliput.passes.simplify import simplify
from lilliput.planner import Schedule, plan

from .jobs import Job


@dataclass(frozen=True)
class Numbers:
    """What a random operator computes with.

    multiplier: 2^31 times the rescaling of the accumulator, as a power of two; None fills the int8
    range. spread: the channels' multipliers lie within so many powers of two. extreme: weights and
    inputs are -128 and 127 only. is_int4: weights have four bits.
    """

    seed: int = 1
    input_zero_point: int = -7
    output_zero_point: int = 3
    multiplier: float | None = None
    spread: float = 3.0
    activation: str = "none"
    extreme: bool = False
    is_int4: bool = False
    per_channel: bool = True


@dataclass(frozen=True)
class Shape:
    """A network of one operator. kind is TFLite's; `outputs` and `kernel` where they apply."""

    name: str
    kind: str
    size: tuple[int, int, int]
    outputs: int = 0
    kernel: tuple[int, int] = (1, 1)
    stride: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)
    padding: str = "same"
    groups: int = 1
    numbers: Numbers = field(default_factory=Numbers)


def _convolution(kernel: int, stride: int, size: int, channels: int, outputs: int) -> Shape:
    step = f" stride {stride}" if stride > 1 else ""
    return Shape(
        f"conv {kernel}x{kernel}{step}, {size}x{size}, {channels} to {outputs}", "CONV_2D",
        (size, size, channels), outputs, (kernel, kernel), (stride, stride),
    )  # fmt: skip


def _depthwise(kernel: int, stride: int, size: int, channels: int) -> Shape:
    step = f" stride {stride}" if stride > 1 else ""
    return Shape(
        f"depthwise {kernel}x{kernel}{step}, {size}x{size}, {channels}", "DEPTHWISE_CONV_2D",
        (size, size, channels), channels, (kernel, kernel), (stride, stride),
    )  # fmt: skip


def _plain(name: str, kind: str, size: tuple[int, int, int], kernel: int = 1) -> Shape:
    height, width, channels = size
    window = f" {kernel}x{kernel}" if kernel > 1 else ""
    return Shape(
        f"{name}{window}, {height}x{width}, {channels}", kind, size, channels,
        (kernel, kernel), (kernel, kernel),
    )  # fmt: skip


# The shapes that anchors.md names, and one of every other kernel.
SHAPES: tuple[Shape, ...] = (
    _convolution(3, 2, 80, 3, 16),
    _convolution(3, 2, 96, 3, 8),
    _convolution(1, 1, 40, 8, 16),
    _convolution(1, 1, 40, 16, 8),
    _convolution(1, 1, 20, 16, 48),
    _convolution(1, 1, 20, 24, 72),
    _convolution(1, 1, 20, 48, 16),
    _convolution(1, 1, 10, 144, 24),
    _convolution(1, 1, 5, 240, 40),
    _convolution(3, 1, 32, 16, 16),
    _convolution(3, 1, 16, 32, 32),
    _convolution(3, 1, 8, 64, 64),
    _convolution(3, 2, 32, 16, 32),
    Shape("conv 10x4 stride 2, 49x10, 1 to 64", "CONV_2D", (49, 10, 1), 64, (10, 4), (2, 2)),
    _depthwise(3, 1, 40, 16),
    _depthwise(3, 2, 40, 48),
    _depthwise(3, 1, 10, 120),
    _depthwise(5, 1, 20, 72),
    _depthwise(5, 2, 20, 72),
    _depthwise(7, 1, 10, 144),
    _depthwise(7, 2, 20, 96),
    Shape("fully connected, 640 to 128", "FULLY_CONNECTED", (1, 1, 640), 128),
    Shape("fully connected, 128 to 128", "FULLY_CONNECTED", (1, 1, 128), 128),
    Shape("fully connected, 64 to 12", "FULLY_CONNECTED", (1, 1, 64), 12),
    _plain("add", "ADD", (20, 20, 24)),
    _plain("multiply", "MUL", (20, 20, 24)),
    _plain("average pool", "AVERAGE_POOL_2D", (24, 24, 16), 2),
    _plain("average pool", "AVERAGE_POOL_2D", (8, 8, 64), 8),
    _plain("max pool", "MAX_POOL_2D", (24, 24, 16), 2),
    _plain("mean", "MEAN", (5, 5, 160)),
    _plain("softmax", "SOFTMAX", (1, 1, 1000)),
    _plain("logistic", "LOGISTIC", (20, 20, 24)),
)


def job_of_model(
    model: Path | bytes | Graph,
    *,
    schedule: Schedule = Schedule.STREAMED,
    streams_input: bool = True,
    misalignment: int = 0,
    seed: int = 0,
) -> Job:
    """A model with random int8 inputs, planned as `planner.plan` does. A `.lil` is taken as it is.

    model: a graph, the path of a `.tflite` or `.lil` file, or the bytes of a `.tflite`.

    Raises OSError when a file is missing, ValueError when it cannot be converted.
    """
    if isinstance(model, Path) and model.suffix == ".lil":
        return job_of_lil(model.read_bytes(), seed=seed, misalignment=misalignment)
    graph = simplify(model) if isinstance(model, Graph) else read_graph(model)
    made = plan(lower(graph), schedule=schedule, streams_input=streams_input)
    return job_of_lil(write(made.program, made), seed=seed, misalignment=misalignment)


def job_of_lil(data: bytes, *, seed: int = 0, misalignment: int = 0) -> Job:
    """A `.lil` as it is, with random int8 inputs."""
    header = unpack("lil_header", data, 0, 1)[0]
    dice = np.random.default_rng(seed)
    inputs = tuple(
        dice.integers(-128, 128, tuple(port.shape[i] for i in range(port.rank)), np.int8)
        for port in unpack("lil_port", data, header.inputs_offset, header.input_count)
    )
    return Job(data, inputs, misalignment)


def job_with_pixels(model: Path) -> Job | None:
    """A model with random uint8 input, converted as a user converts it; None when it takes none."""
    data = convert(model).data
    header = unpack("lil_header", data, 0, 1)[0]
    ports = unpack("lil_port", data, header.inputs_offset, header.input_count)
    if any(port.table_channels == 0 for port in ports):
        return None
    return Job(data, tuple(x.view(np.uint8) for x in job_of_lil(data).inputs))


def macs_of(job: Job) -> int:
    """Multiply-accumulates of one inference, as the file says."""
    header = unpack("lil_header", job.model, 0, 1)[0]
    return int(header.macs_low | header.macs_high << 32)


def arena_bytes_of(job: Job) -> int:
    """The one allocation that an inference needs."""
    return int(unpack("lil_header", job.model, 0, 1)[0].arena_bytes)


def job_of_shape(shape: Shape, *, misalignment: int = 0, streams_input: bool = True) -> Job:
    """A single operator with random weights and inputs."""
    job = job_of_model(
        model_of_shape(shape),
        streams_input=streams_input,
        misalignment=misalignment,
        seed=shape.numbers.seed,
    )
    if not shape.numbers.extreme:
        return job
    ends = np.array([-128, 127], np.int8)
    return Job(job.model, tuple(ends[(x > 0).astype(int)] for x in job.inputs), misalignment)


def model_of_shape(shape: Shape) -> Graph:
    """The int8 graph of a single operator."""
    return _GraphOfShape(shape).graph()


class _GraphOfShape:
    """Builds the graph of one operator. Scales follow from the multipliers that are asked for."""

    def __init__(self, shape: Shape) -> None:
        self._shape = shape
        self._numbers = shape.numbers
        self._dice = np.random.default_rng(shape.numbers.seed)
        self._tensors: list[Tensor] = []

    def graph(self) -> Graph:
        shape = self._shape
        source = self._tensor(
            "input", (1, *shape.size), _per_tensor(0.5, self._numbers.input_zero_point)
        )
        inputs = [source]
        if shape.kind in ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"):
            operands, scale = self._weighted(source)
        elif shape.kind in ("ADD", "SUB", "MUL"):
            second = self._tensor("second", (1, *shape.size), _per_tensor(0.3, 5))
            inputs.append(second)
            operands, scale = (source, second), 32.0 if shape.kind == "MUL" else 0.9
        else:
            operands, scale = (source,), 0.5
        result, attributes, quantization = self._result(scale)
        output = self._tensor("output", result, quantization)
        operator = Operator(shape.kind, operands, (output,), attributes)
        return Graph(tuple(self._tensors), (operator,), tuple(inputs), (output,), shape.name)

    def _tensor(self, name: str, shape: tuple[int, ...], quantization: Quantization) -> int:
        self._tensors.append(Tensor(name, shape, np.dtype(np.int8), quantization=quantization))
        return len(self._tensors) - 1

    def _constant(self, name: str, data: np.ndarray, quantization: Quantization) -> int:
        self._tensors.append(Tensor(name, data.shape, data.dtype, data, quantization))
        return len(self._tensors) - 1

    def _weighted(self, source: int) -> tuple[tuple[int, ...], float]:
        """Operands of an operator with weights, and the scale of its output."""
        shape, numbers, dice = self._shape, self._numbers, self._dice
        channels = shape.size[2]
        form: tuple[int, ...]
        if shape.kind == "CONV_2D":
            form, axis = (shape.outputs, *shape.kernel, channels // shape.groups), 0
        elif shape.kind == "DEPTHWISE_CONV_2D":
            form, axis = (1, *shape.kernel, shape.outputs), 3
        else:
            form, axis = (shape.outputs, math.prod(shape.size)), 0
        taps = math.prod(form) // shape.outputs
        if numbers.extreme:
            weights = dice.choice(np.array([-128, 127], np.int8), form)
        else:
            weights = dice.integers(-127, 128, form, np.int8)
        if numbers.is_int4:
            weights &= np.int8(-16)
        count = shape.outputs if numbers.per_channel and shape.kind != "FULLY_CONNECTED" else 1
        scales = (2.0 ** -dice.uniform(0, numbers.spread, count) / 64).astype(np.float32)
        zeros = np.zeros(count, np.int32)
        constant = self._constant(
            "weights", weights, Quantization(scales, zeros, axis if count > 1 else 0)
        )
        spread = 3000.0 * math.sqrt(taps)
        bias = np.clip(dice.normal(0, spread, shape.outputs), -(2**24), 2**24).astype(np.int32)
        accumulated = (np.float32(0.5) * scales).astype(np.float32)
        biases = self._constant("bias", bias, Quantization(accumulated, zeros))
        multiplier = numbers.multiplier
        if multiplier is None:
            multiplier = -math.log2(60 * math.sqrt(taps)) - 0.5
        return (source, constant, biases), float(accumulated.max()) / 2.0**multiplier

    def _result(self, scale: float) -> tuple[tuple[int, ...], Attributes, Quantization]:
        """Shape, attributes and quantisation of the output."""
        shape, numbers = self._shape, self._numbers
        same = _per_tensor(0.5, numbers.input_zero_point)
        own = _per_tensor(scale, numbers.output_zero_point)
        if shape.kind == "FULLY_CONNECTED":
            return (1, shape.outputs), Activation(numbers.activation), own
        if shape.kind in ("ADD", "SUB", "MUL"):
            return (1, *shape.size), Activation(numbers.activation), own
        if shape.kind == "MEAN":
            return (1, shape.size[2]), Reduce((1, 2)), own
        if shape.kind == "SOFTMAX":
            return (1, *shape.size), Softmax(), _per_tensor(1 / 256, -128)
        if shape.kind == "LOGISTIC":
            return (1, *shape.size), NoAttributes(), _per_tensor(1 / 256, -128)
        size = tuple(map(self._length, shape.size, shape.kernel, shape.stride, shape.dilation))
        result = (1, *size, shape.outputs)
        if shape.kind in ("AVERAGE_POOL_2D", "MAX_POOL_2D"):
            pool = Pool(shape.padding, shape.stride, shape.kernel, numbers.activation)
            return result, pool, same
        how = Convolution(shape.padding, shape.stride, shape.dilation, numbers.activation)
        return result, how, own

    def _length(self, size: int, kernel: int, stride: int, dilation: int) -> int:
        if self._shape.padding == "same":
            return -(-size // stride)
        return (size - (kernel - 1) * dilation - 1) // stride + 1


def _per_tensor(scale: float, zero_point: int) -> Quantization:
    return Quantization.per_tensor(float(np.float32(scale)), zero_point)
