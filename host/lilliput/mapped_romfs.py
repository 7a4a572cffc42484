"""Runs MicroPython's Unix port with a ROMFS in mapped memory, as boards have one in flash.

The Unix port cannot map a file, and a ROMFS in a bytearray would lie in the heap, so that nothing
would be shown about a board's memory. The image is therefore linked into a shared library without
code, which the dynamic loader maps, read-only, from its file; MicroPython mounts it where it lies.
Linux only.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from .deployment.romfs import write_image
from .unixport import UnixPortError, find_natmod

_SOURCE = """\
.section .rodata
.balign 4096
.incbin "image.romfs"
.section .note.GNU-stack,"",@progbits
"""


def run(
    files: Mapping[str, bytes],
    *args: str | Path,
    interpreter: Path,
    heap: int,
    cwd: Path | None = None,
    timeout: float | None = None,
) -> subprocess.CompletedProcess[str]:
    """Runs main.py or main.mpy of a ROMFS with arguments; captures its output.

    files: by their paths under /rom. The device package, compiled, and the native module are there
        too, in /rom/lib. heap: bytes of MicroPython's heap, in which none of them lies.
    Raises UnixPortError where there is no Linux, no C compiler, or no built package.
    """
    with tempfile.TemporaryDirectory(prefix="lilliput-") as name:
        folder = Path(name).resolve()
        image = write_image({**_package(), **files})
        library = _library(image, folder)
        offset = library.read_bytes().index(image)
        boot = Path(__file__).with_name("mount_romfs_in_micropython.py")
        return subprocess.run(
            [
                str(interpreter.absolute()),
                "-X",
                f"heapsize={heap}",
                str(boot.absolute()),
                *map(str, args),
            ],
            cwd=cwd,
            env={
                **os.environ,
                "MICROPYPATH": ".frozen",
                "LD_PRELOAD": str(library),
                "LILLIPUT_ROMFS": f"{library} {offset} {len(image)}",
            },
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout,
            check=False,
        )


def _package() -> dict[str, bytes]:
    """The native module and the device package's bytecode, by their paths."""
    module = find_natmod()
    compiled = sorted((module.parent / "lilliput").glob("*.mpy"))
    if not compiled:
        raise UnixPortError(f"no compiled package beside {module}: run `make natmod`")
    found = {f"lib/lilliput/{path.name}": path.read_bytes() for path in compiled}
    return {**found, "lib/_lilliput.mpy": module.read_bytes()}


def _library(image: bytes, folder: Path) -> Path:
    """A shared library that holds an image, page by page as in its file."""
    compiler = shutil.which("cc")
    if compiler is None or sys.platform != "linux":
        raise UnixPortError("a mapped ROMFS needs Linux and a C compiler named cc")
    (folder / "image.romfs").write_bytes(image)
    (folder / "image.S").write_text(_SOURCE)
    library = folder / "image.so"
    command = [compiler, "-shared", "-nostdlib", "-o", str(library), "image.S"]
    subprocess.run(command, cwd=folder, check=True)
    return library
