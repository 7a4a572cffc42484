"""`lilliput watch`: frames of an emulated board, in a page of this computer."""

from __future__ import annotations

import base64
import json
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import serial
from PIL import Image
from skimage import data as photographs
from small_models import float_classifier, int8_tflite

from lilliput import convert
from lilliput.cli.app import main
from lilliput.deployment.romfs import write_image
from lilliput.emulation import EmulationError, emulated_board, package_files
from lilliput.execution import best_classes, ports_of, run_on_host
from lilliput.unixport import UnixPortError

CORE = "cortex-m4"
LABELS = ("cat", "dog", "horse", "rest")
SIZE = (24, 24)
# A camera of the board: what each picture shows is known here too.
CAMERA = """
def pictures(shape):
    size = shape[1] * shape[2] * shape[3]
    for n in range(10000):
        yield bytes((i * 7 + n * 31) & 255 for i in range(size))

def broken(shape):
    yield bytes(5)

def short(shape):
    yield iter([bytes(shape[2] * shape[3])])
"""


@pytest.fixture(scope="module")
def model() -> bytes:
    return convert(int8_tflite(float_classifier(SIZE[0])), labels=LABELS).data


@contextmanager
def board_with(files: dict[str, bytes]) -> Iterator[str]:
    """The port of an emulated board with these files, and the package, in its ROMFS."""
    try:
        image = write_image({**package_files(CORE), **files})
        with emulated_board(CORE, romfs=image) as port:
            yield port
    except (EmulationError, UnixPortError) as error:
        pytest.skip(str(error))


