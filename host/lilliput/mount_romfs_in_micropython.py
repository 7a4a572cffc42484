"""Mounts the ROMFS that `mapped_romfs.run` has mapped into this process at /rom, and runs its main.

As a board does, but that its main may be bytecode, too.
"""

# ruff: noqa: PTH123 (MicroPython has no pathlib)

import gc
import os
import sys

import uctypes  # type: ignore[import-not-found]
import vfs  # type: ignore[import-not-found]


def mapped(path: str, offset: int, size: int) -> bytearray:
    """The bytes of a file from `offset` on, where the kernel has mapped them."""
    with open("/proc/self/maps") as maps:
        for line in maps:
            parts = line.split()
            if parts[-1] == path:
                first, end = (int(address, 16) for address in parts[0].split("-"))
                place = first + offset - int(parts[2], 16)
                if first <= place and place + size <= end:
                    return uctypes.bytearray_at(place, size)
    raise OSError(2, "the ROMFS is not mapped")


def mount() -> None:
    """Puts the ROMFS at /rom, its files before others on the module path."""
    path, offset, size = (os.getenv("LILLIPUT_ROMFS") or "").rsplit(" ", 2)
    vfs.mount(vfs.VfsRom(mapped(path, int(offset), int(size))), "/rom")
    sys.path[:] = ["/rom", "/rom/lib"]


mount()
gc.collect()
__import__("main")
