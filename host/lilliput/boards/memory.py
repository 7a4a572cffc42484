"""How much of a board's heap a model takes, and how much there is for it."""

from __future__ import annotations

from dataclasses import dataclass

from ..format.reader import ModelFile

# Bytes that importing `lilliput` and loading a model take beside the native module's code, the
# file and the arena, with what the interpreter needs to compile a user's few lines; measured on
# emulated boards and rounded up.
PACKAGE_HEAP = 24_000
# Code and constants of the native module, where its size is not known.
MODULE_BYTES = 32_768
_ROMFS_RECORDS = 128  # what an image with one file has beside its data


@dataclass(frozen=True)
class Need:
    """The heap that a model takes, in bytes; each figure in one piece.

    held_bytes: of its file: all of it, the front of a paged one, 0 when it is mapped.
    """

    held_bytes: int
    arena_bytes: int

    @property
    def total(self) -> int:
        return self.held_bytes + self.arena_bytes

    @property
    def largest(self) -> int:
        return max(self.held_bytes, self.arena_bytes)


@dataclass(frozen=True)
class Room:
    """What a board has for a model beside Lilliput itself, in bytes.

    heap_bytes: free. largest_block: of it in one piece. romfs_bytes: of the ROMFS partition, where
    a file is used as it lies; 0 for none.
    """

    heap_bytes: int
    largest_block: int
    romfs_bytes: int

    @property
    def arena_limit(self) -> int:
        return max(0, min(self.heap_bytes, self.largest_block))

    def maps(self, file_bytes: int) -> bool:
        """Whether a file of so many bytes fits the ROMFS."""
        return file_bytes + _ROMFS_RECORDS <= self.romfs_bytes

    def reads_in_pages(self, file_bytes: int) -> bool:
        """Whether the weights of a file of so many bytes had better be read as they are needed: it
        is not mapped, and would take more than half of the heap."""
        return not self.maps(file_bytes) and file_bytes > self.heap_bytes // 2

    def need_of(self, model: ModelFile) -> Need:
        """The heap that a model takes on this board."""
        if self.maps(model.file_bytes):
            held = 0
        elif model.is_paged:
            held = model.file_bytes - model.constants_bytes
        else:
            held = model.file_bytes
        return Need(held, model.arena_bytes)

    def holds(self, need: Need) -> bool:
        """Whether there is so much heap."""
        return need.total <= self.heap_bytes and need.largest <= self.largest_block


def room_beside_lilliput(
    heap_bytes: int, largest_block: int, romfs_bytes: int, module_bytes: int = MODULE_BYTES
) -> Room:
    """What is left for a model of so much heap after boot, when Lilliput has been imported.

    module_bytes: of native code that is copied into the heap, 0 when the firmware has it.
    """
    free = max(0, heap_bytes - module_bytes - PACKAGE_HEAP)
    return Room(free, min(free, largest_block), romfs_bytes)
