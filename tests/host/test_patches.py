"""Runs of steps in patches: the same bits, the counted multiply-accumulates, less memory."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from arena_simulation import simulate
from hypothesis import HealthCheck, assume, given, note, settings
from hypothesis import strategies as st
from plan_execution import execute, in_pieces, int8_inputs, lowered, whole
from random_graphs import Recipe, build_graph, recipes

from lilliput import runtime
from lilliput.cli.app import main
from lilliput.format import write
from lilliput.importers.tflite import read_tflite
from lilliput.lower import lower
from lilliput.passes.simplify import simplify
from lilliput.planner import BudgetError, Schedule, plan
from lilliput.planner.patches import Patching, patch, patched_macs, runs
from lilliput.planner.schedule import order_inputs
from lilliput.program import Edge, FeatureMap, Port, Program, Step

GRAPHS = max(settings().max_examples // 5, 1)
LOCAL = [
    "convolution",
    "depthwise convolution",
    "pointwise convolution",
    "grouped convolution",
    "add",
    "sub",
    "mul",
    "concatenation",
    "average pool",
    "max pool",
    "hard swish",
    "prelu",
]


def drawn_patching(draw: st.DataObject, program: Program) -> Patching | None:
    """One of the program's runs, in 2 to 16 patches; None when it has none."""
    possible = [
        (first, end)
        for first, end in runs(program)
        if program.tensors[program.steps[end - 1].output].height > 1
    ]
    if not possible:
        return None
    first, end = draw.draw(st.sampled_from(possible))
    output = program.tensors[program.steps[end - 1].output]
    rows = draw.draw(st.integers(1, min(4, output.height)))
    columns = draw.draw(st.integers(1, min(4, output.width)))
    return Patching(first, end, rows, columns) if rows * columns > 1 else None


def test_patches_change_no_bit() -> None:
    """Random graphs, runs and patches, fed and resident, streamed and operator by operator; every
    byte is in the arena when it is read."""
    seen = {"patched": 0, "fed": 0, "inside": 0}

    @given(
        st.one_of(recipes(LOCAL, largest_operators=10), recipes()), st.data(), st.integers(0, 99)
    )
    @settings(max_examples=GRAPHS, suppress_health_check=[HealthCheck.filter_too_much])
    def check(recipe: Recipe, draw: st.DataObject, seed: int) -> None:
        graph = build_graph(recipe)
        program = lowered(graph)
        patching = drawn_patching(draw, program)
        assume(patching is not None)
        note(repr(patching))
        inputs = int8_inputs(graph, program, seed)
        expected = execute(plan(program, keep_all=True), inputs, whole)
        for is_fed in (True, False):
            patched = patch(program, patching, streams_input=is_fed)
            assert patched.macs == patched_macs(program, patching)
            is_source = any(tensor.is_source for tensor in patched.tensors)
            seen["fed"] += is_source
            for schedule in Schedule:
                made = plan(patched, schedule=schedule, streams_input=is_fed)
                simulate(made)
                feed = whole if is_source else in_pieces(seed)
                for found, wanted in zip(execute(made, inputs, feed), expected, strict=True):
                    np.testing.assert_array_equal(found, wanted)
        seen["patched"] += 1
        seen["inside"] += patching.first > 1

    check()
    assert min(seen.values()) >= GRAPHS // 10, seen


def test_pixels_side_by_side_are_no_run() -> None:
    """A concatenation of pixels along the width depends on all of them, wherever a patch is."""
    maps = [
        FeatureMap(f"pixel {i}", 1, 1, 2, constant=np.zeros((1, 1, 2), np.int8)) for i in (0, 1)
    ]
    maps += [FeatureMap(name, 1, 2, 2) for name in ("input", "row", "sum")]
    steps = (
        Step("INPUT", "input", 2, parameters={"patch": {"input": 0}}),
        Step("CONCATENATE", "row", 3, (Edge(0), Edge(1)), parameters={"axes": {"axis": 2}}),
        Step("ADD", "sum", 4, (Edge(3), Edge(2))),
    )
    port = Port(2, "input", (1, 1, 2, 2), 1.0, 0)
    assert runs(Program(tuple(maps), steps, (port,), (replace(port, tensor=4),))) == []


