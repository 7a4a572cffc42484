"""Packs blocks with lifetimes into the smallest arena found, by first fit over several orders."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

ALIGNMENT = 4
PATIENCE = 1500
"""Changes without an improvement before the search for a better packing ends."""


@dataclass(frozen=True)
class Item:
    """Something that occupies `bytes` from step `first` to step `last`: a "map" that is held
    whole, a "ring" of rows, "scratch" or a page of "weights"."""

    name: str
    bytes: int
    first: int
    last: int
    kind: str = "map"

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


def pack(
    items: Sequence[Item], overlaps: Overlaps, *, patience: int = PATIENCE, seed: int = 0
) -> Packing:
    """Places every item: first fit in several orders, the best of which is then changed, one item
    at a time, so that less and less lies above the lower bound."""
    bound = lower_bound(items, overlaps)
    sizes = [align(item.bytes) for item in items]
    obstacles = _obstacles(items, sizes, overlaps)
    everything = range(len(items))
    orders = [
        sorted(everything, key=lambda i: -sizes[i]),
        sorted(everything, key=lambda i: (items[i].first - items[i].last, -sizes[i])),
        sorted(everything, key=lambda i: (items[i].first, -sizes[i])),
    ]
    tried = [(_first_fit(order, sizes, obstacles), order) for order in orders]
    offsets, order = min(tried, key=lambda one: _excess(one[0], sizes, bound))
    generator = random.Random(seed)
    offsets = _improved(offsets, order, sizes, obstacles, bound, patience, generator)
    return Packing(tuple(offsets), _end(offsets, sizes))


Obstacles = Sequence[Sequence[tuple[int, int, int]]]
"""For each item, the others that it meets: (item, low, high) forbids the offsets between the
other's offset plus low and plus high, both excluded."""


def _obstacles(items: Sequence[Item], sizes: Sequence[int], overlaps: Overlaps) -> Obstacles:
    found: list[list[tuple[int, int, int]]] = []
    for i, item in enumerate(items):
        meeting: list[tuple[int, int, int]] = []
        for j, other in enumerate(items):
            if j != i and item.meets(other):
                low, high = -sizes[i], sizes[j]
                if (i, j) in overlaps:
                    low = max(low, -align(overlaps[i, j]))
                if (j, i) in overlaps:
                    high = min(high, align(overlaps[j, i]))
                meeting.append((j, low, high))
        found.append(meeting)
    return found


def _improved(
    offsets: list[int],
    order: list[int],
    sizes: Sequence[int],
    obstacles: Obstacles,
    bound: int,
    patience: int,
    generator: random.Random,
) -> list[int]:
    """Moves items within the order, those that lie too high and what they meet above all."""
    cost = _excess(offsets, sizes, bound)
    idle = 0
    while cost > (0, 0) and idle < patience:
        high = [i for i in order if offsets[i] + sizes[i] > bound]
        moved = generator.choice(high)
        if generator.random() < 0.5:
            moved = generator.choice(obstacles[moved])[0]
        place = order.index(moved)
        candidate = order[:place] + order[place + 1 :]
        candidate.insert(generator.randrange(len(order)), moved)
        placed = _first_fit(candidate, sizes, obstacles)
        reached = _excess(placed, sizes, bound)
        idle = 0 if reached < cost else idle + 1
        if reached <= cost:
            offsets, order, cost = placed, candidate, reached
    return offsets


def _end(offsets: Sequence[int], sizes: Sequence[int]) -> int:
    return max((o + size for o, size in zip(offsets, sizes, strict=True)), default=0)


def _excess(offsets: Sequence[int], sizes: Sequence[int], bound: int) -> tuple[int, int]:
    """Bytes above the bound of the highest item, and of all items together."""
    above = [o + size - bound for o, size in zip(offsets, sizes, strict=True) if o + size > bound]
    return sum(above), max(above, default=0)


def _first_fit(order: Sequence[int], sizes: Sequence[int], obstacles: Obstacles) -> list[int]:
    """Each item, in order, at the lowest offset that the items placed before it leave."""
    offsets = [-1] * len(sizes)
    for i in order:
        forbidden = sorted(
            [
                (offsets[j] + low, offsets[j] + high)
                for j, low, high in obstacles[i]
                if offsets[j] >= 0
            ]
        )
        offset = 0
        for low, high in forbidden:
            if low < offset < high:
                offset = high
        offsets[i] = offset
    return offsets
