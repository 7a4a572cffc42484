"""The networks that are searched: stages of inverted residual blocks with elastic sizes.

A space fixes the input, the number of stages and how wide they may be at most; an architecture
chooses for every block its kernel, its expansion and its width, and for every stage its depth. The
choices are those of MCUNet (Lin et al., 2020); that stages which stream have small kernels only,
and later ones large ones, is MCUNetV2's redistribution of the receptive field (Lin et al., 2021).
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .network import BlockShape, Network, rounded

EXPANSIONS = (3, 4, 6)
DEPTHS = (2, 3, 4)
WIDTHS = (0.5, 0.75, 1.0)
KERNELS = (3, 5, 7)
STREAMED_KERNELS = (3,)
"""Of the stages whose maps are too large to be held: every row of a kernel is a row of their
rings."""
MULTIPLIERS = tuple(tenths / 10 for tenths in range(2, 11))
_RESOLUTIONS = 12
_STAGE_LISTS = ("kernels", "expansions", "depths", "widths")
_SMALL = 48  # pixels: smaller images are not halved by the stem


@dataclass(frozen=True)
class Block:
    """The choices of one inverted residual block. width: its output channels, as a fraction of
    the stage's."""

    kernel: int
    expansion: int
    width: float


@dataclass(frozen=True)
class Architecture:
    """The blocks of every stage, in order; as many of a stage as it is deep."""

    stages: tuple[tuple[Block, ...], ...]

    def as_json(self) -> list[list[list[float]]]:
        """Plain lists: [kernel, expansion, width] of each block of each stage."""
        return [[[b.kernel, b.expansion, b.width] for b in stage] for stage in self.stages]

    @staticmethod
    def from_json(stages: Sequence[Sequence[Sequence[float]]]) -> Architecture:
        """What `as_json` has made."""
        return Architecture(
            tuple(tuple(Block(int(k), int(e), float(w)) for k, e, w in stage) for stage in stages)
        )

    @property
    def key(self) -> str:
        """A name that no other architecture has, the same in every process."""
        text = json.dumps(self.as_json(), separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Stage:
    """What the blocks of a stage may be. channels: of the widest block, before the space's
    multiplier. stride: of the first block."""

    channels: int
    stride: int
    kernels: tuple[int, ...] = KERNELS
    expansions: tuple[int, ...] = EXPANSIONS
    depths: tuple[int, ...] = DEPTHS
    widths: tuple[float, ...] = WIDTHS


@dataclass(frozen=True)
class Space:
    """All architectures at one resolution and one width multiplier.

    image: height and width of the input, in pixels. channels: of the input, 1 or 3. stem: channels
    of the first convolution, 3x3 with stride `stem_stride`. first: of the block behind it, which
    has no expansion. Both are multiplied as the stages' channels are.
    """

    image: int
    channels: int
    classes: int
    multiplier: float
    stem: int
    stem_stride: int
    first: int
    stages: tuple[Stage, ...]

    @property
    def name(self) -> str:
        """Such as "28 px x 0.5"."""
        return f"{self.image} px x {self.multiplier:g}"

    def largest(self) -> Architecture:
        """The architecture with the most of everything."""
        return self._extreme(max)

    def smallest(self) -> Architecture:
        """The architecture with the least of everything."""
        return self._extreme(min)

    def _extreme(self, pick: Any) -> Architecture:
        return Architecture(
            tuple(
                (Block(pick(s.kernels), pick(s.expansions), pick(s.widths)),) * pick(s.depths)
                for s in self.stages
            )
        )

    def sample(self, dice: random.Random) -> Architecture:
        """An architecture, every choice as likely as the others."""
        return Architecture(
            tuple(
                tuple(_random_block(stage, dice) for _ in range(dice.choice(stage.depths)))
                for stage in self.stages
            )
        )

    def mutate(self, parent: Architecture, dice: random.Random, rate: float) -> Architecture:
        """A copy in which each choice is drawn anew with probability `rate`."""
        stages: list[tuple[Block, ...]] = []
        for stage, blocks in zip(self.stages, parent.stages, strict=True):
            depth = dice.choice(stage.depths) if dice.random() < rate else len(blocks)
            mutated = [_mutated(stage, block, dice, rate) for block in blocks[:depth]]
            mutated += [_random_block(stage, dice) for _ in range(depth - len(mutated))]
            stages.append(tuple(mutated))
        return Architecture(tuple(stages))

    def cross(self, one: Architecture, other: Architecture, dice: random.Random) -> Architecture:
        """Each block, and each stage's depth, from one of the parents."""
        stages: list[tuple[Block, ...]] = []
        for pair in zip(one.stages, other.stages, strict=True):
            depth = len(dice.choice(pair))
            chosen: list[Block] = []
            for index in range(depth):
                chosen.append(
                    dice.choice([blocks[index] for blocks in pair if index < len(blocks)])
                )
            stages.append(tuple(chosen))
        return Architecture(tuple(stages))

    def check(self, architecture: Architecture) -> None:
        """Raises ValueError, naming the stage and the choice, for what is not in the space."""
        if len(architecture.stages) != len(self.stages):
            raise ValueError(
                f"the architecture has {len(architecture.stages)} stages, the space "
                f"{len(self.stages)}"
            )
        for number, (stage, blocks) in enumerate(
            zip(self.stages, architecture.stages, strict=True)
        ):
            if len(blocks) not in stage.depths:
                raise ValueError(
                    f"stage {number} has {len(blocks)} blocks; allowed are {stage.depths}"
                )
            for block in blocks:
                for what, value, allowed in (
                    ("kernel", block.kernel, stage.kernels),
                    ("expansion", block.expansion, stage.expansions),
                    ("width", block.width, stage.widths),
                ):
                    if value not in allowed:
                        raise ValueError(
                            f"stage {number}: {what} {value} is none of "
                            f"{', '.join(map(str, allowed))}"
                        )

    def network(self, architecture: Architecture) -> Network:
        """The architecture with its channels counted."""
        stem, first = self.stem_channels, self.first_channels
        blocks = [BlockShape(3, 1, stem, stem, first)]
        for stage, chosen in zip(self.stages, architecture.stages, strict=True):
            for index, block in enumerate(chosen):
                inputs, outputs = blocks[-1].outputs, self.width(stage, block.width)
                blocks.append(
                    BlockShape(
                        kernel=block.kernel,
                        stride=stage.stride if index == 0 else 1,
                        inputs=inputs,
                        expanded=inputs * block.expansion,
                        outputs=outputs,
                        adds_input=index > 0 and inputs == outputs,
                    )
                )
        return Network(
            self.image, self.channels, stem, self.stem_stride, tuple(blocks), self.classes
        )

    @property
    def stem_channels(self) -> int:
        return rounded(self.stem * self.multiplier)

    @property
    def first_channels(self) -> int:
        return rounded(self.first * self.multiplier)

    def width(self, stage: Stage, fraction: float) -> int:
        """Output channels of a stage's block of this width."""
        return rounded(stage.channels * self.multiplier * fraction)

    def at(self, image: int, multiplier: float) -> Space:
        """The same space at another resolution and width."""
        return dataclasses.replace(self, image=image, multiplier=multiplier)

    def as_json(self) -> dict[str, Any]:
        """Plain values, for a file."""
        return dataclasses.asdict(self)

    @staticmethod
    def from_json(values: Mapping[str, Any]) -> Space:
        """What `as_json` has made, also after a trip through a JSON file."""
        stages = []
        for stage in values["stages"]:
            lists = {name: tuple(stage[name]) for name in _STAGE_LISTS}
            stages.append(Stage(stage["channels"], stage["stride"], **lists))
        return Space(**{**values, "stages": tuple(stages)})


def _random_block(stage: Stage, dice: random.Random) -> Block:
    return Block(
        dice.choice(stage.kernels), dice.choice(stage.expansions), dice.choice(stage.widths)
    )


def _mutated(stage: Stage, block: Block, dice: random.Random, rate: float) -> Block:
    drawn = _random_block(stage, dice)
    kept = [dice.random() >= rate for _ in range(3)]
    return Block(
        block.kernel if kept[0] else drawn.kernel,
        block.expansion if kept[1] else drawn.expansion,
        block.width if kept[2] else drawn.width,
    )


def space_for(image: int, channels: int, classes: int, *, redistribute: bool = True) -> Space:
    """The space for images of this size, at full width.

    With `redistribute` the first stages, which stream, have 3x3 kernels only.
    Raises ValueError for sizes that no network here can take.
    """
    if image < 8 or channels not in (1, 3) or classes < 2:
        raise ValueError(
            f"no networks for images of {image}x{image}x{channels} and {classes} classes: at least "
            "8 pixels, 1 or 3 channels and 2 classes are needed"
        )
    early = STREAMED_KERNELS if redistribute else KERNELS
    if image <= _SMALL:
        small = (Stage(24, 2, early), Stage(48, 2), Stage(96, 1))
        return Space(image, channels, classes, 1.0, 24, 1, 16, small)
    large = (
        Stage(24, 2, early), Stage(40, 2, early), Stage(80, 2), Stage(96, 1), Stage(192, 2)
    )  # fmt: skip
    return Space(image, channels, classes, 1.0, 32, 2, 16, large)


def resolutions(image: int, count: int = _RESOLUTIONS) -> tuple[int, ...]:
    """So many resolutions, in even steps, for images of this size: a little larger ones too."""
    step = 2 * -(-image // 28)
    most = image + 2 * step
    return tuple(size for size in range(most - (count - 1) * step, most + 1, step) if size >= 8)


def pairs(
    space: Space,
    images: Sequence[int] | None = None,
    multipliers: Sequence[float] = MULTIPLIERS,
) -> list[Space]:
    """The space at every pair of resolution and width multiplier; 12 x 9 by default."""
    chosen = resolutions(space.image) if images is None else images
    return [space.at(image, multiplier) for image in chosen for multiplier in multipliers]
