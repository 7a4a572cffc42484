"""Lite residuals: small branches beside a network's blocks that are trained in the blocks' place.

Cai et al., "TinyTL: Reduce Memory, Not Parameters for Efficient On-Device Learning" (2020): beside
each block of a frozen network a branch works at half of its resolution, where activations that
training must keep are small, and its output is added to the block's. Here a branch is an average
pool of 2x2, a depthwise convolution of 3x3 with a ReLU, a 1x1 convolution whose weights are 0 at
the start, and an enlargement to the nearest element; the paper has a convolution of 5x5 in two
groups in place of the depthwise one, whose weights would fill a microcontroller's RAM, and
bilinear enlargement.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from ..graph import (
    Activation,
    Attributes,
    Convolution,
    Graph,
    Operator,
    Pool,
    Quantization,
    Resize,
    Tensor,
    UnsupportedModel,
)
from ..program import Program
from ..tables import UNARY_KINDS
from .scheme import Scheme, layers

_KERNEL = 3
_ROOM = 2.0  # that the depthwise weights have to grow
_POINTWISE_RANGE = 4.0  # the largest pointwise weight, times the square root of the inputs
_WARM_RANGE = 0.5  # the largest warm one, in the same terms


@dataclass(frozen=True)
class Block:
    """Operators from a depthwise convolution, or the 1x1 convolution before it, to the 1x1
    convolution behind it, or the sum of that with the block's input.

    `first` and `last` are positions in the graph, `source` and `output` tensors.
    """

    first: int
    last: int
    source: int
    output: int


@dataclass(frozen=True)
class LiteResiduals:
    """A graph with branches. `layers`: the names of the branches' layers; `first_layer`: that of
    the first block that has one. `warm` is the same graph with branches that contribute: gradients
    in a branch are 0 at the start, and are measured there."""

    graph: Graph
    warm: Graph
    layers: tuple[str, ...]
    first_layer: str


def find_blocks(graph: Graph) -> list[Block]:
    """The blocks of a network like MobileNet, in order of execution."""
    position = {op.outputs[0]: i for i, op in enumerate(graph.operators)}
    readers: dict[int, list[int]] = {}
    for i, op in enumerate(graph.operators):
        for index in op.inputs:
            readers.setdefault(index, []).append(i)
    blocks: list[Block] = []
    ends: set[int] = set()
    for i, op in enumerate(graph.operators):
        if op.kind != "DEPTHWISE_CONV_2D":
            continue
        end = _pointwise_behind(graph, readers, op.outputs[0])
        if end is None:
            continue
        ends.add(end)
        first = _expansion_before(graph, position, op.inputs[0])
        if first is None or first in ends:
            first = i
        source, output = graph.operators[first].inputs[0], graph.operators[end].outputs[0]
        behind = [k for k in readers.get(output, []) if graph.operators[k].kind == "ADD"]
        if len(readers.get(output, [])) == 1 and behind:
            total = graph.operators[behind[0]]
            if source in total.inputs:
                end, output = behind[0], total.outputs[0]
        blocks.append(Block(first, end, source, output))
    return blocks


def _is_pointwise(graph: Graph, op: Operator) -> bool:
    return op.kind == "CONV_2D" and graph.tensors[op.inputs[1]].shape[1:3] == (1, 1)


def _pointwise_behind(graph: Graph, readers: Mapping[int, list[int]], tensor: int) -> int | None:
    """The 1x1 convolution that a depthwise one's output reaches through activations and gates."""
    while readers.get(tensor):
        last = readers[tensor][-1]
        op = graph.operators[last]
        if _is_pointwise(graph, op):
            return last
        if op.kind not in UNARY_KINDS or op.kind == "ADD":
            return None
        tensor = op.outputs[0]
    return None


