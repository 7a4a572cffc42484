"""The `lilliput` command: what it writes, prints and refuses."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from small_models import (
    CLASSES,
    calibration,
    float_classifier,
    float_tflite,
    int8_tflite,
    with_two_inputs,
)

import lilliput
from lilliput import unixport
from lilliput.cli.app import main
from lilliput.litert import run as run_litert

Command = Callable[..., str]


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Command:
    """Runs the command, which must succeed; returns what it printed."""

    def run(*arguments: object) -> str:
        code = main([str(argument) for argument in arguments])
        printed = capsys.readouterr()
        assert code == 0, printed.err
        return printed.out

    return run


@pytest.fixture
def failure(capsys: pytest.CaptureFixture[str]) -> Command:
    """Runs the command, which must fail with one line; returns that line."""

    def run(*arguments: object) -> str:
        code = main([str(argument) for argument in arguments])
        printed = capsys.readouterr()
        assert code == 1
        assert printed.err.count("\n") == 1 and printed.err.startswith("lilliput: ")
        assert "internal error" not in printed.err
        return printed.err

    return run


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with small models and calibration data."""
    folder = tmp_path_factory.mktemp("models")
    (folder / "int8.tflite").write_bytes(int8_tflite())
    (folder / "float.tflite").write_bytes(float_tflite())
    pair = with_two_inputs(float_classifier())
    (folder / "pair.tflite").write_bytes(int8_tflite(pair))
    (folder / "pair_float.tflite").write_bytes(float_tflite(pair))
    np.savez(folder / "images.npz", np.concatenate([s[0] for s in calibration(float_classifier())]))
    columns = zip(*calibration(pair), strict=True)
    image, extra = (np.concatenate(column) for column in columns)
    np.savez(folder / "pair.npz", extra=extra, image=image)
    pictures = folder / "pictures"
    pictures.mkdir()
    for index in range(6):
        pixels = np.random.default_rng(index).integers(0, 256, (20, 30, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(pictures / f"{index}.png")
    (folder / "labels.txt").write_text("cat\ndog\ngröße\nrest\n", encoding="utf-8")
    return folder


@pytest.fixture
def lil(models: Path, tmp_path: Path, command: Command) -> Path:
    path = tmp_path / "model.lil"
    labels = models / "labels.txt"
    command("convert", models / "int8.tflite", "-o", path, "--labels", labels)
    return path


def test_convert_prints_one_json_object(models: Path, tmp_path: Path, command: Command) -> None:
    path = tmp_path / "model.lil"
    told = json.loads(command("convert", models / "int8.tflite", "-o", path, "--json"))
    assert told["flash_bytes"] == path.stat().st_size
    assert told["arena_bytes"] == lilliput.load(path).arena_bytes
    # 3x3x3 over 8 channels of a 6x6 map, 3x3 on each of them, and 8 features to the classes.
    assert told["macs"] == 36 * 8 * 27 + 36 * 8 * 9 + 8 * CLASSES
    assert told["input"]["shape"] == [1, 12, 12, 3] and told["input"]["dtype"] == "int8"
    assert told["output"]["shape"] == [1, CLASSES]
    assert told["output"]["scale"] == 1 / 256 and told["output"]["zero_point"] == -128
    assert told["operators"] == 5
    assert told["file"] == str(path)


def test_convert_prints_a_table(models: Path, tmp_path: Path, command: Command) -> None:
    printed = command("convert", models / "int8.tflite", "-o", tmp_path / "model.lil")
    assert "arena" in printed and "1x12x12x3" in printed


@pytest.mark.parametrize("source", ["pictures", "images.npz"])
def test_convert_quantises_a_float_model(
    models: Path, tmp_path: Path, command: Command, source: str
) -> None:
    path = tmp_path / "model.lil"
    options = ("--calibrate", models / source, "--input-range", 0, 1, "--json", "--report")
    told = json.loads(command("convert", models / "float.tflite", "-o", path, *options))
    kinds = [layer["kind"] for layer in told["layers"]]
    assert kinds == ["CONV_2D", "DEPTHWISE_CONV_2D", "MEAN", "FULLY_CONNECTED", "SOFTMAX"]
    assert told["worst_layer"] in [layer["name"] for layer in told["layers"]]
    assert told["sqnr_db"]["probabilities"] > 20
    pixels = np.random.default_rng(5).integers(0, 256, (1, 12, 12, 3)).astype(np.uint8)
    [expected] = run_litert(float_tflite(), [(pixels / 255).astype(np.float32)])
    [actual] = lilliput.load(path).predict([pixels])
    assert np.abs(np.array(actual) - expected.ravel()).max() < 0.05


def test_report_names_the_worst_layer(models: Path, tmp_path: Path, command: Command) -> None:
    options = ("--calibrate", models / "images.npz", "--report")
    printed = command("convert", models / "float.tflite", "-o", tmp_path / "m.lil", *options)
    assert "Quantisation error by layer" in printed
    assert re.search(r"hurts most is [A-Z0-9_]+ '\w+'", printed)


@pytest.mark.parametrize("method", ["minmax", "average", "percentile", "mse"])
def test_methods_make_files_that_load(
    models: Path, tmp_path: Path, command: Command, method: str
) -> None:
    path = tmp_path / "model.lil"
    options = ("--calibrate", models / "images.npz", "--method", method)
    options += ("--no-bias-correction", "--no-equalization")
    command("convert", models / "float.tflite", "-o", path, *options)
    described = json.loads(command("inspect", path, "--json"))
    expected = {"method": method, "equalize": False, "bias_correction": False}
    assert described["provenance"]["quantization"] == expected


def test_pixels_without_a_range_are_mentioned(
    models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["convert", models / "float.tflite", "-o", tmp_path / "model.lil"]
    arguments += ["--calibrate", models / "pictures"]
    assert main([str(argument) for argument in arguments]) == 0
    assert "--input-range" in capsys.readouterr().err


def test_several_inputs_are_calibrated_by_name(
    models: Path, tmp_path: Path, command: Command
) -> None:
    path = tmp_path / "pair.lil"
    options = ("--calibrate", models / "pair.npz", "--json")
    told = json.loads(command("convert", models / "pair_float.tflite", "-o", path, *options))
    assert [port["name"] for port in told["inputs"]] == ["image", "extra"]
    assert len(told["outputs"]) == 2


def refusals(models: Path) -> dict[str, tuple[Sequence[object], str]]:
    """Arguments of `convert MODEL` that must fail, and a pattern of the message."""
    return {
        "absent model": (["absent.tflite"], "absent.tflite: no such model"),
        "no calibration": ([models / "float.tflite"], "--calibrate.*'image' .1, 12, 12, 3."),
        "absent calibration": (
            [models / "float.tflite", "--calibrate", "absent"],
            "absent: no such calibration data",
        ),
        "images for two inputs": (
            [models / "pair_float.tflite", "--calibrate", models / "pictures"],
            "2 inputs.*npz",
        ),
        "no arrays": (
            [models / "float.tflite", "--calibrate", models / "labels.txt"],
            "labels.txt is no .npy or .npz",
        ),
        "sram": (
            [models / "int8.tflite", "--sram", "100"],
            r"arena of [\d,]+ bytes, [\d,]+ more than the 100 .* operator [A-Z_]+ .*takes [\d,]+ ",
        ),
        "no model": ([models / "labels.txt"], "labels.txt|TFLite|tflite"),
        "empty range": ([models / "int8.tflite", "--input-range", "1", "0"], "empty.*-1 1"),
        "absent labels": ([models / "int8.tflite", "--labels", "absent.txt"], "absent.txt"),
    }


REFUSALS = list(refusals(Path()))


@pytest.mark.parametrize("case", REFUSALS)
def test_refused_models_leave_no_file(
    case: str, models: Path, tmp_path: Path, failure: Command
) -> None:
    arguments, pattern = refusals(models)[case]
    path = tmp_path / "out" / "model.lil"
    path.parent.mkdir()
    message = failure("convert", arguments[0], "-o", path, *arguments[1:])
    assert re.search(pattern, message), message
    assert list(path.parent.iterdir()) == []


def test_a_refused_model_leaves_the_old_file(models: Path, lil: Path, failure: Command) -> None:
    before = lil.read_bytes()
    failure("convert", models / "int8.tflite", "-o", lil, "--sram", "100")
    assert lil.read_bytes() == before


def test_absent_output_folder(models: Path, tmp_path: Path, failure: Command) -> None:
    message = failure("convert", models / "int8.tflite", "-o", tmp_path / "absent" / "model.lil")
    assert "absent: no such folder" in message


def test_sram_that_suffices(models: Path, tmp_path: Path, command: Command) -> None:
    path = tmp_path / "model.lil"
    command("convert", models / "int8.tflite", "-o", path, "--sram", "64KB")
    needed = lilliput.load(path).arena_bytes
    command("convert", models / "int8.tflite", "-o", path, "--sram", needed)


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["convert"],
        ["convert", "model.tflite"],
        ["convert", "model.tflite", "-o", "x.lil", "--sram", "much"],
        ["convert", "model.tflite", "-o", "x.lil", "--method", "magic"],
        ["run", "x.lil"],
        ["run", "x.lil", "--input", "x.npy", "--on", "moon"],
    ],
)
def test_wrong_usage_is_one_line_and_exit_code_2(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as raised:
        main(arguments)
    printed = capsys.readouterr()
    assert raised.value.code == 2
    assert printed.err.count("\n") == 1 and "--help" in printed.err
    assert printed.out == ""


def test_inspect_agrees_with_convert(models: Path, lil: Path, command: Command) -> None:
    told = json.loads(command("inspect", lil, "--json"))
    assert [op["kind"] for op in told["operators"]] == [
        "INPUT",
        "CONVOLUTION",
        "DEPTHWISE_CONVOLUTION",
        "MEAN",
        "FULLY_CONNECTED",
        "SOFTMAX",
    ]
    assert told["operators"][1]["window"] == "3x3, stride 2x2"
    assert told["operators"][1]["output"] == [6, 6, 8]
    assert told["labels"] == ["cat", "dog", "größe", "rest"]
    assert told["flash_bytes"] == lil.stat().st_size
    assert told["provenance"]["source"] == "int8.tflite"
    assert told["input"]["name"] == "image" and told["output"]["name"] == "probabilities"
    ranges = [held for moment in told["arena_map"] for held in moment["held"]]
    assert max(held["offset"] + held["bytes"] for held in ranges) <= told["arena_bytes"]
    covered = [index for m in told["arena_map"] for index in range(m["first"], m["last"] + 1)]
    assert covered == list(range(len(told["operators"])))
    assert all(0 < m["live_bytes"] <= told["arena_bytes"] for m in told["arena_map"])


def test_paged_files_show_their_pages(models: Path, tmp_path: Path, command: Command) -> None:
    path = tmp_path / "paged.lil"
    told = json.loads(command("convert", models / "int8.tflite", "-o", path, "--paged", "--json"))
    described = json.loads(command("inspect", path, "--json"))
    assert told["paged"] and described["is_paged"]
    assert max(moment["live_bytes"] for moment in described["arena_map"]) <= told["arena_bytes"]
    pages = [held for m in described["arena_map"] for held in m["held"] if held["tensor"] is None]
    assert sum(page["bytes"] for page in pages) >= sum(
        op["constants_bytes"] for op in described["operators"]
    )
    assert "read in pages" in command("inspect", path)


def test_inspect_prints_tables(lil: Path, command: Command) -> None:
    printed = command("inspect", lil)
    for text in ("DEPTHWISE_CONVOLUTION", "6x6x8", "cat, dog, größe, rest", "int8.tflite", "#"):
        assert text in printed


@pytest.mark.parametrize("name", ["inspect", "run"])
def test_damaged_files_are_refused(name: str, lil: Path, tmp_path: Path, failure: Command) -> None:
    extra = ("--input", tmp_path / "x.npy") if name == "run" else ()
    np.save(tmp_path / "x.npy", np.zeros((12, 12, 3), np.int8))
    damaged = bytearray(lil.read_bytes())
    damaged[-1] ^= 1
    lil.write_bytes(damaged)
    assert "model.lil: model file is damaged (checksum)" in failure(name, lil, *extra)
    lil.write_bytes(damaged[:50])
    assert "model.lil: model file is cut short" in failure(name, lil, *extra)
    lil.write_bytes(b"no model at all, but long enough to hold a header" * 8)
    assert "model.lil: not a .lil file" in failure(name, lil, *extra)
    lil.unlink()
    assert "model.lil" in failure(name, lil, *extra)


def engines() -> list[str]:
    try:
        unixport.find_natmod()
        unixport.find_interpreter("debian")
    except unixport.UnixPortError:
        return ["host"]
    return ["host", "unix"]


@pytest.mark.parametrize("engine", engines())
def test_run_takes_raw_int8_and_writes_raw_output(
    engine: str, models: Path, lil: Path, tmp_path: Path, command: Command
) -> None:
    values = np.random.default_rng(7).integers(-128, 128, (1, 12, 12, 3)).astype(np.int8)
    [expected] = run_litert((models / "int8.tflite").read_bytes(), [values])
    for array in (values, values[0]):
        np.save(tmp_path / "x.npy", array)
        files = ("--input", tmp_path / "x.npy", "--output", tmp_path / "y.npy")
        told = json.loads(command("run", lil, *files, "--on", engine, "--top", 2, "--json"))
        written = np.load(tmp_path / "y.npy")
        assert written.dtype == np.int8 and np.array_equal(written, expected)
        assert told["arena_bytes"] == lilliput.load(lil).arena_bytes
        assert told["milliseconds"] > 0
        order = np.argsort(-expected.ravel(), kind="stable")[:2]
        labels = ["cat", "dog", "größe", "rest"]
        assert [item["label"] for item in told["top"]] == [labels[i] for i in order]
        assert told["top"][0]["score"] == (int(expected.max()) + 128) / 256


@pytest.mark.parametrize("engine", engines())
def test_run_takes_reals_and_pictures(
    engine: str, models: Path, tmp_path: Path, command: Command
) -> None:
    path = tmp_path / "model.lil"
    command("convert", models / "int8.tflite", "-o", path, "--input-range", 0, 1)
    picture = models / "pictures" / "0.png"
    with Image.open(picture) as image:
        pixels = np.asarray(image.resize((12, 12), Image.Resampling.BILINEAR))
    np.save(tmp_path / "reals.npy", pixels.astype(np.float64) / 255)
    np.save(tmp_path / "pixels.npy", pixels)
    results = []
    for source in (picture, tmp_path / "reals.npy", tmp_path / "pixels.npy"):
        command("run", path, "--input", source, "--output", tmp_path / "y.npy", "--on", engine)
        results.append(np.load(tmp_path / "y.npy"))
    assert np.array_equal(results[0], results[1]) and np.array_equal(results[0], results[2])


def test_run_prints_labels(models: Path, lil: Path, command: Command) -> None:
    printed = command("run", lil, "--input", models / "pictures" / "1.png", "--top", 1)
    assert sum(label in printed for label in ("cat", "dog", "größe", "rest")) == 1
    assert "ms" in printed and "arena" in printed


@pytest.mark.parametrize("engine", engines())
def test_run_several_inputs_and_outputs(
    engine: str, models: Path, tmp_path: Path, command: Command, failure: Command
) -> None:
    path = tmp_path / "pair.lil"
    command("convert", models / "pair.tflite", "-o", path)
    generator = np.random.default_rng(9)
    inputs = {
        "extra": generator.integers(-128, 128, (1, 6, 6, 8)).astype(np.int8),
        "image": generator.integers(-128, 128, (1, 12, 12, 3)).astype(np.int8),
    }
    np.savez(tmp_path / "x.npz", **inputs)
    expected = run_litert((models / "pair.tflite").read_bytes(), [inputs["image"], inputs["extra"]])
    files = ("--input", tmp_path / "x.npz", "--output")
    printed = command("run", path, *files, tmp_path / "y.npz", "--on", engine)
    assert "1x6x6x8" in printed
    with np.load(tmp_path / "y.npz") as written:
        assert np.array_equal(written["output_0"], expected[0])
        assert np.array_equal(written["output_1"], expected[1])
    assert ".npz" in failure("run", path, *files, tmp_path / "y.npy", "--on", engine)
    message = failure("run", path, "--input", models / "pictures" / "0.png", "--on", engine)
    assert "2 inputs" in message


def test_run_refuses_what_does_not_fit(
    models: Path, lil: Path, tmp_path: Path, failure: Command
) -> None:
    def refused(array: np.ndarray) -> str:
        np.save(tmp_path / "x.npy", array)
        return failure("run", lil, "--input", tmp_path / "x.npy")

    assert "[1, 12, 12, 3]" in refused(np.zeros((12, 12, 1), np.int8))
    assert "[432]" in refused(np.zeros(432, np.int8))
    assert "int16" in refused(np.zeros((12, 12, 3), np.int16))
    assert "text.png" in failure("run", lil, "--input", models / "text.png")
    (tmp_path / "text.png").write_text("no picture")
    assert "no image" in failure("run", lil, "--input", tmp_path / "text.png")
    (tmp_path / "x.npy").write_bytes(b"no array")
    assert "x.npy" in failure("run", lil, "--input", tmp_path / "x.npy")


def test_the_command_starts_quickly() -> None:
    """Without the libraries that take long to import."""
    script = (
        "import sys\nfrom lilliput.cli.app import parser\nparser()\n"
        "print({'numpy', 'PIL', 'cffi', 'ai_edge_litert', 'tensorflow', 'matplotlib', 'mpremote',"
        " 'serial'} & set(sys.modules))"
    )
    run = [sys.executable, "-c", script]
    printed = subprocess.run(run, check=True, capture_output=True, text=True).stdout
    assert printed == "set()\n"


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as raised:
        main(["--version"])
    assert raised.value.code == 0
    assert capsys.readouterr().out == f"lilliput {lilliput.__version__}\n"


def test_libraries_do_not_write_to_standard_error(models: Path, tmp_path: Path) -> None:
    path = tmp_path / "model.lil"
    arguments = ["convert", models / "float.tflite", "-o", path, "--json"]
    arguments += ["--calibrate", models / "images.npz"]
    result = subprocess.run(
        [sys.executable, "-m", "lilliput.cli.app", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONWARNINGS": "error"},
    )
    assert result.stderr == ""
    assert json.loads(result.stdout)["flash_bytes"] == path.stat().st_size


def test_python_api_takes_bytes_and_arrays(tmp_path: Path) -> None:
    graph = float_classifier()
    samples = np.concatenate([sample[0] for sample in calibration(graph)])
    from_array = lilliput.convert(float_tflite(), calibrate=samples)
    from_lists = lilliput.convert(float_tflite(), calibrate=calibration(graph))
    assert from_array.data == from_lists.data
    assert from_array.report is not None and from_array.report.worst is not None
    path = tmp_path / "model.lil"
    stages = []
    lilliput.convert(
        float_tflite(),
        path,
        calibrate=samples,
        progress=lambda stage, done, total: stages.append((stage, done, total)),
    )
    assert path.read_bytes() == from_array.data
    assert {"import", "calibrate", "plan"} <= {stage for stage, _, _ in stages}
    assert path.stat().st_mode & 0o777 == 0o666 & ~_umask()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
