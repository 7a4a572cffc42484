"""Channels in groups: the same bits, the multiply-accumulates that are promised, and less memory.

Inverted residual blocks of all kinds are made at random, and cut into random groups.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from arena_simulation import simulate
from hypothesis import given, note, settings
from hypothesis import strategies as st
from plan_execution import execute, int8_inputs, lowered, whole
from random_graphs import Recipe, Step, build_graph, recipes
from test_planner import cut, model_program

from lilliput.graph import (
    Activation,
    Convolution,
    Graph,
    NoAttributes,
    Operator,
    Quantization,
    Reduce,
    Tensor,
)
from lilliput.lower import lower
from lilliput.planner import place, plan
from lilliput.planner.channel_groups import (
    Grouping,
    blocks,
    extra_macs,
    group,
    groupings,
    needed_bytes,
)
from lilliput.planner.dataflow import dataflow
from lilliput.planner.schedule import order_inputs
from lilliput.planner.scratch import scratch_bytes
from lilliput.program import Program

BLOCKS = max(settings().max_examples // 8, 1)
GRAPHS = max(settings().max_examples // 8, 1)


class _Network:
    """An int8 graph under construction, whose numbers stay within the range of int8."""

    def __init__(self, seed: int, shape: tuple[int, ...]) -> None:
        self.dice = np.random.default_rng(seed)
        self.tensors: list[Tensor] = []
        self.operators: list[Operator] = []
        self.source = self._value("image", shape, 0.02)

    def _value(
        self, name: str, shape: tuple[int, ...], scale: float, zero_point: int | None = None
    ) -> int:
        if zero_point is None:
            zero_point = int(self.dice.integers(-128, 128))
        quantization = Quantization.per_tensor(scale, zero_point)
        self.tensors.append(Tensor(name, shape, np.dtype(np.int8), quantization=quantization))
        return len(self.tensors) - 1

    def _constant(self, data: np.ndarray, scale: np.ndarray, axis: int = 0) -> int:
        quantization = Quantization(
            scale.astype(np.float32), np.zeros(scale.size, np.int32), axis if scale.size > 1 else 0
        )
        name = f"constant {len(self.tensors)}"
        self.tensors.append(Tensor(name, data.shape, data.dtype, data, quantization))
        return len(self.tensors) - 1

    def _weighted(
        self, kind: str, source: int, weights: tuple[int, ...], how: Convolution, name: str
    ) -> int:
        axis = 3 if kind == "DEPTHWISE_CONV_2D" else 0
        channels = weights[axis]
        taps = int(np.prod(weights)) // channels
        scales = 0.01 * 2.0 ** self.dice.uniform(-1, 1, channels)
        data = self.dice.integers(-127, 128, weights, np.int8)
        kernel = self._constant(data, scales, axis)
        bias = self._constant(
            self.dice.integers(-2000, 2000, channels).astype(np.int32), 0.02 * scales
        )
        shape = list(self.tensors[source].shape)
        shape[1:3] = [
            -(-size // stride) for size, stride in zip(shape[1:3], how.stride, strict=True)
        ]
        shape[3] = channels
        self.operators.append(
            Operator(
                kind,
                (source, kernel, bias),
                (output := self._value(name, shape, 0.02 * taps**0.5),),
                how,
            )
        )
        return output

    def pointwise(self, source: int, channels: int, name: str, activation: str = "none") -> int:
        """A 1x1 convolution."""
        inputs = self.tensors[source].shape[3]
        how = Convolution("same", activation=activation)
        return self._weighted("CONV_2D", source, (channels, 1, 1, inputs), how, name)

    def depthwise(self, source: int, kernel: int, stride: int, name: str) -> int:
        """A depthwise convolution with "same" padding."""
        channels = self.tensors[source].shape[3]
        how = Convolution("same", (stride, stride), activation="relu")
        shape = (1, kernel, kernel, channels)
        return self._weighted("DEPTHWISE_CONV_2D", source, shape, how, name)

    def apply(self, kind: str, sources: Sequence[int], name: str) -> int:
        """An elementwise operator, or a mean over height and width."""
        shape = self.tensors[sources[0]].shape
        attributes: Activation | Reduce | NoAttributes = NoAttributes()
        if kind == "MEAN":
            shape, attributes = (1, 1, 1, shape[3]), Reduce((1, 2), keep_dims=True)
        elif kind in {"ADD", "MUL"}:
            attributes = Activation()
        fixed = {"LOGISTIC": (1 / 256, -128), "TANH": (1 / 128, 0)}
        output = self._value(name, shape, *fixed.get(kind, (0.03,)))
        self.operators.append(Operator(kind, tuple(sources), (output,), attributes))
        return output

    def graph(self, *outputs: int) -> Graph:
        """All of it."""
        return Graph(
            tuple(self.tensors), tuple(self.operators), (self.source,), outputs, "residual block"
        )


@dataclass(frozen=True)
class Sketch:
    """What an inverted residual block is made from. `is_squeezed` is squeeze-and-excite."""

    seed: int
    height: int
    width: int
    inputs: int
    channels: int
    kernel: int
    stride: int
    squeezed: int
    is_squeezed: bool
    is_activated: bool
    is_bent: bool
    is_residual: bool
    is_shown: bool


sketches = st.builds(
    Sketch,
    seed=st.integers(0, 2**20),
    height=st.integers(1, 9),
    width=st.integers(1, 9),
    inputs=st.integers(1, 7),
    channels=st.integers(2, 23),
    kernel=st.sampled_from([1, 3, 5]),
    stride=st.sampled_from([1, 1, 2]),
    squeezed=st.integers(1, 4),
    is_squeezed=st.booleans(),
    is_activated=st.booleans(),
    is_bent=st.booleans(),
    is_residual=st.booleans(),
    is_shown=st.integers(0, 5).map(lambda number: number == 5),
)


def drawn(sketch: Sketch) -> Graph:
    """The block between two convolutions."""
    network = _Network(sketch.seed, (1, sketch.height, sketch.width, sketch.inputs))
    source = network.pointwise(network.source, sketch.inputs, "before")
    widened = network.pointwise(source, sketch.channels, "widened", "relu6")
    if sketch.is_activated:
        widened = network.apply("LOGISTIC", [widened], "activated")
    filtered = network.depthwise(widened, sketch.kernel, sketch.stride, "filtered")
    if sketch.is_bent:
        filtered = network.apply("TANH", [filtered], "bent")
    scaled = filtered
    if sketch.is_squeezed:
        mean = network.apply("MEAN", [filtered], "mean")
        squeezed = network.pointwise(mean, sketch.squeezed, "squeezed", "relu")
        gate = network.pointwise(squeezed, sketch.channels, "excited")
        gate = network.apply("LOGISTIC", [gate], "gate")
        scaled = network.apply("MUL", [filtered, gate], "scaled")
    narrowed = network.pointwise(scaled, sketch.inputs, "narrowed")
    if sketch.is_residual and sketch.stride == 1:
        narrowed = network.apply("ADD", [narrowed, source], "sum")
    outputs = [network.pointwise(narrowed, 3, "behind")]
    return network.graph(*outputs, *([filtered] if sketch.is_shown else []))


def drawn_grouping(draw: st.DataObject, program: Program) -> Grouping:
    """Any block of a program in any groups, some of them computed twice."""
    block = draw.draw(st.sampled_from(blocks(program)))
    most = min(block.channels, 16) - 1
    cuts = draw.draw(st.sets(st.integers(1, block.channels - 1), max_size=most))
    bounds = [0, *sorted(cuts), block.channels]
    sizes = tuple(b - a for a, b in pairwise(bounds))
    joined = program.tensors[block.joined[0]]
    pixels = joined.height * joined.width
    widths = [width for width in range(1, pixels + 1) if pixels % width == 0]
    twice = draw.draw(st.integers(0, len(sizes))) if len(block.joined) > 1 else 0
    return Grouping(block, sizes, twice, draw.draw(st.sampled_from([None, *widths])))


def check_bits(draw: st.DataObject, graph: Graph, program: Program, rewritten: Program) -> None:
    """A rewritten program gives the bits of the original, in the planner's segments and in any."""
    seed = draw.draw(st.integers(0, 2**20))
    inputs = int8_inputs(graph, program, seed)
    expected = execute(plan(program, keep_all=True), inputs, whole)
    rewritten = order_inputs(rewritten)
    cuts = draw.draw(st.frozensets(st.integers(1, 40), max_size=8))
    placed = place(rewritten, cut(rewritten, cuts), scratch_bytes(rewritten))
    simulate(placed)
    for candidate in (placed, plan(rewritten), plan(rewritten, streams_input=False)):
        for found, wanted in zip(execute(candidate, inputs, whole), expected, strict=True):
            np.testing.assert_array_equal(found, wanted)


