"""The device package in each of MicroPython's Unix ports, and in this Python."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from small_models import CLASSES, calibration, float_classifier, int8_tflite, with_two_inputs

from lilliput import convert, runtime, unixport
from lilliput.litert import run

CHECKS = Path(__file__).parents[1] / "unix" / "device_package_checks.py"
LABELS = ("cat", "dog", "größe", "rest")
KINDS: tuple[unixport.InterpreterKind, ...] = ("debian", "usermod", "pypi")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The models and arrays that the checks read; expected outputs are LiteRT's."""
    place = tmp_path_factory.mktemp("device")
    model = int8_tflite()
    conversion = convert(model, place / "model.lil", labels=LABELS, input_range=(0.0, 1.0))
    assert conversion.summary["output"]["shape"] == [1, CLASSES]
    pixels = np.random.default_rng(3).integers(0, 256, (1, 12, 12, 3)).astype(np.uint8)
    port = conversion.summary["input"]
    quotient = (pixels / np.float32(255)).astype(np.float32) / np.float32(port["scale"])
    signed = np.clip(np.floor(quotient + 0.5) + port["zero_point"], -128, 127).astype(np.int8)
    (place / "pixels.bin").write_bytes(pixels.tobytes())
    (place / "int8.bin").write_bytes(signed.tobytes())
    (place / "expected.bin").write_bytes(run(model, [signed])[0].tobytes())

    paged = convert(model, place / "paged.lil", labels=LABELS, input_range=(0.0, 1.0), paged=True)
    torn = bytearray(paged.data)
    torn[-3] ^= 0x40
    (place / "torn.lil").write_bytes(torn)

    pair = with_two_inputs(float_classifier())
    pair_model = int8_tflite(pair)
    convert(pair_model, place / "pair.lil")
    inputs = [
        np.random.default_rng(index).integers(-128, 128, array.shape).astype(np.int8)
        for index, array in enumerate(calibration(pair, 1)[0])
    ]
    for index, array in enumerate(inputs):
        (place / f"pair_input{index}.bin").write_bytes(array.tobytes())
    for index, array in enumerate(run(pair_model, inputs)):
        (place / f"pair_output{index}.bin").write_bytes(array.tobytes())
    return place


def interpreter(kind: unixport.InterpreterKind) -> tuple[Path, list[Path]]:
    """A Unix port and the folders it needs on its path; skips the test where it is missing."""
    try:
        found = unixport.find_interpreter(kind)
        return found, [] if kind == "usermod" else [unixport.find_natmod().parent]
    except unixport.UnixPortError as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("kind", KINDS)
def test_checks_pass_in_micropython(kind: unixport.InterpreterKind, folder: Path) -> None:
    found, modules = interpreter(kind)
    result = unixport.run_script(CHECKS, folder, interpreter=found, module_path=modules)
    assert result.stdout.endswith("all passed\n"), result.stdout + result.stderr


