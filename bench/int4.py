"""Writes docs/benchmarks_int4.md: what weights of four bits cost, and what they save.

python bench/int4.py [--models FOLDER]

Accuracy is measured in the C core on this computer, instructions on emulated processors.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from benchmark import table, wrapped
from emulation import CORES, BuildError, EmulationError, EmulatorsMissing
from emulation.models import arena_bytes_of, job_of_model, macs_of
from measuring import PUBLISHED, Subject, measure
from photographs import photographs
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

import lilliput
from lilliput.conversion import Conversion, read_graph
from lilliput.execution import answers
from lilliput.graph import INT4_STEP, Graph
from lilliput.quantize import Int4Options

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "benchmarks_int4.md"
EVERYWHERE = 20_000_000  # models of more multiply-accumulates are counted on the M7 and the M4
FAST_CORES = ("cortex-m7", "cortex-m4")
LOSSES = (0.005, 1.0)
EPOCHS = 1
SAMPLES = 1000
CROPS = 256
VISUAL_WAKE_WORDS = ("mcunet_vww", "mlperf_vww_96_int8")
CHOSEN_ON = ("astronaut.png", "coffee.png", "motorcycle_left.png")
JUDGED_ON = ("chelsea.png", "rocket.jpg")

INTRODUCTION = """\
# Weights of four bits

