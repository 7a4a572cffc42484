"""The published int8 MCUNet and its 49 KB training scheme, where the files are present."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path
from types import ModuleType

import _lilliput
import numpy as np
import pytest
import tensorflow as tf
from lilliput.runtime.model import Model
from photographs import photographs
from training_reference import Reference

from lilliput.format.writer import write
from lilliput.lower import lower
from lilliput.passes.simplify import simplify
from lilliput.planner import plan
from lilliput.program import Program
from lilliput.training.backward import Options, training_program
from lilliput.training.classifier import replace_classifier
from lilliput.training.exponents import calibrate
from lilliput.training.planning import plan_training
from lilliput.training.running import Probe
from lilliput.training.scheme import Scheme

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "mcunet_transfer"
ARENA_LIMIT = 128 * 1024
slow = pytest.mark.skipif(
    os.environ.get("LILLIPUT_TEST_PROFILE") != "all", reason="takes a minute: make test-all"
)


def load(name: str) -> ModuleType:
    """A script of the example, under a name that no other folder's script has."""
    full_name = f"mcunet_transfer_{name}"
    spec = importlib.util.spec_from_file_location(full_name, EXAMPLE / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[full_name] = module
    spec.loader.exec_module(module)
    return module


network = load("network")


@pytest.fixture(scope="module")
def published(models: Path) -> object:
    return network.read_published(models / "training")


@pytest.fixture(scope="module")
def pictures() -> np.ndarray:
    """int8 [4, 128, 128, 3]: what the network takes of photographs."""
    return (photographs(4, 128, 128).astype(np.int16) - 128).astype(np.int8)


def published_scheme(published: object) -> Scheme:
    updates, parameters = published.updates, published.parameters
    return Scheme(
        frozenset(n[:-5] for n in updates if n.endswith("_bias")),
        {
            n[:-7]: shape[1] / parameters[n].shape[1]
            for n, shape in updates.items()
            if n.endswith("_weight")
        },
    )


def with_new_classifier(published: object) -> Program:
    return lower(simplify(replace_classifier(network.build_graph(published), 10)))


def test_each_layer_computes_what_was_published(published: object, pictures: np.ndarray) -> None:
    """Each layer, given the inputs that the core computed, is within one of the published
    arithmetic: the roundings of two requantisations."""
    program = lower(simplify(network.build_graph(published)))
    assert program.macs == 22_455_104
    placed = plan(program, keep_all=True)
    data = write(placed.program, placed)
    names = {tensor.name: i for i, tensor in enumerate(placed.program.tensors)}
    for picture in pictures:
        with Model(data) as model:
            scores = np.array(model.infer(picture))
            assert len(set(scores)) > 3
            values = {"input": picture[None]}
            for operator in published.operators:
                name = network.layer_name(operator)
                result = network.evaluate_operator(published, operator, values)
                output = operator["outputs"][0]["name"]
                if name is None:
                    values[output] = result
                    continue
                index = names[name]
                core = np.empty(placed.program.tensors[index].shape, np.int8)
                _lilliput.read_tensor(data, model._arena, index, core)
                difference = core.astype(int) - result.reshape(core.shape)
                assert np.abs(difference).max() <= 1, name
                ties = 1 / 8 if name == "mean" else 0  # of 16 values: each 16th sum
                assert np.mean(difference != 0) < 0.02 + ties, name
                values[output] = core[None]


@slow
def test_published_scheme_fits_and_its_gradients_are_right(
    published: object, pictures: np.ndarray
) -> None:
    program, scheme = with_new_classifier(published), published_scheme(published)
    assert len(scheme.biases) == 21 and len(scheme.weights) == 4
    labels = [3, 1, 4, 1]
    ranges = calibrate(program, scheme, Options(), list(pictures), labels)
    for streams_input in (True, False):
        made = plan_training(program, scheme, None, ranges, streams_input=streams_input)
        assert made.arena_bytes <= ARENA_LIMIT
    made = training_program(program, scheme, Options(), ranges)
    probe = Probe(made.program)
    probe.step(pictures[0], 3)
    reference = Reference(probe.program, probe.read)
    _, _, _, maps = reference.gradients(
        lambda y: tf.nn.sparse_softmax_cross_entropy_with_logits(3, tf.reshape(y, [-1]))
    )
    exponent = probe.trainer._state()[5]
    names = {tensor.name: i for i, tensor in enumerate(program.tensors)}
    checked = 0
    for name, gradient in made.gradients.items():
        total = name.removeprefix("sum of gradients of ")
        single = name.removeprefix("gradient of ")
        of = total if total != name else single
        if of not in names or (total == name and f"sum of gradients of {of}" in made.gradients):
            continue
        found = probe.read(gradient.tensor) * gradient.unit * 2.0**-exponent
        wanted = maps[names[of]]
        assert np.linalg.norm(found - wanted) <= 0.01 * np.linalg.norm(wanted), name
        checked += 1
    assert checked >= 20


@slow
def test_schemes_fit_the_arenas_that_name_them(
    published: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(EXAMPLE))
    program = with_new_classifier(published)
    schemes = load("accuracy").rows(program, published)
    for kilobytes in (50, 100, 150):
        made = plan_training(program, schemes[f"sparse {kilobytes} KB"])
        assert made.arena_bytes <= 1024 * kilobytes
