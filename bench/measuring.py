"""Measures models and kernels on the emulated processors."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from emulation import CORES, HOST, Build, Job, Result, build, run
from emulation.building import CORE_SOURCES
from emulation.models import (
    SHAPES,
    arena_bytes_of,
    job_of_model,
    job_of_shape,
    job_with_pixels,
    macs_of,
)
from emulation.tools import compiler_version

from lilliput.planner import Schedule

FIGURES = Path(__file__).resolve().parent / "instructions.json"
OPTIMIZATION = "-O2"
BATCH_BYTES = 8 << 20
PUBLISHED = (
    "mcunet_vww",
    "mcunetv2_large",
    "mlperf_vww_96_int8",
    "mlperf_pretrainedResnet_quant",
    "mlperf_kws_ref_model",
    "mlperf_ad01_int8",
)

Step = Callable[[str], None]


@dataclass(frozen=True)
class Subject:
    """What is measured: a model or a kernel, and its sizes."""

    name: str
    job: Job
    macs: int
    arena_bytes: int

    @property
    def file_bytes(self) -> int:
        return len(self.job.model)


def published(folder: Path, schedule: Schedule = Schedule.STREAMED) -> list[Subject]:
    """The published models that `folder` has."""
    found = []
    for name in PUBLISHED:
        path = folder / f"{name}.tflite"
        if path.is_file():
            found.append(_subject(name, job_of_model(path, schedule=schedule)))
    return found


def published_with_pixels(folder: Path) -> list[Subject]:
    """The published models that take uint8 pixels, with such input."""
    found = []
    for name in PUBLISHED:
        path = folder / f"{name}.tflite"
        job = job_with_pixels(path) if path.is_file() else None
        if job is not None:
            found.append(_subject(name, job))
    return found


def kernels() -> list[Subject]:
    """A network of one operator for each shape."""
    return [_subject(shape.name, job_of_shape(shape)) for shape in SHAPES]


def _subject(name: str, job: Job) -> Subject:
    return Subject(name, job, macs_of(job), arena_bytes_of(job))


def measure(
    subjects: Sequence[Subject],
    cores: Iterable[str] = CORES,
    *,
    with_blocks: bool = False,
    sources: Path = CORE_SOURCES,
    optimization: str = OPTIMIZATION,
    step: Step = lambda text: None,
) -> dict[str, dict[str, Result]]:
    """Results by core and subject, each compared with the portable kernels on this machine.

    `step` is called with a line of text before each emulation. Raises ValueError for an output that
    is not that of the portable kernels, EmulationError and BuildError as they come.
    """
    host = build(HOST, sources)
    expected = _run_all(host, subjects, with_blocks=False)
    results: dict[str, dict[str, Result]] = {}
    for core in cores:
        step(core)
        built = build(CORES[core], sources, optimization)
        results[core] = _run_all(built, subjects, with_blocks=with_blocks)
        for name, result in results[core].items():
            _require_equal(f"{name} on {core}", result, expected[name])
    return results


def _run_all(built: Build, subjects: Sequence[Subject], *, with_blocks: bool) -> dict[str, Result]:
    """Runs the subjects, as many at a time as memory holds."""
    results: dict[str, Result] = {}
    batch: list[Subject] = []
    for subject in [*subjects, None]:
        size = sum(len(each.job.model) for each in batch)
        if batch and (subject is None or size + len(subject.job.model) > BATCH_BYTES):
            found = run(built, [each.job for each in batch], with_blocks=with_blocks)
            results.update(zip((each.name for each in batch), found, strict=True))
            batch = []
        if subject is not None:
            batch.append(subject)
    return results


def _require_equal(what: str, found: Result, expected: Result) -> None:
    if found.status != 0 or expected.status != 0:
        raise ValueError(f"{what}: status {found.status}, {expected.status} on this machine")
    for ours, wanted in zip(found.outputs, expected.outputs, strict=True):
        wrong = int(np.count_nonzero(ours != wanted))
        if wrong:
            raise ValueError(f"{what}: {wrong:,} of {ours.size:,} values are wrong")


@dataclass(frozen=True)
class Figures:
    """Instructions of one inference, by name and core, and the compilers that they depend on."""

    compilers: dict[str, str]
    models: dict[str, dict[str, int]]
    kernels: dict[str, dict[str, int]]

    def write(self, path: Path = FIGURES) -> None:
        """Stores the figures as JSON."""
        path.write_text(json.dumps(vars(self), indent=1) + "\n", encoding="utf-8")


def read_figures(path: Path = FIGURES) -> Figures:
    """The stored figures. Raises OSError when there are none."""
    return Figures(**json.loads(path.read_text(encoding="utf-8")))


def compilers() -> dict[str, str]:
    """The version of each cross compiler."""
    return {target: compiler_version(target) for target in {c.target for c in CORES.values()}}


def by_name(results: dict[str, dict[str, Result]]) -> dict[str, dict[str, int]]:
    """Instructions by name, then by core."""
    names = next(iter(results.values()), {})
    return {
        name: {core: found[name].instructions for core, found in results.items()} for name in names
    }
