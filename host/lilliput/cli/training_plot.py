"""Draws what a search for a training scheme found: contributions, and promise against memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from PIL import Image, ImageDraw, ImageFont

if TYPE_CHECKING:
    from ..training.contribution import Contributions
    from ..training.evolution import Found

_WIDTH, _HEIGHT = 1600, 560  # of each of the two pictures
_LEFT, _RIGHT, _TOP, _BOTTOM = 110, 40, 80, 150
_PAPER, _INK, _FAINT, _GRID = "#ffffff", "#1f2933", "#6b7785", "#e4e8ed"
_GAIN, _LOSS, _POINT, _BUDGET = "#1769aa", "#b3541e", "#c2185b", "#c62828"


def draw_search(contributions: Contributions, found: Sequence[Found], sram: int) -> Image.Image:
    """Above a bar for each part that was tried, below the schemes found."""
    image = Image.new("RGB", (_WIDTH, 2 * _HEIGHT), _PAPER)
    drawing = ImageDraw.Draw(image)
    _draw_bars(drawing, contributions)
    _draw_schemes(drawing, found, sram)
    return image


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def _draw_bars(drawing: ImageDraw.ImageDraw, contributions: Contributions) -> None:
    bars = [(f"last {k} biases", gain) for k, gain in sorted(contributions.biases.items()) if k]
    bars += [(f"{layer} {r:g}", gain) for (layer, r), gain in contributions.weights.items()]
    drawing.text((_LEFT, 24), "Accuracy gained by each part, in points", _INK, _font(26))
    if not bars:
        return
    low = min(0.0, *(gain for _, gain in bars)) * 100
    high = max(0.01, *(gain for _, gain in bars)) * 100
    bottom = _HEIGHT - _BOTTOM

    def y_of(points: float) -> float:
        return bottom - (points - low) * (bottom - _TOP) / (high - low)

    for points in (low, 0.0, high):
        drawing.line((_LEFT, y_of(points), _WIDTH - _RIGHT, y_of(points)), _GRID)
        drawing.text((20, y_of(points) - 9), f"{points:+.1f}", _FAINT, _font(16))
    step = (_WIDTH - _LEFT - _RIGHT) / len(bars)
    for number, (name, gain) in enumerate(bars):
        left = _LEFT + number * step
        top, end = sorted((y_of(100 * gain), y_of(0)))
        drawing.rectangle(
            (left + 0.1 * step, top, left + 0.9 * step, end), _GAIN if gain >= 0 else _LOSS
        )
        _draw_upright(drawing, left + step / 2, bottom + 8, name)


def _draw_upright(drawing: ImageDraw.ImageDraw, x: float, y: float, text: str) -> None:
    """Text that reads from the top down."""
    label = Image.new("L", (_BOTTOM - 12, 14), 0)
    ImageDraw.Draw(label).text((0, 0), text[:22], 255, _font(11))
    turned = label.rotate(-90, expand=True)
    drawing.bitmap((round(x) - 7, round(y)), turned, _FAINT)


def _draw_schemes(drawing: ImageDraw.ImageDraw, found: Sequence[Found], sram: int) -> None:
    drawing.text(
        (_LEFT, _HEIGHT + 24), "Schemes found: accuracy promised, by arena", _INK, _font(26)
    )
    most = sram * 1.05
    best, worst = max(f.promise for f in found), min(f.promise for f in found)
    span = max(best - worst, 0.01)
    top, bottom = _HEIGHT + _TOP, 2 * _HEIGHT - 60

    def place(arena: float, promise: float) -> tuple[float, float]:
        x = _LEFT + arena * (_WIDTH - _LEFT - _RIGHT) / most
        return x, bottom - 20 - (promise - worst) * (bottom - top - 40) / span

    drawing.line((_LEFT, bottom, _WIDTH - _RIGHT, bottom), _INK)
    x = place(sram, worst)[0]
    drawing.line((x, top, x, bottom), _BUDGET, 2)
    drawing.text((x - 150, bottom + 8), f"--sram {sram:,}", _BUDGET, _font(16))
    for one in found:
        x, y = place(one.arena_bytes, one.promise)
        drawing.ellipse((x - 6, y - 6, x + 6, y + 6), _POINT)
        text = f"{100 * one.promise:.1f} at {one.arena_bytes:,}"
        drawing.text((x - 60, y - 28), text, _FAINT, _font(14))
