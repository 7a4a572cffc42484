"""`lilliput deploy` against MicroPython's Unix port behind a pseudo-terminal.

A board here is a real MicroPython with a raw REPL, a littlefs disk and, where asked for, a ROMFS.
Its cable can be pulled. An old MicroPython, CircuitPython and an ESP32 are this one, too, which
says in `sys.implementation` that it is another.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from small_models import int8_tflite
from unix_board import UnixBoard

from lilliput import convert
from lilliput.cli.app import main
from lilliput.deployment import Board, BoardError, Options, deploy, trial
from lilliput.deployment.romfs import ALIGNMENT, data_offset, read_image

NATMOD = "/lib/_lilliput.mpy"
ESP32_S3 = ("micropython", (1, 25, 0), 6 | 3 << 8 | 10 << 10)
OLD = ("micropython", (1, 22, 2), 6 | 2 << 8 | 2 << 10)
CIRCUITPYTHON = ("circuitpython", (9, 2, 0), 6)


@pytest.fixture(scope="module")
def person(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small model's file."""
    path = tmp_path_factory.mktemp("models") / "person.lil"
    convert(int8_tflite(), path, labels=["a", "b", "c", "d"])
    return path


@pytest.fixture
def board_folder(tmp_path: Path) -> Path:
    folder = tmp_path / "board"
    folder.mkdir()
    return folder


def ask(port: str, script: str) -> Any:
    """What a script on the board prints, as a Python literal."""
    with Board(port) as board:
        board.restart()
        return board.query(script)


def all_files(port: str) -> dict[str, str]:
    """Digests of all files on the board."""
    script = """
import os
from binascii import hexlify
from hashlib import sha256
def tree(folder):
    found = {}
    for entry in os.ilistdir(folder or "/"):
        path = folder + "/" + entry[0]
        if entry[1] & 0x4000:
            found.update(tree(path))
        else:
            with open(path, "rb") as file:
                found[path] = hexlify(sha256(file.read()).digest()).decode()
    return found
print(repr(tree("")))
"""
    files: dict[str, str] = ask(port, script)
    return files


def user_files(port: str) -> dict[str, str]:
    """Those that are not Lilliput's."""
    ours = ("/lib/lilliput/", NATMOD, "/person.lil", "/rom/")
    return {path: digest for path, digest in all_files(port).items() if not path.startswith(ours)}


def put(port: str, path: str, size: int, letter: str = "x") -> None:
    """Writes a file of the user's on the board."""
    ask(port, f"with open({path!r}, 'w') as f:\n f.write({letter!r} * {size})\nprint(1)")


def put_user_files(port: str) -> None:
    put(port, "/main.py", 100, "#")
    ask(port, "import os\nos.mkdir('/data')\nprint(1)")
    put(port, "/data/photo.raw", 5000)


def test_deploy_copies_runs_and_compares(person: Path, board_folder: Path) -> None:
    with UnixBoard(board_folder) as board:
        put_user_files(board.port)
        before = user_files(board.port)
        first = deploy(person, board.port)
        assert "/person.lil" in first.copied and NATMOD in first.copied
        assert first.kept == ()
        assert first.trial.arena_bytes > 0 and first.trial.milliseconds[0] > 0
        again = deploy(person, board.port)
        assert again.copied == ()
        assert set(again.kept) == set(first.copied)
        labels = ask(
            board.port,
            f"import lilliput\nm = lilliput.load({first.model!r})\n"
            "m.infer(m.input.buffer())\nprint(repr([label for label, score in m.top(4)]))",
        )
        assert sorted(labels) == ["a", "b", "c", "d"]
        assert user_files(board.port) == before


