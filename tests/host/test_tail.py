"""The tail of a network, trained on what the frozen layers gave, against the whole network."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from lilliput.runtime.model import Model
from lilliput.runtime.train import Trainer
from small_trainable import small_program, small_samples

from lilliput.format.writer import write
from lilliput.labelled import Labelled
from lilliput.planner import Schedule, plan
from lilliput.program import Program
from lilliput.training.backward import Options, training_program
from lilliput.training.experiment import Experiment, Recipe, Tail
from lilliput.training.exponents import calibrate
from lilliput.training.scheme import Scheme, full, last_biases, last_layer
from lilliput.training.tail import tail_position

SCHEMES = {
    "last layer": (last_layer(small_program()), "mean"),
    "biases": (last_biases(small_program(), 2), "sum"),  # next_wide is larger than the image
    # the map that thin's residual adds is read by the tail, too: it begins before both
    "inside of a residual": (Scheme(frozenset({"thin"}), {"tail": 0.5}), "stem"),
    "weights and biases": (Scheme(frozenset({"tail"}), {"next_wide": 0.5}), "sum"),
}


def steps_of(
    program: Program, scheme: Scheme, data: Labelled, options: Options
) -> tuple[list[float], list[bytes], bytes]:
    """Losses, scores and what was trained, of a step with each sample."""
    few = [sample for sample, _ in data][:4]
    ranges = calibrate(program, scheme, options, few, [label for _, label in data][:4])
    made = training_program(program, scheme, options, ranges).program
    placed = plan(made, schedule=Schedule.OPERATORS)
    with Model(write(placed.program, placed)) as model:
        trainer = Trainer(model, lr=0.02, seed=11)
        losses, scores = [], []
        for sample, label in data:
            loss, found = trainer.step(sample, label)
            losses.append(loss)
            scores.append(bytes(found))
        assert made.training is not None
        return losses, scores, bytes(model._arena[: made.training.bytes])


@pytest.mark.parametrize("name", SCHEMES)
@pytest.mark.parametrize("is_aware", [True, False])
def test_a_tail_is_trained_to_the_same_bytes(name: str, is_aware: bool) -> None:
    program, data = small_program(), small_samples(20, seed=4)
    scheme, source = SCHEMES[name]
    options = Options(quantization_aware=is_aware)
    tail = Experiment(program, data, data).tail(scheme)
    assert tail.program.inputs[0].name == source
    assert len(tail.program.steps) < len(program.steps)
    wanted = steps_of(program, scheme, data, options)
    assert steps_of(tail.program, scheme, tail.train, options) == wanted
    assert len(set(wanted[0])) > 10


def test_what_cannot_be_cut_is_trained_whole() -> None:
    program, data = small_program(), small_samples(3)
    assert tail_position(program, full(program)) == 0
    experiment = Experiment(program, data, data)
    assert experiment.tail(full(program)) is experiment.whole
    with pytest.raises(ValueError, match="trains nothing"):
        tail_position(program, Scheme())


def test_features_are_the_same_from_wherever_they_are_computed(tmp_path: Path) -> None:
    program, train, test = small_program(), small_samples(12, seed=1), small_samples(5, seed=2)
    late, early = last_layer(program), SCHEMES["weights and biases"][0]
    direct = Experiment(program, train, test)
    stepwise = Experiment(program, train, test, tmp_path)
    wanted = direct.tail(late)
    stepwise.tail(early)
    assert same(stepwise.tail(late), wanted)
    assert same(direct.tail(early), stepwise.tail(early))
    assert len(list(tmp_path.glob("*.npy"))) == 4
    read = Experiment(program, train, test, tmp_path)
    for path in tmp_path.glob("*.npy"):
        np.save(path, np.zeros_like(np.load(path)))
    assert not read.tail(late).train.samples.any()  # nothing was computed again
    other = Experiment(program, small_samples(12, seed=3), test, tmp_path)
    assert other.tail(late).train.samples.any()


def same(a: Tail, b: Tail) -> bool:
    parts = ((a.train, b.train), (a.test, b.test))
    return all(np.array_equal(x.samples, y.samples) for x, y in parts)


def test_memory_is_bounded_by_that_of_the_samples() -> None:
    program, data = small_program(), small_samples(4)
    experiment = Experiment(program, data, data)
    counts = []
    for scheme, _ in SCHEMES.values():
        experiment.tail(scheme)
        kept = experiment._tails.values()
        assert sum(tail.bytes for tail in kept) <= experiment.whole.bytes
        counts.append(len(kept))
    assert counts == [1, 2, 1, 1]


def test_an_explosion_is_told() -> None:
    program, data = small_program(), small_samples(10)
    experiment = Experiment(program, data, data)
    with pytest.raises(OverflowError, match="explode"):
        experiment.train(full(program), Recipe(1, rate=1e6))
