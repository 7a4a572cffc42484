"""Training steps through the C core: gradients against autodiff, schemes, learning."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from arena_simulation import simulate
from lilliput.runtime.model import Model
from lilliput.runtime.train import Trainer, cosine
from small_trainable import (
    CLASSES,
    SIDE,
    branched_graph,
    small_graph,
    small_program,
    small_samples,
)
from training_checks import check_changes, measured

from lilliput.format.writer import write
from lilliput.graph import Graph, UnsupportedModel
from lilliput.lower import lower
from lilliput.planner import Schedule, plan
from lilliput.program import Program
from lilliput.training.backward import Options, training_program
from lilliput.training.classifier import replace_classifier
from lilliput.training.experiment import Experiment, Recipe, quick_plan
from lilliput.training.exponents import calibrate
from lilliput.training.planning import plan_training
from lilliput.training.scheme import (
    Scheme,
    full,
    last_biases,
    last_layer,
    layers,
    scheme_from_json,
)
from lilliput.training.targets import Paired

SPARSE = Scheme(frozenset({"deep", "thin", "tail"}), {"next_wide": 0.5, "scores": 1.0})


@pytest.mark.parametrize("pool", ["mean", "average", "flatten"])
@pytest.mark.parametrize("is_whole", [False, True], ids=["rows", "whole"])
@pytest.mark.parametrize("is_full", [False, True], ids=["sparse", "full"])
def test_changes_are_those_of_autodiff(pool: str, is_whole: bool, is_full: bool) -> None:
    program = small_program(3, pool)
    scheme = full(program) if is_full else SPARSE
    options = Options(whole_updates=frozenset(scheme.weights) if is_whole else frozenset())
    check_changes(program, scheme, options)


def test_changes_behind_branches_are_those_of_autodiff() -> None:
    """Through tables, products, pools, parts and copies of maps."""
    program = lower(branched_graph(6))
    functions = {
        "swish": lambda x: x * tf.nn.relu6(x + 3) / 6,
        "gate": tf.sigmoid,
    }
    kinds = {step.kind for step in training_program(program, full(program)).program.steps}
    assert kinds >= {
        "TABLE_GRADIENT",
        "MULTIPLY_GRADIENT",
        "MAX_POOL_GRADIENT",
        "REGION_GRADIENT",
        "RESIZE_GRADIENT",
    }
    check_changes(program, full(program), Options(), functions)


def test_squared_error_trains_towards_its_target() -> None:
    program = small_program(4)
    scheme = last_biases(program, 3)
    options = Options(loss="squared_error")
    data = small_samples(6, seed=2)
    target = np.array([40, -60, 10], np.int8)
    ranges = calibrate(program, scheme, options, list(data.samples), [target] * 6)
    made = plan_training(program, scheme, options, ranges)
    with Model(write(made.plan.program, made.plan)) as model:
        trainer = Trainer(model, lr=0.05, seed=1)
        before = trainer.evaluate([(s, target) for s in data.samples])
        first, scores = trainer.step(data.samples[0], target)
        assert first == pytest.approx(
            float(np.mean((np.array(scores) - target.astype(int)) ** 2)) * 0.04**2, abs=1e-3
        )
        for _ in range(20):
            for sample in data.samples:
                trainer.step(sample, target)
        assert trainer.evaluate([(s, target) for s in data.samples]) < before / 4


def test_schemes_of_the_squared_error_are_judged_by_the_variance_they_explain() -> None:
    program = small_program(1)
    parts = []
    for seed in (3, 4):
        data = small_samples(100, seed)
        parts.append(Paired(data.samples, (30 * np.eye(3)[data.classes] - 10).astype(np.int8)))
    recipe = Recipe(epochs=2, rate=0.05)
    outcome = Experiment(program, *parts).train(last_biases(program, 2), recipe)
    assert 0.4 < outcome.accuracy < 1
    assert (
        quick_plan(program, last_layer(program), Options("squared_error")).program.training
        is not None
    )


def run_steps(
    program: Program, placed_by: Schedule, count: int, seed: int
) -> tuple[list[float], bytes]:
    placed = plan(program, schedule=placed_by)
    data = small_samples(count, seed=9)
    with Model(write(placed.program, placed)) as model:
        trainer = Trainer(model, lr=0.01, seed=seed)
        losses = [trainer.step(s, c)[0] for s, c in data]
        return losses, bytes(model._arena[: program.training.bytes])


@pytest.mark.parametrize("graph", [small_graph, branched_graph])
def test_every_plan_gives_the_same_numbers(graph: Callable[[], Graph]) -> None:
    program = lower(graph())
    scheme = SPARSE if graph is small_graph else full(program)
    ranges = measured(program, scheme)
    results = []
    for whole in (frozenset[str](), frozenset(scheme.weights)):
        made = training_program(program, scheme, Options(whole_updates=whole), ranges).program
        for schedule in Schedule:
            results.append(run_steps(made, schedule, 25, seed=7))
    assert all(result == results[0] for result in results)
    other = run_steps(made, Schedule.STREAMED, 25, seed=8)
    assert other != results[0]


def test_plans_obey_the_rules_of_the_executor() -> None:
    program, branched = small_program(), lower(branched_graph())
    cases = [(program, scheme) for scheme in (SPARSE, full(program), last_layer(program))]
    for inference, scheme in (*cases, (branched, full(branched))):
        made = plan_training(inference, scheme)
        simulate(made.plan)
        steps = made.plan.program.steps
        cut = made.plan.inference_segments
        assert all(steps[i].is_training for s in made.plan.segments[cut:] for i in s.steps)


def test_it_learns_and_more_layers_learn_more() -> None:
    program = small_program(1)
    train, test = small_samples(150, seed=3), small_samples(150, seed=4)
    recipe = Recipe(epochs=3, rate=0.01)
    experiment = Experiment(program, train, test)
    sparse = experiment.train(SPARSE, recipe)
    assert sparse.accuracy > 0.9
    last = experiment.train(last_layer(program), recipe)
    assert sparse.loss < last.loss


def test_inference_of_a_trainable_file_is_that_of_the_model() -> None:
    program = small_program()
    placed = plan(program)
    made = plan_training(program, SPARSE)
    samples = small_samples(5).samples
    with Model(write(placed.program, placed)) as plain:
        wanted = [plain.infer(s) for s in samples]
    with Model(write(made.plan.program, made.plan)) as model:
        assert [model.infer(s) for s in samples] == wanted
        trainer = Trainer(model, lr=0.05)
        for sample, label in small_samples(10):
            trainer.step(sample, label)
        assert [model.infer(s) for s in samples] != wanted
        trainer.reset()
        assert [model.infer(s) for s in samples] == wanted
        assert trainer.steps == 0


def test_explosion_is_reported_and_not_saved(tmp_path) -> None:
    program = small_program()
    made = plan_training(program, full(program), None, measured(program, full(program)))
    with Model(write(made.plan.program, made.plan)) as model:
        trainer = Trainer(model, lr=0.01)
        path = str(tmp_path / "learned")
        trainer.save(path)
        before = (tmp_path / "learned").read_bytes()
        trainer.lr = 1e6
        with pytest.raises(OverflowError, match="explode"):
            for sample, label in small_samples(200):
                trainer.step(sample, label)
        with pytest.raises(ValueError, match="not saved"):
            trainer.save(path)
        assert (tmp_path / "learned").read_bytes() == before
        trainer.reset()
        trainer.lr = 0.01
        trainer.step(*next(iter(small_samples(1))))


GATHERING = Options(momentum=0.5, accumulate=2)


def test_velocities_are_the_same_by_every_plan() -> None:
    program = small_program()
    ranges = measured(program, SPARSE)
    results = []
    for whole in (frozenset[str](), frozenset(SPARSE.weights)):
        options = replace(GATHERING, whole_updates=whole)
        made = training_program(program, SPARSE, options, ranges).program
        results += [run_steps(made, schedule, 10, seed=7) for schedule in Schedule]
    assert all(result == results[0] for result in results)


def test_velocities_are_counted_in_the_arena() -> None:
    program = small_program(1)
    plain, made = (plan_training(program, SPARSE, options) for options in (None, GATHERING))
    simulate(made.plan)
    training, without = (m.plan.program.training for m in (made, plain))
    assert training is not None and without is not None
    trained = [s for s in made.plan.program.steps if s.has_velocity]
    assert len(trained) == len(SPARSE.trained) + len(SPARSE.weights)
    biases = sum(
        made.plan.program.tensors[step.edges[0].tensor].channels
        for step in trained
        if step.kind == "UPDATE_BIAS"
    )
    weights = 20 * 4 + 3 * 12  # of half of the inputs of next_wide, and of the classifier
    assert training.velocity_bytes == 4 * biases + 2 * weights
    assert abs(training.bytes - without.bytes - training.velocity_bytes) <= 8
    assert abs(made.arena_bytes - plain.arena_bytes - training.velocity_bytes) <= 64


@pytest.mark.parametrize(
    "options", [Options(momentum=0.9), Options(accumulate=4), GATHERING], ids=["m", "a", "both"]
)
def test_velocities_bring_learning(options: Options) -> None:
    program = small_program(1)
    train, test = small_samples(150, seed=3), small_samples(150, seed=4)
    recipe = Recipe(epochs=3, rate=0.01 * (1 - options.momentum))
    outcome = Experiment(program, train, test).train(SPARSE, recipe, options=options)
    assert outcome.accuracy > 0.8


def test_accumulated_gradients_change_nothing_before_the_last(tmp_path: Path) -> None:
    program = small_program()
    data = small_samples(8)
    made = training_program(program, SPARSE, Options(accumulate=4), measured(program, SPARSE))
    placed = plan(made.program)
    training = made.program.training
    assert training is not None
    with Model(write(placed.program, placed)) as model:
        trainer = Trainer(model, lr=0.05)
        start = 36 + training.velocity_bytes

        def regions() -> tuple[bytes, bytes]:
            arena = bytes(model._arena[: training.bytes])
            return arena[36:start], arena[start:]

        _, base = regions()
        for number, (sample, label) in enumerate(data, 1):
            before = regions()
            trainer.step(sample, label)
            velocities, constants = regions()
            assert velocities != before[0]
            assert (constants == before[1]) == (number % 4 != 0)
        trainer.save(str(tmp_path / "learned"))
        assert regions() == (velocities, constants)  # a save leaves the velocities, too
        assert (tmp_path / "learned").stat().st_size < len(constants) + 40
        trainer.reset()
        assert regions() == (bytes(training.velocity_bytes), base)
        model.apply(str(tmp_path / "learned"))
        assert regions() == (bytes(training.velocity_bytes), constants)


def test_equal_scores_are_not_all_right() -> None:
    program = small_program()
    made = plan(training_program(program, last_layer(program)).program)
    with Model(write(made.program, made)) as model:
        trainer = Trainer(model)
        sample = small_samples(1).samples[0]
        step = next(s for s in made.program.steps if s.name == "scores")
        assert step.trained_offset is not None
        arena = memoryview(model._arena).cast("B")
        high = (2**24).to_bytes(4, "little")
        arena[step.trained_offset :][: 4 * CLASSES] = high * CLASSES  # of all biases
        assert set(model.infer(sample)) == {127}
        assert [trainer.evaluate([(sample, label)]) for label in range(CLASSES)] == [1, 0, 0]


def test_bad_momentum_and_accumulation() -> None:
    for momentum in (-0.1, 1.1, float("nan")):
        with pytest.raises(ValueError, match=r"give 0 to 1"):
            Options(momentum=momentum)
    for accumulate in (0, 65536):
        with pytest.raises(ValueError, match="1 to 65535 samples"):
            Options(accumulate=accumulate)


def test_bad_arguments_of_a_trainer() -> None:
    program = small_program()
    placed = plan(program)
    with (
        Model(write(placed.program, placed)) as plain,
        pytest.raises(ValueError, match="train-plan"),
    ):
        Trainer(plain)
    made = plan_training(program, last_layer(program))
    with Model(write(made.plan.program, made.plan)) as model:
        trainer = Trainer(model)
        for rate in (-1.0, float("nan"), float("inf")):
            with pytest.raises(ValueError, match="learning rate"):
                trainer.lr = rate
        for label in (-1, CLASSES):
            with pytest.raises(ValueError, match="classes 0 to 2"):
                trainer.step(small_samples(1).samples[0], label)
        with pytest.raises(ValueError, match="no samples"):
            trainer.evaluate([])
        with pytest.raises(ValueError, match="wrong size"):
            trainer.step(bytes(3), 0)


def test_learning_rates_fall_along_a_cosine() -> None:
    for steps in (1, 10, 3000):
        assert cosine(0.5, 0, steps) == 0.5
        assert cosine(0.5, steps, steps) == cosine(0.5, steps + 1, steps) == 0
        rates = np.array([cosine(0.02, step, steps) for step in range(steps + 1)])
        wanted = 0.01 * (1 + np.cos(np.pi * np.arange(steps + 1) / steps))
        assert np.abs(rates - wanted).max() < 0.003 * 0.02
        assert np.all(np.diff(rates) <= 0)
        # floats of 32 bits hold them: a board has the same
        assert np.array_equal(rates.astype(np.float32), rates)


def test_learning_rates_are_those_of_32_bits() -> None:
    program = small_program()
    made = plan(training_program(program, last_layer(program)).program)
    with Model(write(made.program, made)) as model:
        trainer = Trainer(model)
        for rate in (1.0, 0.01, 0.3, 3e-5, 0.99999999, 1e6, 0.0):
            trainer.lr = rate
            parts = (trainer._mantissa, trainer._exponent)
            assert parts[0] * 2.0 ** (parts[1] - 31) == pytest.approx(rate, rel=2**-12)
            trainer.lr = float(np.float32(rate))
            assert (trainer._mantissa, trainer._exponent) == parts


def test_schemes() -> None:
    program = small_program()
    names = [step.name for step in layers(program)]
    assert last_layer(program) == Scheme(weights={"scores": 1.0})
    assert last_biases(program, 2) == Scheme(frozenset(names[-3:-1]), {"scores": 1.0})
    assert full(program).trained == set(names)
    assert scheme_from_json(SPARSE.as_json()) == SPARSE
    for text, message in (
        ("[", "no JSON"),
        ("[]", "biases"),
        ('{"weights": {"tail": 2}}', "0 < r <= 1"),
        ('{"bias": []}', "no other"),
    ):
        with pytest.raises(ValueError, match=message):
            scheme_from_json(text)
    with pytest.raises(ValueError, match="trains nothing"):
        training_program(program, Scheme())
    with pytest.raises(ValueError, match="no layer"):
        training_program(program, Scheme(frozenset({"nonsense"})))


def test_classifier_of_other_classes() -> None:
    graph = replace_classifier(small_graph(), 7)
    program = lower(graph)
    assert program.outputs[0].shape == (1, 7)
    assert program.inputs[0].shape == (1, SIDE, SIDE, 3)
    weights, others = (
        next(t.data for t in g.tensors if t.name == "scores_weight" and t.shape[0] == 7)
        for g in (graph, replace_classifier(small_graph(), 7, seed=1))
    )
    assert np.any(weights != others)
    with pytest.raises(ValueError, match="2 or more"):
        replace_classifier(small_graph(), 1)
    headless = small_graph()
    cut = replace(
        headless, operators=headless.operators[:3], outputs=(headless.operators[2].outputs[0],)
    )
    with pytest.raises(UnsupportedModel, match="classifier"):
        replace_classifier(cut, 4)
