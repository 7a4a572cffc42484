"""Collects the feature maps and steps of a program while operators are lowered."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ..graph import Graph, Quantization, Tensor, UnsupportedModel
from ..program import Edge, FeatureMap, Step
from .geometry import map_shape


class Builder:
    """A program under construction. Feature maps are made when a graph tensor is first used."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.tensors: list[FeatureMap] = []
        self.steps: list[Step] = []
        self._map_of: dict[int, int] = {}

    def quantization(self, index: int) -> Quantization:
        """A graph tensor's quantisation; UnsupportedModel when it is missing."""
        tensor = self.graph.tensors[index]
        if tensor.quantization is None:
            raise UnsupportedModel(f"tensor {tensor.name} is {tensor.dtype} without quantisation")
        return tensor.quantization

    def scale(self, index: int) -> float:
        return float(self.quantization(index).scale[0])

    def zero_point(self, index: int) -> int:
        return int(self.quantization(index).zero_point[0])

    def _new(self, feature_map: FeatureMap) -> int:
        self.tensors.append(feature_map)
        return len(self.tensors) - 1

    def map_of(self, index: int) -> int:
        """The feature map of a graph tensor."""
        if index not in self._map_of:
            tensor = self.graph.tensors[index]
            self._map_of[index] = self._new(self._declare(tensor, map_shape(tensor)))
        return self._map_of[index]

    def _declare(self, tensor: Tensor, shape: tuple[int, int, int]) -> FeatureMap:
        zero_point, scale = 0, 0.0
        if tensor.dtype == np.int8 and tensor.quantization is not None:
            zero_point = int(tensor.quantization.zero_point[0])
            scale = float(tensor.quantization.scale[0])
        return FeatureMap(
            name=tensor.name,
            height=shape[0],
            width=shape[1],
            channels=shape[2],
            zero_point=zero_point,
            scale=scale,
            dtype="int8" if tensor.dtype == np.int8 else "int32",
            constant=None if tensor.data is None else tensor.data.astype(np.int8),
        )

    def output_map(self, index: int, shape: tuple[int, int, int]) -> int:
        """The map an operator writes for a graph tensor, in the operator's own geometry.

        When that differs from the tensor's (dimensions dropped, or moved to another axis), the
        tensor becomes a view of it.
        """
        tensor = self.graph.tensors[index]
        if map_shape(tensor) == shape:
            return self.map_of(index)
        written = self._new(self._declare(tensor, shape))
        self.bind_view(index, written)
        return written

    def bind_view(self, index: int, source: int) -> None:
        """Makes a graph tensor another shape of an existing map."""
        self._map_of[index] = self.view(source, map_shape(self.graph.tensors[index]))

    def root(self, tensor: int) -> int:
        """The map whose bytes a view shows; a map that is no view is its own root."""
        parent = self.tensors[tensor].view_of
        while parent is not None:
            tensor = parent
            parent = self.tensors[tensor].view_of
        return tensor

    def view(self, source: int, shape: tuple[int, int, int]) -> int:
        """An existing map under another shape; the map itself when the shape is its own."""
        original = self.tensors[source]
        if original.shape == shape:
            return source
        return self._new(
            FeatureMap(
                name=original.name,
                height=shape[0],
                width=shape[1],
                channels=shape[2],
                zero_point=original.zero_point,
                scale=original.scale,
                dtype=original.dtype,
                constant=original.constant,
                view_of=None if original.constant is not None else source,
            )
        )

    def add(
        self,
        kind: str,
        output: int,
        edges: tuple[Edge, ...],
        *,
        is_pointwise: bool = False,
        is_sink: bool = False,
        rounds_once: bool = False,
        shifts_right: bool = False,
        is_int4: bool = False,
        activation: tuple[int, int] = (-128, 127),
        parameters: Mapping[str, Mapping[str, object]] | None = None,
        constants: bytes = b"",
        macs: int = 0,
        slopes: tuple[float, ...] = (),
    ) -> None:
        """Appends a step, named after the map it writes."""
        self.steps.append(
            Step(
                kind=kind,
                name=self.tensors[output].name,
                output=output,
                edges=edges,
                is_pointwise=is_pointwise,
                is_sink=is_sink,
                rounds_once=rounds_once,
                shifts_right=shifts_right,
                is_int4=is_int4,
                activation=activation,
                parameters=parameters or {},
                constants=constants,
                macs=macs,
                slopes=slopes,
            )
        )

    def straight_edge(self, tensor: int) -> Edge:
        """Output row y reads input row y, or the only row of a map that is broadcast."""
        return Edge(tensor, step=0 if self.tensors[tensor].height == 1 else 1)
