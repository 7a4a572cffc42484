"""The native modules as packages: what is in them, how large they are, and fewer kernels."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from small_models import float_classifier, int8_tflite, with_two_inputs

from lilliput import convert
from lilliput.execution import ports_of, run_on_host
from lilliput.unixport import (
    UnixPortError,
    find_interpreter,
    find_natmod,
    run_script,
)

# Bits 2 to 5 of an .mpy file's third byte: MicroPython's py/persistentcode.h.
ARCHITECTURES = {
    "x86": 1,
    "x64": 2,
    "armv6m": 4,
    "armv7m": 5,
    "armv7emsp": 7,
    "armv7emdp": 8,
    "rv32imc": 11,
}
LARGEST_MODULE = (32 << 10) + 512  # text and constants, with the names and the head of the file
RUN = """
import lilliput
model = lilliput.load("{model}")
print(list(model.infer(open("{input}", "rb").read())))
"""


def module_of(architecture: str) -> Path:
    try:
        return find_natmod(architecture)
    except UnixPortError as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_package(architecture: str) -> None:
    module = module_of(architecture)
    assert module.read_bytes()[:2] == b"M\x06"
    assert module.read_bytes()[2] >> 2 == ARCHITECTURES[architecture]
    package = json.loads(module.with_name("package.json").read_text())
    installed = {place for place, _ in package["urls"]}
    assert installed == {"_lilliput.mpy", "lilliput/__init__.mpy", "lilliput/model.mpy"}
    assert all((module.parent / source).is_file() for _, source in package["urls"])


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_package_with_training(architecture: str) -> None:
    without = module_of(architecture)
    module = Path(f"{without.parent}-train") / "_lilliput_train.mpy"
    content = module.read_bytes()
    assert content[:2] == b"M\x06"
    assert content[2] >> 2 == ARCHITECTURES[architecture]
    assert b"begin_step" in content
    assert b"begin_step" not in without.read_bytes()
    package = json.loads(module.with_name("package.json").read_text())
    installed = {place for place, _ in package["urls"]}
    assert {"_lilliput_train.mpy", "lilliput/model.mpy"} <= installed
    assert "_lilliput.mpy" not in installed
    assert all((module.parent / source).is_file() for _, source in package["urls"])


@pytest.mark.parametrize("architecture", ["armv6m", "armv7m", "armv7emsp", "armv7emdp", "rv32imc"])
def test_modules_for_boards_are_small(architecture: str) -> None:
    assert module_of(architecture).stat().st_size <= LARGEST_MODULE


@pytest.mark.parametrize(("limit", "passes"), [(40_100, True), (40_099, False), ("", True)])
def test_size_check(limit: int | str, passes: bool, repository: Path) -> None:
    script = repository / "native_modules" / "natmod" / "size.awk"
    linker = "text size:    40000\nrodata size:  100\nbss size:     0\nGOT entries:  2\n"
    command = ["awk", "-v", "name=x", "-v", f"limit={limit}", "-f", str(script)]
    done = subprocess.run(command, input=linker, capture_output=True, text=True, check=False)
    assert "x: 40100 bytes" in done.stdout
    assert (done.returncode == 0) is passes


@pytest.fixture(scope="module")
def few_kernels(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder of a native module with the kernels of the small classifier only."""
    try:
        find_interpreter("debian")
    except UnixPortError as error:
        pytest.skip(str(error))
    model = tmp_path_factory.mktemp("models") / "few_kernels_test.lil"
    convert(int8_tflite(), model)
    command = ["make", "-C", str(repository / "native_modules" / "natmod"), "ARCH=x64"]
    command += [f"KERNELS={model}", f"PYTHON={sys.executable}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    yield repository / "dist" / "x64-6.3-few_kernels_test"
    for folder in ("dist/x64-6.3-few_kernels_test", "build/natmod-x64-6.3-few_kernels_test"):
        shutil.rmtree(repository / folder)


def run_with(module: Path, data: bytes, pixels: np.ndarray, folder: Path) -> tuple[int, str]:
    (folder / "model.lil").write_bytes(data)
    (folder / "pixels").write_bytes(pixels.tobytes())
    script = RUN.format(model=folder / "model.lil", input=folder / "pixels")
    done = run_script(script, interpreter=find_interpreter("debian"), module_path=[module])
    return done.returncode, done.stdout + done.stderr


def test_module_with_the_kernels_of_one_model(few_kernels: Path, tmp_path: Path) -> None:
    whole, part = module_of("x64"), few_kernels / "_lilliput.mpy"
    assert part.stat().st_size < whole.stat().st_size - 4096
    data = convert(int8_tflite()).data
    pixels = np.random.default_rng(2).integers(0, 256, ports_of(data).inputs[0].shape, np.uint8)
    code, said = run_with(few_kernels, data, pixels, tmp_path)
    assert code == 0, said
    assert json.loads(said) == run_on_host(data, [pixels]).outputs[0].ravel().tolist()


def test_module_refuses_models_that_need_other_kernels(few_kernels: Path, tmp_path: Path) -> None:
    data = convert(int8_tflite(with_two_inputs(float_classifier()))).data
    code, said = run_with(few_kernels, data, np.zeros(1, np.uint8), tmp_path)
    assert code != 0
    assert "ValueError" in said and "kernel" in said