def _expansion_before(graph: Graph, position: Mapping[int, int], tensor: int) -> int | None:
    """The 1x1 convolution whose output, perhaps through an activation, a tensor is."""
    while tensor in position:
        op = graph.operators[position[tensor]]
        if _is_pointwise(graph, op):
            return position[tensor]
        if op.kind not in UNARY_KINDS or op.kind == "ADD":
            return None
        tensor = op.inputs[0]
    return None


def add_lite_residuals(graph: Graph, count: int | None = None, *, seed: int = 0) -> LiteResiduals:
    """An int8 graph with a lite residual beside each of its last `count` blocks, or of all: its
    outputs are the same, because the branches contribute nothing before they are trained.

    Raises UnsupportedModel when it has no blocks, ValueError for a count below 1.
    """
    if count is not None and count < 1:
        raise ValueError(f"{count} blocks with lite residuals: give 1 or more")
    found = [block for block in find_blocks(graph) if _is_halved(graph, block)]
    blocks = found[-count:] if count is not None else found
    if not blocks:
        raise UnsupportedModel(
            "the model has no blocks for lite residuals, which go beside a depthwise convolution "
            "and the 1x1 convolution behind it"
        )
    cold, warm = (_Branches(graph, np.random.default_rng(seed), w) for w in (False, True))
    for block in reversed(blocks):  # from the last on, so that positions stay what they are
        cold.add(block)
        warm.add(block)
    first = graph.operators[blocks[0].first].outputs[0]
    return LiteResiduals(
        cold.graph(), warm.graph(), tuple(reversed(cold.layers)), graph.tensors[first].name
    )


def lite_residual_scheme(program: Program, residuals: LiteResiduals) -> Scheme:
    """The branches' weights, the biases of the blocks that have one and of all layers behind, and
    the last layer."""
    names = [step.name for step in layers(program)]
    behind = names[names.index(residuals.first_layer) :]
    weights = dict.fromkeys((*residuals.layers, names[-1]), 1.0)
    return Scheme(frozenset(behind) - weights.keys(), weights)


