"""Draws a plan: what lies where in the arena over the steps, and the front it was chosen from."""

from __future__ import annotations

import colorsys
import math
from collections.abc import Callable, Sequence

from PIL import Image, ImageDraw, ImageFont

from ..planner import Block, Point
from ..planner.budget import short_name

_WIDTH = 1600
_TIMELINE_HEIGHT = 620
_FRONT_HEIGHT = 460
_LEFT, _RIGHT, _TOP, _BOTTOM = 100, 40, 96, 64
_PAPER, _INK, _FAINT, _GRID = "#ffffff", "#1f2933", "#6b7785", "#e4e8ed"
_FED, _RESIDENT, _CHOSEN, _BUDGET = "#1769aa", "#b3541e", "#c2185b", "#c62828"
_GOLDEN = 0.61803398875

Drawing = ImageDraw.ImageDraw
Font = ImageFont.FreeTypeFont | ImageFont.ImageFont
Scale = Callable[[float], float]


def draw(
    chosen: Point, points: Sequence[Point], layerwise: int, sram: int | None = None
) -> Image.Image:
    """The picture: above the arena of the chosen plan over its steps, below the front."""
    image = Image.new("RGB", (_WIDTH, _TIMELINE_HEIGHT + _FRONT_HEIGHT), _PAPER)
    drawing = ImageDraw.Draw(image)
    _draw_timeline(drawing, chosen, sram)
    _draw_front(drawing, chosen, points, layerwise)
    return image


def _font(size: int) -> Font:
    return ImageFont.load_default(size)


def _draw_timeline(drawing: Drawing, chosen: Point, sram: int | None) -> None:
    plan = chosen.plan
    name = plan.program.name
    title = f"{name}: {plan.arena_bytes:,} bytes of arena, input {chosen.input}"
    drawing.text((_LEFT, 22), title, _INK, _font(26))
    _draw_legend(drawing, _LEFT, 62)
    steps = len(plan.program.steps)
    top = max(plan.arena_bytes, sram or 0) * 1.03
    bottom = _TIMELINE_HEIGHT - _BOTTOM

    def x_of(step: float) -> float:
        return _LEFT + step * (_WIDTH - _LEFT - _RIGHT) / (steps + 1)

    def y_of(count: float) -> float:
        return bottom - count * (bottom - _TOP) / top

    _draw_byte_axis(drawing, y_of, top)
    for segment in plan.segments:
        if segment.count > 1:
            box = (x_of(segment.first), bottom + 3, x_of(segment.last + 1) - 1, bottom + 9)
            drawing.rectangle(box, fill="#7b8794")
    for number, block in enumerate(plan.blocks):
        _draw_block(drawing, block, _colour(block, number), x_of, y_of)
    for step in range(0, steps + 1, _tidy(steps / 12)):
        drawing.text((x_of(step), bottom + 14), str(step), _FAINT, _font(14))
    drawing.text(
        (_LEFT, bottom + 36),
        "step of the schedule; grey bars: streamed segments",
        _FAINT,
        _font(15),
    )
    _draw_level(drawing, y_of(plan.arena_bytes), _INK, f"arena {plan.arena_bytes:,}")
    if sram is not None:
        _draw_level(drawing, y_of(sram), _BUDGET, f"allowed {sram:,}")


def _draw_level(drawing: Drawing, y: float, colour: str, text: str) -> None:
    drawing.line((_LEFT, y, _WIDTH - _RIGHT, y), fill=colour, width=1)
    drawing.text((_WIDTH - _RIGHT, y - 3), text, colour, _font(15), anchor="rd")


def _draw_legend(drawing: Drawing, x: float, y: float) -> None:
    sample = {"map": "tensor held whole", "ring": "ring of rows", "scratch": "scratch of a kernel"}
    for kind, text in sample.items():
        box = (x, y, x + 26, y + 16)
        _fill(drawing, box, kind, _colour(Block("", 0, 0, 0, 0, kind), 5))
        drawing.text((x + 34, y - 2), text, _FAINT, _font(16))
        x += 60 + drawing.textlength(text, _font(16))


def _draw_byte_axis(drawing: Drawing, y_of: Scale, top: float) -> None:
    for count in range(0, int(top) + 1, _tidy(top / 6)):
        y = y_of(count)
        drawing.line((_LEFT, y, _WIDTH - _RIGHT, y), fill=_GRID)
        drawing.text((_LEFT - 8, y), f"{count:,}", _FAINT, _font(14), anchor="rm")


def _draw_block(drawing: Drawing, block: Block, colour: str, x_of: Scale, y_of: Scale) -> None:
    if block.bytes == 0:
        return
    left, right = x_of(block.first_step), x_of(block.last_step + 1) - 1
    high, low = y_of(block.offset + block.bytes), y_of(block.offset)
    box = (left, high, max(right, left + 1), max(low, high + 1))
    _fill(drawing, box, block.kind, colour)
    if block.kind != "scratch" and low - high >= 15 and right - left >= 34:
        _write_inside(drawing, f"{short_name(block.name)}  {block.bytes:,}", box)


