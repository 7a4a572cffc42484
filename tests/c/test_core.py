"""Builds the C core with sanitizers and runs its C tests on models that the host wrote."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings
from reference_cases import write_random_cases
from trainable_cases import write_trainable_cases

RUNS = 40 * settings().max_examples  # mutants: 20,000 in `make test`


@pytest.fixture(scope="module")
def output(repository: Path) -> Path:
    return repository / "build" / "c"


@pytest.fixture(scope="module")
def cases(output: Path) -> Path:
    folder = output / "cases"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    assert len(write_random_cases(folder, chains=20)) >= 50
    assert len(write_trainable_cases(folder / "trainable")) == 12
    return folder


def test_core_under_sanitizers(repository: Path, output: Path, cases: Path) -> None:
    command = ["make", "-C", str(repository / "tests" / "c"), "test"]
    variables = [f"OUT={output}", f"CASES={cases}", f"RUNS={RUNS}", "SEED=1"]
    result = subprocess.run(
        [*command, *variables],
        env={k: v for k, v in os.environ.items() if k != "MAKEFLAGS"},
        capture_output=True,
        text=True,
        timeout=1200,
    )
    said = result.stdout + result.stderr
    assert result.returncode == 0, said[-6000:]
    assert "\nrequantize: 0 failures" in said
    assert "\ndsp requantize: 0 failures" in said
    # With the portable kernels, and with those of the DSP extension.
    assert said.count(f"\nmodel: {len(list(cases.glob('*.lil')))} models, 0 failures") == 2
    lines = [line for line in said.splitlines() if "mutants tried" in line]
    assert len(lines) == 4
    for line in lines:
        tried, sound = (int(word) for word in line.split() if word.isdigit())
        assert tried == RUNS
        # Mutants that only die in the checksum or the verifier would test nothing behind it.
        assert sound > RUNS // 100, line


def test_inputs_of_cases_are_not_trivial(cases: Path) -> None:
    values = np.concatenate([np.fromfile(path, np.int8) for path in cases.glob("*.in")])
    assert len(np.unique(values)) > 200
