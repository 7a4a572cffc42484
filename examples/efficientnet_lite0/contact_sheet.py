"""Draws photographs in a grid, each with what two networks took it for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFont

_THUMBNAIL = 116
_CAPTION = 40
_GAP = 10
_COLUMNS = 6
_COLOURS = 200
_BACKGROUND = (250, 250, 248)
_INK = (30, 30, 30)
_AGREES = (20, 120, 50)
_DIFFERS = (190, 40, 30)


@dataclass(frozen=True)
class Entry:
    """A photograph uint8[H, W, 3] and the classes that the float and the int8 network gave it."""

    pixels: np.ndarray
    float_class: str
    int8_class: str

    @property
    def agrees(self) -> bool:
        return self.float_class == self.int8_class


def contact_sheet(entries: Sequence[Entry]) -> Image.Image:
    """The grid, in few colours, so that its PNG is small."""
    rows = -(-len(entries) // _COLUMNS)
    cell = (_THUMBNAIL + _GAP, _THUMBNAIL + _CAPTION + _GAP)
    sheet = Image.new("RGB", (_COLUMNS * cell[0] + _GAP, rows * cell[1] + _GAP), _BACKGROUND)
    pen = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(11)
    for index, entry in enumerate(entries):
        left = _GAP + index % _COLUMNS * cell[0]
        top = _GAP + index // _COLUMNS * cell[1]
        image = Image.fromarray(entry.pixels)
        thumbnail = image.resize((_THUMBNAIL, _THUMBNAIL), Image.Resampling.LANCZOS)
        sheet.paste(thumbnail, (left, top))
        below = top + _THUMBNAIL + 4
        float_line = _cut(f"float: {entry.float_class}", pen, font)
        int8_line = _cut(f"int8: {entry.int8_class}", pen, font)
        pen.text((left, below), float_line, fill=_INK, font=font)
        colour = _AGREES if entry.agrees else _DIFFERS
        pen.text((left, below + 15), int8_line, fill=colour, font=font)
    return sheet.quantize(_COLOURS, dither=Image.Dither.NONE)


def _cut(
    text: str,
    pen: ImageDraw.ImageDraw,
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
) -> str:
    """The text, its end cut where it is wider than a thumbnail."""
    if pen.textlength(text, font) <= _THUMBNAIL:
        return text
    while pen.textlength(f"{text}…", font) > _THUMBNAIL:
        text = text[:-1]
    return f"{text.rstrip()}…"
