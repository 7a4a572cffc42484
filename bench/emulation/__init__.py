"""Runs the C core on emulated processors and counts the instructions that it executes."""

from __future__ import annotations

from .building import Build, BuildError, build
from .cores import CORES, HOST, Core
from .jobs import Job
from .running import EmulationError, Result, run
from .tools import EmulatorsMissing

__all__ = [
    "CORES",
    "HOST",
    "Build",
    "BuildError",
    "Core",
    "EmulationError",
    "EmulatorsMissing",
    "Job",
    "Result",
    "build",
    "run",
]
