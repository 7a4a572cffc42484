"""From a model and labelled data to a trainable `.lil`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..conversion import Progress, import_int8, written
from ..labelled import Labelled
from ..lower import lower
from ..passes.simplify import simplify
from ..planner import BudgetError
from ..program import Program
from .backward import Options
from .classifier import replace_classifier
from .data import read_labelled
from .exponents import calibrate
from .planning import TrainingPlan, plan_training
from .scheme import Scheme

_CALIBRATION_SAMPLES = 16


@dataclass(frozen=True)
class Material:
    """A model with a classifier of the classes wanted, and the data to train it with."""

    program: Program
    data: Labelled
    source: Mapping[str, Any]
    input_range: tuple[float, float]
    warnings: tuple[str, ...] = ()


def read_material(
    model: Any,
    data: Path,
    classes: int,
    *,
    input_range: tuple[float, float] | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> Material:
    """Reads a model and labelled data. A float model is quantised with that data.

    model: as for `conversion.convert`. data: see `lilliput.labelled`. Errors as those two.
    """
    if not data.exists():
        raise FileNotFoundError(f"{data}: no such data")
    imported = import_int8(model, calibrate=data, input_range=input_range, progress=progress)
    graph = simplify(replace_classifier(imported.graph, classes, seed=seed))
    program = lower(graph)
    used_range = imported.input_range or (0.0, 1.0)
    labelled = read_labelled(data, program.inputs[0], classes, used_range)
    warnings = tuple(text for text in imported.warnings if "was not used" not in text)
    return Material(program, labelled, imported.source, used_range, warnings)


def plan_scheme(
    material: Material,
    scheme: Scheme,
    options: Options | None = None,
    *,
    sram: int | None = None,
    streams_input: bool = True,
) -> TrainingPlan:
    """Measures a scheme's gradients on the data, and plans it.

    Raises BudgetError, with the bytes that are missing, when it needs more than `sram`.
    """
    options = options or Options()
    data = material.data
    few = np.linspace(0, len(data) - 1, min(_CALIBRATION_SAMPLES, len(data))).astype(int)
    targets = [int(label) for label in data.classes[few]]
    ranges = calibrate(material.program, scheme, options, list(data.samples[few]), targets)
    made = plan_training(material.program, scheme, options, ranges, streams_input=streams_input)
    if sram is not None and made.arena_bytes > sram:
        raise BudgetError(
            f"the scheme needs an arena of {made.arena_bytes:,} bytes, "
            f"{made.arena_bytes - sram:,} more than --sram allows, of which "
            f"{_training_bytes(made):,} are trained constants: train fewer layers, or a smaller "
            "fraction of their weights"
        )
    return made


def trainable_file(material: Material, made: TrainingPlan) -> bytes:
    """The `.lil` file of a plan."""
    source = {**material.source, "scheme": made.scheme.as_json()}
    return written(made.plan, material.data.names, source, material.input_range)


def _training_bytes(made: TrainingPlan) -> int:
    training = made.plan.program.training
    return 0 if training is None else training.bytes
