"""Instructions of a candidate, from a model fitted to measured ones of our kernels.

For every kind of step the kernel's instructions are a sum of terms (a call, a pixel, an output, a
multiply-accumulate ...) with coefficients that are not negative, fitted by least squares of the
relative error to random networks on an emulated core: `bench/latency.py`. What the executor does
between kernels is one more such sum.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Any

import numpy as np

from ..planner.dataflow import dataflow
from ..planner.flash import kernel_calls
from ..planner.plan import Plan
from ..program import Step

EXECUTOR = "executor"
_PIXELS_AT_ONCE = 48  # of a convolution with Helium
_EMULATED = {"cortex-m0plus": "cortex-m0", "rv32imc": "rv32"}
"""The core that is emulated for one that a board profile names."""


def step_group(step: Step) -> str:
    """The kind of step that shares coefficients: the kernel, its window and stride."""
    if step.kind == "CONVOLUTION" and step.is_pointwise:
        return "pointwise"
    window: Mapping[str, Any] = step.parameters.get("window", {})
    if not window:
        return step.kind.lower()
    return f"{step.kind.lower()} {window['kernel_height']}x{window['kernel_width']}" + (
        f" stride {window['stride_height']}" if window["stride_height"] > 1 else ""
    )


def step_features(plan: Plan, step: Step, calls: int) -> np.ndarray:
    """What a step's instructions are a sum of, float64[20]. calls: of its kernel in an inference.

    A call computes its pixels in runs: all at once, or row by row where outputs take the place of
    inputs. Kernels take pixels, taps and channels in blocks, so what does not fill one counts too.
    """
    program = plan.program
    output = program.tensors[step.output]
    source = program.tensors[step.edges[0].tensor] if step.edges else output
    pixels, channels = output.height * output.width, output.channels
    taps = step.macs / max(output.elements, 1)
    run = pixels / max(calls, 1)
    if step.is_pointwise and _overwrites_input(plan, step):
        run = min(run, output.width)
    runs = pixels / run
    short_runs = runs * -(-run // _PIXELS_AT_ONCE)
    rest = int(run) % 4
    four_channels, sixteen_taps = -(-channels // 4), -(-taps // 16)
    return np.array(
        [
            calls,
            runs,
            pixels,
            step.macs,
            source.elements,
            short_runs * channels,
            short_runs * channels * taps,
            output.elements,
            pixels * taps,
            output.elements * (taps % 4),
            *(runs * channels * taps * (rest == some) for some in (1, 2, 3)),
            *(runs * channels * (rest == some) for some in (1, 2, 3)),
            pixels * four_channels,
            pixels * four_channels * sixteen_taps,
            short_runs * four_channels,
            short_runs * four_channels * sixteen_taps,
        ],
        np.float64,
    )


def _overwrites_input(plan: Plan, step: Step) -> bool:
    source, output = step.edges[0].tensor, step.output
    if plan.program.tensors[source].is_source:
        return False
    (begin, end), (out_begin, out_end) = (_place(plan, index) for index in (source, output))
    return begin < out_end and out_begin < end


def _place(plan: Plan, index: int) -> tuple[int, int]:
    """Where a map begins and ends in the arena."""
    tensor = plan.program.tensors[index]
    rows = plan.ring_rows[index] or tensor.height
    return plan.offsets[index], plan.offsets[index] + rows * tensor.width * tensor.channels


def executor_features(plan: Plan, calls: tuple[int, ...]) -> np.ndarray:
    """What the executor's own instructions are a sum of, float64[4]: one inference; kernel calls;
    segments; steps in sweeps (each step of a streamed segment is visited in every sweep)."""
    program = plan.program
    visits = 0
    for segment in plan.segments:
        if segment.count > 1:
            rows = max(program.tensors[program.steps[i].output].height for i in segment.steps)
            visits += rows * segment.count
    return np.array([1, sum(calls), len(plan.segments), visits], np.float64)


@dataclass(frozen=True)
class LatencyModel:
    """Coefficients by kind of step, for one core. error: the mean and the largest relative error
    on whole networks that it was not fitted to. command: what measured and fitted it."""

    core: str
    coefficients: Mapping[str, tuple[float, ...]]
    mean_error: float
    largest_error: float
    command: str

    def instructions(self, plan: Plan) -> float:
        """Of one inference in this plan. Raises ValueError for steps of an unknown kind."""
        calls = kernel_calls(dataflow(plan.program), plan)
        total = self._sum(EXECUTOR, executor_features(plan, calls))
        for step, count in zip(plan.program.steps, calls, strict=True):
            if step.kind != "INPUT":
                total += self._sum(step_group(step), step_features(plan, step, count))
        return total

    def _sum(self, group: str, features: np.ndarray) -> float:
        if group not in self.coefficients:
            raise ValueError(
                f"no instructions of {group} were measured on {self.core}: add a network that has "
                "it to bench/latency.py and run that again"
            )
        return float(np.dot(self.coefficients[group], features))

    def as_json(self) -> dict[str, Any]:
        """Plain values, for a file."""
        return {**vars(self), "coefficients": {k: list(v) for k, v in self.coefficients.items()}}

    @staticmethod
    def from_json(values: Mapping[str, Any]) -> LatencyModel:
        """What `as_json` has made."""
        coefficients = {k: tuple(v) for k, v in values["coefficients"].items()}
        return LatencyModel(**{**values, "coefficients": coefficients})


def is_measured(core: str) -> bool:
    """Whether there is a model of a core."""
    return bool(_file(core).is_file())


def latency_model(core: str) -> LatencyModel:
    """The model of a core, as board profiles or `bench` name it. Raises ValueError naming the
    cores that there is one for."""
    if not is_measured(core):
        names = sorted(file.name for file in _folder().iterdir() if file.name.endswith(".json"))
        raise ValueError(
            f"no instructions were measured on {core!r}, only on "
            f"{', '.join(name.removesuffix('.json') for name in names)}: leave --latency out"
        )
    return LatencyModel.from_json(json.loads(_file(core).read_text(encoding="utf-8")))


def _file(core: str) -> Any:
    return _folder() / f"{_EMULATED.get(core, core)}.json"


def _folder() -> Any:
    return resources.files("lilliput.search") / "latency_models"
