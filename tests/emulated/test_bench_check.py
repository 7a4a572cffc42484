"""No model or kernel needs more instructions than bench/instructions.json says."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import anchors
import pytest
from check import Change, changes, regressions
from measuring import FIGURES, Figures, compilers, read_figures

CORES = ("cortex-m7", "cortex-m0", "cortex-m55", "rv32")


@pytest.fixture(scope="module")
def figures(emulators: None) -> Figures:
    stored = read_figures()
    if stored.compilers != compilers():
        pytest.skip(f"{FIGURES.name} is of {stored.compilers}, installed is {compilers()}")
    return stored


@pytest.fixture(scope="module")
def found(figures: Figures, repository: Path) -> list[Change]:
    folder = os.environ.get("LILLIPUT_MODELS", repository.parent / "shared" / "models")
    return changes(figures, CORES, Path(folder))


def test_nothing_needs_more_instructions(figures: Figures, found: list[Change]) -> None:
    assert {change.core for change in found} == set(CORES)
    assert {change.name for change in found} >= set(figures.kernels)
    worse = regressions(found)
    assert not worse, "\n".join(map(str, worse))


def test_models_need_no_more_than_the_aims() -> None:
    models = read_figures().models
    for name, bound in anchors.BOUNDS.items():
        assert models[name]["cortex-m7"] <= bound, name
        assert models[name]["cortex-m4"] <= 1.03 * bound, name
    theirs = {
        anchor.model: anchor.instructions["cortex-m55"]
        for anchor in anchors.MODELS
        if anchor.engine == anchors.TFLM and "cortex-m55" in anchor.instructions
    }
    assert len(theirs) == 4
    for name, count in theirs.items():
        assert models[name]["cortex-m55"] <= anchors.M55_SHARE * count, name


def test_three_percent_more_is_a_regression(found: list[Change]) -> None:
    assert regressions([Change("kernel", "core", 1000, 1030)])
    assert not regressions([Change("kernel", "core", 1000, 1019)])
    slower = [replace(change, stored=int(change.now / 1.03)) for change in found]
    assert len(regressions(slower)) == len(found)


def test_figures_of_another_compiler_are_not_compared(figures: Figures, tmp_path: Path) -> None:
    other = replace(figures, compilers={**figures.compilers, "arm-none-eabi": "1.2.3"})
    with pytest.raises(ValueError, match=r"1\.2\.3"):
        changes(other, CORES, tmp_path)
