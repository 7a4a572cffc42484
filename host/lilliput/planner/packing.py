"""Packs blocks with lifetimes into the smallest arena found, by first fit over several orders."""

from __future__ import annotations

import heapq
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

ALIGNMENT = 4
PATIENCE = 4000
"""Changes tried before the search for a better packing ends."""
_SLACK = 0.02
"""Of the bound: by how much the first changes may make a packing worse."""


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
        savings: dict[int, int] = {}  # of each output: no more of it than all can lie over inputs
        for (out, into), distance in overlaps.items():
            if out in alive and into in alive:
                saving = overlap_saving(items[out].bytes, items[into].bytes, distance)
                savings[out] = min(savings.get(out, 0) + saving, align(items[out].bytes))
        largest = max(align(items[i].bytes) for i in alive)
        best = max(best, largest, total - sum(savings.values()))
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
    sizes = [align(item.bytes) for item in items]
    obstacles = _obstacles(items, sizes, overlaps)
    bound = lower_bound(items, overlaps)
    everything = range(len(items))
    orders = [
        sorted(everything, key=lambda i: -sizes[i]),
        sorted(everything, key=lambda i: (items[i].first - items[i].last, -sizes[i])),
        sorted(everything, key=lambda i: (items[i].first, -sizes[i])),
    ]
    orders += [_outputs_first(order, overlaps) for order in orders]
    tried = [_Arrangement(order, sizes, obstacles, bound) for order in orders]
    best = min(tried, key=lambda arrangement: arrangement.cost)
    best.improve(patience, random.Random(seed))
    return Packing(tuple(best.offsets), best.end())


def _outputs_first(order: Sequence[int], overlaps: Overlaps) -> list[int]:
    """The order with every output that may lie over an input just before that input: at the
    lowest offset an output could not begin before it."""
    outputs: dict[int, list[int]] = {}
    for out, into in overlaps:
        outputs.setdefault(into, []).append(out)
    placed: dict[int, None] = {}
    for item in order:
        waiting = [item]
        while waiting:
            last = waiting[-1]
            needed = [out for out in outputs.pop(last, []) if out not in placed]
            waiting += needed
            if not needed:
                placed[waiting.pop()] = None
    return list(placed)


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


class _Arrangement:
    """Items placed one after the other, in the order of their keys: each at the lowest offset that
    those before it leave. A change of one key moves only what depends on it."""

    def __init__(
        self, order: Sequence[int], sizes: Sequence[int], obstacles: Obstacles, bound: int
    ) -> None:
        self.sizes = sizes
        self.obstacles = obstacles
        self.bound = bound
        self.keys = [0.0] * len(order)
        for place, item in enumerate(order):
            self.keys[item] = float(place)
        self.offsets = [-1] * len(order)
        for item in order:
            self.offsets[item] = self._lowest(item, self.keys[item], {})
        self.cost = sum(self._above(item, self.offsets[item]) for item in order)
        self.high = {item for item in order if self._above(item, self.offsets[item])}

    def end(self) -> int:
        """Bytes that all items span."""
        return max((o + size for o, size in zip(self.offsets, self.sizes, strict=True)), default=0)

    def improve(self, patience: int, generator: random.Random) -> None:
        """Moves items within the order, those that lie too high and what they meet above all,
        until none does. Changes for the worse are taken at first, and less and less (threshold
        accepting, Dueck and Scheuer 1990)."""
        best, best_cost = list(self.offsets), self.cost
        for trial in range(patience):
            if self.cost == 0:
                return
            moved = generator.choice(sorted(self.high))
            if self.obstacles[moved] and generator.random() < 0.5:
                moved = generator.choice(self.obstacles[moved])[0]
            if self.obstacles[moved] and generator.random() < 0.75:
                before = generator.choice(self.obstacles[moved])[0]
                key = self.keys[before] - generator.random()
            else:
                key = generator.uniform(-1, len(self.keys))
            self._move(moved, key, round(_SLACK * self.bound * (1 - trial / patience) ** 2))
            if self.cost < best_cost:
                best, best_cost = list(self.offsets), self.cost
        if best_cost < self.cost:
            self.offsets, self.cost = best, best_cost

    def _move(self, moved: int, key: float, slack: int) -> None:
        """Gives an item another place in the order, unless `slack` bytes more would lie too
        high."""
        keys, old = self.keys, self.keys[moved]
        keys[moved] = key
        changed: dict[int, int] = {}
        cost = self.cost
        low, high = min(old, key), max(old, key)
        waiting = [(keys[i], i) for i, _, _ in self.obstacles[moved] if low <= keys[i] <= high]
        waiting.append((key, moved))
        heapq.heapify(waiting)
        queued = {item for _, item in waiting}
        while waiting:
            own, item = heapq.heappop(waiting)
            offset = self._lowest(item, own, changed)
            if offset == self.offsets[item]:
                continue
            changed[item] = offset
            cost += self._above(item, offset) - self._above(item, self.offsets[item])
            for other, _, _ in self.obstacles[item]:
                if other not in queued and keys[other] > own:
                    queued.add(other)
                    heapq.heappush(waiting, (keys[other], other))
        if cost > self.cost + slack:
            keys[moved] = old
            return
        self.cost = cost
        for item, offset in changed.items():
            self.offsets[item] = offset
            if self._above(item, offset):
                self.high.add(item)
            else:
                self.high.discard(item)

    def _lowest(self, item: int, key: float, changed: Mapping[int, int]) -> int:
        """The lowest offset that the items before `key` leave."""
        forbidden = []
        for other, low, high in self.obstacles[item]:
            if (self.keys[other], other) < (key, item):
                offset = changed.get(other, self.offsets[other])
                if offset >= 0:
                    forbidden.append((offset + low, offset + high))
        forbidden.sort()
        offset = 0
        for low, high in forbidden:
            if low < offset < high:
                offset = high
        return offset

    def _above(self, item: int, offset: int) -> int:
        """Bytes of an item's end above the bound."""
        return max(offset + self.sizes[item] - self.bound, 0)
