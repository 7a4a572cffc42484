"""A network of inverted residual blocks with all of its sizes known (Sandler et al., 2018)."""

from __future__ import annotations

from dataclasses import dataclass

DIVISOR = 4
"""Channels are multiples of this: kernels compute four at a time."""


def rounded(channels: float) -> int:
    """The nearest multiple of the divisor that is at most 10% less; at least one."""
    nearest = max(DIVISOR, int(channels + DIVISOR / 2) // DIVISOR * DIVISOR)
    return nearest + DIVISOR if nearest < 0.9 * channels else nearest


@dataclass(frozen=True)
class BlockShape:
    """An inverted residual block: a 1x1 convolution to `expanded` channels, unless these are the
    inputs, a depthwise one, and a 1x1 convolution to the outputs, to which the input may be added
    where that has the same shape."""

    kernel: int
    stride: int
    inputs: int
    expanded: int
    outputs: int
    adds_input: bool = False

    @property
    def expands(self) -> bool:
        return self.expanded != self.inputs


@dataclass(frozen=True)
class Network:
    """A square image of `image` pixels, a 3x3 convolution to `stem` channels, blocks, the mean
    over the map, and a fully connected layer to the classes."""

    image: int
    channels: int
    stem: int
    stem_stride: int
    blocks: tuple[BlockShape, ...]
    classes: int

    def sizes(self) -> list[int]:
        """Height and width of the stem's output, and of each block's."""
        sizes = [-(-self.image // self.stem_stride)]
        for block in self.blocks:
            sizes.append(-(-sizes[-1] // block.stride))
        return sizes

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one inference."""
        sizes = self.sizes()
        total = sizes[0] ** 2 * self.stem * 9 * self.channels
        for size, after, block in zip(sizes, sizes[1:], self.blocks, strict=False):
            if block.expands:
                total += size**2 * block.inputs * block.expanded
            total += after**2 * block.expanded * (block.kernel**2 + block.outputs)
        return total + self.blocks[-1].outputs * self.classes

    @property
    def parameters(self) -> int:
        """Weights and biases, batch normalisation folded into them."""
        total = self.stem * (9 * self.channels + 1)
        for block in self.blocks:
            if block.expands:
                total += (block.inputs + 1) * block.expanded
            total += block.expanded * (block.kernel**2 + 1) + (block.expanded + 1) * block.outputs
        return total + (self.blocks[-1].outputs + 1) * self.classes