def test_only_what_changed_is_copied(person: Path, board_folder: Path, tmp_path: Path) -> None:
    with UnixBoard(board_folder) as board:
        deploy(person, board.port)
        other = tmp_path / "person.lil"
        convert(int8_tflite(), other, labels=["e", "f", "g", "h"])
        assert deploy(other, board.port).copied == ("/person.lil",)
        model = next(path for path in deploy(other, board.port).kept if "/model." in path)
        put(board.port, model, 100)
        assert deploy(other, board.port).copied == (model,)
        # What MicroPython would import in place of the package's own file goes away.
        put(board.port, "/lib/lilliput/model.py", 100)
        deploy(other, board.port)


def test_a_model_goes_into_the_romfs_aligned(person: Path, board_folder: Path) -> None:
    with UnixBoard(board_folder, romfs_bytes=64 << 10) as board:
        assert deploy(person, board.port).model == "/rom/person.lil"
        other = Options(name="other.lil")
        assert deploy(person, board.port, other).copied == ("/rom/other.lil",)
        assert deploy(person, board.port).copied == ()
        image = (board_folder / "rom.img").read_bytes()
        for name in ("person.lil", "other.lil"):
            assert data_offset(image, name) % ALIGNMENT == 0
            assert read_image(image)[name] == person.read_bytes()
        in_place = "import lilliput\nm = lilliput.load('/rom/person.lil')\n"
        assert ask(board.port, in_place + "print(isinstance(m._file, memoryview))") is True


def test_a_romfs_that_is_too_full_is_left_as_it_was(person: Path, board_folder: Path) -> None:
    size = person.stat().st_size // 16 * 16 + 512
    with UnixBoard(board_folder, romfs_bytes=size) as board:
        deploy(person, board.port)
        image = (board_folder / "rom.img").read_bytes()
        with pytest.raises(BoardError, match=r"ROMFS of the board .* are needed"):
            deploy(person, board.port, Options(name="other.lil"))
        assert (board_folder / "rom.img").read_bytes() == image
        assert deploy(person, board.port).copied == ()


def test_a_reset_while_the_romfs_is_written_keeps_its_files_here(
    person: Path, board_folder: Path
) -> None:
    with UnixBoard(board_folder, romfs_bytes=64 << 10) as board:
        deploy(person, board.port)

        def tell(stage: str, done: int, total: int) -> None:
            if stage == "write ROMFS" and done == 1:
                board.reset()

        with pytest.raises(BoardError, match=r"writing its ROMFS.* are kept in") as raised:
            deploy(person, board.port, Options(name="other.lil"), tell)
        kept = Path(re.findall(r"kept in (\S+),", str(raised.value))[0])
        assert read_image(kept.read_bytes())["person.lil"] == person.read_bytes()
        kept.unlink()
        assert deploy(person, board.port).model == "/rom/person.lil"


def test_a_built_in_module_is_used(person: Path, board_folder: Path) -> None:
    with UnixBoard(board_folder, interpreter="usermod") as board:
        done = deploy(person, board.port)
        assert done.facts.built_in is not None
        assert NATMOD not in done.copied


def test_a_model_too_large_for_ram_is_refused_before_it_is_copied(
    models: Path, board_folder: Path, tmp_path: Path
) -> None:
    model = models / "mcunet_vww.tflite"
    whole = tmp_path / "vww.lil"
    convert(model, whole)
    with UnixBoard(board_folder, heap_bytes=400_000) as board:
        with pytest.raises(BoardError, match=r"lilliput convert .* --paged"):
            deploy(whole, board.port)
        assert ask(board.port, "import os\nprint(os.listdir('/'))") == []
        done = deploy(model, board.port)
        assert done.model == "/mcunet_vww.lil"
        assert done.trial.model_heap < 100_000


def test_an_arena_too_large_for_the_heap_is_refused_before_anything_is_copied(
    models: Path, board_folder: Path, tmp_path: Path
) -> None:
    large = tmp_path / "large.lil"
    convert(models / "mcunetv2_large.tflite", large, paged=True)
    with UnixBoard(board_folder, heap_bytes=200_000) as board:
        with pytest.raises(BoardError, match=r"needs .* bytes of heap .* in one piece"):
            deploy(large, board.port)
        assert ask(board.port, "import os\nprint(os.listdir('/'))") == []


