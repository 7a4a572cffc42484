"""A board profile from what a connected board says."""

from __future__ import annotations

from ..boards import Profile, profiles
from .facts import BoardFacts

# The core that native modules of an architecture mean, where the board's name tells no more.
_CORES = {
    "armv6m": "cortex-m0plus",
    "armv7m": "cortex-m3",
    "armv7emsp": "cortex-m4",
    "armv7emdp": "cortex-m7",
    "xtensa": "xtensa-lx106",
    "xtensawin": "xtensa-lx7",
    "rv32imc": "rv32imc",
}


def measured_profile(facts: BoardFacts, key: str) -> Profile:
    """A profile of the board; its core is that of the known board of the same name, else guessed
    from the architecture of its native modules."""
    source = f"measured by lilliput probe, MicroPython {facts.version}"
    figures = ("clock_hz", "heap_bytes", "largest_block_bytes", "flash_bytes", "romfs_bytes")
    return Profile(
        key=key,
        name=facts.machine,
        core=_core(facts),
        mpy_arch=facts.architecture,
        clock_hz=facts.clock_hz,
        heap_bytes=facts.heap_free,
        largest_block_bytes=facts.largest_block,
        flash_bytes=facts.block_bytes * facts.blocks,
        romfs_bytes=facts.romfs_bytes,
        micropython=facts.version,
        sources=dict.fromkeys(figures, source),
    )


def _core(facts: BoardFacts) -> str:
    for known in profiles():
        if facts.machine.startswith(known.name):
            return known.core
    return _CORES.get(facts.architecture, facts.architecture or "unknown")
