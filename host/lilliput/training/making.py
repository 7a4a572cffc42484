"""From a model and labelled data to a trainable `.lil`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..conversion import Progress, import_int8, written
from ..lower import lower
from ..passes.simplify import simplify
from ..planner import BudgetError
from ..program import Program
from .backward import Options
from .classifier import replace_classifier
from .data import read_labelled
from .exponents import calibrate, calibration_pairs
from .lite_residuals import LiteResiduals, add_lite_residuals
from .planning import TrainingPlan, plan_training
from .scheme import Scheme
from .targets import TrainingData, calibration_of, loss_of, read_paired

_CALIBRATION_SAMPLES = 16
_MANY_CLIPPED = 0.01  # of the outputs wanted


@dataclass(frozen=True)
class Material:
    """A model, with a classifier of the classes wanted, and the data to train it with.

    residuals: the branches that the model was given, if any.
    """

    program: Program
    data: TrainingData
    source: Mapping[str, Any]
    input_range: tuple[float, float]
    warnings: tuple[str, ...] = ()
    residuals: LiteResiduals | None = None

    @property
    def measured(self) -> Program:
        """The program whose gradients are measured."""
        return self.program if self.residuals is None else lower(self.residuals.warm)


def read_material(
    model: Any,
    data: Path,
    classes: int | None = None,
    *,
    loss: str | None = None,
    input_range: tuple[float, float] | None = None,
    seed: int = 0,
    has_lite_residuals: bool = False,
    lite_blocks: int | None = None,
    progress: Progress | None = None,
) -> Material:
    """Reads a model, and data to train it with. A float model is quantised with that data.

    model: as for `conversion.convert`. data: see `lilliput.labelled`, and for the squared error
    `targets.read_paired`. classes: of a new classifier; None: the model keeps its last layer. loss:
    "cross_entropy" or "squared_error"; by default the first with `classes`, the other without.
    has_lite_residuals: give the model's last `lite_blocks` blocks, or all, lite residuals.

    Errors as those functions; ValueError for a new classifier that the squared error would train.
    """
    loss = loss or ("squared_error" if classes is None else "cross_entropy")
    if loss == "squared_error" and classes is not None:
        raise ValueError(
            "the squared error trains the outputs that the model has, a number of classes replaces "
            "them: give one of the two"
        )
    if not data.exists():
        raise FileNotFoundError(f"{data}: no such data")
    calibration = data if loss == "cross_entropy" else calibration_of(data)
    imported = import_int8(model, calibrate=calibration, input_range=input_range, progress=progress)
    graph = imported.graph
    if classes is not None:
        graph = simplify(replace_classifier(graph, classes, seed=seed))
    residuals = add_lite_residuals(graph, lite_blocks, seed=seed) if has_lite_residuals else None
    program = lower(graph if residuals is None else residuals.graph)
    used_range = imported.input_range or (0.0, 1.0)
    warnings = tuple(text for text in imported.warnings if "was not used" not in text)
    port, output = program.inputs[0], program.outputs[0]
    if loss == "cross_entropy":
        count = int(np.prod(output.shape)) if classes is None else classes
        labelled = read_labelled(data, port, count, used_range)
        return Material(program, labelled, imported.source, used_range, warnings, residuals)
    paired = read_paired(data, port, output, used_range)
    if paired.clipped > _MANY_CLIPPED:
        low, high = (output.scale * (limit - output.zero_point) for limit in (-128, 127))
        text = (
            f"{100 * paired.clipped:.1f}% of the outputs wanted lie outside of {low:.4g} to "
            f"{high:.4g}, which is what the model's output can say: they were clipped"
        )
        warnings = (*warnings, text)
    return Material(program, paired, imported.source, used_range, warnings, residuals)


def plan_scheme(
    material: Material,
    scheme: Scheme,
    options: Options | None = None,
    *,
    sram: int | None = None,
    streams_input: bool = True,
) -> TrainingPlan:
    """Measures a scheme's gradients on the data, and plans it; by default with its loss.

    Raises BudgetError, with the bytes that are missing, when it needs more than `sram`.
    """
    options = options or Options(loss_of(material.data))
    pairs = calibration_pairs(material.data, _CALIBRATION_SAMPLES)
    ranges = calibrate(material.measured, scheme, options, *pairs)
    made = plan_training(material.program, scheme, options, ranges, streams_input=streams_input)
    if sram is not None and made.arena_bytes > sram:
        raise BudgetError(
            f"the scheme needs an arena of {made.arena_bytes:,} bytes, "
            f"{made.arena_bytes - sram:,} more than --sram allows, of which "
            f"{_training_bytes(made):,} are trained constants{_and_velocities(made)}: train fewer "
            "layers, or a smaller fraction of their weights"
        )
    return made


def trainable_file(material: Material, made: TrainingPlan) -> bytes:
    """The `.lil` file of a plan."""
    source = {**material.source, "scheme": made.scheme.as_json()}
    return written(made.plan, material.data.names, source, material.input_range)


def _and_velocities(made: TrainingPlan) -> str:
    training = made.plan.program.training
    return " and their velocities" if training is not None and training.velocity_bytes else ""


def _training_bytes(made: TrainingPlan) -> int:
    training = made.plan.program.training
    return 0 if training is None else training.bytes
