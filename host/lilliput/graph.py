"""The intermediate representation: a graph of TFLite operators, float or int8.

Importers produce it, passes rewrite it (each a pure function from graph to graph), the quantiser
turns float into int8, and `lilliput.lower` turns the int8 graph into the operators of a `.lil`.

Operator kinds and their semantics are TFLite's (names of `BuiltinOperator`), layouts are NHWC,
convolution weights OHWI, depthwise weights [1, H, W, C * multiplier], and quantised numbers follow
the TFLite 8-bit quantisation specification: real = scale * (q - zero_point). Weights of four bits
are int8 numbers that are multiples of `INT4_STEP`, so what computes with int8 computes with them.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

INT4_STEP = 16


@dataclass(frozen=True)
class Quantization:
    """Scales and zero points of a tensor; more than one of each when per channel.

    `scale` is float32[n], `zero_point` int32[n]; `axis` is the channel dimension (n > 1).
    """

    scale: np.ndarray
    zero_point: np.ndarray
    axis: int = 0

    @staticmethod
    def per_tensor(scale: float, zero_point: int) -> Quantization:
        """One scale and zero point for the whole tensor."""
        return Quantization(np.array([scale], np.float32), np.array([zero_point], np.int32))

    @property
    def is_per_tensor(self) -> bool:
        return self.scale.size == 1

    def same_as(self, other: Quantization | None) -> bool:
        """Whether both map integers to the same reals."""
        return (
            other is not None
            and np.array_equal(self.scale, other.scale)
            and np.array_equal(self.zero_point, other.zero_point)
        )


@dataclass(frozen=True)
class Tensor:
    """A value in the graph. `data` is set for constants; `shape` has no unknown dimensions."""

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype
    data: np.ndarray | None = None
    quantization: Quantization | None = None

    @property
    def is_constant(self) -> bool:
        return self.data is not None

    @property
    def elements(self) -> int:
        return int(np.prod(self.shape, dtype=np.int64))


@dataclass(frozen=True)
class Convolution:
    """CONV_2D, DEPTHWISE_CONV_2D, TRANSPOSE_CONV. `padding` is "same" or "valid".

    `explicit_padding` (top, bottom, left, right), when set, replaces `padding`: so many rows and
    columns of zero points around the map. A fused PAD leaves it; TRANSPOSE_CONV has none.
    """

    padding: str = "valid"
    stride: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)
    activation: str = "none"
    explicit_padding: tuple[int, int, int, int] | None = None


@dataclass(frozen=True)
class Pool:
    """AVERAGE_POOL_2D, MAX_POOL_2D. `padding` is "same" or "valid".

    `explicit_padding` (top, bottom, left, right), when set, replaces `padding`. As with "same",
    what lies outside the map is left out of the maximum. AVERAGE_POOL_2D has none.
    """

    padding: str = "valid"
    stride: tuple[int, int] = (1, 1)
    kernel: tuple[int, int] = (1, 1)
    activation: str = "none"
    explicit_padding: tuple[int, int, int, int] | None = None


@dataclass(frozen=True)
class Activation:
    """FULLY_CONNECTED, ADD, SUB, MUL, CONCATENATION: only a fused activation.

    `activation` is "none", "relu", "relu6" or "relu_n1_to_1" everywhere.
    """

    activation: str = "none"
    axis: int = 0  # CONCATENATION
    keep_num_dims: bool = False  # FULLY_CONNECTED


@dataclass(frozen=True)
class Reduce:
    """MEAN, ARG_MAX; `axes` are resolved from the constant operand and not negative."""

    axes: tuple[int, ...]
    keep_dims: bool = False


@dataclass(frozen=True)
class Pad:
    """PAD, PADV2: elements before and after each dimension; `value` as stored (int8 or float)."""

    before: tuple[int, ...]
    after: tuple[int, ...]
    value: float = 0.0


@dataclass(frozen=True)
class Slice:
    """STRIDED_SLICE, SLICE, and each output of SPLIT: masks and sizes resolved by the importer."""

    begin: tuple[int, ...]
    stride: tuple[int, ...]


@dataclass(frozen=True)
class Transpose:
    """Output dimension i is input dimension `permutation[i]`."""

    permutation: tuple[int, ...]


@dataclass(frozen=True)
class Softmax:
    beta: float = 1.0


@dataclass(frozen=True)
class LeakyRelu:
    alpha: float


@dataclass(frozen=True)
class Resize:
    """RESIZE_NEAREST_NEIGHBOR, RESIZE_BILINEAR."""

    align_corners: bool = False
    half_pixel_centers: bool = False


@dataclass(frozen=True)
class NoAttributes:
    """RESHAPE and its kin, LOGISTIC, TANH, RELU, RELU6, HARD_SWISH, PRELU, QUANTIZE, DEQUANTIZE."""


Attributes = (
    Convolution
    | Pool
    | Activation
    | Reduce
    | Pad
    | Slice
    | Transpose
    | Softmax
    | LeakyRelu
    | Resize
    | NoAttributes
)


@dataclass(frozen=True)
class Operator:
    """One operator: `inputs` and `outputs` are indices into `Graph.tensors`.

    Operands that only carry attributes (axes, pads, shapes, permutations) are not in `inputs`;
    weights, biases and PReLU slopes are, as constants. A missing optional operand is -1.
    """

    kind: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    attributes: Attributes = field(default_factory=NoAttributes)


@dataclass(frozen=True)
class Graph:
    """Tensors, operators in execution order, and which tensors are the graph's ports."""

    tensors: tuple[Tensor, ...]
    operators: tuple[Operator, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    name: str = "model"

    def producers(self) -> dict[int, Operator]:
        """The operator that computes each tensor; graph inputs and constants have none."""
        return {index: op for op in self.operators for index in op.outputs}

    def quantization(self, index: int) -> Quantization:
        """A tensor's quantisation. Raises TypeError when it has none."""
        quantization = self.tensors[index].quantization
        if quantization is None:
            raise TypeError(f"tensor {self.tensors[index].name!r} is not quantised")
        return quantization

    def consumers(self) -> dict[int, list[Operator]]:
        """The operators that read each tensor, in order of execution."""
        readers: dict[int, list[Operator]] = {}
        for op in self.operators:
            for index in op.inputs:
                if index >= 0:
                    readers.setdefault(index, []).append(op)
        return readers

    def with_operators(self, operators: list[Operator]) -> Graph:
        """The same graph with other operators."""
        return replace(self, operators=tuple(operators))


class UnsupportedModel(ValueError):
    """The model holds something that no importer, pass or kernel takes.

    The message names the operator, its output tensor, and what to do about it.
    """
