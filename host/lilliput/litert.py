"""Running `.tflite` models in LiteRT, the engine whose reference kernels define our numbers.

The reference kernels (`OpResolverType.BUILTIN_REF`) are the ground truth of the int8 arithmetic;
the optimised ones are only for calibration of float models, where speed counts and bits do not.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter, OpResolverType


@dataclass(frozen=True)
class Port:
    """An input or output of a model as LiteRT sees it.

    `scale` is 0 where the tensor has no single scale (float, or quantised per channel).
    """

    name: str
    index: int
    shape: tuple[int, ...]
    dtype: np.dtype
    scale: float
    zero_point: int


class Session:
    """A model loaded once, to be run many times, on one thread.

    reference: reference kernels (slow, the definition of the bits); otherwise LiteRT's fast ones,
        without delegates when all tensors are kept, because a delegate hides its own.
    keep_tensors: keep every intermediate tensor, for `tensors()`.

    Raises ValueError when LiteRT does not take the model.
    """

    def __init__(self, model: bytes, *, reference: bool = True, keep_tensors: bool = False) -> None:
        if reference:
            resolver = OpResolverType.BUILTIN_REF
        elif keep_tensors:
            resolver = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
        else:
            resolver = OpResolverType.AUTO
        try:
            self._interpreter = Interpreter(
                model_content=bytes(model),
                num_threads=1,
                experimental_op_resolver_type=resolver,
                experimental_preserve_all_tensors=keep_tensors,
            )
            self._interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            raise ValueError(f"LiteRT does not take the model: {_one_line(error)}") from error
        self._keeps_tensors = keep_tensors
        self.inputs = tuple(_port(d) for d in self._interpreter.get_input_details())
        self.outputs = tuple(_port(d) for d in self._interpreter.get_output_details())

    def run(self, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        """The model's outputs for `inputs`, both in the model's order.

        Arrays must have the ports' dtypes and as many elements as their shapes; they are reshaped.
        Raises ValueError when they do not, or when a kernel fails.
        """
        if len(inputs) != len(self.inputs):
            raise ValueError(f"the model has {len(self.inputs)} inputs, {len(inputs)} were given")
        for port, value in zip(self.inputs, inputs, strict=True):
            value = np.asarray(value)
            if value.dtype != port.dtype or value.size != math.prod(port.shape):
                raise ValueError(
                    f"input {port.name!r} wants {port.dtype} of shape {port.shape}, "
                    f"got {value.dtype} of shape {value.shape}"
                )
            self._interpreter.set_tensor(port.index, value.reshape(port.shape))
        try:
            self._interpreter.invoke()
        except (ValueError, RuntimeError) as error:
            raise ValueError(f"LiteRT could not run the model: {_one_line(error)}") from error
        return [self._interpreter.get_tensor(port.index) for port in self.outputs]

    def tensors(self) -> dict[int, np.ndarray]:
        """Every tensor of the last run, constants included, by its index in the `.tflite`.

        Tensors that LiteRT leaves unallocated (of zero size, or unused) are missing. Raises
        ValueError when the session was opened without `keep_tensors`.
        """
        if not self._keeps_tensors:
            raise ValueError("open the session with keep_tensors=True to read all tensors")
        return dict(self._readable_tensors())

    def tensor_names(self) -> dict[int, str]:
        """Names of all tensors by index; TFLite does not promise that they differ."""
        return {int(d["index"]): str(d["name"]) for d in self._interpreter.get_tensor_details()}

    def _readable_tensors(self) -> Iterator[tuple[int, np.ndarray]]:
        for details in self._interpreter.get_tensor_details():
            index = int(details["index"])
            try:
                yield index, self._interpreter.get_tensor(index)
            except ValueError:
                continue


def run(model: bytes, inputs: Sequence[np.ndarray], reference: bool = True) -> list[np.ndarray]:
    """The outputs of one inference; see `Session` for many.

    Raises ValueError when LiteRT takes neither the model nor the inputs.
    """
    return Session(model, reference=reference).run(inputs)


def run_all_tensors(
    model: bytes, inputs: Sequence[np.ndarray], reference: bool = True
) -> dict[int, np.ndarray]:
    """Every tensor of one inference, by its index in the `.tflite`.

    Raises ValueError when LiteRT takes neither the model nor the inputs.
    """
    session = Session(model, reference=reference, keep_tensors=True)
    session.run(inputs)
    return session.tensors()


def _port(details: dict[str, Any]) -> Port:
    scale, zero_point = details["quantization"]
    return Port(
        name=str(details["name"]),
        index=int(details["index"]),
        shape=tuple(int(n) for n in details["shape"]),
        dtype=np.dtype(details["dtype"]),
        scale=float(scale),
        zero_point=int(zero_point),
    )


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
