"""Plans a training step: which updates go row by row, and where everything lies."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from ..planner import Plan
from ..planner.dataflow import Dataflow, dataflow
from ..planner.placing import place_segments
from ..planner.schedule import order_inputs
from ..planner.scratch import scratch_bytes
from ..planner.search import Search, as_segments, search
from ..program import Program, Step
from .backward import Options, TrainingProgram, training_program
from .scheme import Scheme

_PATIENCE = 600  # a training step has some three times as many maps as an inference


@dataclass(frozen=True)
class TrainingPlan:
    """A placed training step, and how it was built."""

    plan: Plan
    made: TrainingProgram
    scheme: Scheme
    options: Options

    @property
    def arena_bytes(self) -> int:
        return self.plan.arena_bytes


def plan_training(
    program: Program,
    scheme: Scheme,
    options: Options | None = None,
    ranges: Mapping[str, float] | None = None,
    *,
    streams_input: bool = True,
) -> TrainingPlan:
    """The training step in the smallest arena found.

    Weights are updated row by row where sums for all of them take less than the gradient of their
    layer's output held whole; all one way and all the other are searched, too, and what needs the
    fewest bytes is placed. Errors as `training_program`.
    """
    options = options or Options()
    rows = training_program(program, scheme, options, ranges)
    layer_of = {step.trained_offset: step.name for step in _forward(rows.program)}
    chosen = frozenset(
        layer_of[step.trained_offset] for step in rows.program.steps if _prefers_whole(rows, step)
    )
    tried = {
        whole: training_program(program, scheme, replace(options, whole_updates=whole), ranges)
        for whole in (chosen, frozenset(scheme.weights), frozenset[str]())
    }
    searched = {whole: _searched(made.program, streams_input) for whole, made in tried.items()}
    whole = min(searched, key=lambda key: searched[key].found.least_peak())
    return TrainingPlan(
        searched[whole].placed(), tried[whole], scheme, replace(options, whole_updates=whole)
    )


@dataclass(frozen=True)
class _Searched:
    """The segments worth a thought of a program with its inputs in order."""

    flow: Dataflow
    scratch: tuple[int, ...]
    found: Search

    def placed(self) -> Plan:
        """The plan whose segments need the fewest bytes at once."""
        segments = as_segments(self.found.segments(self.found.least_peak()))
        return place_segments(self.flow, segments, self.scratch, patience=_PATIENCE)


def _searched(program: Program, streams_input: bool) -> _Searched:
    program = order_inputs(program)
    flow, scratch = dataflow(program), scratch_bytes(program)
    return _Searched(flow, scratch, search(flow, scratch, streams_input=streams_input))


def _forward(program: Program) -> list[Step]:
    return [step for step in program.steps if not step.is_training]


def _prefers_whole(made: TrainingProgram, step: Step) -> bool:
    """Whether the sums of an update row by row take more than the gradient that it reads."""
    if step.kind not in ("UPDATE_CONVOLUTION", "UPDATE_DEPTHWISE"):
        return False
    gradient = made.program.tensors[step.edges[0].tensor]
    update = step.parameters["update"]
    window = update["window"]
    assert isinstance(window, dict)
    sums = int(update["trained_inputs"]) * window["kernel_height"] * window["kernel_width"]  # type: ignore[call-overload]
    if step.kind == "UPDATE_CONVOLUTION":
        sums *= gradient.channels
    return bool(4 * sums > gradient.bytes)
