"""`lilliput watch`: a page on this computer with what a board's model sees and says."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import resources
from pathlib import Path

from ..deployment.ports import only_port
from ..deployment.romfs import write_image
from ..emulation import emulated_board, package_files
from ..execution import ports_of, read_model
from ..samples import IMAGE_SUFFIXES, pixels
from ..watching import LiveServer, Source, live_view
from .console import until_stopped


def run(options: argparse.Namespace) -> None:
    """Shows frames until Ctrl-C, a signal to end, or the end of the pictures.

    Raises ValueError for arguments that do not go together, BoardError, EmulationError, OSError.
    """
    with (
        until_stopped(),
        _source(options) as source,
        LiveServer(options.web_port, _title(options, source)) as server,
    ):
        print(server.url, flush=True)
        live_view(source, server, lambda message: print(message, file=sys.stderr, flush=True))


@contextmanager
def _source(options: argparse.Namespace) -> Iterator[Source]:
    """Where frames come from; an emulated board runs as long as it is used."""
    if options.on is None:
        if options.source is None or options.images or options.profile:
            raise ValueError(
                "name what yields the board's pictures with --source, such as "
                "camera_rows:pictures; --images and --as are for emulated boards"
            )
        yield Source(options.port or only_port(), options.model, options.source, options.width)
        return
    if options.images is None or options.source:
        raise ValueError("an emulated board has no camera: give it pictures with --images")
    model = read_model(Path(options.model))
    script = resources.files("lilliput.watching").joinpath("on_board/pictures_of_file.py")
    files = {
        **package_files(options.on),
        "model.lil": model,
        "pictures": _pictures(options.images, ports_of(model).inputs[0].shape),
        "pictures_of_file.py": script.read_bytes(),
    }
    heap_bytes = options.profile.heap_bytes if options.profile else None
    with emulated_board(options.on, heap_bytes=heap_bytes, romfs=write_image(files)) as port:
        yield Source(port, "/rom/model.lil", "pictures_of_file:pictures", options.width)


def _pictures(path: Path, shape: tuple[int, ...]) -> bytes:
    """An image, or those of a folder in order of their names, as pixels of the input's size."""
    found = [path]
    if path.is_dir():
        found = sorted(each for each in path.iterdir() if each.suffix.lower() in IMAGE_SUFFIXES)
    if not found:
        raise ValueError(f"there are no images in {path}")
    return b"".join(pixels(each, shape).tobytes() for each in found)


def _title(options: argparse.Namespace, source: Source) -> str:
    place = f"an emulated {options.on}" if options.on else source.port
    return f"{Path(options.model).name} on {place}"
