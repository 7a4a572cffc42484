"""Plans MobileNetV2 and prints the arena, fed and resident, and what lies in it at the peak.

    python examples/mobilenet_v2/plan.py

The two networks are 1.0 at 224 x 224 and 0.35 at 144 x 144, as `keras.applications` has them,
with random weights, quantised on random pictures: the plan depends on shapes alone.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import numpy as np
from network import mobilenet_v2

from lilliput.cli.console import quiet_libraries
from lilliput.graph import Graph
from lilliput.lower import lower
from lilliput.passes.simplify import simplify
from lilliput.planner import Schedule, plan
from lilliput.planner.plan import Block, Plan
from lilliput.quantize import Options, quantize

# Width, input size, and the arena in bytes that the project promises with the input fed.
NETWORKS = ((1.0, 224, 160_000), (0.35, 144, 32_000))
# The plan needs no accuracy: neither corrections nor a report are worth their time here.
_QUICK = Options(equalize=False, bias_correction=False, report_samples=0)


def main() -> int:
    """Prints the plans. Returns the exit code: 0 when every arena is as promised."""
    kept = True
    for width, size, promised in NETWORKS:
        with quiet_libraries():
            program = lower(simplify(quantized_network(width, size)))
        fed = plan(program)
        resident = plan(program, streams_input=False)
        layers = plan(program, schedule=Schedule.OPERATORS)
        print(f"MobileNetV2 {width} at {size} x {size}: {program.macs / 1e6:.1f} M MACs (1.00x)")
        print(f"  arena, input fed        {fed.arena_bytes:>9,} bytes ({promised:,} promised)")
        print(f"  arena, input resident   {resident.arena_bytes:>9,} bytes")
        print(f"  operator by operator    {layers.arena_bytes:>9,} bytes, input fed")
        print(f"  lower bound             {fed.lower_bound:>9,} bytes for this schedule")
        report_peak(fed)
        kept = kept and fed.arena_bytes <= promised
    return 0 if kept else 1


def quantized_network(width: float, size: int) -> Graph:
    """The int8 graph, calibrated with two random pictures."""
    generator = np.random.default_rng(0)
    shape = (1, size, size, 3)
    pictures = [[generator.uniform(-1, 1, shape).astype(np.float32)] for _ in range(2)]
    graph, _ = quantize(mobilenet_v2(size, width), pictures, _QUICK)
    return graph


def report_peak(made: Plan) -> None:
    """Prints the step at which most bytes are in use, and what lies there, largest first."""
    steps = range(len(made.program.steps))
    held = [[b for b in made.blocks if b.first_step <= step <= b.last_step] for step in steps]
    peak = max(steps, key=lambda step: used_bytes(held[step]))
    segment = next(s for s in made.segments if s.first <= peak <= s.last)
    first, last = (made.program.steps[i].name for i in (segment.first, segment.last))
    where = "alone" if first == last else f"in the segment {first} to {last}"
    print(f"  peak at {made.program.steps[peak].name}, {where}:")
    for block in sorted(held[peak], key=lambda block: -block.bytes):
        print(f"    {block.bytes:>9,}  {block.name}")
    shared = sum(block.bytes for block in held[peak]) - used_bytes(held[peak])
    if shared:
        print(f"    {-shared:>9,}  where an output overwrites rows that are no longer needed")


def used_bytes(blocks: Sequence[Block]) -> int:
    """Bytes of the arena in which any of the blocks lies."""
    used = end = 0
    for block in sorted(blocks, key=lambda block: block.offset):
        used += max(block.offset + block.bytes - max(block.offset, end), 0)
        end = max(end, block.offset + block.bytes)
    return used


if __name__ == "__main__":
    sys.exit(main())
