"""Which C core and which processors the tests run on.

LILLIPUT_CORE_SOURCES names another folder than native_modules; LILLIPUT_CORES lists some of the
processors (names of `emulation.CORES`, separated by commas).
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from emulation import CORES, HOST, Build, EmulatorsMissing, build
from emulation.building import CORE_SOURCES
from emulation.tools import tool

NAMES = [name for name in os.environ.get("LILLIPUT_CORES", "").split(",") if name] or list(CORES)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test with a `core_name` runs for each processor."""
    if "core_name" in metafunc.fixturenames:
        metafunc.parametrize("core_name", NAMES)


@pytest.fixture(scope="session")
def emulators() -> None:
    """Skips the tests that need emulators on systems that cannot have them."""
    try:
        for core in CORES.values():
            tool(f"{core.target}-gcc")
        for name in ("qemu-system-arm", "qemu-system-riscv32"):
            tool(name)
    except EmulatorsMissing as error:
        pytest.skip(f"no emulators: {error}")


@pytest.fixture(scope="session")
def sources() -> Path:
    return Path(os.environ.get("LILLIPUT_CORE_SOURCES", CORE_SOURCES)).absolute()


@pytest.fixture(scope="session")
def host(sources: Path, emulators: None) -> Build:
    """The portable kernels on this machine, which other tests compare with LiteRT."""
    return build(HOST, sources, training=True)


@pytest.fixture(scope="session")
def builds(sources: Path, emulators: None) -> list[Build]:
    """The core for each emulated processor."""
    return [build(CORES[name], sources, training=True) for name in NAMES]
