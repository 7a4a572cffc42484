"""The planner: streamed schedules give the same bits, and nothing overflows or overlaps.

Random graphs are cut into random legal segments, which is harsher than what the search chooses.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from arena_simulation import simulate
from hypothesis import given, note, settings
from hypothesis import strategies as st
from PIL import Image
from plan_execution import execute, in_pieces, int8_inputs, lowered, whole
from random_graphs import STEPS, Recipe, build_graph, recipes

from lilliput.cli.app import main
from lilliput.graph import Convolution, Graph, Operator, Pad, Quantization, Tensor
from lilliput.importers.tflite import read_tflite
from lilliput.lower import lower
from lilliput.passes.simplify import simplify
from lilliput.planner import (
    BudgetError,
    Schedule,
    Segment,
    front,
    layer_by_layer,
    place,
    plan,
)
from lilliput.planner.advice import advise
from lilliput.planner.dataflow import dataflow
from lilliput.planner.flash import flash_read_bytes
from lilliput.planner.packing import Item, lower_bound, pack
from lilliput.planner.schedule import order_inputs
from lilliput.planner.scratch import scratch_bytes
from lilliput.planner.search import needs_whole
from lilliput.planner.timing import segment_timing
from lilliput.program import Program

GRAPHS = max(settings().max_examples // 2, 1)
SIMULATED = max(settings().max_examples // 5, 1)
STREAMING = [
    kind
    for kind in STEPS
    if kind not in {"reshape", "transpose", "fully connected", "arg max", "mean"}
]
"""Kinds that lead to long segments; `recipes()` itself has them all."""

drawn_recipes = st.one_of(
    recipes(largest_operators=10),
    recipes(STREAMING, largest_operators=14),
    recipes(["resize nearest", "resize bilinear", "transposed convolution", "convolution", "add"]),
)
drawn_cuts = st.frozensets(st.integers(1, 40), max_size=12)


def cut(program: Program, cuts: frozenset[int]) -> tuple[Segment, ...]:
    """Segments that begin at `cuts`, and wherever a rule demands a cut."""
    firsts, flow = [0], dataflow(program)
    for index in range(1, len(program.steps)):
        is_forced = program.steps[index].kind == "INPUT" or needs_whole(flow, index, firsts[-1])
        if is_forced or index in cuts:
            firsts.append(index)
    ends = [*firsts[1:], len(program.steps)]
    return tuple(Segment(first, end - first) for first, end in zip(firsts, ends, strict=True))


def test_streamed_equals_operator_by_operator() -> None:
    """Bit for bit, whatever the segments, and however the input arrives."""
    seen = {"several outputs": 0, "several inputs": 0, "several rows a sweep": 0, "rings": 0}

    @given(drawn_recipes, drawn_cuts, st.integers(0, 2**20))
    @settings(max_examples=GRAPHS)
    def check(recipe: Recipe, cuts: frozenset[int], seed: int) -> None:
        graph = build_graph(recipe)
        program = lowered(graph)
        scratch = scratch_bytes(program)
        segments = cut(program, cuts)
        note(repr(segments))
        inputs = int8_inputs(graph, program, seed)
        expected = execute(plan(program, keep_all=True), inputs, whole)
        streamed = place(program, segments, scratch)
        chosen = plan(program)
        for candidate, feed in (
            (streamed, whole),
            (streamed, in_pieces(seed)),
            (chosen, whole),
            (chosen, in_pieces(seed)),
            (plan(program, streams_input=False), in_pieces(seed)),
        ):
            for found, wanted in zip(execute(candidate, inputs, feed), expected, strict=True):
                np.testing.assert_array_equal(found, wanted)
        seen["several outputs"] += len(program.outputs) > 1
        seen["several inputs"] += len(program.inputs) > 1
        seen["several rows a sweep"] += max(streamed.rows_per_sweep) > 1
        seen["rings"] += streamed.ring_rows != chosen.ring_rows

    check()
    assert min(seen.values()) >= GRAPHS // 25, seen


def test_rows_that_need_no_input() -> None:
    """A padding's rows above the map wait for the input too: while they lay in the arena early,
    the input and the scratch of the steps before would overwrite them."""
    one = Quantization.per_tensor(1.0, 0)
    dice = np.random.default_rng(0)
    narrow, tall = (dice.integers(-9, 9, shape, np.int8) for shape in ((8, 1, 1, 24), (8, 3, 1, 8)))
    wide = Quantization.per_tensor(64.0, 0)
    graph = Graph(
        (
            Tensor("image", (1, 1, 4, 24), np.dtype(np.int8), quantization=one),
            Tensor("narrow", (1, 1, 4, 8), np.dtype(np.int8), quantization=wide),
            Tensor("padded", (1, 6, 4, 8), np.dtype(np.int8), quantization=wide),
            Tensor("map", (1, 4, 4, 8), np.dtype(np.int8), quantization=wide),
            Tensor("first kernel", narrow.shape, narrow.dtype, narrow, one),
            Tensor("second kernel", tall.shape, tall.dtype, tall, one),
            Tensor("bias", (8,), np.dtype(np.int32), np.zeros(8, np.int32), one),
        ),
        (
            Operator("CONV_2D", (0, 4, 6), (1,), Convolution()),
            Operator("PAD", (1,), (2,), Pad((0, 3, 0, 0), (0, 2, 0, 0), 5)),
            Operator("CONV_2D", (2, 5, 6), (3,), Convolution()),
        ),
        (0,),
        (3,),
        "padded",
    )
    program = order_inputs(lower(graph))
    streamed = place(program, (Segment(0, 4),), scratch_bytes(program))
    image = np.arange(96, dtype=np.int8).reshape(1, 1, 4, 24)
    [expected] = execute(plan(program, keep_all=True), [image], whole)
    [found] = execute(streamed, [image], whole)
    np.testing.assert_array_equal(found, expected)


def test_simulated_sweeps() -> None:
    """An independent simulation of the sweeps finds the planner's times and its rings' sizes, and
    every byte where and when it is read."""
    rings = 0

    @given(drawn_recipes, drawn_cuts)
    @settings(max_examples=SIMULATED)
    def check(recipe: Recipe, cuts: frozenset[int]) -> None:
        nonlocal rings
        program = lowered(build_graph(recipe))
        streamed = place(program, cut(program, cuts), scratch_bytes(program))
        trace = simulate(streamed)
        readers = {edge.tensor for step in program.steps for edge in step.edges}
        for segment in streamed.segments:
            timing = segment_timing(dataflow(program), segment.first, segment.first + segment.count)
            for index in segment.steps if segment.count > 1 else ():
                times = timing.calls[index - segment.first].tolist()
                assert trace.calls[index] == times, program.steps[index]
        for tensor, rows in enumerate(streamed.ring_rows):
            height = program.tensors[tensor].height
            if rows < height:
                assert trace.most_rows.get(tensor, 1) == rows, program.tensors[tensor]
                rings += tensor in readers
        simulate(plan(program))
        simulate(plan(program, schedule=Schedule.OPERATORS))

    check()
    assert rings >= SIMULATED // 4


@st.composite
def drawn_items(draw: st.DrawFn) -> tuple[list[Item], dict[tuple[int, int], int]]:
    """Items, and overlaps of some that begin with others that end then."""
    sizes, times = st.integers(0, 300), st.integers(0, 12)
    items = [
        Item(f"item {number}", draw(sizes), *sorted((draw(times), draw(times))))
        for number in range(draw(st.integers(1, 14)))
    ]
    overlaps = {
        (out, into): draw(st.integers(0, items[out].bytes))
        for out, output in enumerate(items)
        for into, source in enumerate(items)
        if out != into and output.first <= source.last < output.last and draw(st.booleans())
    }
    return items, overlaps


@given(drawn_items())
def test_packing(drawn: tuple[list[Item], dict[tuple[int, int], int]]) -> None:
    """Items of the same time lie apart, or as an overlap allows; aligned, from 0 to the end."""
    items, overlaps = drawn
    packing = pack(items, overlaps, patience=20)
    assert all(offset >= 0 and offset % 4 == 0 for offset in packing.offsets)
    ends = [offset + item.bytes for offset, item in zip(packing.offsets, items, strict=True)]
    assert max(ends) <= packing.bytes < max(ends) + 4
    if not overlaps:
        assert packing.bytes >= lower_bound(items, overlaps)
    for i, item in enumerate(items):
        for j, other in enumerate(items):
            if i == j or not item.meets(other):
                continue
            is_apart = ends[i] <= packing.offsets[j] or ends[j] <= packing.offsets[i]
            allowed = [
                packing.offsets[into] - packing.offsets[out] >= overlaps[out, into]
                for out, into in ((i, j), (j, i))
                if (out, into) in overlaps
            ]
            assert is_apart or any(allowed) or 0 in (item.bytes, other.bytes)


def model_program(models: Path, name: str) -> Program:
    return lower(simplify(read_tflite((models / f"{name}.tflite").read_bytes(), name)))


@pytest.mark.parametrize(
    ("name", "fed", "resident"),
    [
        ("mcunet_vww", 16_544, 22_672),
        ("mlperf_vww_96_int8", 14_848, 28_368),
        ("mlperf_pretrainedResnet_quant", 14_688, 17_472),
        ("mlperf_kws_ref_model", 5_412, 5_804),
        ("mlperf_ad01_int8", 2_304, 2_304),
        ("mcunetv2_large", 222_500, 222_500),
    ],
)
def test_published_models(models: Path, name: str, fed: int, resident: int) -> None:
    """None needs more than it did, and every one is packed with hardly a gap."""
    program = model_program(models, name)
    for streams_input, most in ((True, fed), (False, resident)):
        made = plan(program, streams_input=streams_input)
        assert made.arena_bytes <= most
        assert made.arena_bytes <= 1.005 * made.lower_bound
    assert made.arena_bytes < layer_by_layer(program).arena_bytes or name == "mlperf_ad01_int8"


def test_published_model_simulated(models: Path) -> None:
    """A whole network, byte for byte."""
    program = model_program(models, "mlperf_pretrainedResnet_quant")
    for streams_input in (True, False):
        made = plan(program, streams_input=streams_input)
        trace = simulate(made)
        for tensor, rows in enumerate(made.ring_rows):
            if rows < program.tensors[tensor].height:
                assert trace.most_rows[tensor] == rows


def test_front(models: Path) -> None:
    """Sorted, undominated, at the ends the least arena and the fewest reads; all plans are real."""
    program = model_program(models, "mlperf_vww_96_int8")
    points = front(program)
    layerwise = layer_by_layer(program)
    graph_input = np.random.default_rng(0).integers(-128, 128, (96, 96, 3), np.int8)
    [expected] = execute(layerwise, [graph_input], whole)
    for kind in ("fed", "resident"):
        own = [point for point in points if point.input == kind]
        arenas = [point.arena_bytes for point in own]
        reads = [point.flash_read_bytes for point in own]
        assert len(own) > 1
        assert arenas == sorted(set(arenas))
        assert reads == sorted(set(reads), reverse=True)
        assert own[0].arena_bytes == plan(program, streams_input=kind == "fed").arena_bytes
        flow = dataflow(layerwise.program)
        assert reads[-1] == flash_read_bytes(flow, layerwise)
        for point in own:
            assert point.macs_ratio == 1.0
            assert point.plan.arena_bytes == point.arena_bytes
            [found] = execute(point.plan, [graph_input], whole)
            np.testing.assert_array_equal(found, expected)


def test_flash_reads_of_one_layer() -> None:
    """A 1x1 convolution held whole is one call; row by row it reads its weights for each row."""
    program = order_inputs(lower(pointwise_graph(rows=6)))
    scratch = scratch_bytes(program)
    flow = dataflow(program)
    weights = len(program.steps[1].constants)
    apart = place(program, (Segment(0, 1), Segment(1, 1)), scratch)
    streamed = place(program, (Segment(0, 2),), scratch)
    assert flash_read_bytes(flow, apart) == weights
    assert flash_read_bytes(flow, streamed) == 6 * weights


def pointwise_graph(rows: int) -> Graph:
    """A 1x1 convolution of a map of `rows` x 4 x 8."""
    one = Quantization.per_tensor(1.0, 0)
    kernel = np.ones((8, 1, 1, 8), np.int8)
    return Graph(
        (
            Tensor("image", (1, rows, 4, 8), np.dtype(np.int8), quantization=one),
            Tensor("kernel", kernel.shape, kernel.dtype, kernel, one),
            Tensor("bias", (8,), np.dtype(np.int32), np.zeros(8, np.int32), one),
            Tensor("map", (1, rows, 4, 8), np.dtype(np.int8), quantization=one),
        ),
        (Operator("CONV_2D", (0, 1, 2), (3,), Convolution()),),
        (0,),
        (3,),
        "pointwise",
    )


def test_budget(models: Path) -> None:
    """With more memory less flash is read; with too little the error says what to do."""
    program = model_program(models, "mcunet_vww")
    least = plan(program)
    roomy = plan(program, sram=32_000)
    assert least.arena_bytes < roomy.arena_bytes <= 32_000
    flow = dataflow(roomy.program)
    assert flash_read_bytes(flow, roomy) < flash_read_bytes(flow, least)
    with pytest.raises(BudgetError) as fed:
        plan(program, sram=12_000)
    assert f"{least.arena_bytes - 12_000:,} more than the 12,000 allowed" in str(fed.value)
    assert "input.19_te_transform_1 takes 6,400 bytes" in str(fed.value)
    assert "more multiply-accumulates (--max-macs 1.0" in str(fed.value)
    assert "feed the input" not in str(fed.value)
    enough = f"({least.arena_bytes:,} bytes, enough)"
    with pytest.raises(BudgetError, match=re.escape(f"feed the input row by row {enough}")):
        plan(program, sram=least.arena_bytes, streams_input=False)


def test_advice(models: Path) -> None:
    """Shorter kernels at the peak save memory; later ones may grow for nothing."""
    advice = advise(plan(model_program(models, "mcunet_vww")))
    assert advice.together >= max(change.saved for change in advice.shrink) > 0
    assert all(change.after == change.before - 2 for change in advice.shrink)
    assert all(change.saved == 0 and change.after > change.before for change in advice.grow)


def test_plan_command(models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`lilliput plan`: the table, the object that scripts read, the picture, the error."""
    model = str(models / "mlperf_pretrainedResnet_quant.tflite")
    picture = tmp_path / "plan.png"
    assert main(["plan", model, "--plot", str(picture), "--sram", "32000"]) == 0
    least = plan(model_program(models, "mlperf_pretrainedResnet_quant")).arena_bytes
    assert f"{least:,}" in capsys.readouterr().out
    with Image.open(picture) as image:
        assert image.format == "PNG"
        assert len(image.getcolors(1 << 20) or ()) > 30
    assert main(["plan", model, "--json", "--input", "resident"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert set(told) == {"chosen", "front"}
    assert told["chosen"] in told["front"]
    for point in told["front"]:
        assert point["input"] == "resident"
        assert point["layerwise_arena_bytes"] > 32_768  # and scratch
        assert point["flash_read_bytes"] >= told["front"][-1]["flash_read_bytes"]
    assert main(["plan", model, "--sram", "9000"]) == 1
    message = capsys.readouterr().err
    wanted = f"needs an arena of {least:,} bytes, {least - 9_000:,} more than the 9,000 allowed"
    assert message.startswith(f"lilliput: the model {wanted}")
    assert message.count("\n") == 1
