"""Prints what a board is and has, as a Python literal. Runs in MicroPython, after a soft reset.

Runs behind heap.py; HEADER, set before, is the start of a model of the host's format.
"""

# ruff: noqa: F821, PTH109 (MicroPython has no pathlib)

import gc
import os
import sys


def built_in_module():
    """What the firmware's own `_lilliput` says of HEADER; None when there is none."""
    path = sys.path[:]
    sys.path[:] = []
    try:
        import _lilliput

        try:
            _lilliput.verify(HEADER)
            return ""
        except ValueError as error:
            return str(error)
    except ImportError:
        return None
    finally:
        sys.path[:] = path


def romfs_bytes():
    """Size of the first ROMFS partition; 0 when there is none."""
    try:
        import vfs

        if vfs.rom_ioctl(1) < 1:
            return 0
        device = vfs.rom_ioctl(2, 0)
        if hasattr(device, "ioctl"):
            return device.ioctl(4, 0) * device.ioctl(5, 0)
        return 0 if isinstance(device, int) else len(device)
    except (ImportError, AttributeError, OSError):
        return 0


def file_system(root):
    """Bytes of a block, blocks free and blocks in all; zeros when there is no file system."""
    try:
        status = os.statvfs(root)
        return (status[0], status[3], status[2])
    except (AttributeError, OSError):
        return (0, 0, 0)


def clock():
    """The core's frequency in Hz; 0 when it does not say."""
    try:
        import machine

        frequency = machine.freq()
        return frequency[0] if isinstance(frequency, tuple) else frequency
    except (ImportError, AttributeError):
        return 0


gc.collect()
facts = {"heap_free": gc.mem_free()}
implementation = sys.implementation
facts["name"] = implementation[0]
facts["version"] = tuple(implementation[1][:3])
facts["machine"] = getattr(implementation, "_machine", sys.platform)
facts["mpy"] = getattr(implementation, "_mpy", 0)
facts["root"] = os.getcwd()
facts["path"] = tuple(sys.path)
facts["file_system"] = file_system(facts["root"])
facts["romfs_bytes"] = romfs_bytes()
facts["clock_hz"] = clock()
facts["built_in"] = built_in_module()
facts["largest_block"] = largest_block()
print(repr(facts))
