"""The native module's stubs and its argument checks."""

from __future__ import annotations

import ast
import runpy
from array import array
from pathlib import Path
from typing import Any

import _lilliput
import numpy as np
import pytest

BINDINGS = Path(__file__).parents[2] / "native_modules" / "bindings"


@pytest.fixture(scope="module")
def generator() -> dict[str, Any]:
    """The names that generate.py defines."""
    return runpy.run_path(str(BINDINGS / "generate.py"))


def test_committed_stubs_are_up_to_date(generator: dict[str, Any]) -> None:
    stubs = generator["stubs"](generator["load_functions"]())
    assert (BINDINGS / "_lilliput.pyi").read_text() == stubs, (
        "run native_modules/bindings/generate.py stubs native_modules/bindings/_lilliput.pyi"
    )


def test_stubs_and_module_have_the_same_functions() -> None:
    tree = ast.parse((BINDINGS / "_lilliput.pyi").read_text())
    described = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
    assert set(described) == {name for name in dir(_lilliput) if not name.startswith("_")}
    for name, node in described.items():
        assert ast.get_docstring(node) == getattr(_lilliput, name).__doc__.rstrip()


@pytest.mark.parametrize(
    ("value", "error", "text"),
    [
        (3, TypeError, "must be a readable buffer"),
        ("text", TypeError, "must be a readable buffer"),
        (np.zeros((4, 4), np.int8)[:, ::2], ValueError, "must be C-contiguous"),
        (memoryview(b"abcd")[::2], ValueError, "must be C-contiguous"),
        (np.zeros(3, ">f4"), ValueError, "unknown format"),
        (np.zeros(3, [("x", "i4")]), ValueError, "unknown format"),
    ],
)
def test_unfit_buffers_are_refused(value: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=rf"verify\(\): model.*{text}"):
        _lilliput.verify(value)


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview, lambda data: array("b", data)])
def test_every_kind_of_buffer_reaches_the_core(kind: Any) -> None:
    with pytest.raises(ValueError, match=r"\.lil"):
        _lilliput.verify(kind(b"not a model" * 100))


def test_read_only_buffers_are_not_written_to() -> None:
    with pytest.raises(TypeError, match=r"begin\(\): context must be a writable buffer"):
        _lilliput.begin(b"", b"read only")  # type: ignore[arg-type]


def test_wrong_arguments_are_refused() -> None:
    with pytest.raises(TypeError, match="takes 1 argument"):
        _lilliput.verify()  # type: ignore[call-arg]
    with pytest.raises(TypeError):
        _lilliput.field(b"", 1.5, 0)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="index is out of range"):
        _lilliput.field(b"", 0, 1 << 31)


def test_buffers_are_released_after_an_error() -> None:
    data = bytearray(b"not a model")
    for _ in range(2):
        with pytest.raises(ValueError):
            _lilliput.verify(data)
        data.append(0)
