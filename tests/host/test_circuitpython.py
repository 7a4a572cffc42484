"""The recipe for CircuitPython, which has the engine in its firmware or not at all.

test_device_in_micropython.py runs what it builds.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from lilliput import unixport

RECIPE = Path("boards", "circuitpython", "user_post_circuitpy_defns.mk")
# What stands for a port's makefile: the variables that it has, and a rule that compiles.
PORT = """
BUILD = {build}
PYTHON = {python}
CFLAGS = -Os
SRC_C = port.c
-include user_post_circuitpy_defns.mk
sources: $(SRC_C)
\t@echo $^
$(BUILD)/%.o: %.c
\t@echo $(CFLAGS)
"""
FAKE_SYS = """
import sys
class Implementation(tuple):
    name = {name!r}
class Sys:
    path, modules, implementation = sys.path, sys.modules, Implementation(({name!r}, (10, 1, 0)))
sys.modules["sys"] = Sys
import lilliput
"""


def make(folder: Path, repository: Path, target: str) -> list[str]:
    """What make prints for a target in a port that includes the recipe."""
    (folder / "port.c").touch()
    (folder / "Makefile").write_text(PORT.format(build=folder / "build", python=sys.executable))
    command = ["make", "-s", "-I", str(repository / RECIPE.parent), target]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_recipe_adds_the_binding_and_the_whole_core(repository: Path, tmp_path: Path) -> None:
    found = make(tmp_path, repository, "sources")
    core = sorted((repository / "native_modules" / "core").rglob("*.c"))
    binding = tmp_path / "build" / "shared-bindings" / "_lilliput" / "__init__.c"
    assert sorted(found) == sorted(map(str, ["port.c", binding, *core]))
    functions = tomllib.loads(
        (repository / "native_modules" / "bindings" / "functions.toml").read_text()
    )["function"]
    names = re.findall(r"MP_ROM_QSTR\(MP_QSTR_(\w+)\), MP_ROM_PTR", binding.read_text())
    assert names == [function["name"] for function in functions]


@pytest.mark.parametrize(("kernel", "is_hot"), [("depthwise", True), ("softmax", False)])
def test_recipe_compiles_hot_kernels_for_speed(
    repository: Path, tmp_path: Path, kernel: str, is_hot: bool
) -> None:
    target = tmp_path / "build" / "native_modules" / "core" / "kernels" / f"{kernel}.o"
    flags = make(tmp_path, repository, str(target))
    assert ("-O2" in flags) == is_hot
    assert f"-I{repository / 'native_modules' / 'core'}" in flags


@pytest.mark.parametrize("name", ["circuitpython", "micropython"])
def test_import_error_points_to_the_recipe(name: str, repository: Path) -> None:
    """In MicroPython that has no native module, and says that it is CircuitPython or the truth."""
    try:
        interpreter = unixport.find_interpreter("debian")
    except unixport.UnixPortError as error:
        pytest.skip(str(error))
    result = unixport.run_script(FAKE_SYS.format(name=name), interpreter=interpreter)
    said = result.stdout + result.stderr
    assert "ImportError: " in said
    if name == "circuitpython":
        [path] = re.findall(r"boards/\S+", said)
        assert "CircuitPython loads no native modules" in said
        assert (repository / path).is_file()
    else:
        assert "CircuitPython" not in said