Written by `bench/int4.py`, which `make bench` runs. Depthwise convolutions keep int8 weights.
"""


def all_in_int4(graph: Graph) -> Graph:
    """The graph with weights that four bits hold in every layer that can have them; what it
    computes is of no use."""
    tensors = list(graph.tensors)
    for op in graph.operators:
        if op.kind in ("CONV_2D", "FULLY_CONNECTED"):
            weights = tensors[op.inputs[1]]
            data = np.asarray(weights.data) & np.int8(-INT4_STEP)
            tensors[op.inputs[1]] = replace(weights, data=data)
    return replace(graph, tensors=tuple(tensors))


def _subject(name: str, graph: Graph) -> Subject:
    job = job_of_model(graph)
    return Subject(name, job, macs_of(job), arena_bytes_of(job))


def instructions(models: Path, progress: Progress) -> str:
    """Instructions and file sizes with every layer in int4 against int8, on every core."""
    subjects: list[tuple[Subject, Subject]] = []
    for name in PUBLISHED:
        if (models / f"{name}.tflite").is_file():
            graph = read_graph(models / f"{name}.tflite")
            subjects.append((_subject(name, graph), _subject(f"{name}, int4", all_in_int4(graph))))
    task = progress.add_task("instructions", total=len(CORES))
    cells: dict[str, list[str]] = {int8.name: [] for int8, _ in subjects}
    for core in CORES:
        progress.update(task, description=f"instructions: {core}")
        pairs = [pair for pair in subjects if core in FAST_CORES or pair[0].macs <= EVERYWHERE]
        found = measure([each for pair in pairs for each in pair], [core])[core]
        for int8, int4 in subjects:
            text = ""
            if int8.name in found:
                before = found[int8.name].instructions
                after = found[int4.name].instructions
                text = f"{after / before - 1:+.1%}"
            cells[int8.name].append(text)
        progress.advance(task)
    rows = [
        [f"`{int8.name}`", f"{int8.file_bytes:,}", f"{int4.file_bytes:,}", *cells[int8.name]]
        for int8, int4 in subjects
    ]
    heading = ["model", "file, int8", "file, int4", *(core.title for core in CORES.values())]
    return table(heading, rows)


def fashion_mnist_accuracy(progress: Progress) -> str:
    """Accuracy on all 10,000 test images at several budgets."""
    from fashion_mnist import fashion_mnist, scaled, trained_network

    task = progress.add_task("Fashion-MNIST: train", total=2 + len(LOSSES))
    images, classes, test_images, test_classes = fashion_mnist()
    network = trained_network(images, classes, EPOCHS)
    progress.update(task, advance=1, description="Fashion-MNIST: judge")
    scores = network.predict(scaled(test_images), batch_size=500, verbose=0)
    rows = [["float", "", "", f"{np.mean(scores.argmax(axis=1) == test_classes):.2%}"]]
    labels = tuple(int(label) for label in classes[:SAMPLES])
    for loss in (None, *LOSSES):
        conversion = lilliput.convert(
            network,
            calibrate=images[:SAMPLES],
            max_samples=SAMPLES,
            input_range=(0.0, 1.0),
            int4=None if loss is None else Int4Options(max_loss=loss, labels=labels),
        )
        found = answers(conversion.data, test_images)
        name = "int8" if loss is None else f"int4, may lose {loss:.1%}"
        accuracy = float(np.mean(found == test_classes))
        rows.append([name, _layers(conversion), f"{len(conversion.data):,}", f"{accuracy:.2%}"])
        progress.advance(task)
    return table(["weights", "layers in int4", "file bytes", "accuracy"], rows)


def agreement(models: Path, progress: Progress) -> str:
    """How often the int8 network's answer stays, on photographs that the layers were not chosen
    on."""
    names = [name for name in VISUAL_WAKE_WORDS if (models / f"{name}.tflite").is_file()]
    task = progress.add_task("visual wake words", total=len(names))
    rows = []
    for name in names:
        path = models / f"{name}.tflite"
        graph = read_graph(path)
        height, width = graph.tensors[graph.inputs[0]].shape[1:3]
        chosen = photographs(CROPS, height, width, names=CHOSEN_ON)
        judged = photographs(CROPS, height, width, seed=1, names=JUDGED_ON)
        int8 = lilliput.convert(path)
        expected = answers(int8.data, judged)
        for loss in (0.01, 1.0):
            int4 = lilliput.convert(path, calibrate=chosen, int4=Int4Options(max_loss=loss))
            same = float(np.mean(answers(int4.data, judged) == expected))
            sizes = f"{len(int8.data):,} to {len(int4.data):,}"
            rows.append(
                [f"`{name}`, may change {loss:.0%}", _layers(int4), sizes, f"{same:.1%}",
                 f"{np.mean(expected):.0%}"]
            )  # fmt: skip
        progress.advance(task)
    heading = ["model", "layers in int4", "file bytes", "same answer", 'answers "person" (int8)']
    return table(heading, rows)


def _layers(conversion: Conversion) -> str:
    if conversion.int4 is None:
        return ""
    layers = conversion.int4.layers
    return f"{sum(layer.bits == 4 for layer in layers)} of {len(layers)}"


def write_all(models: Path) -> None:
    """Measures everything and writes the page."""
    columns = (TextColumn("{task.description:<44}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, transient=True) as progress:
        parts = [
            INTRODUCTION,
            "## Accuracy on Fashion-MNIST\n\nAll 10,000 test images, in the C core. The network of "
            f"`bench/fashion_mnist.py`, trained for {EPOCHS} epoch; calibrated, and its "
            f"layers chosen, on {SAMPLES:,} training images with their labels.\n",
            fashion_mnist_accuracy(progress),
            "## Visual wake words\n\nInt8 models without labels, as published: how often the answer"
            f" stays on {CROPS} crops of photographs ({', '.join(JUDGED_ON)} of scikit-image). The "
            f"layers were chosen on {CROPS} crops of others ({', '.join(CHOSEN_ON)}).\n",
            agreement(models, progress),
            "## Instructions and file sizes\n\nAll layers that can have weights of four bits have "
            "them: instructions of one inference against the same weights in int8, the outputs "
            "being equal on all processors. Streamed, as in [benchmarks](benchmarks.md).\n",
            instructions(models, progress),
        ]
    PAGE.write_text("\n".join(map(wrapped, parts)), encoding="utf-8")
    print(PAGE)


def main(arguments: Sequence[str] | None = None) -> None:
    """Writes the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    default = Path(os.environ.get("LILLIPUT_MODELS", "../shared/models"))
    parser.add_argument("--models", type=Path, default=default)
    options = parser.parse_args(arguments)
    try:
        write_all(options.models)
    except (BuildError, EmulationError, EmulatorsMissing, OSError, ValueError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
