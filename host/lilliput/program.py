"""The lowered model: what a `.lil` holds, before the planner has placed it in the arena.

Every tensor is a feature map of height x width x channels; operators are the kinds of
`lil_format.h` with the parameters and constants that their kernels read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True)
class FeatureMap:
    """A tensor. `constant` is set for operands that lie in the file, `view_of` for another shape
    of a map that is held whole: both have no operator that computes them."""

    name: str
    height: int
    width: int
    channels: int
    zero_point: int = 0
    dtype: str = "int8"  # or "int32"
    constant: np.ndarray | None = None
    view_of: int | None = None

    @property
    def elements(self) -> int:
        return self.height * self.width * self.channels

    @property
    def row_bytes(self) -> int:
        return self.width * self.channels * (4 if self.dtype == "int32" else 1)

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
    """One operator of the program. `kind` is a `lil_kind` without its prefix."""

    kind: str
    name: str
    output: int
    edges: tuple[Edge, ...] = ()
    is_pointwise: bool = False
    is_sink: bool = False
    rounds_once: bool = False
    activation: tuple[int, int] = (-128, 127)
    parameters: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    constants: bytes = b""
    macs: int = 0


@dataclass(frozen=True)
class Port:
    """A graph input or output as the user sees it: real = scale * (value - zero_point)."""

    tensor: int
    name: str
    shape: tuple[int, ...]
    scale: float
    zero_point: int


@dataclass(frozen=True)
class Program:
    """Feature maps, and steps in order of execution. Each input has an INPUT step."""

    tensors: tuple[FeatureMap, ...]
    steps: tuple[Step, ...]
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    name: str = "model"

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one inference."""
        return sum(step.macs for step in self.steps)

    def root(self, tensor: int) -> int:
        """The map whose bytes a view shows; a map that is no view is its own root."""
        parent = self.tensors[tensor].view_of
        while parent is not None:
            tensor = parent
            parent = self.tensors[tensor].view_of
        return tensor
