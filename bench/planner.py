"""Writes docs/planner_table.md: what the published models need, and what their peaks are made of.

python bench/planner.py MODELS_FOLDER
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from lilliput.conversion import read_graph
from lilliput.lower import lower
from lilliput.planner import Plan, layer_by_layer, plan
from lilliput.planner.budget import fullest_step
from lilliput.program import Program

TABLE = Path(__file__).resolve().parent.parent / "docs" / "planner_table.md"
MAX_MACS = 1.35
HEADER = """\
Bytes; written by `bench/planner.py`. The last line of each model is its smallest with patches
(`--max-macs 1.35`).

| model | input | MACs | arena | bound | layer by layer | CPU seconds | the peak is at | and holds |
| --- | --- | ---: | ---: | ---: | ---: | ---: | --- | --- |
"""


def rows(program: Program) -> list[str]:
    """A line of the table for each way of input."""
    layerwise = layer_by_layer(program).arena_bytes
    lines = []
    for kind, max_macs in (("fed", 1.0), ("resident", 1.0), ("fed", MAX_MACS)):
        started = time.process_time()
        made = plan(program, streams_input=kind == "fed", max_macs=max_macs)
        seconds = time.process_time() - started
        lines.append(
            f"| `{program.name}` | {kind} | {made.program.macs / program.macs:.3f}x "
            f"| {made.arena_bytes:,} | {made.lower_bound:,} "
            f"| {layerwise:,} | {seconds:.1f} | {peak(made)} |"
        )
    return lines


def peak(made: Plan) -> str:
    """The step at the peak, and what the arena holds then, by kind."""
    step, held = fullest_step(made)
    operator = made.program.steps[step]
    shape = "x".join(map(str, made.program.tensors[operator.output].shape))
    parts = []
    for kind in ("map", "ring", "scratch"):
        sizes = sorted((block.bytes for block in held if block.kind == kind), reverse=True)
        if sizes:
            listed = " + ".join(f"{size:,}" for size in sizes[:4])
            rest = f" + {len(sizes) - 4} more of {sum(sizes[4:]):,}" if len(sizes) > 4 else ""
            parts.append(f"{kind}{'s' * (len(sizes) > 1 and kind != 'scratch')}: {listed}{rest}")
    return f"step {step}, {operator.kind} to {shape} | {'; '.join(parts)}"


def main() -> None:
    """Plans every model of the folder."""
    if len(sys.argv) != 2:
        sys.exit("usage: python bench/planner.py MODELS_FOLDER")
    lines = [
        line
        for path in sorted(Path(sys.argv[1]).glob("*.tflite"))
        for line in rows(lower(read_graph(path)))
    ]
    TABLE.write_text(HEADER + "\n".join(lines) + "\n", encoding="utf-8")
    print(TABLE)


if __name__ == "__main__":
    main()
