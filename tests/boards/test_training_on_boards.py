"""A board's firmware trains a model exactly as this computer does: losses, scores, saved bytes.

Files go to the board and back through mpremote; the board runs the device package.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from lilliput.runtime.model import Model
from lilliput.runtime.train import Trainer, cosine
from small_trainable import planned_for, small_program, small_samples

from lilliput.conversion import import_int8
from lilliput.deployment.romfs import write_image
from lilliput.emulation import BOARDS, EmulationError, emulated_board
from lilliput.format.writer import write
from lilliput.labelled import Labelled
from lilliput.lower import lower
from lilliput.passes.simplify import simplify
from lilliput.training.backward import Options
from lilliput.training.classifier import replace_classifier
from lilliput.training.scheme import Scheme
from lilliput.unixport import SOURCE_TREE, find_device_package

AT_FULL_LENGTH = os.environ.get("LILLIPUT_TEST_PROFILE") == "all"
STEPS = 100
RATE, SEED = 0.02, 5
SCRIPT = f"""
import json, lilliput
from binascii import crc32, hexlify
from lilliput.train import Trainer, cosine
model = lilliput.load("/trainable.lil")
samples, labels = open("/samples.bin", "rb"), open("/labels.bin", "rb").read()
trainer = Trainer(model, seed={SEED})
for step in range({STEPS}):
    if step % len(labels) == 0:
        samples.seek(0)
    trainer.lr = cosine({RATE}, step, {STEPS})
    label = labels[step % len(labels)]
    loss, scores = trainer.step(samples.read(model.input.size), label, raw=True)
    print(json.dumps([round(65536 * loss), hexlify(scores).decode()]))
trainer.save("/learned")
"""


@dataclass(frozen=True)
class Lesson:
    """A trainable file, and what it is taught."""

    file: bytes
    data: Labelled


def small(options: Options | None = None) -> Lesson:
    data = small_samples(16, seed=6)
    scheme = Scheme(
        frozenset({"deep", "thin", "tail"}), {"next_deep": 1.0, "next_wide": 0.5, "scores": 1.0}
    )
    made = planned_for(small_program(2), scheme, data, options)
    return Lesson(write(made.plan.program, made.plan), data)


def keywords(models: Path) -> Lesson:
    """The keyword network, with four new words, which are drifts of loudness in noise."""
    graph = import_int8(models / "mlperf_kws_ref_model.tflite").graph
    program = lower(simplify(replace_classifier(graph, 4)))
    dice = np.random.default_rng(3)
    classes = dice.integers(0, 4, 16)
    words = dice.normal(0, 60, (4, 49, 10, 1))
    samples = np.clip(words[classes] + dice.normal(0, 30, (16, 49, 10, 1)), -128, 127)
    data = Labelled(samples.astype(np.int8), classes.astype(np.int64))
    *_, third, second, last = (s.name for s in program.steps if s.constants and s.macs)
    scheme = Scheme(frozenset({third}), {second: 0.5, last: 1.0})
    made = planned_for(program, scheme, data)
    return Lesson(write(made.plan.program, made.plan), data)


def taught_here(lesson: Lesson, path: Path) -> list[list[object]]:
    """What the script prints, by CPython; writes the saved file."""
    said: list[list[object]] = []
    with Model(lesson.file) as model:
        trainer = Trainer(model, seed=SEED)
        for step in range(STEPS):
            trainer.lr = cosine(RATE, step, STEPS)
            index = step % len(lesson.data)
            sample, label = lesson.data.samples[index], int(lesson.data.classes[index])
            loss, scores = trainer.step(sample, label, raw=True)
            said.append([round(65536 * loss), bytes(scores).hex()])
        trainer.save(str(path))
    return said


def taught_there(lesson: Lesson, core: str, built_in: bool, folder: Path) -> list[list[object]]:
    """What the board prints; brings the file that it saved to `folder`."""
    (folder / "trainable.lil").write_bytes(lesson.file)
    (folder / "samples.bin").write_bytes(lesson.data.samples.tobytes())
    (folder / "labels.bin").write_bytes(bytes(lesson.data.classes.tolist()))
    (folder / "session.py").write_text(SCRIPT)
    files = {f"lib/lilliput/{p.name}": p.read_bytes() for p in find_device_package().glob("*.py")}
    if not built_in:
        module = f"dist/{BOARDS[core].natmod}-6.3-train/_lilliput_train.mpy"
        if not (SOURCE_TREE / module).is_file():
            pytest.skip(f"no {module}: run make natmods")
        files["lib/_lilliput_train.mpy"] = (SOURCE_TREE / module).read_bytes()
    copied = [str(folder / name) for name in ("trainable.lil", "samples.bin", "labels.bin")]
    board = emulated_board(core, native_module_built_in=built_in, romfs=write_image(files))
    try:
        with board as port:
            command = [sys.executable, "-m", "mpremote", "connect", port]
            command += ["cp", *copied, ":/", "+", "run", str(folder / "session.py")]
            command += ["+", "cp", ":/learned", str(folder / "learned")]
            done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    except EmulationError as error:
        pytest.skip(str(error))
    assert done.returncode == 0, done.stdout + done.stderr
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("[")]


def check(lesson: Lesson, core: str, built_in: bool, folder: Path) -> None:
    wanted = taught_here(lesson, folder / "learned here")
    assert taught_there(lesson, core, built_in, folder) == wanted
    assert (folder / "learned").read_bytes() == (folder / "learned here").read_bytes()
    losses = [loss for loss, _ in wanted]
    assert sum(losses[-32:]) < 0.8 * sum(losses[:32])


@pytest.mark.parametrize("core", ["cortex-m4", "cortex-m7"])
def test_user_module_with_velocities(core: str, tmp_path: Path) -> None:
    check(small(Options(momentum=0.8, accumulate=2)), core, True, tmp_path)


def test_native_module(tmp_path: Path) -> None:
    check(small(), "cortex-m4", False, tmp_path)


@pytest.mark.parametrize("core", ["cortex-m4", "cortex-m7"] if AT_FULL_LENGTH else ["cortex-m7"])
def test_keywords(core: str, models: Path, tmp_path: Path) -> None:
    check(keywords(models), core, True, tmp_path)
