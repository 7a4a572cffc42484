"""The hosts' inner loops are vectors: what the compiler made of them, read from its assembly."""

from __future__ import annotations

import platform
import re
import shutil
import subprocess
from pathlib import Path

import pytest

X86 = {
    "convolution": {"pmaddwd": 6},
    "fully_connected": {"pmaddwd": 2},
    "depthwise": {"pmullw": 1},
}
AARCH64 = {
    "convolution": {"smlal": 6, "smlal2": 6},
    "fully_connected": {"smlal": 2, "smlal2": 2},
    "depthwise": {"smlal": 1, "smlal2": 1},
}


def instructions(compiler: str, source: Path) -> list[str]:
    """The names of the instructions that a kernel becomes with the extension's flags."""
    command = [compiler, "-S", "-std=c99", "-O3", f"-I{source.parent.parent}", "-o", "-"]
    found = subprocess.run([*command, str(source)], capture_output=True, text=True, check=True)
    return re.findall(r"^\t([a-z]\w*)", found.stdout, re.MULTILINE)


def compiler_for(machine: str) -> str:
    """A gcc for a machine; the test is skipped where there is none."""
    names = [f"{machine.replace('_', '-')}-linux-gnu-gcc", f"{machine}-linux-gnu-gcc"]
    if platform.machine() == machine:
        names.insert(0, "gcc")
    for name in names:
        path = shutil.which(name)
        if path is not None and "clang" not in subprocess.getoutput(f"{path} --version"):
            return path
    pytest.skip(f"no gcc for {machine}")


@pytest.mark.parametrize("kernel", X86)
@pytest.mark.parametrize(("machine", "expected"), [("x86_64", X86), ("aarch64", AARCH64)])
def test_inner_loops_are_vectors(
    machine: str, expected: dict[str, dict[str, int]], kernel: str, repository: Path
) -> None:
    source = repository / "native_modules" / "core" / "kernels" / f"{kernel}.c"
    found = instructions(compiler_for(machine), source)
    for name, least in expected[kernel].items():
        variants = {name, "v" + name}
        assert sum(each in variants for each in found) >= least, (name, kernel, machine)
