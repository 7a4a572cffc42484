"""Real photographs, cropped, mirrored and resized: inputs of image models."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import skimage
from PIL import Image

NAMES = ("astronaut.png", "chelsea.png", "coffee.png", "rocket.jpg")


def photographs(
    count: int, height: int, width: int, seed: int = 0, names: Sequence[str] = NAMES
) -> np.ndarray:
    """uint8 [count, height, width, 3]: random crops of scikit-image's photographs."""
    folder = Path(skimage.__file__).parent / "data"
    pictures = [Image.open(folder / name).convert("RGB") for name in names]
    dice = np.random.default_rng(seed)
    return np.stack(
        [
            np.asarray(_crop(pictures[number % len(pictures)], height, width, dice))
            for number in range(count)
        ]
    )


def _crop(picture: Image.Image, height: int, width: int, dice: np.random.Generator) -> Image.Image:
    side = int(min(picture.size) * dice.uniform(0.4, 1.0))
    left = int(dice.integers(0, picture.width - side + 1))
    top = int(dice.integers(0, picture.height - side + 1))
    crop = picture.resize((width, height), box=(left, top, left + side, top + side))
    if dice.random() < 0.5:
        crop = crop.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return crop
