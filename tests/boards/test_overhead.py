"""What MicroPython adds to an inference, and native code over built-in code, in instructions."""

from __future__ import annotations

import bisect
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from emulation import EmulatorsMissing
from emulation.building import build_plugin
from emulation.running import Block, read_regions
from emulation.tools import tool

from lilliput import convert
from lilliput.deployment.connection import Board
from lilliput.deployment.romfs import write_image
from lilliput.emulation import BOARDS, EmulationError, emulated_board, find_firmware
from lilliput.execution import ports_of
from lilliput.unixport import find_device_package, find_natmod

CORE = "cortex-m4"
# The region that is counted begins in time.ticks_us() and ends in time.ticks_ms().
BEGIN, END = "mp_hal_ticks_us", "mp_hal_ticks_ms"
MODELS = (
    "mlperf_kws_ref_model",
    "mlperf_ad01_int8",
    "mlperf_vww_96_int8",
    "mlperf_pretrainedResnet_quant",
)
# Pixels where the model takes them, int8 otherwise.
INFER = """
import array, time, lilliput
model = lilliput.load("/rom/model.lil")
x = open("/rom/input", "rb").read()
out = model.output.buffer()
try:
    model.infer(x, out)
except ValueError:
    x = array.array("b", x)
    model.infer(x, out)
time.ticks_us(); model.infer(x, out); time.ticks_ms()
"""


@dataclass(frozen=True)
class Count:
    """Instructions of one infer(): all of them, and those of each function."""

    total: int
    functions: dict[str, int]


@pytest.fixture(scope="module", params=MODELS)
def model(request: pytest.FixtureRequest, models: Path) -> bytes:
    return convert(models / f"{request.param}.tflite").data


@pytest.fixture(scope="module")
def built_in(model: bytes, tmp_path_factory: pytest.TempPathFactory) -> Count:
    return count(model, True, tmp_path_factory.mktemp("built_in"))


def count(model: bytes, native_module_built_in: bool, folder: Path) -> Count:
    try:
        firmware = find_firmware(CORE, native_module_built_in)
        plugin = build_plugin(tool(BOARDS[CORE].emulator))
        listing = tool("arm-none-eabi-nm")
    except (EmulationError, EmulatorsMissing) as error:
        pytest.skip(str(error))
    done = subprocess.run([listing, "-n", firmware], capture_output=True, text=True, check=True)
    symbols = [
        (int(address, 16), name)
        for address, kind, name in (line.split() for line in done.stdout.splitlines())
        if kind in "tT"
    ]
    addresses = {name: address for address, name in symbols}
    # QEMU's options separate with commas, which a path may hold.
    shutil.copyfile(plugin, folder / "plugin.so")
    options = f"{folder}/plugin.so,begin={addresses[BEGIN]},end={addresses[END]}"
    options += f",out={folder}/counts,blocks=on"
    values = np.random.default_rng(0).integers(0, 256, ports_of(model).inputs[0].shape, np.uint8)
    files = {"model.lil": model, "input": values.tobytes()}
    for source in find_device_package().glob("*.py"):
        files[f"lib/lilliput/{source.name}"] = source.read_bytes()
    if not native_module_built_in:
        files["lib/_lilliput.mpy"] = find_natmod(BOARDS[CORE].natmod).read_bytes()
    with (
        emulated_board(
            CORE,
            native_module_built_in=native_module_built_in,
            romfs=write_image(files),
            arguments=("-plugin", options),
        ) as port,
        Board(port) as board,
    ):
        board.restart()
        board.execute(INFER, timeout=300)
    (region,) = read_regions(folder / "counts")
    return Count(region.instructions, by_function(region.blocks, symbols))


def by_function(blocks: tuple[Block, ...], symbols: list[tuple[int, str]]) -> dict[str, int]:
    functions: dict[str, int] = {}
    for block in blocks:
        place = bisect.bisect_right(symbols, (block.address + 1, "")) - 1
        name = symbols[place][1]
        executed = block.instructions * block.executions
        functions[name] = functions.get(name, 0) + executed
    return functions


def engine_functions() -> set[str]:
    """Names of the C core's functions, and of what it calls, in the firmware that has it."""
    objects = (find_firmware(CORE, True).parent / "core").rglob("*.o")
    command = [tool("arm-none-eabi-nm"), *objects]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    fields = (line.split() for line in done.stdout.splitlines())
    names = {words[-1] for words in fields if len(words) >= 2 and words[-2] in "tTU"}
    return names


def test_micropython_adds_little_to_an_inference(built_in: Count) -> None:
    engine = engine_functions()
    if not engine:
        pytest.skip("the firmware was not built in this source tree")
    added = {name: n for name, n in built_in.functions.items() if name not in engine}
    assert 0 < sum(added.values()) < 20_000, sorted(added.items(), key=lambda item: -item[1])[:10]
    assert sum(built_in.functions.values()) == built_in.total


def test_native_module_is_as_fast_as_a_built_in_one(
    model: bytes, built_in: Count, tmp_path: Path
) -> None:
    native = count(model, False, tmp_path)
    assert native.total <= 1.02 * built_in.total
