"""The same layers trained in float32 by TensorFlow: what the int8 training is measured against."""

from __future__ import annotations

import _lilliput
import numpy as np
import tensorflow as tf
from lilliput.runtime.model import Model

from lilliput.format.writer import write
from lilliput.labelled import Labelled
from lilliput.lower.packing import unpack_pairs
from lilliput.planner import plan
from lilliput.program import Program, Step
from lilliput.training.experiment import Outcome, Recipe
from lilliput.training.region import weight_scales
from lilliput.training.scheme import Scheme, trained_channels

_LAYERS = ("CONVOLUTION", "DEPTHWISE_CONVOLUTION", "FULLY_CONNECTED")


def train_in_float(
    program: Program, scheme: Scheme, train: Labelled, test: Labelled, recipe: Recipe
) -> Outcome:
    """SGD with batches of one, in the order and at the rates of the int8 training. What lies
    before the first trained layer stays int8, in the C core: its outputs are computed once."""
    tail = FloatTail(program, scheme)
    features = [prefix_outputs(program, tail.source, part.samples) for part in (train, test)]
    dice = np.random.default_rng(recipe.seed)
    total, done = recipe.epochs * len(train), 0
    losses: list[float] = []
    for _ in range(recipe.epochs):
        losses.clear()
        for index in dice.permutation(len(train)):
            rate = recipe.rate * 0.5 * (1 + np.cos(np.pi * done / total))
            x, y = features[0][index : index + 1], train.classes[index : index + 1]
            losses.append(
                float(tail.step(tf.constant(x), tf.constant(y), tf.constant(rate, tf.float32)))
            )
            done += 1
    guesses = [
        np.argmax(tail.scores(tf.constant(features[1][i : i + 100])), axis=1)
        for i in range(0, len(test), 100)
    ]
    accuracy = float(np.mean(np.concatenate(guesses) == test.classes))
    return Outcome(accuracy, float(np.mean(losses)))


def prefix_outputs(program: Program, tensor: int, samples: np.ndarray) -> np.ndarray:
    """A map of the int8 network as reals, float32, for each sample."""
    placed = plan(program, keep_all=True)
    map_ = placed.program.tensors[tensor]
    with Model(write(placed.program, placed)) as model:
        made = np.empty((len(samples), *map_.shape), np.int8)
        out = model.output.buffer()
        for index, sample in enumerate(samples):
            model.infer(sample, out)
            _lilliput.read_tensor(model._file, model._arena, tensor, made[index])
    return (map_.scale * (made.astype(np.float32) - map_.zero_point)).astype(np.float32)


