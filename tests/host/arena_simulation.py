"""Runs a plan without its numbers: every byte of the arena holds the name of what it stores.

Written from the rules in `execute.c` alone, so that the planner's closed forms are checked against
something that shares no code with them. A read that finds other bytes than those it asks for
(overwritten, not yet written, never written) is an AssertionError.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from lilliput.planner import Plan, Segment
from lilliput.program import Edge, Program, Step

_TENSOR = 1 << 32  # bytes of a tensor are named tensor * _TENSOR + place in it
_SCRATCH = 1 << 56
_READS_BEFORE_IT_WRITES = {
    *("TABLE", "PRELU", "SOFTMAX", "ADD", "SUBTRACT", "MULTIPLY"),
    *("MULTIPLY_GRADIENT", "TABLE_GRADIENT"),
    *("CLAMP_GRADIENT", "SUM_GRADIENTS"),
}


@dataclass
class Trace:
    """What was seen: the sweep of each call of each step, and the most rows of each tensor that
    were between the newest and the oldest one needed when a reader was called."""

    calls: dict[int, list[int]] = field(default_factory=dict)
    most_rows: dict[int, int] = field(default_factory=dict)


@dataclass
class _Machine:
    plan: Plan
    arena: np.ndarray
    trace: Trace
    done: dict[int, int] = field(default_factory=dict)

    @property
    def program(self) -> Program:
        return self.plan.program


def simulate(plan: Plan) -> Trace:
    """Runs all segments, and checks every read, and the outputs when all is done."""
    machine = _Machine(plan, np.full(plan.arena_bytes, -1, np.int64), Trace())
    for segment in plan.segments:
        _run_segment(machine, segment)
    for port in plan.program.outputs:
        for row in range(plan.program.tensors[port.tensor].height):
            _check_row(machine, port.tensor, row)
    return machine.trace


def _run_segment(machine: _Machine, segment: Segment) -> None:
    machine.done = dict.fromkeys(segment.steps, 0)
    sweep = 0
    while any(machine.done[i] < _calls(machine.program, i) for i in segment.steps):
        before = dict(machine.done)
        for index in segment.steps:
            _advance(machine, segment, index, sweep)
        assert machine.done != before, f"nothing can move in {segment}"
        sweep += 1


def _advance(machine: _Machine, segment: Segment, index: int, sweep: int) -> None:
    program = machine.program
    step = program.steps[index]
    limit = machine.plan.rows_per_sweep[index] or _calls(program, index)
    if step.kind == "INPUT":
        limit = 1
    computed = 0
    while (
        computed < limit
        and machine.done[index] < _calls(program, index)
        and _is_ready(machine, segment, step, machine.done[index])
    ):
        _call(machine, segment, index, machine.done[index])
        machine.trace.calls.setdefault(index, []).append(sweep)
        machine.done[index] += 1
        computed += 1


def _calls(program: Program, index: int) -> int:
    """Output rows of a step; input rows of a sink."""
    step = program.steps[index]
    return program.tensors[step.edges[0].tensor if step.is_sink else step.output].height


def _rows_read(program: Program, step: Step, edge: Edge, row: int) -> range:
    height = program.tensors[edge.tensor].height
    if step.is_sink and edge is step.edges[0]:
        return range(row, row + 1)
    first = (row * edge.step + edge.first) // edge.divisor
    last = (row * edge.step + edge.last) // edge.divisor
    return range(max(first, 0), min(last + 1, height))


def _producer(program: Program, segment: Segment, tensor: int) -> int | None:
    return next((i for i in segment.steps if program.steps[i].output == tensor), None)


def _rows_produced(machine: _Machine, producer: int) -> int:
    step = machine.program.steps[producer]
    if not step.is_sink:
        return machine.done[producer]
    is_finished = machine.done[producer] == _calls(machine.program, producer)
    return machine.program.tensors[step.output].height if is_finished else 0


def _is_ready(machine: _Machine, segment: Segment, step: Step, row: int) -> bool:
    for edge in step.edges:
        producer = _producer(machine.program, segment, edge.tensor)
        rows = _rows_read(machine.program, step, edge, row)
        if producer is not None and rows and _rows_produced(machine, producer) < rows.stop:
            return False
    return True


def _call(machine: _Machine, segment: Segment, index: int, row: int) -> None:
    """One row of one step, with the least helpful order of reads and writes its kernel may use."""
    program, plan = machine.program, machine.plan
    step = program.steps[index]
    output = program.tensors[step.output]
    begin = plan.scratch_offsets[index]
    scratch = machine.arena[begin : begin + plan.scratch_bytes[index]]
    if step.is_sink and row > 0:
        assert np.all(scratch == _SCRATCH + index), f"sums of {step.name} are lost"
    scratch[:] = _SCRATCH + index
    _measure(machine, segment, index, row)
    in_place = {
        edge
        for edge in step.edges
        if step.kind in _READS_BEFORE_IT_WRITES
        and program.tensors[edge.tensor].shape == output.shape
        and program.tensors[edge.tensor].row_bytes == output.row_bytes
    }
    _check_reads(machine, step, row, in_place)
    if not step.is_sink:
        _write_row(machine, step.output, row)
    elif row + 1 == _calls(program, index):
        for written in range(output.height):
            _write_row(machine, step.output, written)
    _check_reads(machine, step, row, set(step.edges) - in_place)
    assert np.all(scratch == _SCRATCH + index), f"scratch of {step.name} lies in its output"


def _measure(machine: _Machine, segment: Segment, index: int, row: int) -> None:
    step = machine.program.steps[index]
    for edge in step.edges:
        producer = _producer(machine.program, segment, edge.tensor)
        if producer is None:
            continue
        later = range(row, _calls(machine.program, index))
        reads = (_rows_read(machine.program, step, edge, call) for call in later)
        oldest = min((rows.start for rows in reads if rows), default=None)
        if oldest is not None:
            rows = _rows_produced(machine, producer) - oldest
            most = machine.trace.most_rows
            most[edge.tensor] = max(most.get(edge.tensor, 1), rows)


def _check_reads(machine: _Machine, step: Step, row: int, edges: set[Edge]) -> None:
    for edge in edges:
        if machine.program.tensors[edge.tensor].constant is None:
            for read in _rows_read(machine.program, step, edge, row):
                _check_row(machine, edge.tensor, read)


def _row_bytes(machine: _Machine, tensor: int, row: int) -> tuple[np.ndarray, np.ndarray]:
    """A row's place in the arena, and the names of its bytes; a view's are those of its root."""
    feature_map = machine.program.tensors[tensor]
    size, pitch = feature_map.row_bytes, feature_map.row_pitch
    begin = machine.plan.offsets[tensor] + row % machine.plan.ring_rows[tensor] * pitch
    place_in_root = machine.program.offset_in_root(tensor) + row * pitch
    names = machine.program.root(tensor) * _TENSOR + place_in_root + np.arange(size)
    place = machine.arena[begin : begin + size]
    assert place.size == size, f"row {row} of tensor {tensor} lies outside of the arena"
    return place, names


def _write_row(machine: _Machine, tensor: int, row: int) -> None:
    place, names = _row_bytes(machine, tensor, row)
    place[:] = names


def _check_row(machine: _Machine, tensor: int, row: int) -> None:
    place, names = _row_bytes(machine, tensor, row)
    assert np.array_equal(place, names), (
        f"row {row} of {machine.program.tensors[tensor].name} is not in the arena when it is read"
    )
