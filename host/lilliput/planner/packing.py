"""Packs blocks with lifetimes into the smallest arena found, by first fit over several orders."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

ALIGNMENT = 4
_ATTEMPTS = 300


@dataclass(frozen=True)
class Item:
    """Something that occupies `bytes` from step `first` to step `last`."""

    name: str
    bytes: int
    first: int
    last: int

    def meets(self, other: Item) -> bool:
        return self.first <= other.last and other.first <= self.last


@dataclass(frozen=True)
class Packing:
    """An offset for each item, and the bytes that all of them span."""

    offsets: tuple[int, ...]
    bytes: int


Overlaps = Mapping[tuple[int, int], int]
"""(output, input) → least distance: the output may lie over the input if it begins so many bytes
before it."""


def align(value: int) -> int:
    """The next multiple of the alignment."""
    return -(-value // ALIGNMENT) * ALIGNMENT


def lower_bound(items: Sequence[Item], overlaps: Overlaps) -> int:
    """The most bytes alive at any step, with outputs laid over inputs as far as they may."""
    best = 0
    for step in {item.first for item in items}:
        alive = [i for i, item in enumerate(items) if item.first <= step <= item.last]
        total = sum(align(items[i].bytes) for i in alive)
        savings = [
            overlap_saving(items[out].bytes, items[into].bytes, distance)
            for (out, into), distance in overlaps.items()
            if out in alive and into in alive
        ]
        largest = max(align(items[i].bytes) for i in alive)
        best = max(best, largest, total - sum(savings))
    return best


def overlap_saving(output: int, source: int, distance: int) -> int:
    """Bytes saved by laying an output over an input, begun `distance` bytes before it."""
    union = max(align(output), align(distance) + align(source))
    return max(align(output) + align(source) - union, 0)


def pack(items: Sequence[Item], overlaps: Overlaps, seed: int = 0) -> Packing:
    """Places every item: the best of first fit by size, by lifetime, and of random changes."""
    bound = lower_bound(items, overlaps)
    neighbours = [
        [j for j, other in enumerate(items) if j != i and item.meets(other)]
        for i, item in enumerate(items)
    ]
    distances = {pair: align(distance) for pair, distance in overlaps.items()}
    by_size = sorted(range(len(items)), key=lambda i: -items[i].bytes)
    by_life = sorted(
        range(len(items)), key=lambda i: (items[i].first - items[i].last, -items[i].bytes)
    )
    by_time = sorted(range(len(items)), key=lambda i: (items[i].first, -items[i].bytes))
    best_order = by_size
    best = _first_fit(items, by_size, neighbours, distances)
    for order in (by_life, by_time):
        candidate = _first_fit(items, order, neighbours, distances)
        if candidate.bytes < best.bytes:
            best, best_order = candidate, order
    generator = random.Random(seed)
    for _ in range(_ATTEMPTS):
        if best.bytes <= bound or len(items) < 2:
            break
        order = list(best_order)
        moved = order.pop(generator.randrange(len(order)))
        order.insert(generator.randrange(len(order) + 1), moved)
        candidate = _first_fit(items, order, neighbours, distances)
        if candidate.bytes <= best.bytes:
            best, best_order = candidate, order
    return best


def _first_fit(
    items: Sequence[Item],
    order: Sequence[int],
    neighbours: Sequence[Sequence[int]],
    distances: Overlaps,
) -> Packing:
    """Each item, in order, at the lowest offset that the items placed before it leave."""
    offsets: dict[int, int] = {}
    for i in order:
        forbidden = sorted(
            _forbidden(items, offsets, distances, i, j) for j in neighbours[i] if j in offsets
        )
        offset = 0
        for low, high in forbidden:
            if low < offset < high:
                offset = high
        offsets[i] = offset
    total = max((offsets[i] + align(items[i].bytes) for i in offsets), default=0)
    return Packing(tuple(offsets[i] for i in range(len(items))), total)


def _forbidden(
    items: Sequence[Item], offsets: Mapping[int, int], distances: Overlaps, i: int, j: int
) -> tuple[int, int]:
    """The open interval of offsets at which item i would collide with item j, placed already."""
    low = offsets[j] - align(items[i].bytes)
    high = offsets[j] + align(items[j].bytes)
    if (i, j) in distances:
        low = max(low, offsets[j] - distances[i, j])
    if (j, i) in distances:
        high = min(high, offsets[j] + distances[j, i])
    return low, high
