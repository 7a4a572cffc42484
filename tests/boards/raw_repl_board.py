"""Makes MicroPython's Unix port a board: a raw REPL on stdin and stdout, a flash disk, a ROMFS.

Started by unix_board.py with a file that holds a JSON object: flash, rom (files that hold them),
block_bytes, implementation (what the board says it is, None for the truth), is_raw. Ends after a
soft reset, to be started again: with 42 at the raw REPL, with 43 at the friendly one.
"""

# ruff: noqa: PTH116, PTH123, SIM105, SIM115 (no pathlib, no contextlib)

import gc
import io
import json
import os
import struct
import sys

import vfs

with open(sys.argv[1]) as file:
    options = json.load(file)
read = sys.stdin.buffer.read
write = sys.stdout.buffer.write
WINDOW = 512


class Disk:
    """A block device in a file."""

    def __init__(self, path, block_bytes):
        self.count = os.stat(path)[6] // block_bytes
        self.bytes = block_bytes
        self.file = open(path, "r+b")

    def readblocks(self, block, buffer, offset=0):
        self.file.seek(block * self.bytes + offset)
        self.file.readinto(buffer)

    def writeblocks(self, block, buffer, offset=0):
        self.file.seek(block * self.bytes + offset)
        self.file.write(buffer)
        self.file.flush()

    def ioctl(self, operation, argument):
        if operation == 4:
            return self.count
        if operation == 5:
            return self.bytes
        return 0


class Vfs:
    """The module `vfs` with a ROMFS partition."""

    VfsRom = vfs.VfsRom
    mount = staticmethod(vfs.mount)
    umount = staticmethod(vfs.umount)
    memory = memoryview(b"")
    file = None

    @staticmethod
    def rom_ioctl(operation, *arguments):
        if operation == 1:
            return 1 if len(Vfs.memory) else 0
        if operation == 2:
            return Vfs.memory
        if operation == 3:
            return 16 if arguments[1] <= len(Vfs.memory) else -22
        if operation == 4:
            start, data = arguments[1:]
            if start % 16 or len(data) % 16 or start + len(data) > len(Vfs.memory):
                return -22
            Vfs.memory[start : start + len(data)] = data
            Vfs.file.seek(start)
            Vfs.file.write(data)
            Vfs.file.flush()
            return 0
        return 0


class Stdin:
    """What scripts read from: Ctrl-C ends them, as on a board."""

    def readline(self):
        line = bytearray()
        while line[-1:] != b"\n":
            byte = read(1)
            if byte == b"\x03":
                raise KeyboardInterrupt
            line += byte
        return line.decode()


class Sys:
    """The module `sys` of this board."""

    def __init__(self, implementation):
        self.implementation = implementation
        self.stdin = Stdin()
        for name in ("path", "modules", "platform", "version", "stdout", "exit", "print_exception"):
            setattr(self, name, getattr(sys, name))


class Implementation(tuple):
    """What `sys.implementation` is: a tuple with attributes."""


def start():
    disk = Disk(options["flash"], options["block_bytes"])
    if options["rom"]:
        Vfs.file = open(options["rom"], "r+b")
        memory = bytearray(os.stat(options["rom"])[6])
        Vfs.file.readinto(memory)
        Vfs.memory = memoryview(memory)
    vfs.umount("/")
    try:
        vfs.mount(vfs.VfsLfs2(disk), "/")
    except OSError:
        vfs.VfsLfs2.mkfs(disk)
        vfs.mount(vfs.VfsLfs2(disk), "/")
    if len(Vfs.memory):
        try:
            vfs.mount(vfs.VfsRom(Vfs.memory), "/rom")
        except OSError:
            pass
        sys.modules["vfs"] = Vfs
    os.chdir("/")
    sys.path[:] = ["", ".frozen", "/lib"]
    told = sys.implementation
    if options["implementation"]:
        name, version, mpy = options["implementation"]
        told = Implementation((name, tuple(version)))
        told._machine = "a test"
        told._mpy = mpy
    sys.modules["sys"] = Sys(told)


def paste():
    """Receives a script in raw-paste mode."""
    write(b"R\x01" + struct.pack("<H", WINDOW))
    script = bytearray()
    while True:
        byte = read(1)
        if byte == b"\x04":
            write(b"\x04")
            return bytes(script)
        script += byte
        if len(script) % WINDOW == 0:
            write(b"\x01")


def execute(script, names):
    gc.collect()
    try:
        exec(script, names)
        write(b"\x04\x04>")
    except SystemExit:
        soft_reset(True)
    except BaseException as error:
        text = io.StringIO()
        sys.print_exception(error, text)
        write(b"\x04" + text.getvalue().encode() + b"\x04>")


def soft_reset(is_raw):
    write(b"\r\nMPY: soft reboot\r\n")
    sys.exit(42 if is_raw else 43)


def serve(is_raw):
    names = {"__name__": "__main__"}
    line = bytearray()
    write(b"raw REPL; CTRL-B to exit\r\n>" if is_raw else b"MicroPython on a test\r\n>>> ")
    while True:
        byte = read(1)
        if not byte:
            sys.exit(0)
        if byte == b"\x01":
            is_raw = True
            line = bytearray()
            write(b"raw REPL; CTRL-B to exit\r\n>")
        elif byte == b"\x02":
            is_raw = False
            line = bytearray()
            write(b"\r\n>>> ")
        elif byte == b"\x03":
            line = bytearray()
        elif byte == b"\x04":
            if not is_raw or not line:
                write(b"OK")
                soft_reset(is_raw)
            write(b"OK")
            execute(bytes(line), names)
            line = bytearray()
        elif byte == b"\x05" and is_raw and not line:
            if read(2) == b"A\x01":
                execute(paste(), names)
        elif is_raw:
            line += byte
        elif byte == b"\r":
            write(b"\r\n>>> ")


start()
serve(options["is_raw"])
