"""Fail when a firmware of the rp2 port reaches into its own ROMFS; print what both take.

python check_room.py firmware.elf
"""

from __future__ import annotations

import struct
import sys
from pathlib import Path

from elftools.elf.elffile import ELFFile
from elftools.elf.sections import Section, Symbol, SymbolTableSection

FLASH_ADDRESS = 0x10000000


def symbol(elf: ELFFile, name: str) -> tuple[Symbol, Section]:
    """Return a symbol and the section that it is in. Raises SystemExit when there is none."""
    table = elf.get_section_by_name(".symtab")
    found = table.get_symbol_by_name(name) if isinstance(table, SymbolTableSection) else None
    if not found:
        sys.exit(f"error: {name} is not in the firmware: is it one of the rp2 port, with a ROMFS?")
    return found[0], elf.get_section(found[0]["st_shndx"])


def room_in(elf: ELFFile) -> tuple[int, int, int]:
    """Return the firmware's bytes, and where in the flash its ROMFS begins and how large it is."""
    end, _ = symbol(elf, "__flash_binary_end")
    # ports/rp2/rp2_flash.c: the object's type, its offset in the flash, its size.
    romfs, section = symbol(elf, "rp2_flash_romfs_obj")
    start = romfs["st_value"] - section["sh_addr"]
    _, base, size = struct.unpack_from("<III", section.data(), start)
    return end["st_value"] - FLASH_ADDRESS, base, size


def main() -> None:
    """Check the file that the command line names."""
    with Path(sys.argv[1]).open("rb") as file:
        firmware, base, size = room_in(ELFFile(file))
    print(f"firmware {firmware:,} bytes, ROMFS {size:,} bytes at {base:#x} of the flash")
    if firmware > base:
        sys.exit(
            f"error: the firmware reaches {firmware - base:,} bytes into its ROMFS: make it "
            f"smaller, with ROMFS_KB={(size - (firmware - base)) // 4096 * 4} at most"
        )


if __name__ == "__main__":
    main()
