"""Decoding of MediaPipe's short-range ("front") BlazeFace, after the published description.

Bazarevsky et al., "BlazeFace: Sub-millisecond Neural Face Detection on Mobile GPUs" (2019), with
the anchor and suppression options of MediaPipe's face detection graph. The network sees 128 x 128
RGB pixels in -1..1 and answers, for each of 896 anchors, 16 offsets in pixels (box centre, box
size, six key points) and the logit of a face.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image

INPUT_SIZE = 128
ANCHOR_GRIDS = ((16, 2), (8, 6))  # cells on a side, anchors a cell: strides 8, and three times 16
KEY_POINTS = ("right eye", "left eye", "nose tip", "mouth", "right ear", "left ear")
LOGIT_LIMIT = 100.0


@dataclass(frozen=True)
class Placement:
    """Where a photograph lies in the network's square input.

    A point of the square in 0..1 is `(point * side - offset)` in pixels of the photograph.
    """

    side: float
    offset: tuple[float, float]


@dataclass(frozen=True)
class Face:
    """A detected face.

    box: float64[4], left, top, right, bottom; key_points: float64[6, 2], x and y, in the order of
    `KEY_POINTS`; both in the units of what it was decoded to. score: 0..1.
    """

    box: np.ndarray
    key_points: np.ndarray
    score: float


def letterbox(photograph: Image.Image) -> tuple[np.ndarray, Placement]:
    """The photograph scaled into the network's square, black at the borders.

    Returns uint8[128, 128, 3] and where the photograph lies in it.
    """
    side = max(photograph.size)
    offset = tuple((side - length) / 2 for length in photograph.size)
    square = Image.new("RGB", (side, side))
    square.paste(photograph.convert("RGB"), tuple(int(length) for length in offset))
    small = square.resize((INPUT_SIZE, INPUT_SIZE), Image.Resampling.BILINEAR)
    return np.asarray(small, np.uint8), Placement(float(side), (offset[0], offset[1]))


def anchors() -> np.ndarray:
    """Centres of the 896 anchors in the input's 0..1, float64[896, 2] as x, y."""
    grids = []
    for cells, repeats in ANCHOR_GRIDS:
        centres = (np.arange(cells) + 0.5) / cells
        y, x = np.meshgrid(centres, centres, indexing="ij")
        grids.append(np.repeat(np.stack([x.ravel(), y.ravel()], axis=1), repeats, axis=0))
    return np.concatenate(grids)


def decode(
    offsets: np.ndarray, logits: np.ndarray, *, threshold: float = 0.5, overlap: float = 0.3
) -> list[Face]:
    """The faces of one inference, best first, in the input's 0..1.

    offsets: float[896, 16] in pixels; logits: float[896]. Detections under `threshold` are dropped,
    those that overlap by more than `overlap` (intersection over union) are averaged, weighted by
    their scores.
    """
    offsets = np.asarray(offsets, np.float64).reshape(-1, 16)
    logits = np.asarray(logits, np.float64).reshape(-1)
    scores = 1.0 / (1.0 + np.exp(-np.clip(logits, -LOGIT_LIMIT, LOGIT_LIMIT)))
    chosen = np.flatnonzero(scores >= threshold)
    points = offsets[chosen].reshape(-1, 8, 2) / INPUT_SIZE
    centres = points[:, 0] + anchors()[chosen]
    sizes = points[:, 1]
    boxes = np.concatenate([centres - sizes / 2, centres + sizes / 2], axis=1)
    key_points = points[:, 2:] + anchors()[chosen][:, None]
    return _suppress(boxes, key_points, scores[chosen], overlap)


def placed(face: Face, placement: Placement) -> Face:
    """The face in pixels of the photograph."""
    offset = np.array(placement.offset)
    box = face.box.reshape(2, 2) * placement.side - offset
    return Face(box.reshape(4), face.key_points * placement.side - offset, face.score)


def intersection_over_union(first: np.ndarray, second: np.ndarray) -> float:
    """Overlap of two boxes (left, top, right, bottom), 0 to 1."""
    return float(_overlaps(np.asarray(first), np.asarray(second)[None])[0])


def _suppress(
    boxes: np.ndarray, key_points: np.ndarray, scores: np.ndarray, overlap: float
) -> list[Face]:
    faces = []
    remaining = np.argsort(-scores, kind="stable")
    while remaining.size:
        best = remaining[0]
        near = _overlaps(boxes[best], boxes[remaining]) > overlap
        near[0] = True  # a box of no area overlaps with nothing, not even itself
        group = remaining[near]
        weights = scores[group] / scores[group].sum()
        faces.append(
            Face(
                np.einsum("n,nc->c", weights, boxes[group]),
                np.einsum("n,nkc->kc", weights, key_points[group]),
                float(scores[best]),
            )
        )
        remaining = remaining[~near]
    return faces


def _overlaps(box: np.ndarray, others: np.ndarray) -> np.ndarray:
    top_left = np.maximum(box[:2], others[:, :2])
    bottom_right = np.minimum(box[2:], others[:, 2:])
    shared = np.prod(np.maximum(bottom_right - top_left, 0.0), axis=1)
    areas = np.prod(others[:, 2:] - others[:, :2], axis=1)
    union = np.prod(box[2:] - box[:2]) + areas - shared
    return np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)
