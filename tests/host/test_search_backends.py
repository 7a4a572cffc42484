"""The super-network trains alike on TensorFlow, JAX and PyTorch, and on several devices."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
keras = pytest.importorskip("keras", reason="training needs the extra `tensorflow`")

from train_super_network import SPACE, trained  # noqa: E402

from lilliput.search.supernet import SuperNetwork, frame_of  # noqa: E402

TWO_DEVICES = {"XLA_FLAGS": "--xla_force_host_platform_device_count=2"}


@pytest.mark.parametrize(
    ("backend", "arguments", "environment"),
    [("jax", ["all-devices"], TWO_DEVICES), ("torch", [], {})],
    ids=["jax on two devices", "torch"],
)
def test_a_backend_trains_as_tensorflow_does(
    backend: str, arguments: list[str], environment: dict[str, str], tmp_path: Path
) -> None:
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed")
    keras.utils.set_random_seed(1)
    start = SuperNetwork(frame_of(SPACE)).numpy_weights()
    np.savez(tmp_path / "start.npz", **start)
    script = Path(__file__).with_name("train_super_network.py")
    subprocess.run(
        [sys.executable, script, tmp_path / "start.npz", tmp_path / "found.npz", *arguments],
        env={**os.environ, "KERAS_BACKEND": backend, **environment}, check=True,
    )  # fmt: skip
    wanted = trained(start, tmp_path / "wanted")
    with np.load(tmp_path / "found.npz") as found:
        for name, value in wanted.items():
            np.testing.assert_allclose(found[name], value, atol=1e-5, err_msg=name)
    assert any(np.abs(value - start[name]).max() > 1e-3 for name, value in wanted.items())
