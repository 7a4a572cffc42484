"""Writes docs/benchmarks_host.md: time of an inference on this computer, beside LiteRT's.

python bench/host.py MODELS_FOLDER

One thread each, whole calls from Python with the same input. The ways of running a model take
turns, so that what else the computer does meets all of them alike; the thread's processor time is
counted, and its medians are compared.
"""

from __future__ import annotations

import platform
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import lilliput
from lilliput import litert
from lilliput.conversion import read_graph
from lilliput.format import write
from lilliput.lower import lower
from lilliput.planner import layer_by_layer, plan

TABLE = Path(__file__).resolve().parent.parent / "docs" / "benchmarks_host.md"
LEAST_ROUNDS = 7
LEAST_SECONDS = 2.0
HEADER = """\
# Time on a computer

Milliseconds of processor time for one inference, one thread, from Python: medians of interleaved
runs on {machine}.
`python bench/host.py ../shared/models` writes this page.
*Streamed* is the plan of the least arena, *operator by operator* computes each map as a whole; both
give the bits of LiteRT's reference kernels, which is checked before the clock is started.

| model | streamed | operator by operator | streamed / that | XNNPACK | ours / XNNPACK | \
reference kernels | ours / reference |
| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |
"""


@dataclass(frozen=True)
class Times:
    """Median processor seconds of one inference of a model, each way of running it."""

    model: str
    streamed: float
    layerwise: float
    xnnpack: float
    reference: float

    def line(self) -> str:
        """A line of the table."""
        milliseconds = [1000 * t for t in (self.streamed, self.layerwise)]
        theirs = [1000 * t for t in (self.xnnpack, self.reference)]
        return (
            f"| `{self.model}` | {milliseconds[0]:.3f} | {milliseconds[1]:.3f} "
            f"| {self.streamed / self.layerwise:.2f} "
            f"| {theirs[0]:.3f} | {self.streamed / self.xnnpack:.2f} "
            f"| {theirs[1]:.3f} | {self.streamed / self.reference:.3f} |"
        )


def median_times(runs: list[Callable[[], object]]) -> list[float]:
    """Median processor seconds of each callable, called in turns at least LEAST_ROUNDS times."""
    taken: list[list[float]] = [[] for _ in runs]
    began = time.perf_counter()
    while len(taken[0]) < LEAST_ROUNDS or time.perf_counter() - began < LEAST_SECONDS:
        for run, seconds in zip(runs, taken, strict=True):
            started = time.thread_time()
            run()
            seconds.append(time.thread_time() - started)
    return [statistics.median(seconds) for seconds in taken]


def measure(path: Path) -> Times:
    """Time the `.tflite` file at `path`, a model of one input and one output.

    Raises ValueError when a result is not that of LiteRT's reference kernels.
    """
    tflite = path.read_bytes()
    program = lower(read_graph(path))
    reference = litert.Session(tflite)
    fast = litert.Session(tflite, reference=False)
    [port] = reference.inputs
    dice = np.random.default_rng(1)
    if port.dtype == np.float32:
        values = dice.normal(size=port.shape).astype(np.float32)
    else:
        values = dice.integers(-128, 128, port.shape, np.int8)
    [expected] = reference.run([values])
    plans = (plan(program), layer_by_layer(program))
    models = [lilliput.load(write(program, each)) for each in plans]
    for model in models:
        found = np.array(model.infer(values)).reshape(expected.shape)
        if expected.dtype == np.float32:
            found = (model.output.scale * (found - float(model.output.zero_point))).astype(
                np.float32
            )
        if not np.array_equal(found, expected):
            raise ValueError(f"{path.name}: the output is not that of LiteRT's reference kernels")
    # The order of the fields of Times.
    runs: list[Callable[[], object]] = [
        lambda: models[0].infer(values),
        lambda: models[1].infer(values),
        lambda: fast.run([values]),
        lambda: reference.run([values]),
    ]
    return Times(path.stem, *median_times(runs))


def table(models: Path) -> str:
    """Return the page for all models of a folder, in Markdown."""
    lines = [measure(path).line() for path in sorted(models.glob("*.tflite"))]
    return HEADER.format(machine=processor()) + "\n".join(lines) + "\n"


def processor() -> str:
    """Return what this computer calls its processor."""
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def main() -> None:
    """Times every model of the folder."""
    if len(sys.argv) != 2:
        sys.exit("usage: python bench/host.py MODELS_FOLDER")
    TABLE.write_text(table(Path(sys.argv[1])), encoding="utf-8")
    print(TABLE)


if __name__ == "__main__":
    main()
