"""Receptive-field redistribution: which kernels to shrink, and which to grow instead."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ..program import Edge, Program, Step
from .dataflow import dataflow
from .plan import Plan
from .search import search

_KINDS = frozenset({"CONVOLUTION", "DEPTHWISE_CONVOLUTION"})
_MOST = 8  # kernels tried in each direction


@dataclass(frozen=True)
class Change:
    """A kernel's height `before` and `after`, and the bytes of arena that this saves."""

    name: str
    before: int
    after: int
    saved: int


@dataclass(frozen=True)
class Advice:
    """Kernels to shrink, most saving first, and later ones that may grow for nothing. `together`
    is saved when all of the first are shrunk."""

    shrink: tuple[Change, ...]
    grow: tuple[Change, ...]
    together: int


def advise(plan: Plan) -> Advice:
    """Tries other kernel heights around the peak and after it. What is compared is the least peak
    over all schedules, each map's height kept."""
    program = plan.program
    base = _least_peak(program, plan.scratch_bytes)
    first, last = _peak_steps(plan)
    tall = [i for i, step in enumerate(program.steps) if _kernel_height(step) >= 3]
    near = sorted((i for i in tall if i <= last), key=lambda i: (i < first, -i))[:_MOST]
    shrink: list[Change] = []
    shrunk = program
    for index in near:
        height = _kernel_height(program.steps[index])
        smaller = _with_height(program, index, height - 2)
        saved = base - _least_peak(smaller, plan.scratch_bytes)
        if saved > 0:
            name = program.steps[index].name
            shrink.append(Change(name, height, height - 2, saved))
            shrunk = _with_height(shrunk, index, height - 2)
    together = base - _least_peak(shrunk, plan.scratch_bytes) if shrink else 0
    grow: list[Change] = []
    for index in [i for i in tall if i > last][:_MOST] if shrink else []:
        height = _kernel_height(program.steps[index])
        if base >= _least_peak(_with_height(program, index, height + 2), plan.scratch_bytes):
            grow.append(Change(program.steps[index].name, height, height + 2, 0))
    shrink.sort(key=lambda change: -change.saved)
    return Advice(tuple(shrink), tuple(grow), together)


def _peak_steps(plan: Plan) -> tuple[int, int]:
    """First and last step of the segment that reaches the top of the arena."""
    step = plan.peak_step
    segment = next(s for s in plan.segments if s.first <= step <= s.last)
    return segment.first, segment.last


def _kernel_height(step: Step) -> int:
    window = step.parameters.get("window")
    return int(str(window["kernel_height"])) if window and step.kind in _KINDS else 0


def _with_height(program: Program, index: int, height: int) -> Program:
    """The program as if a kernel were so tall, its centre where it was. For planning only: the
    weights stay."""
    step = program.steps[index]
    window = dict(step.parameters["window"])
    dilation = int(str(window["dilation_height"]))
    change = (height - int(str(window["kernel_height"]))) // 2 * dilation
    window["kernel_height"] = height
    edges: tuple[Edge, ...] = tuple(
        replace(edge, first=edge.first - change, last=edge.last + change) for edge in step.edges
    )
    changed = replace(step, edges=edges, parameters={**step.parameters, "window": window})
    return replace(program, steps=(*program.steps[:index], changed, *program.steps[index + 1 :]))


def _least_peak(program: Program, scratch: tuple[int, ...]) -> int:
    return search(dataflow(program), scratch).least_peak()
