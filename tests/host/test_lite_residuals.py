"""Lite residuals: branches that change nothing until they are trained."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from lilliput.runtime.model import Model
from lilliput.runtime.train import Trainer
from small_trainable import small_graph, small_samples
from training_checks import check_changes

from lilliput.format.writer import write
from lilliput.graph import Graph, UnsupportedModel
from lilliput.lower import lower
from lilliput.planner import plan
from lilliput.program import Program
from lilliput.training.backward import Options
from lilliput.training.exponents import calibrate, calibration_pairs
from lilliput.training.lite_residuals import (
    LiteResiduals,
    add_lite_residuals,
    find_blocks,
    lite_residual_scheme,
)
from lilliput.training.planning import plan_training
from lilliput.training.scheme import last_layer


def outputs(program: Program, samples: Sequence[np.ndarray]) -> list[list[int]]:
    placed = plan(program)
    with Model(write(placed.program, placed)) as model:
        return [list(model.infer(sample)) for sample in samples]


def names(graph: Graph, tensor: int) -> str:
    return graph.tensors[tensor].name


def test_blocks_are_found() -> None:
    """An inverted bottleneck with its sum; no depthwise convolution before one of 3x3."""
    graph = small_graph()
    [block] = find_blocks(graph)
    assert graph.operators[block.first].kind == "CONV_2D"
    assert (names(graph, block.source), names(graph, block.output)) == ("stem", "sum")


def test_outputs_stay_the_same() -> None:
    graph = small_graph(1)
    made = add_lite_residuals(graph)
    samples = list(small_samples(8).samples)
    before = outputs(lower(graph), samples)
    assert outputs(lower(made.graph), samples) == before
    assert outputs(lower(made.warm), samples) != before
    assert made.layers == ("sum/lite/depthwise", "sum/lite/pointwise")


def trained(made: LiteResiduals, count: int) -> tuple[float, float, int]:
    """Accuracy before and after so many steps, and saturations of the last."""
    program = lower(made.graph)
    scheme = lite_residual_scheme(program, made)
    data, test = small_samples(count, seed=3), small_samples(100, seed=4)
    ranges = calibrate(lower(made.warm), scheme, Options(), *calibration_pairs(data, 8))
    planned = plan_training(program, scheme, Options(), ranges)
    with Model(write(planned.plan.program, planned.plan)) as model:
        trainer = Trainer(model, lr=0.02)
        before = trainer.evaluate(test)
        branch = next(s for s in planned.plan.program.steps if s.name == made.layers[1])
        assert branch.trained_offset is not None
        saturated = 0
        for sample, label in data:
            trainer.step(sample, label)
            saturated += trainer.saturated
        channels = planned.plan.program.tensors[branch.output].channels
        arena = bytes(model._arena)[branch.trained_offset + 4 * channels :]
        assert any(arena[:64])  # weights that were 0
        return before, trainer.evaluate(test), saturated


def test_branches_learn() -> None:
    before, after, saturated = trained(add_lite_residuals(small_graph(1)), 200)
    assert after > max(before + 0.2, 0.6)
    assert saturated < 20


def test_gradients_in_a_branch_are_those_of_autodiff() -> None:
    made = add_lite_residuals(small_graph(3))
    program = lower(made.warm)
    check_changes(program, lite_residual_scheme(program, made), Options())


def test_scheme_has_branches_the_biases_behind_and_the_last_layer() -> None:
    made = add_lite_residuals(small_graph())
    scheme = lite_residual_scheme(lower(made.graph), made)
    assert set(scheme.weights) == {*made.layers, "scores"}
    assert scheme.biases == {"wide", "deep", "thin", "next_wide", "next_deep", "tail"}
    assert last_layer(lower(made.graph)).trained < scheme.trained


def test_what_cannot_have_any() -> None:
    graph = small_graph()
    with pytest.raises(ValueError, match="1 or more"):
        add_lite_residuals(graph, 0)
    plain = Graph(graph.tensors, graph.operators[:1], graph.inputs, graph.operators[0].outputs)
    with pytest.raises(UnsupportedModel, match="no blocks"):
        add_lite_residuals(plain)
