"""Gradients of a program by TensorFlow's automatic differentiation, in float64.

The graph is the dequantised one, taken at the activations that the core computed: each map has the
core's value, and a clamp passes a gradient where the core's value lies strictly inside of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import tensorflow as tf

from lilliput.lower.packing import unpack_pairs
from lilliput.program import Program, Step
from lilliput.training.region import weight_scales

Read = Callable[[int], np.ndarray]
Function = Callable[[tf.Tensor], tf.Tensor]

_LAYERS = ("CONVOLUTION", "DEPTHWISE_CONVOLUTION", "FULLY_CONNECTED")
_COMBINE = {
    "ADD": lambda a, b: a + b,
    "SUBTRACT": lambda a, b: a - b,
    "MULTIPLY": lambda a, b: a * b,
}


def layer_constants(program: Program, step: Step) -> tuple[np.ndarray, np.ndarray]:
    """A layer's int8 weights, [kh, kw, in / groups, C] (depthwise [kh, kw, C, 1]), and its int32
    bias without the input's zero point in it."""
    output, source = (program.tensors[i] for i in (step.output, step.edges[0].tensor))
    channels = output.channels
    bias = np.frombuffer(step.constants, "<i4", channels).astype(np.int64)
    packed = np.frombuffer(step.constants, np.int8)[-(-9 * channels // 4) * 4 :]
    if step.kind == "FULLY_CONNECTED":
        weights = unpack_pairs(packed, channels)[:, : source.elements]
        weights = weights.reshape(channels, *source.shape).transpose(1, 2, 3, 0)
    else:
        weights = _window_weights(step, packed, channels, source.channels)
    sums = weights.reshape(-1, channels).astype(np.int64).sum(axis=0)
    return weights, bias + source.zero_point * sums


def _window_weights(step: Step, packed: np.ndarray, channels: int, inputs: int) -> np.ndarray:
    window = step.parameters["window"]
    kernel = (int(window["kernel_height"]), int(window["kernel_width"]))
    if step.kind == "DEPTHWISE_CONVOLUTION":
        return packed.reshape(*kernel, channels, 1)
    groups = int(window["groups"])
    taps = kernel[0] * kernel[1] * inputs // groups
    per_group = [unpack_pairs(p, channels // groups)[:, :taps] for p in np.split(packed, groups)]
    flat = np.concatenate(per_group).reshape(channels, *kernel, inputs // groups)
    return flat.transpose(1, 2, 3, 0)


class Reference:
    """The inference part of a program as a differentiable function of its layers' real weights
    and biases. `read` returns a map of the core by its index."""

    def __init__(
        self, program: Program, read: Read, functions: Mapping[str, Function] | None = None
    ) -> None:
        """functions: those of tables, by the name of the step."""
        self.program = program
        self.read = read
        self.functions = functions or {}
        self.steps = [s for s in program.steps if not s.is_training]
        self.weights: dict[str, tf.Variable] = {}
        self.biases: dict[str, tf.Variable] = {}
        for step in self.steps:
            if step.kind in _LAYERS:
                self._declare(step)

    def _declare(self, step: Step) -> None:
        weights, bias = layer_constants(self.program, step)
        scales = weight_scales(self.program, step)
        source = self.program.tensors[step.edges[0].tensor]
        shape = (scales.size, 1) if step.kind == "DEPTHWISE_CONVOLUTION" else (1, scales.size)
        self.weights[step.name] = tf.Variable(weights * scales.reshape(shape))
        self.biases[step.name] = tf.Variable(bias * scales * source.scale)

    def reals(self, tensor: int) -> np.ndarray:
        """The core's values of a map as reals."""
        map_ = self.program.tensors[tensor]
        return map_.scale * (self.read(tensor).astype(np.float64) - map_.zero_point)

    def gradients(
        self, loss: Callable[[tf.Tensor], tf.Tensor]
    ) -> tuple[float, Mapping[str, np.ndarray], Mapping[str, np.ndarray], dict[int, np.ndarray]]:
        """The loss of the output map, and its gradients with respect to each layer's weights
        ([kh, kw, in, C]) and biases, and to each map by its root index."""
        with tf.GradientTape() as tape:
            values = self._forward(tape)
            last = self.program.root(self.program.outputs[0].tensor)
            result = loss(values[last])
        wanted = (dict(self.weights), dict(self.biases), values)
        weights, biases, maps = tape.gradient(result, wanted)
        return (
            float(result),
            {k: v.numpy() for k, v in weights.items() if v is not None},
            {k: v.numpy() for k, v in biases.items() if v is not None},
            {k: v.numpy() for k, v in maps.items() if v is not None},
        )

    def _forward(self, tape: tf.GradientTape) -> dict[int, tf.Tensor]:
        values: dict[int, tf.Tensor] = {}
        for step in self.steps:
            core = self.reals(step.output)
            if step.kind == "INPUT":
                values[step.output] = tf.constant(core)
                continue
            sources = [self._source(values, edge.tensor) for edge in step.edges]
            result = tf.reshape(self._compute(step, sources), core.shape)
            inside = self._inside(step)
            kept = result * inside
            made = kept + tf.stop_gradient(core - kept)
            tape.watch(made)
            values[step.output] = made
        return values

    def _source(self, values: Mapping[int, tf.Tensor], tensor: int) -> tf.Tensor:
        return tf.reshape(values[self.program.root(tensor)], self.program.tensors[tensor].shape)

    def _inside(self, step: Step) -> np.ndarray:
        """1 where a gradient passes the step's clamp."""
        map_ = self.program.tensors[step.output]
        low, high = step.activation
        moves = step.kind in ("TABLE", "CONCATENATE", "PAD", "SLICE", "RESIZE_NEAREST")
        if moves or ((low, high) == (-128, 127) and abs(map_.zero_point + 0.5) < 127):
            return np.ones(map_.shape)
        raw = self.read(step.output)
        return ((raw > low) & (raw < high)).astype(np.float64)

    def _compute(self, step: Step, sources: list[tf.Tensor]) -> tf.Tensor:
        if step.kind in ("ADD", "SUBTRACT", "MULTIPLY"):
            return _COMBINE[step.kind](*sources)
        if step.kind == "TABLE":
            return self.functions[step.name](sources[0])
        if step.kind in ("CONCATENATE", "PAD", "SLICE", "RESIZE_NEAREST"):
            return self._moved(step, sources)
        if step.kind == "MAX_POOL":
            return self._maximum(step, sources[0])
        if step.kind == "MEAN":
            axes = int(step.parameters["mean"]["axes"])
            return tf.reduce_mean(sources[0], axis=[axis for axis in (0, 1) if axes >> axis & 1])
        if step.kind == "AVERAGE_POOL":
            return self._pooled(step, sources[0])
        if step.kind == "FULLY_CONNECTED":
            weights = self.weights[step.name]
            return tf.tensordot(sources[0], weights, 3) + self.biases[step.name]
        return self._convolved(step, sources[0])

    def _moved(self, step: Step, sources: list[tf.Tensor]) -> tf.Tensor:
        shape = self.program.tensors[step.output].shape
        if step.kind == "CONCATENATE":
            axis = (1, 2, 4).index(int(step.parameters["axes"]["axis"]))
            return tf.concat(sources, axis)
        if step.kind == "RESIZE_NEAREST":
            return tf.image.resize(sources[0], shape[:2], "nearest")
        region = step.parameters["region"]
        begin = [int(region[f"begin_{axis}"]) for axis in ("height", "width", "channels")]
        if step.kind == "SLICE":
            return tf.slice(sources[0], begin, shape)
        sizes = sources[0].shape
        return tf.pad(
            sources[0], [(b, n - b - s) for b, n, s in zip(begin, shape, sizes, strict=True)]
        )

    def _maximum(self, step: Step, source: tf.Tensor) -> tf.Tensor:
        """Of ties the first in a window takes the gradient, as in the core."""
        window, output = step.parameters["window"], self.program.tensors[step.output]
        kernel = (int(window["kernel_height"]), int(window["kernel_width"]))
        order = np.arange(source.shape[0] * source.shape[1], dtype=np.float64)
        earlier = order.reshape(*source.shape[:2], 1) * -1e-9
        padded = self._padded(step, source + earlier + 1000.0) - 1000.0
        strides = (int(window["stride_height"]), int(window["stride_width"]))
        return tf.nn.max_pool2d(padded, kernel, strides, "VALID")[
            0, : output.height, : output.width
        ]

    def _padded(self, step: Step, source: tf.Tensor) -> tf.Tensor:
        window, shape = step.parameters["window"], self.program.tensors[step.output].shape
        pads = []
        for axis, (side, name) in enumerate((("top", "height"), ("left", "width"))):
            before = int(window[f"pad_{side}"])
            span = (int(window[f"kernel_{name}"]) - 1) * int(window[f"dilation_{name}"]) + 1
            reach = (shape[axis] - 1) * int(window[f"stride_{name}"]) + span
            pads.append((before, max(reach - before - source.shape[axis], 0)))
        padded = tf.pad(source, (*pads, (0, 0)))
        return padded[None]

    def _convolved(self, step: Step, source: tf.Tensor) -> tf.Tensor:
        window, weights = step.parameters["window"], self.weights[step.name]
        strides = (int(window["stride_height"]), int(window["stride_width"]))
        dilations = (int(window["dilation_height"]), int(window["dilation_width"]))
        output = self.program.tensors[step.output]
        padded = self._padded(step, source)
        if step.kind == "DEPTHWISE_CONVOLUTION":
            multiplier = output.channels // source.shape[-1]
            kernel = tf.reshape(weights, (*weights.shape[:2], source.shape[-1], multiplier))
            result = _depthwise(padded, kernel, strides, dilations)
        else:
            groups = int(window["groups"])
            parts = zip(
                tf.split(padded, groups, axis=3), tf.split(weights, groups, axis=3), strict=True
            )
            result = tf.concat(
                [tf.nn.conv2d(p, k, strides, "VALID", dilations=dilations) for p, k in parts], 3
            )
        return result[0, : output.height, : output.width] + self.biases[step.name]

    def _pooled(self, step: Step, source: tf.Tensor) -> tf.Tensor:
        window = step.parameters["window"]
        kernel = (int(window["kernel_height"]), int(window["kernel_width"]))
        strides = (int(window["stride_height"]), int(window["stride_width"]))
        output = self.program.tensors[step.output]
        sums, counts = (
            tf.nn.avg_pool2d(self._padded(step, v), kernel, strides, "VALID")
            for v in (source, tf.ones_like(source))
        )
        return (sums / counts)[0, : output.height, : output.width]


def _depthwise(
    padded: tf.Tensor, kernel: tf.Tensor, strides: tuple[int, int], dilations: tuple[int, int]
) -> tf.Tensor:
    """A depthwise convolution as a sum over its taps: any strides and dilations."""
    height, width, inputs, multiplier = kernel.shape
    rows = (padded.shape[1] - (height - 1) * dilations[0] - 1) // strides[0] + 1
    columns = (padded.shape[2] - (width - 1) * dilations[1] - 1) // strides[1] + 1
    total = tf.zeros((1, rows, columns, inputs, multiplier), tf.float64)
    for i in range(height):
        for j in range(width):
            top, left = i * dilations[0], j * dilations[1]
            part = padded[
                :,
                top : top + (rows - 1) * strides[0] + 1 : strides[0],
                left : left + (columns - 1) * strides[1] + 1 : strides[1],
            ]
            total += part[..., None] * kernel[i, j]
    return tf.reshape(total, (1, rows, columns, inputs * multiplier))
