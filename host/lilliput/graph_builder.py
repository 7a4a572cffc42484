"""Float graphs, put together layer by layer: for networks that come from no file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from .graph import Activation, Attributes, Convolution, Graph, Operator, Reduce, Tensor

_FLOAT32 = np.dtype(np.float32)


@dataclass
class GraphBuilder:
    """Appends operators; every method returns the index of the tensor that it made.

    Feature maps are float32[1, height, width, channels], padded as "same" by convolutions.
    """

    tensors: list[Tensor] = field(default_factory=list)
    operators: list[Operator] = field(default_factory=list)

    def tensor(self, name: str, shape: tuple[int, ...]) -> int:
        """A tensor that is computed, or the graph's input."""
        self.tensors.append(Tensor(name, shape, _FLOAT32))
        return len(self.tensors) - 1

    def constant(self, name: str, values: np.ndarray) -> int:
        """A tensor of weights, stored as float32."""
        stored = np.ascontiguousarray(values, np.float32)
        self.tensors.append(Tensor(name, stored.shape, _FLOAT32, stored))
        return len(self.tensors) - 1

    def operator(
        self, kind: str, name: str, inputs: tuple[int, ...], shape: tuple[int, ...], how: Attributes
    ) -> int:
        output = self.tensor(name, shape)
        self.operators.append(Operator(kind, inputs, (output,), how))
        return output

    def convolution(
        self,
        source: int,
        name: str,
        weights: np.ndarray,
        bias: np.ndarray,
        *,
        stride: int = 1,
        depthwise: bool = False,
        activation: str = "relu6",
    ) -> int:
        """weights: [outputs, height, width, inputs], of a depthwise convolution [1, height, width,
        channels]; bias: one an output."""
        _, height, width, _ = self.tensors[source].shape
        operands = self._operands(source, name, weights, bias)
        shape = (1, -(-height // stride), -(-width // stride), len(bias))
        how = Convolution("same", (stride, stride), (1, 1), activation)
        kind = "DEPTHWISE_CONV_2D" if depthwise else "CONV_2D"
        return self.operator(kind, name, operands, shape, how)

    def add(self, name: str, one: int, other: int) -> int:
        """The sum of two maps of one shape."""
        return self.operator("ADD", name, (one, other), self.tensors[one].shape, Activation())

    def mean(self, source: int, name: str) -> int:
        """Each channel's mean over the map, [1, channels]."""
        channels = self.tensors[source].shape[3]
        return self.operator("MEAN", name, (source,), (1, channels), Reduce((1, 2)))

    def fully_connected(self, source: int, name: str, weights: np.ndarray, bias: np.ndarray) -> int:
        """weights: [outputs, inputs]."""
        operands = self._operands(source, name, weights, bias)
        return self.operator("FULLY_CONNECTED", name, operands, (1, len(bias)), Activation())

    def graph(self, name: str, inputs: Sequence[int], outputs: Sequence[int]) -> Graph:
        """What was put together."""
        return Graph(
            tuple(self.tensors), tuple(self.operators), tuple(inputs), tuple(outputs), name
        )

    def _operands(
        self, source: int, name: str, weights: np.ndarray, bias: np.ndarray
    ) -> tuple[int, int, int]:
        stored = self.constant(f"{name}/weights", weights)
        return source, stored, self.constant(f"{name}/bias", bias)
