"""Who writes and reads each tensor of a program, and which rows: what the planner asks often."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..format.constants import constant_offsets
from ..program import Edge, Program, Step


@dataclass(frozen=True, eq=False)
class Use:
    """One step's reading of one tensor.

    `first` and `last` are, for each of the step's calls, the rows that it reads, clipped to the
    map (`last` is negative for none); `least_from` the first row that this or a later call reads,
    with the map's height behind the last call.
    """

    step: int
    tensor: int
    first: np.ndarray
    last: np.ndarray
    least_from: np.ndarray


@dataclass(frozen=True, eq=False)
class Dataflow:
    """A program and its uses.

    `uses` are those of each step, `readers` the steps that read each map, through views too,
    `direct` the uses of each tensor itself. `producer` is the step that writes a tensor, `kept`
    the maps that graph outputs show, `last_use` the last step that reads a step's output (the
    number of steps for an output of the graph; the producer itself when nothing reads it). A map
    that is written in patches counts as written by the first of them; `last_writer` is the last.
    `constant_offsets`, one a step, say where its constants lie behind the file's front.
    """

    program: Program
    uses: tuple[tuple[Use, ...], ...]
    readers: dict[int, frozenset[int]]
    direct: dict[int, tuple[Use, ...]]
    producer: dict[int, int]
    last_writer: dict[int, int]
    kept: frozenset[int]
    last_use: dict[int, int]
    constant_offsets: tuple[int, ...]

    def is_patched(self, tensor: int) -> bool:
        """Whether several steps write patches of a map."""
        return self.producer[tensor] != self.last_writer[tensor]


def dataflow(program: Program) -> Dataflow:
    """The uses of a program's tensors."""
    uses = tuple(
        tuple(_use(program, index, edge) for edge in step.edges)
        for index, step in enumerate(program.steps)
    )
    readers: dict[int, set[int]] = {}
    direct: dict[int, list[Use]] = {}
    for of_step in uses:
        for use in of_step:
            readers.setdefault(program.root(use.tensor), set()).add(use.step)
            direct.setdefault(use.tensor, []).append(use)
    outputs = [program.root(step.output) for step in program.steps]
    last_writer = {root: index for index, root in enumerate(outputs)}
    producer = {root: index for index, root in reversed(list(enumerate(outputs)))}
    kept = frozenset(program.root(port.tensor) for port in program.outputs)
    last_use = {
        tensor: len(program.steps) if tensor in kept else max(readers.get(tensor, {index}))
        for tensor, index in last_writer.items()
    }
    return Dataflow(
        program,
        uses,
        {tensor: frozenset(steps) for tensor, steps in readers.items()},
        {tensor: tuple(of_tensor) for tensor, of_tensor in direct.items()},
        producer,
        last_writer,
        kept,
        last_use,
        constant_offsets(program),
    )


def call_count(program: Program, step: Step) -> int:
    """Rows that a step goes through: its output's, or its input's when it is a sink."""
    return program.tensors[step.edges[0].tensor if step.is_sink else step.output].height


def _use(program: Program, index: int, edge: Edge) -> Use:
    step = program.steps[index]
    height = program.tensors[edge.tensor].height
    if step.is_sink and edge is step.edges[0]:
        first = last = np.arange(height)
    else:
        rows = np.arange(call_count(program, step), dtype=np.int64) * edge.step
        first = np.clip((rows + edge.first) // edge.divisor, 0, height)
        last = np.minimum((rows + edge.last) // edge.divisor, height - 1)
    least_from = np.append(np.minimum.accumulate(first[::-1])[::-1], height)
    return Use(index, edge.tensor, first, last, least_from)
