"""`lilliput train-plan`: what it makes of models, data and budgets."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from small_trainable import SIDE, autoencoder_graph, small_graph, small_samples

import lilliput
from lilliput.cli.app import main
from lilliput.exporters.tflite import write_tflite
from lilliput.graph import Graph
from lilliput.train import Trainer


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """A folder with an int8 model, and labelled samples as `.npz` and as images."""
    (tmp_path / "model.tflite").write_bytes(write_tflite(small_graph(1)))
    data = small_samples(60, seed=3)
    np.savez(tmp_path / "data.npz", x=data.samples, y=data.classes)
    for number, (sample, label) in enumerate(data):
        folder = tmp_path / "images" / "abc"[label]
        folder.mkdir(parents=True, exist_ok=True)
        pixels = (sample.astype(np.int16) + 128).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    return tmp_path


def run(work: Path, *options: object, data: str = "data.npz") -> None:
    """Runs the command, which must succeed."""
    fixed = ("train-plan", work / "model.tflite", "--data", work / data, "--json")
    arguments = [*fixed, "--classes", 3, "-o", work / "out.lil", *options]
    assert main([str(argument) for argument in arguments]) == 0


def test_last_layer_from_images(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(work, "--mode", "last", data="images")
    said = json.loads(capsys.readouterr().out)
    assert said["scheme"] == {"biases": [], "weights": {"scores": 1.0}}
    with lilliput.load(work / "out.lil") as model:
        assert model.arena_bytes == said["arena_bytes"]
        assert model.labels == ["a", "b", "c"]
        trainer = Trainer(model, lr=0.02)
        data = small_samples(60, seed=3)
        before = trainer.evaluate(data)
        for sample, label in data:
            trainer.step(sample, label)
        assert trainer.evaluate(data) > max(before, 0.6)


def test_biases_and_schemes(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(work, "--biases", 2)
    biases = json.loads(capsys.readouterr().out)
    assert biases["scheme"]["biases"] == ["next_deep", "tail"]
    scheme = {"biases": ["thin"], "weights": {"tail": 0.25, "scores": 1}}
    (work / "scheme.json").write_text(json.dumps(scheme))
    run(work, "--scheme", work / "scheme.json", "--sram", "64K")
    said = json.loads(capsys.readouterr().out)
    assert said["scheme"]["weights"] == {"tail": 0.25, "scores": 1.0}
    assert said["training_macs"] > said["macs"]


def test_momentum_and_accumulation(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(work, "--mode", "last")
    plain = json.loads(capsys.readouterr().out)
    run(work, "--mode", "last", "--momentum", 0.9, "--accumulate", 2)
    said = json.loads(capsys.readouterr().out)
    assert (plain["velocity_bytes"], said["velocity_bytes"]) == (0, 4 * 3 + 2 * 36)
    assert said["arena_bytes"] >= plain["arena_bytes"] + 64
    samples = small_samples(2, seed=3).samples
    with lilliput.load(work / "out.lil") as model:
        trainer = Trainer(model, lr=0.1)
        untrained = model.infer(samples[0])
        trainer.step(samples[0], 1)
        assert model.infer(samples[0]) == untrained
        trainer.step(samples[1], 1)
        assert model.infer(samples[0]) != untrained


def test_search_keeps_to_its_budget_and_its_notes(
    work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    notes = work / "notes.jsonl"
    options = ("--sram", 9000, "--epochs", 1, "--layers", 2, "--work", notes)
    run(work, *options, "--plot", work / "plot.png")
    first = json.loads(capsys.readouterr().out)
    assert first["arena_bytes"] <= 9000
    lines = notes.read_text().splitlines()
    assert len(lines) >= 6
    with Image.open(work / "plot.png") as plot:
        assert plot.size == (1600, 1120)
    notes.write_text("\n".join([*lines[:-1], lines[-1][:10]]))  # interrupted in the last line
    run(work, *options)
    assert json.loads(capsys.readouterr().out) == first
    assert len(notes.read_text().splitlines()) == len(lines)


def test_tinytl(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(work, "--mode", "tinytl", "--blocks", 1)
    said = json.loads(capsys.readouterr().out)
    assert set(said["scheme"]["weights"]) == {"sum/lite/depthwise", "sum/lite/pointwise", "scores"}
    with lilliput.load(work / "out.lil") as model:
        trainer = Trainer(model, lr=0.02)
        data = small_samples(60, seed=3)
        for sample, label in data:
            trainer.step(sample, label)
        assert trainer.evaluate(data) > 0.6


def plan_squared_error(work: Path, graph: Graph, *options: object, **arrays: np.ndarray) -> int:
    """Runs the command for the squared error, on a graph and arrays of a `.npz` file."""
    (work / "own.tflite").write_bytes(write_tflite(graph))
    np.savez(work / "own.npz", **arrays)
    fixed = ("train-plan", work / "own.tflite", "--data", work / "own.npz", "--json")
    return main([str(word) for word in (*fixed, "-o", work / "own.lil", *options)])


def test_autoencoder_is_its_own_target(work: Path) -> None:
    reals = (small_samples(40, seed=3).samples / 64).astype(np.float32)
    assert plan_squared_error(work, autoencoder_graph(2), "--mode", "full", x=reals) == 0
    with lilliput.load(work / "own.lil") as model:
        trainer = Trainer(model, lr=0.05)
        assert trainer.classes == 0
        pairs = [(sample, trainer.target(sample.reshape(-1))) for sample in reals]
        before = trainer.evaluate(pairs)
        for _ in range(3):
            losses = [trainer.step(*pair)[0] for pair in pairs]
        assert trainer.evaluate(pairs) < before / 2
        assert np.mean(losses) < before / 2


def test_regression_towards_reals_and_int8(work: Path) -> None:
    data = small_samples(60, seed=3)
    y = np.stack([np.cos(data.classes * k) for k in (1, 2, 3)], axis=1)
    options = ("--loss", "squared-error", "--mode", "last")
    assert plan_squared_error(work, small_graph(1), *options, x=data.samples, y=y) == 0
    of_reals = (work / "own.lil").read_bytes()
    raw = np.clip(np.rint(y / 0.04) + 3, -128, 127).astype(np.int8)
    assert plan_squared_error(work, small_graph(1), *options, x=data.samples, y=raw) == 0
    assert (work / "own.lil").read_bytes() == of_reals


def test_classifier_that_is_kept(work: Path) -> None:
    data = small_samples(60, seed=3)
    options = ("--loss", "cross-entropy", "--mode", "last")
    assert plan_squared_error(work, small_graph(1), *options, x=data.samples, y=data.classes) == 0
    with lilliput.load(work / "own.lil") as model, lilliput.load(_as_it_is(work)) as plain:
        assert Trainer(model).classes == 3
        assert [model.infer(s) for s, _ in data] == [plain.infer(s) for s, _ in data]


def _as_it_is(work: Path) -> bytes:
    return lilliput.convert(work / "own.tflite").data


def test_targets_that_do_not_fit(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = small_samples(10)
    some = np.zeros((10, 3), np.float32)
    for arrays, options, words in (
        ({"y": some}, (), "x is needed"),
        ({"x": data.samples}, (), "add y, the outputs wanted"),
        ({"x": data.samples, "y": some[:9]}, (), "the model's output is [samples, 3]"),
        ({"x": data.samples, "y": some[:, :2]}, (), "comes with y of [10, 2]"),
        ({"x": data.samples[:, :5], "y": some}, (), f"[samples, {SIDE}, {SIDE}, 3]"),
        ({"x": data.samples, "y": some + np.nan}, (), "finite"),
        ({"x": data.samples[:1], "y": some[:1]}, (), "at least 2"),
        ({"x": data.samples, "y": some}, ("--classes", 3, "--loss", "squared-error"), "one of the"),
    ):
        assert plan_squared_error(work, small_graph(), "--mode", "last", *options, **arrays) == 1
        assert words in capsys.readouterr().err
    loud = some + 100
    assert plan_squared_error(work, small_graph(), "--mode", "last", x=data.samples, y=loud) == 0
    assert "100.0% of the outputs wanted lie outside" in capsys.readouterr().err
    with lilliput.load(work / "own.lil") as model:
        trainer = Trainer(model)
        for target in (bytes(2), np.zeros(3, np.float32)):
            with pytest.raises(ValueError, match="target"):
                trainer.step(data.samples[0], target)
        with pytest.raises(ValueError, match="not classes"):
            trainer.step(data.samples[0], 1)
        with pytest.raises(ValueError, match="2 numbers wanted of 3"):
            trainer.evaluate([(data.samples[0], bytes(2))])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--mode", "last", "--sram", 500), "more than --sram allows"),
        (("--mode", "search"), "say --sram"),
        (("--mode", "last", "--blocks", 2), "give both"),
        (("--mode", "tinytl", "--blocks", 0), "give 1 or more"),
        (("--scheme", "nonsense.json"), "nonsense.json"),
    ],
)
def test_errors(
    work: Path,
    capsys: pytest.CaptureFixture[str],
    options: tuple[object, ...],
    words: str,
) -> None:
    fixed = ["train-plan", str(work / "model.tflite"), "--data", str(work / "data.npz")]
    fixed += ["--classes", "3", "-o", str(work / "out.lil")]
    assert main([*fixed, *map(str, options)]) == 1
    said = capsys.readouterr().err
    assert words in said and said.count("\n") == 1 and "internal" not in said
    assert not (work / "out.lil").exists()


def test_data_that_does_not_fit(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = small_samples(10)
    for arrays, words in (
        ({"x": data.samples}, "the number of each one's class, are needed"),
        ({"x": data.samples[:, :5], "y": data.classes}, f"[samples, {SIDE}, {SIDE}, 3]"),
        ({"x": data.samples, "y": data.classes + 1}, "classes 0 to 2"),
    ):
        np.savez(work / "bad.npz", **arrays)
        fixed = ["train-plan", str(work / "model.tflite"), "--data", str(work / "bad.npz")]
        assert main([*fixed, "--classes", "3", "-o", str(work / "out.lil"), "--mode", "last"]) == 1
        assert words in capsys.readouterr().err
