"""One training step of the core against automatic differentiation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf
from small_trainable import small_samples
from training_reference import Function, Reference, layer_constants

from lilliput.lower.packing import pack_pairs, unpack_pairs
from lilliput.program import Program, Step
from lilliput.training.backward import Options, training_program
from lilliput.training.exponents import calibrate
from lilliput.training.region import weight_scales
from lilliput.training.running import Probe
from lilliput.training.scheme import Scheme, trained_channels


def measured(program: Program, scheme: Scheme, options: Options | None = None) -> dict[str, float]:
    options = options or Options()
    data = small_samples(8, seed=1)
    return dict(
        calibrate(program, scheme, options, list(data.samples), [int(c) for c in data.classes])
    )


def check_changes(
    program: Program,
    scheme: Scheme,
    options: Options,
    functions: Mapping[str, Function] | None = None,
) -> None:
    """A step changes weights and biases as automatic differentiation says."""
    made = training_program(program, scheme, options, measured(program, scheme, options))
    probe = Probe(made.program)
    data = small_samples(1, seed=5)
    label = int(data.classes[0])
    loss = probe.step(data.samples[0], label)
    reference = Reference(probe.program, probe.read, functions)
    expected_loss, weights, biases, _ = reference.gradients(
        lambda y: tf.nn.sparse_softmax_cross_entropy_with_logits(label, tf.reshape(y, [-1]))
    )
    assert loss == pytest.approx(expected_loss, abs=0.002)
    assert probe.trainer.saturated == 0
    probe.trainer.reset(seed=3)
    probe.trainer.lr = rate = 0.02
    probe.step(data.samples[0], label)
    checked = 0
    for step in probe.program.steps:
        if step.is_training or step.trained_offset is None:
            continue
        scales = weight_scales(probe.program, step)
        source = probe.program.tensors[step.edges[0].tensor]
        old_weights, old_bias = layer_constants(probe.program, step)
        new_weights, new_bias = trained_values(probe, step)
        wanted = -rate * biases[step.name] / (scales * source.scale)
        assert_close(new_bias - old_bias, wanted)
        change = new_weights.astype(np.int64) - old_weights
        if step.name in scheme.weights:
            shape = (-1, 1) if step.kind == "DEPTHWISE_CONVOLUTION" else (1, -1)
            wanted = -rate * weights[step.name] / scales.reshape(shape)
            count = trained_channels(scheme.weights[step.name], wanted.shape[2])
            wanted[:, :, count:] = 0
            wanted = np.clip(old_weights + wanted, -127, 127) - old_weights
            assert_close(change, wanted)
        else:
            assert not change.any()
        checked += 1
    assert checked == len(scheme.trained)


def merged_weights(step: Step, kept: bytes, arena: bytes, channels: int, inputs: int) -> bytes:
    """A layer's packed weights, those of its first `arena_inputs` inputs being the arena's."""
    if step.kind == "DEPTHWISE_CONVOLUTION" or step.arena_inputs == inputs:
        return arena[: len(kept)]
    weights = unpack_pairs(np.frombuffer(kept, np.int8), channels)
    weights = weights.reshape(channels, -1, inputs).copy()
    taps = weights.shape[1] * step.arena_inputs
    size = -(-channels // 2) * 2 * (taps + taps % 2)
    held = unpack_pairs(np.frombuffer(arena[:size], np.int8), channels)[:, :taps]
    weights[..., : step.arena_inputs] = held.reshape(channels, -1, step.arena_inputs)
    return pack_pairs(weights).tobytes()


def trained_values(probe: Probe, step: Step) -> tuple[np.ndarray, np.ndarray]:
    """A layer's weights and bias as they are in the arena now, as `layer_constants` has them."""
    program = probe.program
    assert step.trained_offset is not None
    channels = program.tensors[step.output].channels
    arena = bytes(probe.model._arena)
    bias = arena[step.trained_offset :][: 4 * channels]
    tables = -(-9 * channels // 4) * 4
    kept = step.constants[tables:]
    if step.arena_inputs:
        weights = arena[step.trained_offset + 4 * channels :]
        inputs = program.tensors[step.edges[0].tensor].channels
        kept = merged_weights(step, kept, weights, channels, inputs)
    constants = bias + step.constants[4 * channels : tables] + kept
    return layer_constants(program, replace(step, constants=constants))


def assert_close(changes: np.ndarray, wanted: np.ndarray) -> None:
    """Each change is rounded at random, up or down; the gradients have errors of a percent."""
    slack = 1 + 0.03 * np.abs(wanted) + 0.01 * np.abs(wanted).max()
    assert np.all(np.abs(changes - wanted) <= slack)
