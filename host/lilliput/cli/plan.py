"""`lilliput plan`: how much memory a model needs, and what more of it buys."""

from __future__ import annotations

import argparse
import json
from typing import Any

import numpy as np

from ..conversion import is_float, read_graph
from ..graph import Graph
from ..lower import lower
from ..planner import Plan, Point, Way, choose, front, layer_by_layer, too_large
from ..planner.advice import Advice, advise
from ..planner.budget import fullest_step, short_name
from ..planner.ways_out import MOST_MACS
from ..program import Program
from .console import plain_table, quiet_libraries, size_text, wide_console


def run(options: argparse.Namespace) -> None:
    """Prints the front, and draws it with the chosen plan when asked to."""
    with quiet_libraries():
        graph = read_graph(options.model)
        is_placeholder = is_float(graph)
        program = lower(_with_placeholders(graph) if is_placeholder else graph)
    if options.board is not None:
        _apply_board(options, program)
    ways = [
        Way(is_fed, options.paged)
        for is_fed in (True, False)
        if options.input in (None, "fed" if is_fed else "resident")
    ]
    points = front(program, max_macs=max(options.max_macs, MOST_MACS), ways=ways)
    layerwise = layer_by_layer(program).arena_bytes
    chosen = choose(points, options.sram, options.max_macs)
    if options.sram is not None and chosen.arena_bytes > options.sram:
        raise too_large(program, chosen.plan, options.sram, ways[0])
    advice = advise(chosen.plan) if options.advise else None
    if options.plot is not None:
        from .plot import draw

        draw(chosen, points, layerwise, options.sram).save(options.plot)
    if options.json:
        print(json.dumps(_as_json(chosen, points, layerwise)))
        return
    _print(program, chosen, points, layerwise)
    if is_placeholder:
        print("The model is float: it was planned as int8 with placeholder ranges.")
    if advice is not None:
        _print_advice(advice)
    if options.plot is not None:
        print(options.plot)


def _apply_board(options: argparse.Namespace, program: Program) -> None:
    """Sets the arena's limit, and whether weights are paged, as the board's memory wants it."""
    room = options.board.room
    options.sram = min(options.sram or room.arena_limit, room.arena_limit)
    constants = sum(len(step.constants) for step in program.steps)
    options.paged = options.paged or room.reads_in_pages(constants)


def _with_placeholders(graph: Graph) -> Graph:
    """The int8 graph of a float one: its memory is that of any calibration."""
    from ..quantize import Options, quantize

    noise = np.random.default_rng(0)
    sample = [noise.random(graph.tensors[index].shape).astype(np.float32) for index in graph.inputs]
    options = Options(method="minmax", equalize=False, bias_correction=False)
    return quantize(graph, [sample], options)[0]


def _as_json(chosen: Point, points: list[Point], layerwise: int) -> dict[str, Any]:
    return {
        "chosen": _point_json(chosen, layerwise),
        "front": [_point_json(point, layerwise) for point in points],
    }


def _point_json(point: Point, layerwise: int) -> dict[str, Any]:
    return {
        "arena_bytes": point.arena_bytes,
        "lower_bound_bytes": point.plan.lower_bound,
        "macs_ratio": point.macs_ratio,
        "flash_read_bytes": point.flash_read_bytes,
        "input": point.input,
        "weights": point.weights,
        "segments": len(point.plan.segments),
        "layerwise_arena_bytes": layerwise,
    }


def _print(program: Program, chosen: Point, points: list[Point], layerwise: int) -> None:
    console = wide_console()
    table = plain_table("", "input", title=f"{program.name}: memory and what it buys")
    for column in ("arena", "bound", "of layer by layer", "MACs", "flash read", "segments"):
        table.add_column(column, justify="right")
    for point in points:
        table.add_row(
            "*" if point is chosen else "",
            point.input,
            f"{point.arena_bytes:,}",
            f"{point.plan.lower_bound:,}",
            f"{point.arena_bytes / layerwise:.0%}",
            f"{point.macs_ratio:.2f}x",
            f"{point.flash_read_bytes:,}",
            str(len(point.plan.segments)),
            style="bold" if point is chosen else None,
        )
    console.print(table)
    console.print(
        f"Bytes. Layer by layer, with the input in the arena: {size_text(layerwise)}. Bound: what "
        "is alive at once in this schedule, so that no packing needs less."
    )
    _print_peak(chosen.plan)


def _print_peak(plan: Plan) -> None:
    step, held = fullest_step(plan)
    operator = plan.program.steps[step]
    table = plain_table(
        "what", title=f"At the peak of *: {operator.kind} {short_name(operator.name)}"
    )
    for column in ("kind", "bytes", "offset"):
        table.add_column(column, justify="left" if column == "kind" else "right")
    for block in sorted(held, key=lambda b: -b.bytes)[:12]:
        table.add_row(short_name(block.name), block.kind, f"{block.bytes:,}", f"{block.offset:,}")
    console = wide_console()
    console.print(table)
    if len(held) > 12:
        rest = sorted(held, key=lambda b: -b.bytes)[12:]
        console.print(f"and {len(rest)} more, of {sum(b.bytes for b in rest):,} bytes together")


def _print_advice(advice: Advice) -> None:
    console = wide_console()
    if not advice.shrink and not advice.grow:
        console.print("Advice: no other kernel heights would need less memory.")
        return
    table = plain_table("kernel", "change", title="Advice: move receptive field to later layers")
    table.add_column("saves, bytes", justify="right")
    for change in (*advice.shrink, *advice.grow):
        table.add_row(
            short_name(change.name), f"{change.before} to {change.after}", f"{change.saved:,}"
        )
    console.print(table)
    console.print(
        "The model must be trained again. Shrink what comes early and grow as much later: kernels "
        f"listed with 0 grow for nothing. All that shrink together save {advice.together:,} bytes."
    )