class FloatTail:
    """A program from the map before its first trained layer on, in float32."""

    def __init__(self, program: Program, scheme: Scheme) -> None:
        self.program = program
        self.first = self._cut(scheme)
        self.steps = program.steps[self.first :]
        self.source = self._crossing(self.first)[0]
        self.weights: dict[str, tf.Variable] = {}
        self.biases: dict[str, tf.Variable] = {}
        self.masks: dict[str, np.ndarray] = {}
        for step in self.steps:
            if step.kind in _LAYERS:
                self._declare(step, scheme)
        self.step = tf.function(self._step)
        self.scores = tf.function(self._forward)

    def _crossing(self, position: int) -> list[int]:
        """Maps that steps from a position on read, and those before write."""
        before = {self.program.root(s.output) for s in self.program.steps[:position]}
        reads = {
            self.program.root(e.tensor) for s in self.program.steps[position:] for e in s.edges
        }
        return sorted(before & reads)

    def _cut(self, scheme: Scheme) -> int:
        first = min(i for i, s in enumerate(self.program.steps) if s.name in scheme.trained)
        while len(self._crossing(first)) != 1:
            first -= 1
        return first

    def _declare(self, step: Step, scheme: Scheme) -> None:
        source, output = (self.program.tensors[i] for i in (step.edges[0].tensor, step.output))
        channels = output.channels
        scales = weight_scales(self.program, step)
        bias = np.frombuffer(step.constants, "<i4", channels).astype(np.int64)
        packed = np.frombuffer(step.constants, np.int8)[-(-9 * channels // 4) * 4 :]
        if step.kind == "DEPTHWISE_CONVOLUTION":
            window = step.parameters["window"]
            shape = (int(window["kernel_height"]), int(window["kernel_width"]), channels)
            weights = packed.reshape(shape)
            reals = (weights * scales)[..., None]
        else:
            kernel = (1, 1)
            if step.kind == "CONVOLUTION":
                window = step.parameters["window"]
                kernel = (int(window["kernel_height"]), int(window["kernel_width"]))
            taps = kernel[0] * kernel[1] * source.channels
            flat = unpack_pairs(packed, channels)[:, :taps]
            weights = flat.reshape(channels, *kernel, source.channels).transpose(1, 2, 3, 0)
            reals = weights * scales
        sums = weights.reshape(-1, channels).astype(np.int64).sum(axis=0)
        trains = step.name in scheme.weights
        self.weights[step.name] = tf.Variable(reals.astype(np.float32), trainable=trains)
        values = (bias + source.zero_point * sums) * scales * source.scale
        self.biases[step.name] = tf.Variable(
            values.astype(np.float32), trainable=step.name in scheme.trained
        )
        if trains:
            mask = np.ones(reals.shape, np.float32)
            if step.kind == "CONVOLUTION":
                count = trained_channels(scheme.weights[step.name], source.channels)
                mask[:, :, count:] = 0
            self.masks[step.name] = mask

    def _forward(self, x: tf.Tensor) -> tf.Tensor:
        values = {self.source: x}
        for step in self.steps:
            sources = [values[self.program.root(e.tensor)] for e in step.edges]
            values[step.output] = self._clamped(step, self._compute(step, sources))
        output = values[self.program.root(self.program.outputs[0].tensor)]
        return tf.reshape(output, (tf.shape(x)[0], -1))

    def _clamped(self, step: Step, value: tf.Tensor) -> tf.Tensor:
        map_ = self.program.tensors[step.output]
        low, high = (map_.scale * (bound - map_.zero_point) for bound in step.activation)
        is_clamp = map_.zero_point in (-128, 127) or step.activation != (-128, 127)
        return tf.clip_by_value(value, low, high) if is_clamp else value

    def _compute(self, step: Step, sources: list[tf.Tensor]) -> tf.Tensor:
        if step.kind == "ADD":
            return sources[0] + sources[1]
        if step.kind == "MEAN":
            return tf.reduce_mean(sources[0], axis=(1, 2), keepdims=True)
        weights, bias = self.weights[step.name], self.biases[step.name]
        if step.kind == "FULLY_CONNECTED":
            return tf.nn.conv2d(sources[0], weights, 1, "VALID") + bias
        window = step.parameters["window"]
        stride = int(window["stride_height"])
        pads = []
        for side, axis in (("top", 0), ("left", 1)):
            size = self.program.tensors[step.output].shape[axis]
            reach = (size - 1) * stride + weights.shape[axis]
            before = int(window[f"pad_{side}"])
            pads.append((before, max(reach - before - sources[0].shape[axis + 1], 0)))
        padded = tf.pad(sources[0], ((0, 0), *pads, (0, 0)))
        if step.kind == "DEPTHWISE_CONVOLUTION":
            strides = (1, stride, stride, 1)
            return tf.nn.depthwise_conv2d(padded, weights, strides, "VALID") + bias
        return tf.nn.conv2d(padded, weights, stride, "VALID") + bias

    def _step(self, x: tf.Tensor, y: tf.Tensor, rate: tf.Tensor) -> tf.Tensor:
        trained = [v for v in (*self.weights.values(), *self.biases.values()) if v.trainable]
        with tf.GradientTape() as tape:
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(y, self._forward(x))
            loss = tf.reduce_mean(losses)
        gradients = dict(zip((v.ref() for v in trained), tape.gradient(loss, trained), strict=True))
        for name, variable in self.weights.items():
            if variable.trainable:
                variable.assign_sub(rate * gradients[variable.ref()] * self.masks[name])
        for variable in self.biases.values():
            if variable.trainable:
                variable.assign_sub(rate * gradients[variable.ref()])
        return loss
