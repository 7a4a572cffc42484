"""Types of the device package. MicroPython has no `typing`, so they are kept out of the module."""

from array import array
from collections.abc import Callable, Iterator, Sequence
from os import PathLike
from types import TracebackType
from typing import BinaryIO, Literal, TypeAlias, TypeVar, overload

from _typeshed import ReadableBuffer, WriteableBuffer

_Source: TypeAlias = (
    ReadableBuffer
    | Sequence[ReadableBuffer]
    | Iterator[ReadableBuffer]
    | Callable[[bytearray], int | None]
    | BinaryIO
)
_Out = TypeVar("_Out", bound=WriteableBuffer | Sequence[WriteableBuffer])

class Port:
    """An input or output: shape with the batch; real = scale * (value - zero_point)."""

    shape: tuple[int, ...]
    scale: float
    zero_point: int
    dtype: Literal["int8", "int32"]
    size: int
    """The number of elements."""
    def buffer(self) -> array[int]: ...

class Model:
    inputs: list[Port]
    outputs: list[Port]
    arena_bytes: int
    @property
    def input(self) -> Port: ...
    @property
    def output(self) -> Port: ...
    @property
    def labels(self) -> list[str]: ...
    @property
    def wanted(self) -> int: ...
    @overload
    def infer(
        self, x: _Source | None = None, *, raw: bool = False
    ) -> array[int] | list[array[int]]:
        """The raw output; a list of them for a model with several outputs."""
    @overload
    def infer(self, x: _Source | None, out: _Out, raw: bool = False) -> _Out: ...
    @overload
    def infer(self, x: _Source | None = None, *, out: _Out, raw: bool = False) -> _Out: ...
    def feed(self, rows: ReadableBuffer, raw: bool = False) -> bool: ...
    def predict(self, inputs: Sequence[ReadableBuffer]) -> list[array[float]]: ...
    def top(self, n: int = 5) -> list[tuple[str | int, float]]: ...
    def apply(self, path: str) -> None: ...
    def deinit(self) -> None: ...
    def __enter__(self) -> Model: ...
    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
        /,
    ) -> None: ...

def load(
    source: str | PathLike[str] | ReadableBuffer, arena: WriteableBuffer | None = None
) -> Model: ...
