"""`lilliput train-plan`: a `.lil` file that can be trained on the board."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..conversion import write_atomically
from .console import (
    Progress,
    plain_table,
    progress_bars,
    quiet_libraries,
    size_text,
    wide_console,
)

if TYPE_CHECKING:
    from ..training.backward import Options
    from ..training.contribution import Contributions
    from ..training.evolution import Found
    from ..training.making import Material
    from ..training.planning import TrainingPlan
    from ..training.scheme import Scheme


def run(options: argparse.Namespace) -> None:
    """Chooses what is trained, plans the step, writes the file and says what came out."""
    from ..training.backward import Options
    from ..training.making import plan_scheme, read_material, trainable_file
    from ..training.targets import loss_of

    step = Options(momentum=options.momentum, accumulate=options.accumulate)
    if not options.output.parent.is_dir():
        raise FileNotFoundError(f"{options.output.parent}: no such folder; make it first")
    if options.blocks is not None and options.mode != "tinytl":
        raise ValueError("--blocks says where --mode tinytl adds branches: give both")
    with quiet_libraries(), progress_bars(not options.json) as progress:
        material = read_material(
            options.model,
            options.data,
            options.classes,
            loss=None if options.loss is None else options.loss.replace("-", "_"),
            input_range=tuple(options.input_range) if options.input_range else None,
            seed=options.seed,
            has_lite_residuals=options.mode == "tinytl",
            lite_blocks=options.blocks,
            progress=progress,
        )
        step = replace(step, loss=loss_of(material.data))
        scheme = _chosen(options, material, step, progress)
        made = plan_scheme(
            material, scheme, step, sram=options.sram, streams_input=not options.resident
        )
    write_atomically(options.output, trainable_file(material, made))
    for warning in material.warnings:
        print(f"lilliput: {warning}", file=sys.stderr)
    if options.json:
        print(json.dumps(_summary(options.output, made)))
    else:
        _print(options.output, made)


def _chosen(
    options: argparse.Namespace, material: Material, step: Options, progress: Progress
) -> Scheme:
    """The scheme that the options ask for."""
    from ..training.lite_residuals import lite_residual_scheme
    from ..training.scheme import full, last_biases, last_layer, scheme_from_json

    program = material.program
    if options.scheme is not None:
        return scheme_from_json(options.scheme.read_text(encoding="utf-8"))
    if options.biases is not None:
        return last_biases(program, options.biases)
    if material.residuals is not None:
        return lite_residual_scheme(program, material.residuals)
    if options.mode == "last":
        return last_layer(program)
    if options.mode == "full":
        return full(program)
    return _searched(options, material, step, progress)


def _searched(
    options: argparse.Namespace, material: Material, step: Options, progress: Progress
) -> Scheme:
    """The scheme with the most promise that fits, by contributions and evolution."""
    from ..training.contribution import analyse
    from ..training.evolution import evolve
    from ..training.experiment import Experiment, Notebook, Recipe, quick_plan

    if options.sram is None:
        raise ValueError("a search needs a budget: say --sram, or choose --mode last or full")
    recipe = Recipe(epochs=options.epochs, rate=options.rate, seed=options.seed)
    train, test = material.data.split(0.3, options.seed)
    about = f"{material.source} {options.data} {options.classes} {step}"
    notebook = Notebook(options.work, about)
    program = material.program
    experiment = Experiment(program, train, test)

    def measure(scheme: Scheme) -> float:
        return notebook.measure(
            scheme, recipe, lambda: experiment.train(scheme, recipe, progress, step)
        ).accuracy

    contributions = analyse(program, measure, most_layers=options.layers, progress=progress)
    arenas: dict[str, int] = {}

    def arena_of(scheme: Scheme) -> int:
        key = scheme.as_json()
        if key not in arenas:
            arenas[key] = quick_plan(program, scheme, step).arena_bytes
        return arenas[key]

    found = evolve(
        program, contributions, options.sram, arena_of, seed=options.seed, progress=progress
    )
    if not options.json:
        _print_search(contributions, found)
    if options.plot is not None:
        from .training_plot import draw_search

        draw_search(contributions, found, options.sram).save(options.plot)
    return found[0].genome.scheme(program)


def _summary(path: Path, made: TrainingPlan) -> dict[str, object]:
    program = made.plan.program
    training = program.training
    return {
        "file": str(path),
        "arena_bytes": made.arena_bytes,
        "trained_bytes": 0 if training is None else training.bytes - training.velocity_bytes,
        "velocity_bytes": 0 if training is None else training.velocity_bytes,
        "macs": program.macs,
        "training_macs": program.training_macs,
        "scheme": json.loads(made.scheme.as_json()),
    }


def _print(path: Path, made: TrainingPlan) -> None:
    summary = _summary(path, made)
    table = plain_table(title=str(path))
    table.add_row("arena", size_text(made.arena_bytes))
    table.add_row("of it trained constants", f"{summary['trained_bytes']:,} bytes")
    if summary["velocity_bytes"]:
        table.add_row("and their velocities", f"{summary['velocity_bytes']:,} bytes")
    table.add_row("multiply-accumulates", f"{summary['macs']:,} an inference")
    table.add_row("", f"{summary['training_macs']:,} a training step")
    table.add_row("biases of", f"{len(made.scheme.trained)} layers")
    for layer, fraction in made.scheme.weights.items():
        table.add_row("weights of", f"{layer}, {fraction:g} of its input channels")
    wide_console().print(table)


def _print_search(contributions: Contributions, found: list[Found]) -> None:
    console = wide_console()
    table = plain_table("update", "gain, points", title="Contributions")
    table.add_row("last layer alone", f"{100 * contributions.base:.1f} (accuracy)")
    for count, gain in sorted(contributions.biases.items()):
        if count:
            table.add_row(f"biases of {count} layers more", f"{100 * gain:+.1f}")
    for (layer, fraction), gain in contributions.weights.items():
        table.add_row(f"weights of {layer}, {fraction:g}", f"{100 * gain:+.1f}")
    console.print(table)
    table = plain_table("arena, bytes", "promise", "biases", "weights", title="Schemes found")
    for one in found:
        weights = ", ".join(f"{layer} {fraction:g}" for layer, fraction in one.genome.weights)
        table.add_row(
            f"{one.arena_bytes:,}", f"{100 * one.promise:.1f}", str(one.genome.biases), weights
        )
    console.print(table)