def _halved(shape: tuple[int, ...]) -> tuple[int, int]:
    """Height and width of half of a map."""
    return -(-shape[1] // 2), -(-shape[2] // 2)


def _stride(graph: Graph, block: Block) -> tuple[int, int]:
    """Of a block as a whole."""
    source, output = graph.tensors[block.source].shape, graph.tensors[block.output].shape
    return -(-source[1] // output[1]), -(-source[2] // output[2])


def _is_halved(graph: Graph, block: Block) -> bool:
    """Whether a branch's map is half as large as the block's output."""
    height, width = graph.tensors[block.source].shape[1:3]
    down, right = _stride(graph, block)
    small = (-(-height // (2 * down)), -(-width // (2 * right)))
    return small == _halved(graph.tensors[block.output].shape)


class _Branches:
    """A graph to which branches are added."""

    def __init__(self, graph: Graph, dice: np.random.Generator, is_warm: bool) -> None:
        self.original = graph
        self.tensors = list(graph.tensors)
        self.operators = list(graph.operators)
        self.outputs = graph.outputs
        self.dice = dice
        self.is_warm = is_warm
        self.layers: list[str] = []

    def graph(self) -> Graph:
        return replace(
            self.original,
            tensors=tuple(self.tensors),
            operators=tuple(self.operators),
            outputs=self.outputs,
        )

    def add(self, block: Block) -> None:
        made, total = self._branch(block)
        for i in range(block.last + 1, len(self.operators)):
            op = self.operators[i]
            inputs = tuple(total if index == block.output else index for index in op.inputs)
            self.operators[i] = replace(op, inputs=inputs)
        self.outputs = tuple(total if i == block.output else i for i in self.outputs)
        self.operators[block.last + 1 : block.last + 1] = made

    def _branch(self, block: Block) -> tuple[list[Operator], int]:
        """The operators of a branch, and the tensor of the sum."""
        source, output = self.tensors[block.source], self.tensors[block.output]
        given, wanted = self._numbers(source), self._numbers(output)
        channels, outputs = source.shape[3], output.shape[3]
        made: list[Operator] = []
        base = f"{output.name}/lite"

        def append(kind: str, inputs: tuple[int, ...], of: Tensor, attributes: Attributes) -> int:
            self.tensors.append(of)
            made.append(Operator(kind, inputs, (len(self.tensors) - 1,), attributes))
            return len(self.tensors) - 1

        def activation(name: str, shape: tuple[int, ...], numbers: tuple[float, int]) -> Tensor:
            quantization = Quantization.per_tensor(*numbers)
            return Tensor(f"{base}/{name}", shape, np.dtype(np.int8), quantization=quantization)

        small = (1, *_halved(source.shape), channels)
        half = (1, *_halved(output.shape))
        pool = Pool("same", (2, 2), (2, 2))
        pooled = append("AVERAGE_POOL_2D", (block.source,), activation("pool", small, given), pool)
        # as wide a range as the input's: the weights keep what is put in as large as it is
        hidden = activation("depthwise", (*half, channels), (given[0], -128))
        stride = _stride(self.original, block)
        through = append(
            "DEPTHWISE_CONV_2D",
            (pooled, *self._depthwise(hidden.name, channels, given[0])),
            hidden,
            Convolution("same", stride, activation="relu"),
        )
        # signed, whatever the block's output is
        signed = (wanted[0], wanted[1] if abs(wanted[1]) <= 64 else 0)
        narrow = activation("pointwise", (*half, outputs), signed)
        total = append(
            "CONV_2D",
            (through, *self._pointwise(narrow.name, outputs, channels, given[0])),
            narrow,
            Convolution("same"),
        )
        if half[1:] != output.shape[1:3]:
            enlarged = activation("enlarged", output.shape, signed)
            total = append("RESIZE_NEAREST_NEIGHBOR", (total,), enlarged, Resize())
        with_branch = replace(output, name=f"{base}/sum")
        total = append("ADD", (block.output, total), with_branch, Activation())
        self.layers += [narrow.name, hidden.name]
        return made, total

    def _numbers(self, tensor: Tensor) -> tuple[float, int]:
        if tensor.quantization is None:
            raise UnsupportedModel(f"tensor {tensor.name} has no quantisation: quantise the model")
        return float(tensor.quantization.scale[0]), int(tensor.quantization.zero_point[0])

    def _depthwise(self, name: str, channels: int, input_scale: float) -> tuple[int, int]:
        """Weights and bias, random, of a variance that keeps the input's behind a ReLU."""
        largest = math.sqrt(3 * 2 / _KERNEL**2)
        weights = self.dice.uniform(-largest, largest, (1, _KERNEL, _KERNEL, channels))
        return self._layer(name, weights, _ROOM * largest / 127, input_scale, 3)

    def _pointwise(
        self, name: str, outputs: int, inputs: int, input_scale: float
    ) -> tuple[int, int]:
        """Weights and bias, of zeros."""
        largest = _WARM_RANGE / math.sqrt(inputs)
        weights = self.dice.uniform(-largest, largest, (outputs, 1, 1, inputs)) * self.is_warm
        return self._layer(
            name, weights, _POINTWISE_RANGE / math.sqrt(inputs) / 127, input_scale, 0
        )

    def _layer(
        self, name: str, weights: np.ndarray, scale: float, input_scale: float, axis: int
    ) -> tuple[int, int]:
        channels = weights.shape[axis]
        zeros = np.zeros(channels, np.int32)
        scales = np.full(channels, scale, np.float32)
        values = np.rint(weights / scale).astype(np.int8)
        of_bias = Quantization((scales * np.float32(input_scale)).astype(np.float32), zeros)
        self.tensors += [
            Tensor(
                f"{name}_weight",
                values.shape,
                values.dtype,
                values,
                Quantization(scales, zeros, axis),
            ),
            Tensor(f"{name}_bias", zeros.shape, zeros.dtype, zeros, of_bias),
        ]
        return len(self.tensors) - 2, len(self.tensors) - 1
