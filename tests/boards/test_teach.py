"""device/examples/teach.py on an emulated board: taught from the REPL and by buttons, over resets.

The same session runs on the board and here, in CPython, and both print the same.
"""

from __future__ import annotations

import contextlib
import io
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from small_trainable import CLASSES, planned_for, small_program, small_samples

from lilliput.deployment import Board
from lilliput.deployment.romfs import write_image
from lilliput.emulation import EmulationError, emulated_board, package_files
from lilliput.format.writer import write
from lilliput.training.scheme import Scheme

CORE = "cortex-m4"
SHOWN, ROUNDS, UNSEEN = 24, 4, 12

# What a user types after a reset. ROM and FLASH are folders; `shown` is what the camera sees next.
START = """
import os
from array import array
from teach import Teacher
frames = open("ROM/samples.bin", "rb").read()
labels = open("ROM/labels.bin", "rb").read()
size = len(frames) // len(labels)
shown = 0
def take():
    if shown >= len(labels):
        raise EOFError("no more frames")
    return array("b", frames[size * shown : size * shown + size])
teacher = Teacher("ROM/trainable.lil", take, learned="FLASH/learned", steps=2, lr=0.05)
print("knows", teacher.knows)
"""
TEACH = f"""
for shown in list(range({SHOWN})) * {ROUNDS}:
    print("loss", teacher.show(labels[shown]))
"""
ASK = f"""
for shown in range({SHOWN}, {SHOWN + UNSEEN}):
    print("sees", *teacher.what())
"""
FORGET = """
teacher.forget()
print("knows", teacher.knows)
"""
FILES = """
print("files", *sorted([name for name in os.listdir("FLASH/") if name.startswith("learned")]))
"""
# A button for each class, read once a turn: the second is pressed twice, then all are at once.
BUTTONS = """
from machine import Pin
turns = ((), (1,), (1,), (), (0, 1, 2), (), ())
for i in range(3):
    Pin.inputs[i] = iter([int(i in pressed) for pressed in turns])
left = [len(turns) - 1]  # frames taken: in all turns but that of all buttons
def look():
    global shown
    left[0] -= 1
    if left[0] == 0:
        shown = len(labels)
    return take()
shown = labels.find(bytes([0]))
teacher.take = look
try:
    teacher.watch([Pin(i, Pin.IN).value for i in range(3)], pause=1)
except EOFError as error:
    print("end:", error)
"""


@pytest.fixture(scope="module")
def rom() -> dict[str, bytes]:
    """The files of the session: a trainable model, frames that it is shown, and their classes."""
    data = small_samples(SHOWN + UNSEEN, seed=6)
    scheme = Scheme(
        frozenset({"deep", "thin", "tail"}), {"next_deep": 1.0, "next_wide": 1.0, "scores": 1.0}
    )
    made = planned_for(small_program(2), scheme, data)
    return {
        "trainable.lil": write(made.plan.program, made.plan),
        "samples.bin": data.samples.tobytes(),
        "labels.bin": bytes(data.classes.tolist()),
    }


@pytest.fixture(scope="module")
def examples(repository: Path) -> Path:
    return repository / "device" / "examples"


@pytest.fixture
def board(examples: Path, rom: dict[str, bytes]) -> Iterator[Board]:
    files = rom | package_files(CORE, native_module_built_in=True)
    files["teach.py"] = (examples / "teach.py").read_bytes()
    files["lib/machine.py"] = (examples / "simulated" / "machine.py").read_bytes()
    try:
        with (
            emulated_board(CORE, native_module_built_in=True, romfs=write_image(files)) as port,
            Board(port) as found,
        ):
            found.restart()
            yield found
    except EmulationError as error:
        pytest.skip(str(error))


class Desk:
    """This computer in a board's place: its "flash" is a folder, a reset forgets all variables."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.names: dict[str, object] = {}

    def execute(self, script: str) -> str:
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(script.replace("ROM", str(self.folder)).replace("FLASH", str(self.folder)),
                 self.names)  # fmt: skip
        return printed.getvalue()


@pytest.fixture
def desk(
    examples: Path, rom: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Desk:
    monkeypatch.syspath_prepend(str(examples / "simulated"))
    monkeypatch.syspath_prepend(str(examples))
    for name in ("teach", "machine"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setitem(sys.modules, "umachine", ModuleType("umachine"))
    for name, content in rom.items():
        (tmp_path / name).write_bytes(content)
    return Desk(tmp_path)


def on(board: Board, script: str) -> list[list[str]]:
    """Words of the lines that a script prints on the board."""
    printed = board.execute(script.replace("ROM", "/rom").replace("FLASH", ""), timeout=120)
    return [line.split() for line in printed.splitlines()]


def reset(board: Board) -> None:
    """Resets the machine, as its button does; its clock, which starts anew, shows that it did."""
    ask = "import time; print(time.ticks_ms())"
    start, before = time.monotonic(), board.query(ask)
    board.start("import machine; machine.reset()")
    time.sleep(0.5)
    board.restart()
    after, passed = board.query(ask), 1000 * (time.monotonic() - start)
    assert after < before / 2 + passed


def assert_alike(board: list[list[str]], desk: str) -> None:
    """The same words; numbers but for what a float of 32 bits takes from them."""
    lines = [line.split() for line in desk.splitlines()]
    assert [len(line) for line in board] == [len(line) for line in lines]
    for there, here in zip(board, lines, strict=True):
        for a, b in zip(there, here, strict=True):
            if "." in b:
                assert float(a.strip("()%")) == pytest.approx(float(b.strip("()%")), rel=1e-4)
            else:
                assert a == b


def right(answers: list[list[str]], rom: dict[str, bytes]) -> int:
    labels = rom["labels.bin"][SHOWN:]
    return sum(int(words[1]) == label for words, label in zip(answers, labels, strict=True))


def test_a_session(board: Board, desk: Desk, rom: dict[str, bytes]) -> None:
    untaught = on(board, START + ASK)
    assert untaught[0] == ["knows", "False"]
    taught = on(board, TEACH)
    assert len(taught) == SHOWN * ROUNDS
    answers = on(board, ASK)
    assert right(untaught[1:], rom) < UNSEEN / 2 < 0.9 * UNSEEN < right(answers, rom)
    assert_alike([*untaught, *taught, *answers], desk.execute(START + ASK + TEACH + ASK))

    reset(board)  # what it learned is in a file
    assert on(board, START + ASK) == [["knows", "True"], *answers]

    assert on(board, FILES) == [["files", "learned"]]
    watched = on(board, BUTTONS)
    assert_alike(watched, desk.execute(BUTTONS))
    assert [words[0] for words in watched] == ["I", "class", "class", "I", "forgotten", "I", "end:"]
    assert on(board, FILES) == [["files"]]

    reset(board)  # what it forgot is not
    assert on(board, START + ASK) == untaught


def test_forgetting_from_the_repl(board: Board) -> None:
    on(board, START)
    assert on(board, "for shown in range(3): teacher.show(labels[shown])\n" + FILES)
    taught = on(board, ASK)
    assert [*on(board, FORGET), *on(board, FILES)] == [["knows", "False"], ["files"]]
    reset(board)
    knows, *answers = on(board, START + ASK)
    assert knows == ["knows", "False"] and answers != taught
    assert CLASSES == 3  # as many as there are buttons
