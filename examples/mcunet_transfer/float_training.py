"""The same layers trained in float32 by TensorFlow: what the int8 training is measured against."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from lilliput.lower.packing import unpack_pairs
from lilliput.program import Program, Step
from lilliput.training.experiment import Outcome, Recipe, Tail
from lilliput.training.region import weight_scales
from lilliput.training.scheme import Scheme, trained_channels

_LAYERS = ("CONVOLUTION", "DEPTHWISE_CONVOLUTION", "FULLY_CONNECTED")
_TESTED_AT_ONCE = 50


def use_one_thread() -> None:
    """Samples one at a time gain nothing from more."""
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)


def train_in_float(tail: Tail, scheme: Scheme, recipe: Recipe) -> Outcome:
    """SGD with batches of one, in the order and at the rates of the int8 training, from the same
    int8 outputs of the layers before."""
    network = FloatNetwork(tail.program, scheme)
    train, test = tail.train, tail.test
    samples, classes = tf.constant(train.samples), tf.constant(train.classes)
    dice = np.random.default_rng(recipe.seed)
    total = recipe.epochs * len(train)
    loss = float("inf")
    for epoch in range(recipe.epochs):
        done = epoch * len(train) + np.arange(len(train))
        rates = recipe.rate * 0.5 * (1 + np.cos(np.pi * done / total))
        order = tf.constant(dice.permutation(len(train)))
        loss = float(network.train(samples, classes, order, tf.constant(rates, tf.float32)))
    guesses = [
        np.argmax(network.scores(tf.constant(test.samples[i : i + _TESTED_AT_ONCE])), axis=1)
        for i in range(0, len(test), _TESTED_AT_ONCE)
    ]
    accuracy = float(np.mean(np.concatenate(guesses) == test.classes))
    return Outcome(accuracy, loss)


class FloatNetwork:
    """An int8 program in float32: weights and activations are the reals that it stands for, and
    clamps are where it has them."""

    def __init__(self, program: Program, scheme: Scheme) -> None:
        self.program = program
        self.source = program.tensors[program.inputs[0].tensor]
        self.steps = [step for step in program.steps if step.kind != "INPUT"]
        self.weights: dict[str, tf.Variable] = {}
        self.biases: dict[str, tf.Variable] = {}
        self.masks: dict[str, np.ndarray] = {}
        for step in self.steps:
            if step.kind in _LAYERS:
                self._declare(step, scheme)
        self.train = tf.function(self._train)
        self.scores = tf.function(self._scores)

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
            reals = weights * scales
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
        if trains and step.kind == "CONVOLUTION":
            count = trained_channels(scheme.weights[step.name], source.channels)
            if count < source.channels:
                self.masks[step.name] = np.ones(reals.shape, np.float32)
                self.masks[step.name][:, :, count:] = 0

    def _scores(self, samples: tf.Tensor) -> tf.Tensor:
        """Logits float32[n, classes] of int8[n, height, width, channels]."""
        reals = self.source.scale * (tf.cast(samples, tf.float32) - self.source.zero_point)
        values = {self.program.inputs[0].tensor: reals}
        for step in self.steps:
            sources = [values[self.program.root(e.tensor)] for e in step.edges]
            values[step.output] = self._clamped(step, self._compute(step, sources))
        output = values[self.program.root(self.program.outputs[0].tensor)]
        return tf.reshape(output, (samples.shape[0], -1))

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
        if step.kind == "FULLY_CONNECTED" or step.is_pointwise:
            flat = tf.reshape(sources[0], (-1, weights.shape[2]))
            products = tf.matmul(flat, tf.reshape(weights, weights.shape[2:]))
            return tf.reshape(products, (*sources[0].shape[:3], -1)) + bias
        window = step.parameters["window"]
        stride = int(window["stride_height"])
        output = self.program.tensors[step.output]
        pads = []
        for side, axis in (("top", 0), ("left", 1)):
            reach = (output.shape[axis] - 1) * stride + weights.shape[axis]
            before = int(window[f"pad_{side}"])
            pads.append((before, max(reach - before - sources[0].shape[axis + 1], 0)))
        padded = tf.pad(sources[0], ((0, 0), *pads, (0, 0)))
        if step.kind == "DEPTHWISE_CONVOLUTION":
            taps = tf.expand_dims(weights, 3)
            return tf.nn.depthwise_conv2d(padded, taps, (1, stride, stride, 1), "VALID") + bias
        return tf.nn.conv2d(padded, weights, stride, "VALID") + bias

    def _train(
        self, samples: tf.Tensor, classes: tf.Tensor, order: tf.Tensor, rates: tf.Tensor
    ) -> tf.Tensor:
        """A step with each sample in the order, at its rate; the mean loss."""
        total = tf.constant(0.0)
        for i in tf.range(tf.size(order)):
            total += self._step(samples[order[i]][None], classes[order[i]][None], rates[i])
        return total / tf.cast(tf.size(order), tf.float32)

    def _step(self, sample: tf.Tensor, label: tf.Tensor, rate: tf.Tensor) -> tf.Tensor:
        weights = {name: v for name, v in self.weights.items() if v.trainable}
        biases = {name: v for name, v in self.biases.items() if v.trainable}
        with tf.GradientTape() as tape:
            logits = self._scores(sample)
            loss = tf.nn.sparse_softmax_cross_entropy_with_logits(label, logits)[0]
        of_weights, of_biases = tape.gradient(loss, (weights, biases))
        for name, variable in weights.items():
            change = of_weights[name] * self.masks.get(name, 1.0)
            variable.assign_sub(rate * change)
        for name, variable in biases.items():
            variable.assign_sub(rate * of_biases[name])
        return loss
