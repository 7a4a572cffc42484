"""Finds compilers and emulators: on PATH, or where toolchain/get_emulators.py has put them."""

from __future__ import annotations

import functools
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]


class EmulatorsMissing(RuntimeError):
    """A compiler or emulator cannot be had; the message says what to do."""


@functools.cache
def _fetched() -> Path:
    """The folder with what PATH lacks, fetched if need be."""
    script = REPOSITORY / "toolchain" / "get_emulators.py"
    command = [sys.executable, str(script)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise EmulatorsMissing(done.stderr.strip())
    return Path(done.stdout.strip())


def tool(name: str) -> str:
    """Path of a cross compiler's program or of an emulator.

    Raises EmulatorsMissing when it is neither on PATH nor to be fetched.
    """
    found = shutil.which(name)
    if found is None:
        fetched = _fetched() / name
        if not fetched.is_file():
            raise EmulatorsMissing(f"{name} is neither on PATH nor in {fetched.parent}")
        found = str(fetched)
    return found


def host_compiler() -> str:
    """Name of the C compiler for this machine."""
    return os.environ.get("CC", "gcc")


@functools.cache
def emulator_version(emulator: str) -> tuple[int, ...]:
    """The version of a QEMU program."""
    told = subprocess.run([emulator, "--version"], capture_output=True, text=True, check=True)
    match = re.search(r"version (\d+)\.(\d+)", told.stdout)
    if match is None:
        raise EmulatorsMissing(f"{emulator} --version does not tell a version: {told.stdout!r}")
    return int(match[1]), int(match[2])


@functools.cache
def compiler_version(target: str) -> str:
    """The version of a cross compiler."""
    command = [tool(f"{target}-gcc"), "-dumpfullversion"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