def _write_inside(drawing: Drawing, text: str, box: tuple[float, float, float, float]) -> None:
    font = _font(13)
    room = box[2] - box[0] - 8
    if drawing.textlength(text, font) > room:
        text = text.rsplit("  ", 1)[1]
    if drawing.textlength(text, font) <= room:
        drawing.text((box[0] + 4, (box[1] + box[3]) / 2), text, _INK, font, anchor="lm")


def _fill(drawing: Drawing, box: tuple[float, float, float, float], kind: str, colour: str) -> None:
    """Maps plain, rings hatched, scratch dark."""
    drawing.rectangle(box, fill=colour, outline="#52606d")
    if kind == "ring":
        left, top, right, bottom = (round(edge) for edge in box)
        for start in range(left - (bottom - top), right, 9):
            begin = max(start, left)
            end = min(start + bottom - top, right)
            if begin < end:
                line = (begin, bottom - (begin - start), end, bottom - (end - start))
                drawing.line(line, fill="#9aa5b1")


def _colour(block: Block, number: int) -> str:
    if block.kind == "scratch":
        return "#52606d"
    if block.kind == "weights":
        return "#d9c58b"
    red, green, blue = colorsys.hls_to_rgb(number * _GOLDEN % 1, 0.82, 0.62)
    return f"#{round(red * 255):02x}{round(green * 255):02x}{round(blue * 255):02x}"


def _tidy(least: float) -> int:
    """1, 2 or 5 times a power of ten, at least 1 and at least so much."""
    power = 10 ** max(math.floor(math.log10(max(least, 1))), 0)
    return next(int(factor * power) for factor in (1, 2, 5, 10) if factor * power >= least)


def _draw_front(drawing: Drawing, chosen: Point, points: Sequence[Point], layerwise: int) -> None:
    origin = _TIMELINE_HEIGHT
    drawing.text((_LEFT, origin + 10), "What more memory buys", _INK, _font(22))
    top, bottom = origin + 84, origin + _FRONT_HEIGHT - _BOTTOM
    most_bytes = max(*(point.arena_bytes for point in points), layerwise) * 1.08
    most_flash = max(point.flash_read_bytes for point in points) * 1.12

    def x_of(count: float) -> float:
        return _LEFT + count * (_WIDTH - _LEFT - _RIGHT) / most_bytes

    def y_of(count: float) -> float:
        return bottom - count * (bottom - top) / most_flash

    _draw_byte_axis(drawing, y_of, most_flash)
    for count in range(0, int(most_bytes) + 1, _tidy(most_bytes / 10)):
        drawing.line((x_of(count), bottom, x_of(count), bottom + 5), fill=_FAINT)
        drawing.text((x_of(count), bottom + 10), f"{count:,}", _FAINT, _font(14), anchor="mt")
    drawing.text((_LEFT, bottom + 34), "bytes of arena", _FAINT, _font(15))
    drawing.text((_LEFT, origin + 46), "bytes of flash read in an inference", _FAINT, _font(15))
    x = x_of(layerwise)
    drawing.line((x, top, x, bottom), fill=_FAINT)
    drawing.text((x - 6, top), f"layer by layer {layerwise:,}", _FAINT, _font(14), anchor="rt")
    for kind, colour, at in (("fed", _FED, 420), ("resident", _RESIDENT, 560)):
        own = [point for point in points if point.input == kind]
        at_once = [
            (x_of(point.arena_bytes), y_of(point.flash_read_bytes))
            for point in own
            if point.macs_ratio == 1
        ]
        if len(at_once) > 1:
            drawing.line(at_once, fill=colour, width=2)
        for point in own:
            place = x_of(point.arena_bytes), y_of(point.flash_read_bytes)
            drawing.circle(place, 5, fill=colour)
            if point.macs_ratio > 1:
                text = f"{point.macs_ratio:.2f}x MACs"
                drawing.text((place[0], place[1] - 9), text, colour, _font(12), anchor="mb")
        if own:
            drawing.circle((at, origin + 55), 5, fill=colour)
            drawing.text((at + 12, origin + 55), f"input {kind}", colour, _font(16), anchor="lm")
    place = x_of(chosen.arena_bytes), y_of(chosen.flash_read_bytes)
    drawing.circle(place, 9, outline=_CHOSEN, width=3)
    drawing.text(
        (place[0] + 14, place[1] - 12),
        f"chosen: {chosen.arena_bytes:,}",
        _CHOSEN,
        _font(16),
        anchor="lm",
    )