class Watch:
    """The command in a process of its own; `url` is its page. Use it in a `with` statement."""

    def __init__(self, *arguments: str | Path) -> None:
        command = [sys.executable, "-m", "lilliput.cli.app", "watch", *map(str, arguments)]
        self.process = subprocess.Popen(
            [*command, "--web-port", "0"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        self.url = self.process.stdout.readline().strip()
        if not self.url:
            assert self.process.stderr is not None
            said = self.process.stderr.read()
            self.process.wait()
            if "make " in said:
                pytest.skip(said)
            raise AssertionError(said)

    def __enter__(self) -> Watch:
        return self

    def __exit__(self, *error: object) -> None:
        self.process.kill()
        self.process.communicate()

    def events(self) -> Iterator[dict[str, Any]]:
        with urllib.request.urlopen(f"{self.url}events", timeout=60) as stream:
            for line in stream:
                if line.startswith(b"data: "):
                    yield json.loads(line.removeprefix(b"data: "))

    def frames(self, count: int) -> list[dict[str, Any]]:
        """The next frames that a page gets."""
        found = []
        for event in self.events():
            if "frame" in event:
                found.append(event["frame"])
                if len(found) == count:
                    return found
        raise AssertionError("the events ended")

    def interrupt(self) -> str:
        """Ends it as Ctrl-C does; returns what it said on stderr."""
        self.process.send_signal(signal.SIGINT)
        _, said = self.process.communicate(timeout=30)
        assert self.process.returncode == 0, said
        return said


def check(frame: dict[str, Any], model: bytes, pixels: np.ndarray) -> None:
    """The scores and the arena of a frame are the host's for these pixels."""
    wanted = run_on_host(model, [pixels[np.newaxis]])
    best = best_classes(wanted.outputs[0], ports_of(model), len(LABELS))
    assert [label for label, _ in frame["scores"]] == [label for label, _ in best]
    assert [s for _, s in frame["scores"]] == pytest.approx([s for _, s in best], abs=1e-5)
    assert frame["arena_bytes"] == wanted.arena_bytes


def pixels_of(frame: dict[str, Any]) -> np.ndarray:
    flat = np.frombuffer(base64.b64decode(frame["pixels"]), np.uint8)
    return flat.reshape(frame["height"], frame["width"], frame["channels"])


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    for name in ("astronaut", "coffee"):
        photo = Image.fromarray(getattr(photographs, name)()).resize(SIZE)
        photo.save(folder / f"{name}.png")
    return folder


@pytest.fixture(scope="module")
def watch(model: bytes, photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watch]:
    """The command, which shows two photographs in turn on an emulated board."""
    path = tmp_path_factory.mktemp("models") / "animals.lil"
    path.write_bytes(model)
    with Watch(path, "--on", f"qemu:{CORE}", "--images", photos) as running:
        yield running


def test_frames_are_what_the_model_saw_and_said(watch: Watch, model: bytes, photos: Path) -> None:
    photographs_here = [np.asarray(Image.open(path)) for path in sorted(photos.iterdir())]
    seen = set()
    frames = watch.frames(6)
    # Of each, an emulator's clock can be too coarse.
    assert sum(frame["milliseconds"] for frame in frames) > 0
    for frame in frames:
        [index] = [i for i in (0, 1) if np.array_equal(pixels_of(frame), photographs_here[i])]
        check(frame, model, photographs_here[index])
        seen.add(index)
    assert seen == {0, 1}


def test_page_in_a_browser(watch: Watch, tmp_path: Path) -> None:
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    driver = shutil.which("chromedriver")
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    if browser is None or driver is None:
        pytest.skip("no Chromium: apt-get install chromium chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = browser
    for flag in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"):
        options.add_argument(flag)
    service = webdriver.ChromeService(driver)
    with webdriver.Chrome(options=options, service=service) as page:
        page.get(watch.url)
        deadline = time.monotonic() + 60
        while not (labels := page.find_elements("class name", "label")):
            assert time.monotonic() < deadline, page.page_source
            time.sleep(0.1)
        shown = page.execute_script(
            "const canvas = document.querySelector('canvas');"
            "const image = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);"
            "return [canvas.width, canvas.height, new Set(image.data).size,"
            " [...document.querySelectorAll('.label')].map((each) => each.textContent),"
            " [...document.querySelectorAll('.bar div')].map((each) => each.offsetWidth),"
            " document.querySelector('#figures').textContent, document.title,"
            " performance.getEntriesByType('resource').map((each) => each.name)]"
        )
        page.save_screenshot(str(tmp_path / "page.png"))
        assert labels
        width, height, levels, names, bars, figures, title, requests = shown
        assert (width, height) == SIZE and levels > 50
        assert sorted(names) == sorted(LABELS)
        assert bars == sorted(bars, reverse=True) and bars[0] > 0
        assert re.fullmatch(r"[\d,]+(\.\d+)? ms an inference, [\d,]+ bytes of arena", figures)
        assert title == f"animals.lil on an emulated {CORE}"
        assert all(each.startswith(watch.url) for each in requests)
        watch.interrupt()
        while "has ended" not in page.find_element("id", "message").text:
            assert time.monotonic() < deadline + 60
            time.sleep(0.1)


def camera_picture(number: int) -> np.ndarray:
    values = (np.arange(SIZE[0] * SIZE[1] * 3) * 7 + number * 31) & 255
    return values.astype(np.uint8).reshape(*SIZE[::-1], 3)


def test_board_that_vanishes_and_comes_back(model: bytes, tmp_path: Path) -> None:
    """As a USB port does; and Ctrl-C leaves the board at its prompt, with an empty heap."""
    files = {"model.lil": model, "camera.py": CAMERA.encode()}
    link = tmp_path / "ttyACM0"
    with ExitStack() as stack:
        first = stack.enter_context(ExitStack())
        link.symlink_to(first.enter_context(board_with(files)))
        arguments = ("/rom/model.lil", "--port", link, "--source", "camera:pictures")
        watch = stack.enter_context(Watch(*arguments, "--width", "12"))
        [frame] = watch.frames(1)
        pictures = [camera_picture(number) for number in range(256)]
        [picture] = [each for each in pictures if np.array_equal(each[::2, ::2], pixels_of(frame))][
            :1
        ]
        check(frame, model, picture)
        first.close()
        link.unlink()
        events = watch.events()
        message = next(each["message"] for each in events if "message" in each)
        assert message == (
            f"the board at {link} was unplugged or reset: plug it in, and this goes on"
        )
        link.symlink_to(stack.enter_context(board_with(files)))
        assert next(each["frame"] for each in events if "frame" in each)["height"] == 12
        assert watch.interrupt() == f"{message}\n"
        with serial.Serial(str(link), timeout=5) as port:
            port.write(b"\r\nimport gc; print('model' in globals(), gc.mem_alloc() < 20000)\r\n")
            assert port.read_until(b"\nFalse True\r\n>>> ").endswith(b"\nFalse True\r\n>>> ")


def test_sources_that_fail(model: bytes, capsys: pytest.CaptureFixture[str]) -> None:
    """Each ends the command with one sentence; the board takes the next one."""
    failures = {
        "camera:nothing": "nothing",
        "camera:broken": "ValueError: input buffer has the wrong size",
        "camera:short": "the picture ended before the model's input was complete",
        "no_such_module:f": "no_such_module",
    }
    with board_with({"model.lil": model, "camera.py": CAMERA.encode()}) as port:
        for source, words in failures.items():
            arguments = ["watch", "/rom/model.lil", "--port", port, "--source", source]
            assert main([*arguments, "--web-port", "0"]) == 1
            said = capsys.readouterr().err
            assert "failed while showing what its model sees" in said and words in said
            assert said.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["/person.lil", "--port", "/dev/no"], "name what yields the board's pictures"),
        (["/person.lil", "--port", "/dev/no", "--source", "a:b"], "there is no port /dev/no"),
        (["person.lil", "--on", "qemu:cortex-m4"], "give it pictures with --images"),
    ],
)
def test_unfit_arguments(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["watch", *arguments, "--web-port", "0"]) == 1
    assert words in capsys.readouterr().err
