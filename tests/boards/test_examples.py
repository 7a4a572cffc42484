"""The examples of device/examples on an emulated board, which runs all of them in one session."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage import data as photographs

from lilliput import convert, load
from lilliput.deployment import Board
from lilliput.deployment.connection import ScriptError
from lilliput.deployment.romfs import write_image
from lilliput.emulation import EmulationError, emulated_board, package_files
from lilliput.execution import ports_of, run_on_host
from lilliput.unixport import UnixPortError

CORE = "cortex-m4"
HEAP_BYTES = 200_000
FRAME = (160, 120)
INPUT = (96, 96)
KEYWORDS = (
    *("down", "go", "left", "no", "off", "on", "right", "stop", "up", "yes"),
    *("silence", "unknown"),
)


@pytest.fixture(scope="module")
def person(models: Path) -> bytes:
    source = models / "mlperf_vww_96_int8.tflite"
    return convert(source, labels=("nobody", "person")).data


@pytest.fixture(scope="module")
def keywords(models: Path) -> bytes:
    return convert(models / "mlperf_kws_ref_model.tflite", labels=KEYWORDS).data


@pytest.fixture(scope="module")
def photo() -> Image.Image:
    return Image.fromarray(photographs.astronaut()).resize(INPUT)


@pytest.fixture(scope="module")
def pictures(photo: Image.Image) -> list[np.ndarray]:
    """What the camera sees, RGB565: a person who comes slowly out of a cup of coffee, and goes."""
    coffee = Image.fromarray(photographs.coffee()).resize(INPUT)
    seen = []
    for share in (0, 0.86, 1, 0.86, 0.5, 0):
        frame = Image.new("RGB", FRAME, "red")
        corner = ((FRAME[0] - INPUT[0]) // 2, (FRAME[1] - INPUT[1]) // 2)
        frame.paste(Image.blend(coffee, photo, share), corner)
        red, green, blue = np.moveaxis(np.asarray(frame).astype(np.uint16), -1, 0)
        seen.append(red >> 3 << 11 | green >> 2 << 5 | blue >> 3)
    return seen


@pytest.fixture(scope="module")
def features() -> np.ndarray:
    """Three seconds of features for the keyword model: noise that drifts."""
    generator = np.random.default_rng(6)
    starts = np.repeat(generator.integers(-128, 128, (3, 10)), 50, axis=0)
    drift = np.cumsum(generator.normal(0, 3, (150, 10)), axis=0)
    return np.clip(starts + drift, -128, 127).astype(np.int8)


@pytest.fixture(scope="module")
def board(
    repository: Path,
    person: bytes,
    keywords: bytes,
    photo: Image.Image,
    pictures: list[np.ndarray],
    features: np.ndarray,
) -> Iterator[Board]:
    """A board with the examples, their models and what they see and hear, in its ROMFS."""
    examples = repository / "device" / "examples"
    sources = {
        **{f"lib/{path.name}": path for path in (examples / "simulated").glob("*.py")},
        **{path.name: path for path in examples.glob("*.py")},
    }
    files = {name: path.read_bytes() for name, path in sources.items()} | {
        "person.lil": person,
        "keywords.lil": keywords,
        "photo.ppm": b"P6\n96 96\n255\n" + photo.tobytes(),
        "small.ppm": b"P6\n48 48\n255\n" + photo.resize((48, 48)).tobytes(),
        "pictures.rgb565": b"".join(frame.astype(">u2").tobytes() for frame in pictures),
        "features.bin": features.tobytes(),
    }
    try:
        files |= package_files(CORE)
        with (
            emulated_board(CORE, heap_bytes=HEAP_BYTES, romfs=write_image(files)) as port,
            Board(port) as found,
        ):
            found.restart()
            found.execute("import camera\ncamera.Camera.pictures = '/rom/pictures.rgb565'")
            yield found
    except (EmulationError, UnixPortError) as error:
        pytest.skip(str(error))


def scores_here(model: bytes, values: np.ndarray) -> np.ndarray:
    [output] = run_on_host(model, [values]).outputs
    return ports_of(model).outputs[0].reals(output).ravel()


def person_score(model: bytes, pixels: np.ndarray) -> float:
    return float(scores_here(model, pixels[np.newaxis])[1])


def assert_tells(printed: str, wanted: list[tuple[str, float]]) -> None:
    """What an example printed are these labels with these scores."""
    told = re.findall(r"(\w+) (\S+)", printed)
    assert [label for label, _ in told] == [label for label, _ in wanted]
    assert [float(score) for _, score in told] == pytest.approx([s for _, s in wanted], abs=0.006)


def seen_by_the_model(frame: np.ndarray) -> np.ndarray:
    """The middle of an RGB565 frame, as RGB pixels."""
    top, left = (FRAME[1] - INPUT[1]) // 2, (FRAME[0] - INPUT[0]) // 2
    middle = frame[top : top + INPUT[1], left : left + INPUT[0]].astype(int)
    channels = (middle >> 11 << 3, (middle >> 5 & 63) << 2, (middle & 31) << 3)
    return np.stack(channels, -1).astype(np.uint8)


def test_classify(board: Board, person: bytes, photo: Image.Image) -> None:
    printed = board.execute("import classify\nclassify.main('/rom/person.lil', '/rom/photo.ppm')")
    score = person_score(person, np.asarray(photo))
    assert_tells(printed, [("person", score), ("nobody", 1 - score)])


def test_classify_refuses_a_picture_of_another_size(board: Board) -> None:
    with pytest.raises(ScriptError, match="no PPM file of 96x96"):
        board.execute("import classify\nclassify.main('/rom/person.lil', '/rom/small.ppm')")


def test_camera_rows(board: Board, person: bytes, pictures: list[np.ndarray]) -> None:
    printed = board.execute(
        "import camera_rows\ntry:\n camera_rows.main('/rom/person.lil')\nexcept EOFError:\n pass",
        timeout=120,
    )
    scores = [person_score(person, seen_by_the_model(frame)) for frame in pictures]
    wanted = [("person", score) if score >= 0.5 else ("nobody", 1 - score) for score in scores]
    assert_tells(printed, wanted)
    assert {label for label, _ in wanted} == {"person", "nobody"}


def test_person_switch(board: Board, person: bytes, pictures: list[np.ndarray]) -> None:
    levels = board.query(
        "import person_switch\ntry:\n person_switch.main('/rom/person.lil')\n"
        "except EOFError:\n print(person_switch.Pin.levels['LED'])",
        timeout=120,
    )
    scores = [person_score(person, seen_by_the_model(frame)) for frame in pictures]
    wanted: list[int] = []
    for score in scores:
        was_on = bool(wanted and wanted[-1])
        wanted.append(int(score > 0.6 or (was_on and score > 0.4)))
    assert levels == wanted
    # The lamp came on, went off, and was kept on by a score that would not have switched it on.
    assert wanted[0] == wanted[-1] == 0 and sum(wanted) > sum(score > 0.6 for score in scores)


def test_keywords(board: Board, keywords: bytes, features: np.ndarray) -> None:
    printed = board.execute(
        "import keywords\nkeywords.main('/rom/keywords.lil', '/rom/features.bin')", timeout=120
    )
    silence = np.zeros((49, 10), np.int8)
    heard: list[str | None] = [None]
    for end in range(5, len(features) + 1, 5):
        window = np.concatenate([silence, features[:end]])[-49:]
        scores = scores_here(keywords, window[np.newaxis, ..., np.newaxis])
        best = int(np.argmax(scores))
        heard.append(KEYWORDS[best] if scores[best] >= 0.7 else None)
    wanted = [now for before, now in pairwise(heard) if now not in (None, before)]
    assert printed.split() == wanted
    assert len(set(wanted)) > 2


def test_benchmark(board: Board, person: bytes) -> None:
    printed = board.execute("import benchmark\nbenchmark.main('/rom/person.lil')", timeout=120)
    milliseconds, arena, allocated = re.findall(r"[\d.]+", printed)
    assert float(milliseconds) > 0 and int(allocated) == 0
    with load(person) as model:
        assert int(arena) == model.arena_bytes
