"""One session of training in CPython and in MicroPython: the same losses, weights and files."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from lilliput.runtime.model import Model
from small_trainable import autoencoder_graph, planned_for, small_program, small_samples

from lilliput import unixport
from lilliput.format.writer import write
from lilliput.lower import lower
from lilliput.training.backward import Options
from lilliput.training.exponents import calibrate
from lilliput.training.planning import plan_training
from lilliput.training.scheme import Scheme, full

SESSION = Path(__file__).parents[1] / "unix" / "training_session.py"
SQUARED_ERROR = SESSION.with_name("squared_error_session.py")
TEACH = Path(__file__).parents[2] / "device" / "examples" / "teach.py"
SCHEME = Scheme(
    frozenset({"deep", "thin", "tail"}), {"next_deep": 1.0, "next_wide": 0.5, "scores": 1.0}
)


@pytest.fixture(scope="module", params=[Options(), Options(momentum=0.8, accumulate=2)], ids=str)
def folder(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Path:
    place = tmp_path_factory.mktemp("session")
    program = small_program(2)
    data = small_samples(30, seed=6)
    made = planned_for(program, SCHEME, data, request.param)
    training = made.plan.program.training
    assert training is not None
    (place / "trainable.lil").write_bytes(write(made.plan.program, made.plan))
    (place / "samples.bin").write_bytes(data.samples.tobytes())
    (place / "labels.bin").write_bytes(bytes(data.classes.tolist()))
    (place / "bytes.bin").write_bytes(training.bytes.to_bytes(4, "little"))
    shutil.copy(TEACH, place / "teach.py")
    return place


def copy_of(folder: Path, target: Path) -> Path:
    for path in folder.iterdir():
        shutil.copy(path, target / path.name)
    return target


def session_in_cpython(folder: Path, session: Path = SESSION) -> list[str]:
    shim = "import sys, lilliput.train; sys.modules['lilliput.train'] = lilliput.train\n"
    code = f"{shim}import runpy, sys; sys.argv = ['session', {str(folder)!r}]\n"
    code += f"runpy.run_path({str(session)!r}, run_name='__main__')"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=300
    )
    assert result.returncode == 0, result.stderr
    return result.stdout.splitlines()


def test_a_session_is_the_same_in_micropython(folder: Path, tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir(), there.mkdir()
    wanted = session_in_cpython(copy_of(folder, here))
    try:
        port = unixport.find_interpreter("usermod")
    except (FileNotFoundError, RuntimeError) as error:
        pytest.skip(str(error))
    result = unixport.run_script(
        SESSION,
        copy_of(folder, there),
        interpreter=port,
        module_path=[],
        heap=2 << 20,
        timeout=300,
    )
    said = result.stdout + result.stderr
    assert result.returncode == 0, said
    assert result.stdout.splitlines() == wanted
    assert (here / "learned").read_bytes() == (there / "learned").read_bytes()
    after = [line.split() for line in wanted if not line.startswith("loss")]
    facts = {words[0]: words[1:] for words in after}
    assert float(facts["right"][0]) > float(facts["reset"][0]) + 0.2
    assert facts["applied"] == facts["right"]
    knows = [words[1:] for words in after if words[0] == "knows"]
    assert knows == [["False"], ["True"], ["False", "False"]]
    assert all(words[1] == words[2] for words in after if words[0] == "sees")
    losses = [float(line.split()[1]) for line in wanted if line.startswith("loss")]
    assert len(losses) == 100
    assert (here / "learned").stat().st_size == int(facts["saved"][0])


def test_squared_error_is_the_same_in_micropython(tmp_path: Path) -> None:
    program = lower(autoencoder_graph(2))
    data = small_samples(12, seed=6)
    options = Options(loss="squared_error")
    targets = list(data.samples[:4])
    ranges = calibrate(program, full(program), options, list(data.samples[:4]), targets)
    made = plan_training(program, full(program), options, ranges)
    (tmp_path / "trainable.lil").write_bytes(write(made.plan.program, made.plan))
    (tmp_path / "samples.bin").write_bytes(data.samples.tobytes())
    wanted = session_in_cpython(tmp_path, SQUARED_ERROR)
    try:
        port = unixport.find_interpreter("usermod")
    except (FileNotFoundError, RuntimeError) as error:
        pytest.skip(str(error))
    result = unixport.run_script(
        SQUARED_ERROR, tmp_path, interpreter=port, module_path=[], heap=2 << 20, timeout=100
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert result.stdout.splitlines() == wanted
    errors = [float(line.split()[1]) for line in wanted if line.startswith("error")]
    assert errors[1] < errors[0] / 2
    assert sum(line.startswith("refused") for line in wanted) == 3


def test_a_build_for_inference_alone_runs_a_trainable_file(folder: Path, tmp_path: Path) -> None:
    """The native module of the standard port has no training."""
    script = tmp_path / "infer.py"
    script.write_text(
        "import sys, lilliput\n"
        "model = lilliput.load(sys.argv[1] + '/trainable.lil')\n"
        "file = open(sys.argv[1] + '/samples.bin', 'rb')\n"
        "for _ in range(5): print(list(model.infer(file.read(model.input.size), raw=True)))\n"
        "try:\n    from lilliput.train import Trainer\n    Trainer(model)\n"
        "except RuntimeError as error: print(error)\n"
    )
    try:
        port, natmod = unixport.find_interpreter("debian"), unixport.find_natmod()
    except (FileNotFoundError, RuntimeError) as error:
        pytest.skip(str(error))
    result = unixport.run_script(
        script, folder, interpreter=port, module_path=[natmod.parent], heap=2 << 20, timeout=100
    )
    assert result.returncode == 0, result.stdout + result.stderr
    *lines, refusal = result.stdout.splitlines()
    assert "_lilliput_train" in refusal
    samples = np.frombuffer((folder / "samples.bin").read_bytes(), np.int8).reshape(30, -1)
    with Model((folder / "trainable.lil").read_bytes()) as model:
        assert lines == [str(list(model.infer(sample))) for sample in samples[:5]]