def test_blocks_in_groups() -> None:
    """Inverted residual blocks: bits and multiply-accumulates."""
    seen = {"squeeze-and-excite": 0, "twice": 0, "odd channels": 0, "rows of other widths": 0}

    @given(sketches, st.data())
    @settings(max_examples=BLOCKS)
    def check(sketch: Sketch, draw: st.DataObject) -> None:
        graph = drawn(sketch)
        program = order_inputs(lower(graph))
        grouping = drawn_grouping(draw, program)
        note(repr(grouping))
        rewritten = group(program, grouping)
        second = extra_macs(program, grouping)
        assert rewritten.macs == program.macs + second
        assert second == 0 or grouping.twice > 0
        check_bits(draw, graph, program, rewritten)
        seen["squeeze-and-excite"] += len(grouping.block.joined) > 1
        seen["twice"] += second > 0
        seen["odd channels"] += any(size % 2 for size in grouping.sizes[:-1])
        seen["rows of other widths"] += any(t.width == grouping.width for t in rewritten.tensors)

    check()
    assert min(seen.values()) >= BLOCKS // 25, seen


def test_random_graphs_in_groups() -> None:
    """Whatever else leads to a block: pools, odd windows, several readers and outputs."""
    kinds = [
        "convolution",
        "depthwise convolution",
        "max pool",
        "mul broadcast",
        "add",
        "mean",
        "prelu",
    ]
    likely = ("convolution", "depthwise convolution", "convolution")  # one in three is a block
    seeds = st.lists(st.integers(0, 2**20), min_size=len(likely), max_size=len(likely))
    tried = 0

    @given(recipes(kinds, largest_operators=8), seeds, st.data())
    @settings(max_examples=GRAPHS)
    def check(recipe: Recipe, last: list[int], draw: st.DataObject) -> None:
        nonlocal tried
        steps = map(Step, likely, last)
        graph = build_graph(replace(recipe, steps=(*recipe.steps, *steps)))
        program = lowered(graph)
        if blocks(program):
            check_bits(draw, graph, program, group(program, drawn_grouping(draw, program)))
            tried += 1

    check()
    assert tried >= GRAPHS // 25


