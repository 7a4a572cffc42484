"""The same cases in MicroPython's Unix ports, with the native module and the user C module."""

from __future__ import annotations

import platform
from pathlib import Path

import numpy as np
import pytest
from reference_cases import write_case, write_random_cases

from lilliput import litert
from lilliput.exporters.tflite import write_tflite
from lilliput.importers.tflite import read_tflite
from lilliput.unixport import InterpreterKind, find_interpreter, find_natmod, run_script

HEAP = 64 << 20
CHAINS = 40


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cases")
    write_random_cases(folder, CHAINS)
    return folder


@pytest.fixture(scope="module")
def shared_cases(tmp_path_factory: pytest.TempPathFactory, models: Path) -> Path:
    folder = tmp_path_factory.mktemp("shared")
    for path in sorted(models.glob("*.tflite")):
        # Written again, so that float ports become the int8 ones that the raw input is.
        model = write_tflite(read_tflite(path.read_bytes()))
        [port] = litert.Session(model).inputs
        x = np.random.default_rng(3).integers(-128, 128, port.shape, np.int8)
        write_case(folder, path.stem, model, [x])
    return folder


def run_cases(port: InterpreterKind, folder: Path) -> None:
    if port != "usermod" and platform.machine() != "x86_64":
        pytest.skip("Unix ports load native modules on x86-64 only")
    modules = [] if port == "usermod" else [find_natmod().parent]
    script = Path(__file__).with_name("run_cases.py")
    result = run_script(
        script,
        folder,
        interpreter=find_interpreter(port),
        module_path=modules,
        heap=HEAP,
        timeout=600,
    )
    said = result.stdout + result.stderr
    assert result.returncode == 0, said
    count = len(list(folder.glob("*.lil")))
    assert count > 0
    assert said.splitlines()[-1] == f"cases {count}, failed 0", said


PORTS: tuple[InterpreterKind, ...] = ("debian", "usermod", "pypi")


@pytest.mark.parametrize("port", PORTS)
def test_random_graphs_and_bad_input(port: InterpreterKind, cases: Path) -> None:
    run_cases(port, cases)


@pytest.mark.parametrize("port", PORTS)
def test_shared_models(port: InterpreterKind, shared_cases: Path) -> None:
    run_cases(port, shared_cases)
