"""How long the tests run, and where the models are that they read."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

REPOSITORY = Path(__file__).resolve().parent.parent

_COMMON = settings(
    deadline=None,
    database=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
# "fast" draws the same examples each time, so that a change cannot pass or fail by chance.
settings.register_profile("fast", _COMMON, derandomize=True, max_examples=500)
settings.register_profile("all", _COMMON, max_examples=10_000)
settings.load_profile(os.environ.get("LILLIPUT_TEST_PROFILE", "fast"))

# A shell that runs the tests in the background has interrupts ignored, which commands that tests
# start, and interrupt, would inherit.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the source tree."""
    return REPOSITORY


@pytest.fixture(scope="session")
def models() -> Path:
    """The folder of the published models; tests that need it are skipped where it is not."""
    folder = Path(os.environ.get("LILLIPUT_MODELS", REPOSITORY.parent / "shared" / "models"))
    if not folder.is_dir():
        pytest.skip(f"no models in {folder}: set LILLIPUT_MODELS")
    return folder
