"""Keras models in every form, from `lilliput.convert` to an inference."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lilliput
from lilliput.cli.app import main

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
keras = pytest.importorskip("keras")


@pytest.fixture(scope="module")
def model() -> Any:
    """A network with all that convert folds: batch norm, padding, separate activations."""
    keras.utils.set_random_seed(0)
    layers = keras.layers
    network = keras.Sequential(
        [
            layers.Input((16, 16, 3), name="image"),
            layers.ZeroPadding2D(1),
            layers.Conv2D(8, 3, strides=2, use_bias=False),
            layers.BatchNormalization(),
            layers.ReLU(),
            layers.DepthwiseConv2D(3, padding="same"),
            layers.BatchNormalization(),
            layers.ReLU(6.0),
            layers.Conv2D(12, 1, activation="relu"),
            layers.GlobalAveragePooling2D(),
            layers.Dense(5, activation="softmax"),
        ]
    )
    generator = np.random.default_rng(0)
    for layer in network.layers:
        if isinstance(layer, layers.BatchNormalization):
            shape = layer.gamma.shape
            layer.set_weights([generator.uniform(0.5, 1.5, shape) for _ in range(4)])
    return network


@pytest.fixture(scope="module")
def samples() -> np.ndarray:
    return np.random.default_rng(1).random((24, 16, 16, 3), dtype=np.float32)


@pytest.fixture(scope="module")
def live(model: Any, samples: np.ndarray) -> lilliput.Conversion:
    return lilliput.convert(model, calibrate=samples)


def test_a_live_model_keeps_its_answers(
    model: Any, samples: np.ndarray, live: lilliput.Conversion
) -> None:
    expected = np.asarray(model(samples, training=False))
    loaded = lilliput.load(live.data)
    actual = np.array([loaded.predict([sample])[0] for sample in samples])
    assert np.abs(actual - expected).max() < 0.04


def test_batch_norm_padding_and_activations_leave_no_operators(live: lilliput.Conversion) -> None:
    assert live.summary["operators"] == 6
    assert live.summary["macs"] == 64 * 8 * 27 + 64 * 8 * 9 + 64 * 12 * 8 + 12 * 5


@pytest.mark.parametrize("name", ["model.keras", "model.h5", "saved_model"])
def test_saved_forms_make_the_same_network(
    name: str,
    model: Any,
    samples: np.ndarray,
    live: lilliput.Conversion,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = tmp_path / name
    if name == "saved_model":
        model.export(path, verbose=False)
    else:
        model.save(path)
    np.save(tmp_path / "samples.npy", samples)
    arguments = ["convert", path, "-o", tmp_path / "m.lil", "--json"]
    arguments += ["--calibrate", tmp_path / "samples.npy"]
    capsys.readouterr()
    assert main([str(argument) for argument in arguments]) == 0
    told = json.loads(capsys.readouterr().out)
    for key in ("macs", "operators", "arena_bytes"):
        assert told[key] == live.summary[key]
    first = lilliput.load(live.data).infer(samples[0])
    assert lilliput.load(tmp_path / "m.lil").infer(samples[0]) == first


def test_tensorflow_is_only_needed_for_keras(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "tensorflow", None)
    (tmp_path / "model.keras").write_bytes(b"")
    assert main(["convert", str(tmp_path / "model.keras"), "-o", str(tmp_path / "m.lil")]) == 1
    assert "pip install lilliput[tensorflow]" in capsys.readouterr().err
