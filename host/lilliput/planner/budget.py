"""The error for an arena that does not fit, and the ways out that it names."""

from __future__ import annotations

import math

from .plan import Block, Plan


class BudgetError(ValueError):
    """No schedule fits the memory allowed."""


def budget_error(
    plan: Plan, sram: int, *, fed_bytes: int | None = None, macs_ratio: float | None = None
) -> BudgetError:
    """Says which operator and tensor are in the way, what is missing, and the cheapest ways out.

    `plan` is the smallest one, `fed_bytes` the least arena with the input fed when it is not,
    `macs_ratio` how many times the multiply-accumulates make patches that fit.
    """
    step, held = fullest_step(plan)
    operator = plan.program.steps[step]
    largest = max(held, key=lambda block: block.bytes)
    ways = []
    if fed_bytes is not None and fed_bytes < plan.arena_bytes:
        enough = "enough" if fed_bytes <= sram else f"still {fed_bytes - sram:,} too many"
        ways.append(f"feed the input row by row ({fed_bytes:,} bytes, {enough})")
    if macs_ratio is not None and macs_ratio > 1:
        percent = math.ceil((macs_ratio - 1) * 1000) / 10
        ways.append(
            f"allow {percent:g}% more multiply-accumulates (--max-macs {1 + percent / 100:g})"
        )
    resolution = lower_resolution(plan, sram)
    if resolution is not None:
        height, width = resolution
        ways.append(f"lower the input's resolution to about {height}x{width}")
    ways.append(f"allow {plan.arena_bytes:,} bytes")
    return BudgetError(
        f"the model needs an arena of {plan.arena_bytes:,} bytes, {plan.arena_bytes - sram:,} more "
        f"than the {sram:,} allowed: most is in use at operator {operator.kind} "
        f"({short_name(operator.name)}), where {_what(largest)} {largest.bytes:,} bytes; "
        f"ways out: {'; or '.join(ways)}"
    )


def _what(block: Block) -> str:
    name = short_name(block.name)
    return f"{'the ring of ' if block.kind == 'ring' else ''}{name} takes"


def short_name(name: str) -> str:
    """A tensor's name for people: TFLite joins those of all layers that it fused."""
    first = name.split(";")[0]
    return first if len(first) <= 60 else f"...{first[-57:]}"


def fullest_step(plan: Plan) -> tuple[int, list[Block]]:
    """The step during which the arena is used most, and what it holds then.

    Overlapping blocks count once: bytes in use, not the sum of sizes.
    """
    best: tuple[int, int, list[Block]] = (-1, 0, [])
    for step in range(len(plan.program.steps)):
        held = [block for block in plan.blocks if block.first_step <= step <= block.last_step]
        used = bytes_in_use(held)
        if used > best[0]:
            best = (used, step, held)
    return best[1], best[2]


def bytes_in_use(blocks: list[Block]) -> int:
    """Bytes of the arena that the blocks cover, those that they share counted once."""
    covered = end = 0
    for block in sorted(blocks, key=lambda b: b.offset):
        covered += max(block.offset + block.bytes - max(block.offset, end), 0)
        end = max(end, block.offset + block.bytes)
    return covered


def lower_resolution(plan: Plan, sram: int) -> tuple[int, int] | None:
    """Height and width of an image input, estimated, with which the arena would fit; None when no
    reasonable one would, or when the input is no image.

    Whole maps shrink with both sides, rings and scratch with the width; weights do not. A map of
    one pixel stays.
    """
    ports = plan.program.inputs
    image = plan.program.tensors[ports[0].tensor]
    if len(ports) != 1 or min(image.height, image.width) < 16 or image.channels > 4:
        return None
    one_pixel = {t.name for t in plan.program.tensors if t.height * t.width == 1}
    for eighths in range(image.height // 8 * 8 - 8, 15, -8):
        scale = eighths / image.height
        if _estimated(plan, scale, one_pixel) <= sram:
            return eighths, round(image.width * scale)
    return None


def _estimated(plan: Plan, scale: float, one_pixel: set[str]) -> float:
    """The arena at a fraction of the input's height and width."""
    factors = {"map": scale * scale, "ring": scale, "scratch": scale, "weights": 1.0}

    def most(scaled: bool) -> float:
        return max(
            sum(
                block.bytes * (factors[block.kind] if scaled and block.name not in one_pixel else 1)
                for block in plan.blocks
                if block.first_step <= step <= block.last_step
            )
            for step in range(len(plan.program.steps))
        )

    return plan.arena_bytes * most(scaled=True) / most(scaled=False)
