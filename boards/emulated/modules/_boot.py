"""Mounts the file system in RAM as a board mounts its flash. Runs at every start."""

import vfs
from _emulated import files


class _Flash:
    """A block device over the storage that the emulated machine sets apart for files."""

    BLOCK_BYTES = 4096

    def __init__(self, memory):
        self._memory = memoryview(memory)

    def readblocks(self, block, buffer, offset=0):
        first = block * self.BLOCK_BYTES + offset
        buffer[:] = self._memory[first : first + len(buffer)]

    def writeblocks(self, block, buffer, offset=None):
        first = block * self.BLOCK_BYTES + (offset or 0)
        self._memory[first : first + len(buffer)] = buffer

    def ioctl(self, operation, argument):
        if operation == 4:  # number of blocks
            return len(self._memory) // self.BLOCK_BYTES
        if operation == 5:  # bytes in a block
            return self.BLOCK_BYTES
        return 0


def _mount(flash):
    try:
        system = vfs.VfsLfs2(flash)
    except OSError:
        vfs.VfsLfs2.mkfs(flash)
        system = vfs.VfsLfs2(flash)
    vfs.mount(system, "/")


_memory = files()
if _memory:
    _mount(_Flash(_memory))
