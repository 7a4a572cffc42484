"""A network as a program for the planner, without weights: their bytes are there, as zeros.

The arena depends on shapes alone. So a candidate is planned in milliseconds, without Keras, TFLite
and quantisation; tests hold this program against the one that the converter makes of the network.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from ..lower.geometry import AXIS_BITS, HEIGHT, WIDTH, same_padding
from ..program import Edge, FeatureMap, Port, Program, Step
from .network import BlockShape, Network

_SCALE = 0.02


def program_of(network: Network) -> Program:
    """The steps and feature maps of the int8 network, as `lower` would make them."""
    made = _Made()
    image = made.map("input", network.image, network.channels)
    made.steps.append(Step("INPUT", "input", image, parameters={"patch": {"input": 0}}))
    last = made.convolution("stem", image, network.stem, 3, network.stem_stride)
    for number, block in enumerate(network.blocks):
        last = _block(made, f"block{number}", last, block)
    mean = made.map("mean", 1, made.maps[last].channels)
    made.steps.append(
        Step(
            "MEAN",
            "mean",
            mean,
            (Edge(last),),
            is_sink=True,
            parameters={
                "mean": {
                    "multiplier": 1 << 30,
                    "shift": 0,
                    "axes": AXIS_BITS[HEIGHT] + AXIS_BITS[WIDTH],
                }
            },
        )
    )
    scores = made.map("scores", 1, network.classes)
    inputs = made.maps[mean].channels
    made.steps.append(
        Step(
            "FULLY_CONNECTED",
            "scores",
            scores,
            (Edge(mean),),
            is_sink=True,
            rounds_once=True,
            shifts_right=True,
            constants=bytes(_paired_bytes(network.classes, inputs)),
            macs=inputs * network.classes,
        )
    )
    shape = (1, network.image, network.image, network.channels)
    return Program(
        tuple(made.maps),
        tuple(made.steps),
        (Port(image, "input", shape, _SCALE, -128),),
        (Port(scores, "scores", (1, network.classes), _SCALE, 0),),
    )


def _block(made: _Made, name: str, source: int, block: BlockShape) -> int:
    last = source
    if block.expands:
        last = made.convolution(f"{name}_expand", last, block.expanded, 1, 1)
    last = made.depthwise(f"{name}_depthwise", last, block.kernel, block.stride)
    last = made.convolution(f"{name}_project", last, block.outputs, 1, 1)
    return made.sum(f"{name}_add", source, last) if block.adds_input else last


@dataclass
class _Made:
    """A program under construction; maps are square."""

    maps: list[FeatureMap] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)

    def map(self, name: str, size: int, channels: int) -> int:
        self.maps.append(FeatureMap(name, size, size, channels))
        return len(self.maps) - 1

    def convolution(self, name: str, source: int, outputs: int, kernel: int, stride: int) -> int:
        before = self.maps[source]
        taps = kernel * kernel * before.channels
        constants = bytes(_paired_bytes(outputs, taps))
        return self._window("CONVOLUTION", name, source, outputs, kernel, stride, constants, taps)

    def depthwise(self, name: str, source: int, kernel: int, stride: int) -> int:
        channels = self.maps[source].channels
        constants = bytes(_channel_bytes(channels) + kernel * kernel * channels)
        return self._window(
            "DEPTHWISE_CONVOLUTION", name, source, channels, kernel, stride, constants, kernel**2
        )

    def _window(
        self,
        kind: str,
        name: str,
        source: int,
        outputs: int,
        kernel: int,
        stride: int,
        constants: bytes,
        taps: int,
    ) -> int:
        before = self.maps[source]
        padding = same_padding(before.height, kernel, stride, 1)
        output = self.map(name, -(-before.height // stride), outputs)
        window = {
            "kernel_height": kernel,
            "kernel_width": kernel,
            "stride_height": stride,
            "stride_width": stride,
            "dilation_height": 1,
            "dilation_width": 1,
            "pad_top": padding,
            "pad_left": padding,
            "groups": 1,
        }
        self.steps.append(
            Step(
                kind,
                name,
                output,
                (Edge(source, stride, -padding, kernel - 1 - padding),),
                is_pointwise=kind == "CONVOLUTION" and kernel == stride == 1,
                shifts_right=True,
                parameters={"window": window},
                constants=constants,
                macs=self.maps[output].elements * taps,
            )
        )
        return output

    def sum(self, name: str, one: int, other: int) -> int:
        feature_map = self.maps[one]
        output = self.map(name, feature_map.height, feature_map.channels)
        edges = tuple(Edge(each, 0 if feature_map.height == 1 else 1) for each in (one, other))
        rescale = {"multiplier": [1 << 30] * 3, "shift": [0] * 3}
        self.steps.append(
            Step("ADD", name, output, edges, is_pointwise=True, parameters={"rescale": rescale})
        )
        return output


def _channel_bytes(channels: int) -> int:
    """Bytes of bias, multiplier and shift of each channel, padded: see `lil_format.h`."""
    return -(-9 * channels // 4) * 4


def _paired_bytes(channels: int, taps: int) -> int:
    """Constants of a convolution or fully connected layer: its weights lie in pairs."""
    return _channel_bytes(channels) + (channels + channels % 2) * (taps + taps % 2)
