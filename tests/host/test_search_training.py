"""The super-network computes what its parts do, and training can be killed at any moment."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
keras = pytest.importorskip("keras", reason="training needs the extra `tensorflow`")

import lilliput  # noqa: E402
from lilliput.execution import answers  # noqa: E402
from lilliput.exporters.tflite import write_tflite  # noqa: E402
from lilliput.labelled import Labelled  # noqa: E402
from lilliput.litert import Session  # noqa: E402
from lilliput.search.depthwise import depthwise  # noqa: E402
from lilliput.search.float_graph import float_graph  # noqa: E402
from lilliput.search.quantized import QuantizedNetwork  # noqa: E402
from lilliput.search.space import Architecture, Block, Space, Stage  # noqa: E402
from lilliput.search.subnetwork import (  # noqa: E402
    accuracy_of,
    averages_of,
    folded,
    logits_of,
    part_of,
)
from lilliput.search.supernet import (  # noqa: E402
    SuperNetwork,
    code_of,
    codes_for,
    frame_of,
    sorted_by_importance,
)
from lilliput.search.training import (  # noqa: E402
    Schedule,
    augmented,
    floats,
    train,
    train_network,
)

SPACE = Space(12, 1, 4, 1.0, 8, 2, 8, (Stage(8, 2, depths=(1, 2)), Stage(16, 1, depths=(1, 2))))
TINY = Space(12, 1, 4, 1.0, 8, 2, 8, (Stage(8, 2, (3,), expansions=(3,), depths=(2,)),))
SCHEDULE = Schedule(epochs=2, batch=32, shift=1, flip=False)


def quadrants(count: int, seed: int) -> Labelled:
    """Noise with one bright quadrant: which one is the class."""
    dice = np.random.default_rng(seed)
    labels = dice.integers(0, 4, count)
    images = dice.integers(0, 60, (count, 12, 12, 1)).astype(np.uint8)
    for image, label in zip(images, labels, strict=True):
        top, left = divmod(label, 2)
        image[top * 6 : top * 6 + 6, left * 6 : left * 6 + 6] += 150
    return Labelled(images, labels.astype(np.int64))


TRAINING, TEST = quadrants(128, 0), quadrants(128, 1)


def unlike_fresh_ones(model: SuperNetwork) -> dict[str, np.ndarray]:
    """The model's weights, set so that scales and shifts differ."""
    dice = np.random.default_rng(0)
    weights = model.numpy_weights()
    for name, value in weights.items():
        if name.endswith(("_gamma", "_beta", "_bias")):
            weights[name] = value + dice.normal(0, 0.2, value.shape).astype(np.float32)
    model.assign(weights)
    return weights


@pytest.fixture(scope="module")
def supernet() -> SuperNetwork:
    keras.utils.set_random_seed(1)
    model = SuperNetwork(frame_of(SPACE))
    unlike_fresh_ones(model)
    return model


def architectures() -> list[Architecture]:
    dice = random.Random(4)
    # Where a stage begins with as many channels as it gets, nothing is added all the same.
    same_width = Architecture(((Block(3, 3, 1.0),), (Block(5, 3, 0.5), Block(7, 4, 0.5))))
    drawn = [SPACE.sample(dice) for _ in range(3)]
    return [SPACE.largest(), SPACE.smallest(), same_width, *drawn]


def test_a_part_alone_computes_what_it_does_in_the_super_network(supernet: SuperNetwork) -> None:
    frame, weights, images = supernet.frame, supernet.numpy_weights(), floats(TEST.samples)
    codes = [code_of(SPACE, each) for each in architectures()]
    together = supernet({"image": images, "codes": codes_for(len(images), codes)})
    wanted = keras.ops.convert_to_numpy(together)
    for index, architecture in enumerate(architectures()):
        network = SPACE.network(architecture)
        part = part_of(weights, frame, codes[index], network)
        averages, alone = averages_of(part, network, images)
        np.testing.assert_allclose(alone, wanted[:, index], atol=1e-4)
        weights_folded = folded(part, averages)
        np.testing.assert_allclose(logits_of(weights_folded, network, images), alone, atol=1e-4)
        session = Session(write_tflite(float_graph(network, weights_folded)), reference=False)
        found = np.concatenate([session.run([image[None]])[0] for image in images])
        np.testing.assert_allclose(found, alone, atol=1e-4)
        assert np.abs(alone).max() > 0.1


@pytest.mark.parametrize(("image", "size", "stride"), [(7, 7, 1), (8, 5, 2), (5, 7, 1), (7, 7, 2)])
def test_depthwise_gradients_are_those_of_the_plain_operation(
    image: int, size: int, stride: int
) -> None:
    if keras.backend.backend() != "tensorflow":
        pytest.skip("other backends compute the plain operation")
    import tensorflow as tf

    dice = np.random.default_rng(image)
    x = tf.constant(dice.normal(size=(4, image, image, 6)), tf.float32)
    kernel = tf.Variable(dice.normal(size=(size, size, 6, 1)).astype(np.float32))
    found = []
    for convolve in (
        lambda: depthwise(x, kernel, stride),
        lambda: keras.ops.depthwise_conv(x, kernel, stride, "same", "channels_last"),
    ):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = convolve()
            loss = tf.reduce_sum(y * y * 0.1 + y)
        found.append([y, *tape.gradient(loss, [x, kernel])])
    for ours, theirs in zip(*found, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4)


