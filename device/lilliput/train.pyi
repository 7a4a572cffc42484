"""Types of lilliput.train."""

from array import array
from collections.abc import Iterable

from _typeshed import ReadableBuffer

from .model import Model, _Source

class Trainer:
    model: Model
    classes: int
    """Classes of the target; 0 for a model trained on the squared error."""
    loss: float | None
    saturated: int
    trouble: str | None
    lr: float
    def __init__(self, model: Model, lr: float = 0.01, seed: int = 0) -> None: ...
    @property
    def steps(self) -> int: ...
    def step(
        self, x: _Source, label: int | ReadableBuffer, raw: bool = False
    ) -> tuple[float, array[int]]: ...
    def evaluate(
        self, samples: Iterable[tuple[_Source, int | ReadableBuffer]], raw: bool = False
    ) -> float: ...
    def save(self, path: str) -> None: ...
    def reset(self, seed: int | None = None) -> None: ...

def cosine(lr: float, step: int, steps: int) -> float: ...
def apply(model: Model, path: str) -> None: ...