def test_a_full_file_system(person: Path, board_folder: Path) -> None:
    with UnixBoard(board_folder, flash_bytes=128 << 10) as board:
        put(board.port, "/mine", 100_000)
        with pytest.raises(BoardError, match=r"has [\d,]+ bytes free, [\d,]+ are needed"):
            deploy(person, board.port)
        assert ask(board.port, "import os\nprint(os.listdir('/'))") == ["mine"]
        ask(board.port, "import os\nos.remove('/mine')\nprint(1)")
        assert deploy(person, board.port).copied


def test_a_file_system_that_fills_up_on_the_way(
    person: Path, board_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with UnixBoard(board_folder, flash_bytes=128 << 10) as board:
        put(board.port, "/mine", 90_000)
        monkeypatch.setattr("lilliput.deployment.deploying.check_space", lambda *arguments: None)
        with pytest.raises(BoardError, match=r"file system of the board .* is full"):
            deploy(person, board.port)
        names = ask(board.port, "import os\nprint(os.listdir('/lib'))")
        assert not [name for name in names if name.endswith("part")]
        ask(board.port, "import os\nos.remove('/mine')\nprint(1)")
        assert deploy(person, board.port).copied


def stopping_at(path: str, stop: Callable[[], None]) -> Callable[[str, int, int], None]:
    """A progress function that calls `stop` once, when a file has been copied in part."""
    is_stopped = False

    def tell(stage: str, done: int, total: int) -> None:
        nonlocal is_stopped
        if stage == f"copy {path}" and not is_stopped:
            is_stopped = True
            stop()

    return tell


def test_a_reset_in_the_middle_of_a_copy(person: Path, board_folder: Path) -> None:
    with UnixBoard(board_folder) as board:
        with pytest.raises(BoardError, match=f"copying {NATMOD}: it was reset"):
            deploy(person, board.port, tell=stopping_at(NATMOD, board.reset))
        # Another model this time: what the interrupted copy has left goes away all the same.
        done = deploy(person, board.port, Options(name="other.lil"))
        assert NATMOD in done.copied and "/other.lil" in done.copied
        assert not [path for path in all_files(board.port) if path.endswith("part")]


def test_an_interruption_in_the_middle_of_a_copy(person: Path, board_folder: Path) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    with UnixBoard(board_folder) as board:
        with pytest.raises(KeyboardInterrupt):
            deploy(person, board.port, tell=stopping_at(NATMOD, interrupt))
        assert NATMOD in deploy(person, board.port).copied


def test_a_board_that_is_busy(
    person: Path, board_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with UnixBoard(board_folder) as board:
        busy = Board(board.port)
        busy.restart()
        busy.start("while True: pass")
        busy.close()
        with monkeypatch.context() as impatient:
            impatient.setattr("lilliput.deployment.connection._ANSWER_TIMEOUT", 1.0)
            with pytest.raises(BoardError, match="does not stop at Ctrl-C; press its reset button"):
                deploy(person, board.port)
        board.reset()
        assert deploy(person, board.port).copied


def test_a_port_that_another_program_uses(person: Path, board_folder: Path) -> None:
    with UnixBoard(board_folder) as board:
        with Board(board.port), pytest.raises(BoardError, match="close the other program"):
            deploy(person, board.port)
        assert deploy(person, board.port).copied


@pytest.mark.parametrize(
    ("implementation", "message"),
    [
        (OLD, r"runs MicroPython 1\.22: Lilliput needs 1\.24 or newer"),
        (ESP32_S3, r"needs the native module for xtensawin, .*make natmod ARCH=xtensawin"),
        (CIRCUITPYTHON, "runs CircuitPython, which loads no native module"),
    ],
)
def test_a_board_that_cannot_run_it(
    person: Path,
    board_folder: Path,
    implementation: tuple[str, tuple[int, ...], int],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setenv("LILLIPUT_NATMODS", str(tmp_path))
    with (
        UnixBoard(board_folder, implementation=implementation) as board,
        pytest.raises(BoardError, match=message),
    ):
        deploy(person, board.port)
    with UnixBoard(board_folder) as board:
        assert ask(board.port, "import os\nprint(os.listdir('/'))") == []


@pytest.mark.parametrize("stage", ["/lib/lilliput/model.mpy", NATMOD, "/person.lil"])
def test_an_unplugged_cable(person: Path, board_folder: Path, stage: str) -> None:
    with UnixBoard(board_folder) as board:
        put_user_files(board.port)
        before = user_files(board.port)
        with pytest.raises(BoardError, match=f"was unplugged while copying {stage}"):
            deploy(person, board.port, tell=stopping_at(stage, board.unplug))
    with UnixBoard(board_folder) as board:
        assert stage in deploy(person, board.port).copied
        assert user_files(board.port) == before


def test_other_bits_than_the_host_are_reported(
    person: Path, board_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trial, "expected_checksums", lambda data: [0])
    with (
        UnixBoard(board_folder) as board,
        pytest.raises(BoardError, match="computes other numbers than this computer"),
    ):
        deploy(person, board.port)


def test_a_file_of_the_user_is_not_overwritten(person: Path, board_folder: Path) -> None:
    with UnixBoard(board_folder) as board:
        put(board.port, "/person.lil", 4, "?")
        with pytest.raises(BoardError, match="is not a model of Lilliput's"):
            deploy(person, board.port)
        assert ask(board.port, "print(repr(open('/person.lil').read()))") == "????"
        assert deploy(person, board.port, Options(name="other.lil")).model == "/other.lil"


def test_a_replaced_model_makes_room_for_itself(
    person: Path, board_folder: Path, tmp_path: Path
) -> None:
    with UnixBoard(board_folder, flash_bytes=128 << 10) as board:
        deploy(person, board.port)
        free = ask(board.port, "import os\ns = os.statvfs('/')\nprint(s[0] * s[3])")
        put(board.port, "/mine", free - 12 * 1024)
        other = tmp_path / "person.lil"
        convert(int8_tflite(), other, labels=["e", "f", "g", "h"])
        assert deploy(other, board.port).copied == ("/person.lil",)


def test_the_digest_of_a_copied_file_is_checked(person: Path, board_folder: Path) -> None:
    with UnixBoard(board_folder) as board:
        deploy(person, board.port)
        script = (
            "from hashlib import sha256\nprint(sha256(open('/person.lil','rb').read()).digest())"
        )
        assert ask(board.port, script) == hashlib.sha256(person.read_bytes()).digest()


def test_the_command(
    person: Path, board_folder: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    with UnixBoard(board_folder) as board:
        assert main(["deploy", str(person), "--port", board.port]) == 0
        printed = capsys.readouterr().out
        assert 'lilliput.load("/person.lil")' in printed and "same bits" in printed
        assert main(["deploy", str(person), "--port", board.port, "--json"]) == 0
        assert '"copied": []' in capsys.readouterr().out
        profile = tmp_path / "mine.toml"
        assert main(["probe", "--port", board.port, "-o", str(profile)]) == 0
        model = tmp_path / "planned.lil"
        source = tmp_path / "model.tflite"
        source.write_bytes(int8_tflite())
        arguments = ["convert", str(source), "-o", str(model), "--board", str(profile)]
        assert main(arguments) == 0
        capsys.readouterr()
    assert main(["deploy", str(person), "--port", "/dev/no-such-port"]) == 1
    error = capsys.readouterr().err
    assert "there is no port" in error and error.count("\n") == 1
