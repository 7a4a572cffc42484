"""The MobileNetV2 example: Keras' architecture, planned within the arenas that are promised."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "mobilenet_v2"


def load_network() -> ModuleType:
    """The example's network.py, under a name that no other folder's has."""
    spec = importlib.util.spec_from_file_location("mobilenet_v2_network", EXAMPLE / "network.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


network = load_network()


@pytest.mark.parametrize(
    # What `keras.applications` says is trainable, less a gamma for each channel, which is folded.
    ("width", "size", "parameters"),
    [(1.0, 224, 3_504_872 - 17_056), (0.35, 144, 1_677_128 - 7_040)],
)
def test_is_the_network_of_keras(width: float, size: int, parameters: int) -> None:
    graph = network.mobilenet_v2(size, width)
    assert sum(tensor.elements for tensor in graph.tensors if tensor.is_constant) == parameters
    assert sum(op.kind == "ADD" for op in graph.operators) == 10
    shapes = [graph.tensors[op.outputs[0]].shape for op in graph.operators]
    assert shapes[-4] == (1, size // 32 + (size % 32 > 0), size // 32 + (size % 32 > 0), 1280)


@pytest.mark.skipif(
    os.environ.get("LILLIPUT_TEST_PROFILE") != "all",
    reason="quantises and plans two large networks: run by `make test-all`",
)
def test_plans_within_what_is_promised() -> None:
    command = [sys.executable, str(EXAMPLE / "plan.py")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    arenas = re.findall(r"input fed +([\d,]+) bytes \(([\d,]+) promised\)", done.stdout)
    assert len(arenas) == 2
    for arena, promised in arenas:
        assert int(arena.replace(",", "")) <= int(promised.replace(",", ""))
