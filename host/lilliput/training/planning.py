"""Plans a training step: which updates go row by row, and where everything lies."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from ..planner import Plan, plan
from ..program import Program, Step
from .backward import Options, TrainingProgram, training_program
from .scheme import Scheme


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
    layer's output held whole; all one way and all the other are tried, too. Errors as
    `training_program`.
    """
    options = options or Options()
    rows = training_program(program, scheme, options, ranges)
    layer_of = {step.trained_offset: step.name for step in _forward(rows.program)}
    chosen = frozenset(
        layer_of[step.trained_offset] for step in rows.program.steps if _prefers_whole(rows, step)
    )
    best: TrainingPlan | None = None
    for whole in dict.fromkeys((chosen, frozenset(scheme.weights), frozenset[str]())):
        tried = replace(options, whole_updates=whole)
        made = training_program(program, scheme, tried, ranges)
        placed = plan(made.program, streams_input=streams_input)
        if best is None or placed.arena_bytes < best.arena_bytes:
            best = TrainingPlan(placed, made, scheme, tried)
    assert best is not None
    return best


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
