"""Defines what copying files needs on a board. Runs in MicroPython; names end in _ to be rare."""

# ruff: noqa: PTH102, PTH107, PTH116, PTH123, SIM105, SIM115 (no pathlib, no contextlib)

import os
import sys
from binascii import a2b_base64, hexlify
from hashlib import sha256


def receive_(write):
    """Passes what the lines of base64 on stdin hold to `write`, up to an empty line."""
    line = sys.stdin.readline()
    while line != "\n":
        write(a2b_base64(line))
        sys.stdout.write("!")
        line = sys.stdin.readline()


def digest_(path):
    """SHA-256 of a file in hexadecimal, "" when there is none."""
    try:
        file = open(path, "rb")
    except OSError:
        return ""
    hash_ = sha256()
    chunk = bytearray(1024)
    with file:
        count = file.readinto(chunk)
        while count:
            hash_.update(memoryview(chunk)[:count])
            count = file.readinto(chunk)
    return hexlify(hash_.digest()).decode()


def head_(path, count):
    """The first bytes of a file; None when there is none."""
    try:
        with open(path, "rb") as file:
            return file.read(count)
    except OSError:
        return None


def size_(path):
    """Size of a file, -1 when there is none."""
    try:
        return os.stat(path)[6]
    except OSError:
        return -1


def is_same_(path, size, digest):
    """Whether a file has this size and SHA-256."""
    return size_(path) == size and digest_(path) == digest


def space_(folder):
    """Bytes of a block and blocks free in a file system; zeros when there is none."""
    try:
        status = os.statvfs(folder)
        return (status[0], status[3])
    except OSError:
        return (0, 0)


def discard_(folder, suffix):
    """Removes the files in a folder whose names end in a suffix."""
    try:
        names = [entry[0] for entry in os.ilistdir(folder or "/")]
    except OSError:
        return
    for name in names:
        if name.endswith(suffix):
            os.remove(folder + "/" + name)


def make_folders_(path):
    """Makes the folders that a file's path names."""
    for end, letter in enumerate(path):
        if letter == "/" and end:
            try:
                os.mkdir(path[:end])
            except OSError:
                pass


def remove_(path):
    """Removes a file, if it is there."""
    try:
        os.remove(path)
    except OSError:
        pass


def tree_(folder):
    """Paths and sizes of the files in a folder and in those inside it."""
    found = []
    try:
        entries = list(os.ilistdir(folder))
    except OSError:
        return found
    for entry in entries:
        path = folder + "/" + entry[0]
        if entry[1] & 0x4000:
            found += tree_(path)
        else:
            found.append((path, entry[3]))
    return found


def writer_at_(offsets, write):
    """Writes pieces at the given offsets, one after the other: write(offset, data), -errno or 0."""
    remaining = iter(offsets)

    def write_next(data):
        result = write(next(remaining), data) or 0
        if result < 0:
            raise OSError(-result)

    return write_next
