"""What a candidate needs of a board's memory, by the planner that places it there in the end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ..format.writer import write
from ..planner import Schedule
from ..planner.dataflow import dataflow
from ..planner.packing import PATIENCE
from ..planner.placing import place_segments
from ..planner.plan import Plan
from ..planner.schedule import operator_by_operator, order_inputs
from ..planner.scratch import scratch_bytes
from ..planner.search import as_segments, search
from ..program import Program, Step
from .network import Network
from .program import program_of

PROVENANCE_BYTES = 320
"""Room in the file for what `convert` writes about a model's origin, ports and labels."""
_PATIENCE = 300  # of the packing, unless more may make the network fit
_PIXELS = (0.0, 1.0)


@dataclass(frozen=True)
class Memory:
    """Bytes of RAM and of flash.

    arena_bytes: of the best streaming schedule that computes nothing twice, packed, input fed; or,
    operator by operator, of that. flash_bytes: of the `.lil` file with mapped weights.
    """

    arena_bytes: int
    flash_bytes: int


@dataclass
class MemoryModel:
    """Plans networks, and remembers what it has planned.

    schedule: STREAMED, or OPERATORS for what an engine without streaming needs: every map whole,
    the input read in place. limit: bytes of arena beyond which networks do not matter: the search
    for segments ends sooner.
    """

    schedule: Schedule = Schedule.STREAMED
    limit: int | None = None
    _known: dict[Network, Memory | None] = field(default_factory=dict, repr=False)
    _scratch: dict[object, int] = field(default_factory=dict, repr=False)

    def memory(self, network: Network) -> Memory | None:
        """What the network needs, to the byte of what `placed` has placed; None beyond the
        limit."""
        if network not in self._known:
            plan = self.placed(network)
            self._known[network] = (
                None if plan is None else Memory(plan.arena_bytes, file_bytes(plan))
            )
        return self._known[network]

    def placed(self, network: Network) -> Plan | None:
        """The plan that `memory` measures; None beyond the limit."""
        program = order_inputs(program_of(network))
        flow = dataflow(program)
        scratch = self._scratch_of(program)
        if self.schedule is Schedule.OPERATORS:
            segments = operator_by_operator(flow)
        else:
            found = search(flow, scratch, most=self.limit)
            try:
                segments = as_segments(found.segments(found.least_peak()))
            except ValueError:
                return None
        plan = place_segments(flow, segments, scratch, patience=_PATIENCE)
        if self.limit is not None and plan.arena_bytes > self.limit >= plan.lower_bound:
            plan = place_segments(flow, segments, scratch, patience=PATIENCE)
        return None if self.limit is not None and plan.arena_bytes > self.limit else plan

    def _scratch_of(self, program: Program) -> tuple[int, ...]:
        """Scratch of each step: the core is asked for those of unknown shapes only."""
        keys = [_signature(program, step) for step in program.steps]
        if any(key not in self._scratch for key in keys):
            self._scratch.update(zip(keys, scratch_bytes(program), strict=True))
        return tuple(self._scratch[key] for key in keys)


def file_bytes(plan: Plan) -> int:
    """Bytes of the `.lil` file of a plan, with room for its origin and labels."""
    return len(write(plan.program, plan, input_range=_PIXELS)) + PROVENANCE_BYTES


def _signature(program: Program, step: Step) -> object:
    """What a step's scratch depends on."""
    shapes = tuple(program.tensors[edge.tensor].shape for edge in step.edges)
    window: Mapping[str, object] = step.parameters.get("window", {})
    return step.kind, shapes, program.tensors[step.output].shape, tuple(window.items())