def test_groups_must_make_the_channels() -> None:
    network = _Network(0, (1, 4, 4, 2))
    filtered = network.depthwise(network.pointwise(network.source, 6, "wide"), 3, 1, "filtered")
    graph = network.graph(network.pointwise(filtered, 2, "narrow"))
    program = lower(graph)
    [block] = blocks(program)
    for sizes in ((3, 2), (7, -1), (6, 0)):
        with pytest.raises(ValueError, match="of 6 in all"):
            group(program, Grouping(block, sizes))


def test_published_model(models: Path) -> None:
    """The blocks that bound `mcunetv2_large`: 28x28x240 and its residual are 219,520 bytes, unless
    they are computed twice."""
    program = order_inputs(model_program(models, "mcunetv2_large"))
    flow = dataflow(program)
    needs: dict[tuple[int, int], list[tuple[int, Grouping]]] = {}
    for grouping in groupings(program, with_macs=True):
        ways = needs.setdefault((grouping.block.first, grouping.twice), [])
        ways.append((needed_bytes(flow, grouping), grouping))
    best = {key: min(ways, key=lambda way: way[0]) for key, ways in needs.items()}
    widest = [
        first
        for (first, twice), (need, _) in best.items()
        if not twice and 219_520 <= need <= 223_000
    ]
    assert len(widest) == 2
    image = np.random.default_rng(0).integers(-128, 128, (224, 224, 3), np.int8)
    [expected] = execute(plan(program, keep_all=True), [image], whole)
    for twice, most_macs, most_bytes in ((0, 1.0, 223_000), (1, 1.115, 135_000)):
        rewritten = program
        for first in sorted(widest, reverse=True):
            rewritten = group(rewritten, best[first, twice][1])
        assert rewritten.macs <= most_macs * program.macs
        made = plan(rewritten)
        assert 219_520 * (1 - twice) <= made.arena_bytes <= most_bytes
        [scores] = execute(made, [image], whole)
        np.testing.assert_array_equal(scores, expected)
