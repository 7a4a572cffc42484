"""Lilliput in a plain CPython, as on a Raspberry Pi: the wheel alone, and pins through Blinka."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage import data as photographs
from small_models import int8_tflite

from lilliput import convert, load

# Records what Blinka writes to the pins; its OS-agnostic board does not read it back.
BLINKA_SCRIPT = """
import json, sys
import digitalio, picamera2, pi_person_switch
levels = []
write = digitalio.Pin.write
digitalio.Pin.write = lambda pin, level: (levels.append((pin.id, level)), write(pin, level))
picamera2.Picamera2.pictures = sys.argv[2]
try:
    pi_person_switch.main(sys.argv[1], "Dx_OUTPUT")
except EOFError:
    print(json.dumps(levels))
"""


def run_python(python: Path | str, script: str, *arguments: str | Path, **environment: str) -> str:
    """What a script prints, run without this process's folders on its path."""
    command = [str(python), "-c", script, *map(str, arguments)]
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        command, env=inherited | environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q", "wheel"]
    command += ["--no-build-isolation", "--no-deps", "--no-index", "-w", str(folder)]
    subprocess.run([*command, str(repository)], check=True)
    [built] = folder.glob("*.whl")
    return built


def test_wheel_carries_what_is_not_imported_here(wheel: Path, repository: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        for path in (repository / "host" / "lilliput" / "watching").rglob("*.*"):
            if "__pycache__" not in path.parts:
                archive.getinfo(path.relative_to(repository / "host").as_posix())
        for path in (repository / "device" / "lilliput").glob("*.py*"):
            assert archive.read(f"lilliput/runtime/{path.name}") == path.read_bytes()
        for path in (repository / "dist").glob("*-6.3/**/*.mpy"):
            name = path.relative_to(repository / "dist").as_posix()
            assert archive.read(f"lilliput/natmods/{name}") == path.read_bytes()


def test_wheel_alone_runs_models(wheel: Path, tmp_path: Path) -> None:
    """A venv with nothing but the wheel: loading and running need no other package."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv"], check=True)
    python = tmp_path / "venv" / "bin" / "python"
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", str(python)]
    subprocess.run([*command, "install", "-q", "--no-index", "--no-deps", wheel], check=True)
    model = tmp_path / "model.lil"
    convert(int8_tflite(), model)
    with load(model) as ours:
        pixels = bytes(range(256)) * 2
        pixels = pixels[: ours.input.size]
        wanted = list(ours.infer(pixels))
    script = (
        "import sys, lilliput; model = lilliput.load(sys.argv[1]); "
        "print(list(model.infer(bytes.fromhex(sys.argv[2])))); print(lilliput.__file__)"
    )
    values, origin = run_python(python, script, model, pixels.hex()).splitlines()
    assert json.loads(values) == wanted
    assert Path(origin).is_relative_to(tmp_path)


def test_pin_through_blinka(repository: Path, models: Path, tmp_path: Path) -> None:
    blinka = repository / "build" / "blinka"
    if not (blinka / "digitalio.py").is_file():
        pytest.skip("Blinka is not in build/blinka: run `make build/blinka/installed`")
    source = models / "mlperf_vww_96_int8.tflite"
    convert(source, tmp_path / "person.lil", labels=("nobody", "person"))
    photos = [
        Image.fromarray(photo).resize((96, 96))
        for photo in (photographs.coffee(), photographs.astronaut())
    ]
    pictures = np.stack(
        [np.asarray(Image.blend(*photos, share)) for share in (0, 0.86, 1, 0.86, 0)]
    )
    np.save(tmp_path / "pictures.npy", pictures)
    levels = [0, 0]  # direction, switch_to_output
    with load(tmp_path / "person.lil") as model:
        for picture in pictures:
            model.infer(picture)
            score = dict(model.top(2))["person"]
            levels.append(int(score > 0.6 or (levels[-1] == 1 and score > 0.4)))
    examples = repository / "device" / "examples"
    printed = run_python(
        sys.executable,
        BLINKA_SCRIPT,
        tmp_path / "person.lil",
        tmp_path / "pictures.npy",
        BLINKA_OS_AGNOSTIC="1",
        PYTHONPATH=f"{examples}:{examples / 'simulated'}:{blinka}",
    )
    dx_output = 4
    assert json.loads(printed) == [[dx_output, level] for level in levels]
    assert levels[2:] == [0, 0, 1, 1, 0]
