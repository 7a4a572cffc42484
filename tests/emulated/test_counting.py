"""The instruction counter is proven on loops whose length is known, and on a timer."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
from emulation import CORES
from emulation.building import build_program
from emulation.running import emulate

TURNS = (1, 2, 3, 10, 1000, 99_999, 5_000_000)
OVERHEAD = 2  # the return of region_begin, the call of region_end
IN_LOOP = 3
NANOSECONDS_PER_TICK = 40
TIMED = {"cortex-m7", "cortex-m4", "cortex-m3", "cortex-m0"}


@pytest.mark.parametrize("counts_time", [False, True])
def test_counts_are_those_of_the_loop(core_name: str, counts_time: bool, emulators: None) -> None:
    program = build_program(CORES[core_name], Path(__file__).with_name("counted_loop.c"))
    data = struct.pack(f"<{len(TURNS) + 1}I", len(TURNS), *TURNS)
    written, regions = emulate(program, data, with_blocks=True, counts_time=counts_time)
    wanted = [IN_LOOP * turns + OVERHEAD for turns in TURNS]
    assert [region.instructions for region in regions] == wanted
    for region in regions:
        counted = (block.instructions * block.executions for block in region.blocks)
        assert sum(counted) == region.instructions
    if counts_time and core_name in TIMED:
        # An instruction takes a nanosecond; a few more are executed beside the region.
        nanoseconds = np.frombuffer(written, "<u4").astype(np.int64) * NANOSECONDS_PER_TICK
        assert np.all(np.abs(nanoseconds - wanted) <= 2 * NANOSECONDS_PER_TICK), nanoseconds
