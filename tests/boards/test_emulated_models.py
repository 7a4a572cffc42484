"""Models on emulated boards compute the host's bits, through native module and user C module.

A board is started once with all models in its ROMFS, and mpremote runs them one after the other.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from small_models import float_classifier, int8_tflite, with_two_inputs

from lilliput import convert
from lilliput.deployment.romfs import write_image
from lilliput.emulation import BOARDS, EmulationError, emulated_board
from lilliput.execution import ports_of, run_on_host
from lilliput.unixport import find_device_package, find_natmod

AT_FULL_LENGTH = os.environ.get("LILLIPUT_TEST_PROFILE") == "all"
MODELS = (
    "mcunet_vww",
    "mlperf_ad01_int8",
    "mlperf_kws_ref_model",
    "mlperf_pretrainedResnet_quant",
    "mlperf_vww_96_int8",
)
# Runs on the board. ROMFS files are buffers: models and inputs are used where they lie.
SCRIPT = """
import gc, json
import lilliput
from binascii import hexlify
for name, inputs in json.loads(open("/rom/cases.json").read()):
    model = lilliput.load("/rom/" + name + ".lil")
    values = [open("/rom/" + path, "rb").read() for path in inputs]
    outputs = model.infer(values, raw=True)
    outputs = outputs if len(model.outputs) > 1 else [outputs]
    print(json.dumps([name, model.arena_bytes, [hexlify(x).decode() for x in outputs]]))
    model.deinit()
    del model, values, outputs
    gc.collect()
"""


@dataclass(frozen=True)
class Case:
    """A model, its inputs, and what the host makes of them."""

    name: str
    data: bytes
    inputs: list[np.ndarray]
    outputs: list[np.ndarray]
    arena_bytes: int

    @property
    def answer(self) -> list[object]:
        """What the board shall print of it."""
        outputs = [output.tobytes().hex() for output in self.outputs]
        return [self.name, self.arena_bytes, outputs]


def case(name: str, data: bytes) -> Case:
    generator = np.random.default_rng(7)
    inputs = [generator.integers(-128, 128, port.shape, np.int8) for port in ports_of(data).inputs]
    wanted = run_on_host(data, inputs)
    return Case(name, data, inputs, wanted.outputs, wanted.arena_bytes)


@pytest.fixture(scope="session")
def small() -> list[Case]:
    two_inputs = convert(int8_tflite(with_two_inputs(float_classifier()))).data
    return [case("two_inputs", two_inputs)]


@pytest.fixture(scope="session")
def shared(models: Path, small: list[Case]) -> list[Case]:
    return [*small, *(case(name, convert(models / f"{name}.tflite").data) for name in MODELS)]


@pytest.fixture(scope="session")
def largest(models: Path) -> list[Case]:
    return [case("mcunetv2_large", convert(models / "mcunetv2_large.tflite").data)]


def check(
    cases: list[Case], core: str, built_in: bool, tmp_path: Path, architecture: str | None = None
) -> None:
    """Runs models on a board through mpremote, and compares arenas and all bits of outputs."""
    files = {}
    requests = []
    for each in cases:
        paths = [f"{each.name}{index}.bin" for index in range(len(each.inputs))]
        files[f"{each.name}.lil"] = each.data
        for path, values in zip(paths, each.inputs, strict=True):
            files[path] = values.tobytes()
        requests.append([each.name, paths])
    files["cases.json"] = json.dumps(requests).encode()
    for source in find_device_package().glob("*.py"):
        files[f"lib/lilliput/{source.name}"] = source.read_bytes()
    if not built_in:
        module = find_natmod(architecture or BOARDS[core].natmod)
        files["lib/_lilliput.mpy"] = module.read_bytes()
    script = tmp_path / "run_models.py"
    script.write_text(SCRIPT)
    try:
        with emulated_board(
            core, native_module_built_in=built_in, romfs=write_image(files)
        ) as port:
            command = [sys.executable, "-m", "mpremote", "connect", port, "run", str(script)]
            done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    except EmulationError as error:
        pytest.skip(str(error))
    assert done.returncode == 0, done.stdout + done.stderr
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert answers == [each.answer for each in cases]


@pytest.mark.parametrize("built_in", [False, True], ids=["natmod", "user module"])
@pytest.mark.parametrize("core", BOARDS)
def test_every_shared_model(core: str, built_in: bool, shared: list[Case], tmp_path: Path) -> None:
    check(shared, core, built_in, tmp_path)


def test_cortex_m0_code(shared: list[Case], tmp_path: Path) -> None:
    """A Cortex-M3 executes what is compiled for a Cortex-M0+."""
    check(shared, "cortex-m3", False, tmp_path, "armv6m")


@pytest.mark.parametrize("built_in", [False, True], ids=["natmod", "user module"])
def test_without_shared_models(built_in: bool, small: list[Case], tmp_path: Path) -> None:
    check(small, "cortex-m4", built_in, tmp_path)


@pytest.mark.skipif(not AT_FULL_LENGTH, reason="half a minute: LILLIPUT_TEST_PROFILE=all")
@pytest.mark.parametrize("built_in", [False, True], ids=["natmod", "user module"])
@pytest.mark.parametrize("core", BOARDS)
def test_the_largest_model(core: str, built_in: bool, largest: list[Case], tmp_path: Path) -> None:
    check(largest, core, built_in, tmp_path)
