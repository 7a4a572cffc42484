"""The lowered model: what a `.lil` holds, before the planner has placed it in the arena.

Every tensor is a feature map of height x width x channels; operators are the kinds of
`lil_format.h` with the parameters and constants that their kernels read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

import numpy as np

ELEMENT_BYTES = MappingProxyType({"int8": 1, "int32": 4, "int16": 2, "bits": 1})


@dataclass(frozen=True)
class FeatureMap:
    """A tensor. `constant` is set for operands that lie in the file; no operator computes it.

    Reals are scale * (value - zero_point); `scale` is 0 where there is none (indices, gradients).
    `view_of` is set for another shape of a map that is held whole, or for a patch of it: the patch
    begins `view_offset` bytes into the map and has its `pitch`, the bytes from one row to the next.
    `is_source` marks a graph input that is never held: INPUT steps read patches of it.
    """

    name: str
    height: int
    width: int
    channels: int
    zero_point: int = 0
    dtype: str = "int8"  # or "int32", "int16", "bits": see lil_dtype
    scale: float = 0.0
    constant: np.ndarray | None = None
    view_of: int | None = None
    view_offset: int = 0
    pitch: int | None = None
    is_source: bool = False

    @property
    def elements(self) -> int:
        return self.height * self.width * self.channels

    @property
    def row_bytes(self) -> int:
        return self.width * self.channels * ELEMENT_BYTES[self.dtype]

    @property
    def row_pitch(self) -> int:
        """Bytes from one row to the next."""
        return self.row_bytes if self.pitch is None else self.pitch

    @property
    def is_contiguous(self) -> bool:
        """Whether rows lie one behind the other."""
        return self.row_pitch == self.row_bytes or self.height == 1

    @property
    def bytes(self) -> int:
        return self.height * self.row_bytes

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.height, self.width, self.channels


@dataclass(frozen=True)
class Edge:
    """An operator's use of one input: output row y reads the rows
    floor((y * step + first) / divisor) to floor((y * step + last) / divisor), clipped."""

    tensor: int
    step: int = 1
    first: int = 0
    last: int = 0
    divisor: int = 1


@dataclass(frozen=True)
class Step:
    """One operator of the program. `kind` is a `lil_kind` without its prefix.

    `trained_offset` is where in the arena its trained constants lie, None for none: its bias, and
    the weights of the first `arena_inputs` input channels of each group. `is_training` marks what
    an inference skips. `slopes` are those of a TABLE's function, real output by real input, for
    each of its 256 inputs.
    """

    kind: str
    name: str
    output: int
    edges: tuple[Edge, ...] = ()
    is_pointwise: bool = False
    is_sink: bool = False
    rounds_once: bool = False
    shifts_right: bool = False
    is_int4: bool = False
    activation: tuple[int, int] = (-128, 127)
    parameters: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    constants: bytes = b""
    macs: int = 0
    trained_offset: int | None = None
    arena_inputs: int = 0
    has_velocity: bool = False
    is_training: bool = False
    slopes: tuple[float, ...] = ()


@dataclass(frozen=True)
class Port:
    """A graph input or output as the user sees it: real = scale * (value - zero_point)."""

    tensor: int
    name: str
    shape: tuple[int, ...]
    scale: float
    zero_point: int


@dataclass(frozen=True)
class Training:
    """What a program holds besides an inference.

    `bytes` of the arena, from its first on, persist: `lil_training`, the target's `target_bytes`,
    `velocity_bytes` of velocities, and the trained constants. The target is a class below
    `class_count`, or an int8 map if that is 0. `momentum` is what each change keeps of the one
    before, and `accumulated` samples make one change.
    """

    bytes: int
    target_bytes: int = 4
    class_count: int = 0
    velocity_bytes: int = 0
    momentum: float = 0.0
    accumulated: int = 1


@dataclass(frozen=True)
class Program:
    """Feature maps, and steps in order of execution. Each input has an INPUT step.

    With `training`, the last steps are a training step's loss, backward pass and updates.
    """

    tensors: tuple[FeatureMap, ...]
    steps: tuple[Step, ...]
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    name: str = "model"
    training: Training | None = None

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one inference."""
        return sum(step.macs for step in self.steps if not step.is_training)

    @property
    def training_macs(self) -> int:
        """Multiply-accumulates of one training step: forward, backward and updates."""
        return sum(step.macs for step in self.steps)

    def root(self, tensor: int) -> int:
        """The map whose bytes a view shows; a map that is no view is its own root."""
        parent = self.tensors[tensor].view_of
        while parent is not None:
            tensor = parent
            parent = self.tensors[tensor].view_of
        return tensor

    def offset_in_root(self, tensor: int) -> int:
        """Bytes from the start of a tensor's root to the tensor."""
        parent = self.tensors[tensor].view_of
        inside = self.tensors[tensor].view_offset
        return inside if parent is None else inside + self.offset_in_root(parent)


def without_unused(program: Program) -> Program:
    """The program without maps that nothing reads or writes."""
    used = {port.tensor for port in (*program.inputs, *program.outputs)}
    for step in program.steps:
        used |= {step.output, *(edge.tensor for edge in step.edges)}
    for index in sorted(used, reverse=True):
        parent = program.tensors[index].view_of
        while parent is not None:
            used.add(parent)
            parent = program.tensors[parent].view_of
    order = sorted(used)
    renumbered = {old: new for new, old in enumerate(order)}
    return _renumber(program, order, renumbered)


def _renumber(program: Program, order: list[int], renumbered: Mapping[int, int]) -> Program:
    def step(original: Step) -> Step:
        edges = tuple(replace(edge, tensor=renumbered[edge.tensor]) for edge in original.edges)
        return replace(original, output=renumbered[original.output], edges=edges)

    def port(original: Port) -> Port:
        return replace(original, tensor=renumbered[original.tensor])

    tensors = [program.tensors[i] for i in order]
    return replace(
        program,
        tensors=tuple(
            t if t.view_of is None else replace(t, view_of=renumbered[t.view_of]) for t in tensors
        ),
        steps=tuple(step(s) for s in program.steps),
        inputs=tuple(port(p) for p in program.inputs),
        outputs=tuple(port(p) for p in program.outputs),
    )