def test_checks_pass_in_this_python(folder: Path) -> None:
    script = (
        "import runpy, sys, lilliput, lilliput.runtime; "
        "sys.modules['lilliput'] = sys.modules['lilliput.runtime']; "
        f"sys.argv = ['checks', {str(folder)!r}]; "
        f"runpy.run_path({str(CHECKS)!r}, run_name='__main__')"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert result.stdout.endswith("all passed\n"), result.stdout + result.stderr


def test_checks_pass_in_circuitpython(
    repository: Path,
    folder: Path,
    tmp_path: Path,
) -> None:
    """In CircuitPython's Unix port, built with the recipe of boards/circuitpython."""
    source = os.environ.get("LILLIPUT_CIRCUITPYTHON")
    if source is None:
        pytest.skip("set LILLIPUT_CIRCUITPYTHON to a checkout of CircuitPython: compiles it")
    recipe = repository / "boards" / "circuitpython" / "user_post_circuitpy_defns.mk"
    variant = tmp_path / "variant"
    variant.mkdir()
    standard = Path(source).resolve() / "ports" / "unix" / "variants" / "standard"
    (variant / "mpconfigvariant.mk").write_text(f"include {recipe}\n")
    (variant / "mpconfigvariant.h").write_text(
        # The standard variant does not compile with it in CircuitPython.
        f'#define MICROPY_PY_MICROPYTHON_RINGIO (0)\n#include "{standard / "mpconfigvariant.h"}"\n'
    )
    options = ["MICROPY_PY_SSL=0", "MICROPY_SSL_MBEDTLS=0", "MICROPY_PY_BTREE=0"]
    options += ["MICROPY_PY_FFI=0", "FROZEN_MANIFEST=", f"VARIANT_DIR={variant}"]
    build = tmp_path / "build"
    command = ["make", "-C", str(standard.parents[1]), f"BUILD={build}", *options, "-j2"]
    log = subprocess.run(command, capture_output=True, text=True, check=False)
    assert log.returncode == 0, log.stdout + log.stderr
    result = unixport.run_script(CHECKS, folder, interpreter=build / "micropython")
    assert result.stdout.endswith("all passed\n"), result.stdout + result.stderr


def variable_integer(value: int) -> bytes:
    """A number of a ROMFS: seven bits a byte, the highest first."""
    digits = [value & 0x7F]
    while value := value >> 7:
        digits.append(0x80 | value & 0x7F)
    return bytes(reversed(digits))


def record(kind: int, payload: bytes) -> bytes:
    return variable_integer(kind) + variable_integer(len(payload)) + payload


def romfs_image(name: str, data: bytes) -> bytes:
    """A ROMFS with one file, as MicroPython's documentation of `vfs.VfsRom` describes it."""
    text = name.encode()
    file = record(5, variable_integer(len(text)) + text + record(2, data))
    return b"\xd2\xcd\x31" + variable_integer(len(file)) + file


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_in_a_romfs_is_used_in_place(
    kind: unixport.InterpreterKind, folder: Path, tmp_path: Path
) -> None:
    found, modules = interpreter(kind)
    (tmp_path / "rom.img").write_bytes(
        romfs_image("model.lil", (folder / "model.lil").read_bytes())
    )
    script = """
import sys
import lilliput
try:
    from vfs import VfsRom, mount
except ImportError:
    print("no VfsRom")
    sys.exit()
with open(sys.argv[2], "rb") as file:
    image = file.read()
mount(VfsRom(image), "/rom")
with open(sys.argv[1] + "/pixels.bin", "rb") as file:
    pixels = file.read()
with open(sys.argv[1] + "/expected.bin", "rb") as file:
    expected = file.read()
model = lilliput.load("/rom/model.lil")
print(type(model._file).__name__, bytes(model.infer(pixels)) == expected)
"""
    result = unixport.run_script(
        script, folder, tmp_path / "rom.img", interpreter=found, module_path=modules
    )
    if result.stdout == "no VfsRom\n":
        pytest.skip("this port is built without VfsRom")
    assert result.stdout == "memoryview True\n", result.stdout + result.stderr


def test_memory_error_says_what_is_missing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_memory(size: int) -> bytearray:
        raise MemoryError

    data = (folder / "model.lil").read_bytes()
    size = runtime.load(data).arena_bytes
    monkeypatch.setattr(runtime.model, "bytearray", no_memory, raising=False)
    with pytest.raises(MemoryError, match=rf"{size} bytes wanted for the model's arena.*--sram"):
        runtime.load(data)
    with pytest.raises(MemoryError, match=rf"{len(data)} bytes wanted for model '.*ROMFS"):
        runtime.load(folder / "model.lil")


def test_scale_is_the_stored_single(folder: Path) -> None:
    data = (folder / "model.lil").read_bytes()
    scale = runtime.load(data).input.scale
    assert struct.unpack("<f", struct.pack("<f", scale))[0] == scale