def model_program(models: Path, name: str) -> Program:
    return order_inputs(
        lower(simplify(read_tflite((models / f"{name}.tflite").read_bytes(), name)))
    )


def test_halo_is_counted(models: Path) -> None:
    """Two strips of a 3x3 convolution with stride 1: one column more on each side of the cut."""
    program = model_program(models, "mcunet_vww")
    run = next((first, end) for first, end in runs(program) if (first, end) == (1, 3))
    first, second = program.steps[1], program.steps[2]
    assert program.tensors[first.output].width == 40
    patched = patched_macs(program, Patching(*run, 1, 2))
    assert patched == program.macs + first.macs * 2 // 40
    strips = patch(program, Patching(*run, 1, 2))
    widths = [strips.tensors[step.output].width for step in strips.steps if step.name == first.name]
    assert widths == [21, 21]
    assert sum(step.macs for step in strips.steps if step.name == second.name) == second.macs


def test_visual_wake_words_in_twelve_kilobytes(models: Path) -> None:
    """Fed, at no more than 1.35 times the multiply-accumulates; the same bits."""
    program = model_program(models, "mcunet_vww")
    made = plan(program, max_macs=1.35)
    assert made.arena_bytes <= 12_000
    assert program.macs < made.program.macs <= 1.35 * program.macs
    simulate(made)
    image = np.random.default_rng(0).integers(-128, 128, (80, 80, 3), np.int8)
    [expected] = execute(plan(program), [image], whole)
    [found] = execute(made, [image], whole)
    np.testing.assert_array_equal(found, expected)


def test_device_package(models: Path) -> None:
    """`infer` takes one buffer of any type; rows one by one are refused with a way out."""
    program = model_program(models, "mcunet_vww")
    plain = runtime.load(write(program, plan(program), input_range=(0.0, 1.0)))
    patched = plan(program, max_macs=1.35)
    model = runtime.load(write(patched.program, patched, input_range=(0.0, 1.0)))
    pixels = np.random.default_rng(1).integers(0, 256, (80, 80, 3), np.uint8)
    assert model.infer(pixels) == plain.infer(pixels)
    reals = (pixels / np.float32(255)).astype(np.float32)
    assert model.infer(reals) == plain.infer(reals)
    with pytest.raises(ValueError, match="in patches: pass all of it in one buffer"):
        model.infer(row for row in pixels)
    with pytest.raises(ValueError, match="in patches"):
        model.feed(pixels[:40])
    with pytest.raises(ValueError, match="wrong size"):
        model.infer(np.zeros(80 * 81 * 3, np.uint8))
    assert model.infer(pixels) == plain.infer(pixels)


def test_paged(models: Path) -> None:
    """Patches read their weights again; the arena holds a window of them."""
    program = model_program(models, "mlperf_vww_96_int8")
    made = plan(program, paged=True, max_macs=1.2)
    simulate(made)
    assert made.is_paged
    assert made.arena_bytes <= plan(program, paged=True).arena_bytes


def test_command(models: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """The front shows what more multiply-accumulates buy; a budget's error names them."""
    model = str(models / "mlperf_pretrainedResnet_quant.tflite")
    assert main(["plan", model, "--json", "--input", "fed"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["chosen"]["macs_ratio"] == 1
    ratios = {point["macs_ratio"] for point in told["front"]}
    assert min(ratios) == 1 and max(ratios) > 1
    assert main(["plan", model, "--json", "--input", "fed", "--max-macs", "1.35"]) == 0
    chosen = json.loads(capsys.readouterr().out)["chosen"]
    assert chosen["arena_bytes"] < 14_688 and 1 < chosen["macs_ratio"] <= 1.35
    smaller = str(chosen["arena_bytes"])
    assert main(["convert", model, "-o", str(tmp_path / "m.lil"), "--sram", smaller]) != 0
    assert "more multiply-accumulates (--max-macs 1." in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["plan", model, "--max-macs", "0.5"])
    assert "write 1, or 1.1 for 10% more" in capsys.readouterr().err


def test_budget_out_of_reach(models: Path) -> None:
    with pytest.raises(BudgetError, match="needs an arena of"):
        plan(model_program(models, "mlperf_kws_ref_model"), sram=100)
