"""Models on emulated processors compute the host's bits, through natmod and user C module."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from small_models import float_classifier, int8_tflite, with_two_inputs

from lilliput import convert
from lilliput.emulation import EmulationError, find_firmware
from lilliput.execution import ports_of, run_on_emulated_board, run_on_host

AT_FULL_LENGTH = os.environ.get("LILLIPUT_TEST_PROFILE") == "all"
CORES = ("cortex-m3", "cortex-m4", "cortex-m7")
OTHER_CORES = ("cortex-m33", "cortex-m55", "rv32")


def skip_without_firmware(core: str, built_in: bool) -> None:
    try:
        find_firmware(core, built_in)
    except EmulationError as error:
        pytest.skip(str(error))


def check(data: bytes, core: str, built_in: bool, architecture: str | None = None) -> None:
    """Runs a model with random input on the board and here, and compares all outputs."""
    skip_without_firmware(core, built_in)
    generator = np.random.default_rng(7)
    inputs = [generator.integers(-128, 128, port.shape, np.int8) for port in ports_of(data).inputs]
    wanted = run_on_host(data, inputs)
    found = run_on_emulated_board(
        core, data, inputs, native_module_built_in=built_in, architecture=architecture
    )
    assert found.arena_bytes == wanted.arena_bytes
    assert found.instructions is not None and found.instructions > 0
    for ours, theirs in zip(found.outputs, wanted.outputs, strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.fixture(scope="session")
def small() -> bytes:
    return convert(int8_tflite(with_two_inputs(float_classifier()))).data


@pytest.fixture(scope="session")
def keywords(models: Path) -> bytes:
    return convert(models / "mlperf_kws_ref_model.tflite").data


@pytest.mark.parametrize("built_in", [False, True], ids=["natmod", "user module"])
@pytest.mark.parametrize("core", CORES)
def test_small_model(core: str, built_in: bool, small: bytes) -> None:
    check(small, core, built_in)


@pytest.mark.parametrize("built_in", [False, True], ids=["natmod", "user module"])
@pytest.mark.parametrize("core", CORES)
def test_keyword_spotting(core: str, built_in: bool, keywords: bytes) -> None:
    check(keywords, core, built_in)


@pytest.mark.parametrize("core", OTHER_CORES)
def test_natmod_on_other_cores(core: str, keywords: bytes) -> None:
    check(keywords, core, False)


def test_cortex_m0_code(keywords: bytes) -> None:
    """A Cortex-M3 executes what is compiled for a Cortex-M0+."""
    check(keywords, "cortex-m3", False, "armv6m")


@pytest.mark.parametrize("built_in", [False, True], ids=["natmod", "user module"])
def test_visual_wake_words(built_in: bool, models: Path) -> None:
    check(convert(models / "mcunet_vww.tflite").data, "cortex-m7", built_in)


@pytest.mark.skipif(not AT_FULL_LENGTH, reason="minutes: LILLIPUT_TEST_PROFILE=all")
@pytest.mark.parametrize("built_in", [False, True], ids=["natmod", "user module"])
@pytest.mark.parametrize("core", [*CORES, *OTHER_CORES])
@pytest.mark.parametrize(
    "name",
    [
        "mcunet_vww",
        "mcunetv2_large",
        "mlperf_ad01_int8",
        "mlperf_pretrainedResnet_quant",
        "mlperf_vww_96_int8",
    ],
)
def test_every_shared_model(name: str, core: str, built_in: bool, models: Path) -> None:
    check(convert(models / f"{name}.tflite").data, core, built_in)