def test_sorting_channels_changes_no_answer_of_the_largest(supernet: SuperNetwork) -> None:
    images = floats(TEST.samples[:32])
    codes = codes_for(32, [code_of(SPACE, SPACE.largest()), code_of(SPACE, SPACE.smallest())])
    before = keras.ops.convert_to_numpy(supernet({"image": images, "codes": codes}))
    weights = supernet.numpy_weights()
    made = sorted_by_importance(weights, SPACE)
    other = SuperNetwork(supernet.frame)
    other.assign(made)
    after = keras.ops.convert_to_numpy(other({"image": images, "codes": codes}))
    np.testing.assert_allclose(after[:, 0], before[:, 0], atol=1e-4)
    assert np.abs(after[:, 1] - before[:, 1]).max() > 1e-3  # others have other channels now
    norms = np.abs(made["block1_project"]).sum(axis=(0, 1, 3))
    assert list(norms) == sorted(norms, reverse=True)


@pytest.fixture
def eagerly() -> Iterator[None]:
    """Without the graphs that take longer to make than these trainings; `make test-all` makes
    them."""
    if os.environ.get("LILLIPUT_TEST_PROFILE") == "all" or keras.backend.backend() != "tensorflow":
        yield
        return
    import tensorflow

    tensorflow.config.run_functions_eagerly(True)
    yield
    tensorflow.config.run_functions_eagerly(False)


class Killed(Exception):
    """Stands for the end of the process."""


@pytest.mark.usefixtures("eagerly")
def test_killed_training_resumes_with_the_same_weights(tmp_path: Path) -> None:
    teacher, other = code_of(TINY, TINY.largest()), code_of(TINY, TINY.smallest())
    stops = iter([2, 5, 10**9])
    weights = []
    for folder in ("undisturbed", "killed"):
        (tmp_path / folder).mkdir()
        while len(weights) < (1 if folder == "undisturbed" else 2):
            stop = 10**9 if folder == "undisturbed" else next(stops)

            def progress(done: int, total: int, stop: int = stop) -> None:
                assert total == 8
                if done == stop:
                    raise Killed

            keras.utils.set_random_seed(1)
            model = SuperNetwork(frame_of(TINY))
            try:
                weights.append(
                    train(
                        model, TRAINING, SCHEDULE, lambda dice: [teacher, other],
                        tmp_path / folder / "weights.npz", seed=7, progress=progress,
                    )
                )  # fmt: skip
            except Killed:
                continue
    for name, value in weights[0].items():
        np.testing.assert_allclose(weights[1][name], value, atol=1e-5, err_msg=name)
    network = TINY.network(TINY.smallest())
    part = part_of(weights[0], frame_of(TINY), other, network)
    images, labels = floats(TEST.samples), TEST.classes
    assert accuracy_of(part, network, floats(TRAINING.samples), images, labels) > 0.6


@pytest.mark.usefixtures("eagerly")
def test_a_network_is_trained_quantised_and_runs_in_int8(tmp_path: Path) -> None:
    keras.utils.set_random_seed(1)
    network = TINY.network(TINY.smallest())
    part = train_network(
        network, None, TRAINING, replace(SCHEDULE, epochs=4), tmp_path / "final.npz", seed=1,
        augment=2.0,
    )  # fmt: skip
    images = floats(TEST.samples)
    averages, _ = averages_of(part, network, floats(TRAINING.samples))
    wanted = logits_of(folded(part, averages), network, images)
    model = QuantizedNetwork(network, folded(part, averages))
    np.testing.assert_allclose(keras.ops.convert_to_numpy(model(images)), wanted, atol=1e-3)
    model.calibrate(floats(TRAINING.samples))
    rounded = keras.ops.convert_to_numpy(model(images))
    assert 1e-4 < np.abs(rounded - wanted).max() < 0.3 * np.abs(wanted).max()
    gentle = replace(SCHEDULE, epochs=1, rate=0.002)
    weights = train(model, TRAINING, gentle, None, tmp_path / "quantized.npz", seed=1)
    assert any(np.any(weights[name] != value) for name, value in folded(part, averages).items())
    converted = lilliput.convert(
        float_graph(network, weights), calibrate=floats(TRAINING.samples[:64]),
        input_range=(0.0, 1.0), equalize=False, bias_correction=False,
    )  # fmt: skip
    expected = keras.ops.convert_to_numpy(model(images)).argmax(axis=1)
    found = answers(converted.data, TEST.samples)
    assert np.mean(found == expected) > 0.95
    assert np.mean(found == TEST.classes) > 0.9


def test_augmented_networks_are_wider_in_their_blocks_only() -> None:
    network = TINY.network(TINY.smallest())
    wide = augmented(network, 2.0)
    assert [b.outputs for b in wide.blocks] == [b.outputs for b in network.blocks]
    assert all(w.expanded == 2 * b.expanded for w, b in zip(wide.blocks[1:], network.blocks[1:]))  # noqa: B905
