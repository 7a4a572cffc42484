"""Models with inputs and LiteRT's outputs, as files that tests in C and in MicroPython read.

A case is NAME.lil, NAME.in (the int8 inputs, one behind the other) and NAME.out (the outputs
likewise, int8, or int32 of an arg max). `python reference_cases.py FOLDER` writes a set of them.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from random_graphs import STEPS, Recipe, Step, build_graph, random_inputs, recipe_of

import lilliput
from lilliput import litert
from lilliput.exporters.tflite import write_tflite


def write_case(
    folder: Path,
    name: str,
    model: bytes,
    inputs: Sequence[np.ndarray],
    paged: bool = False,
) -> Path:
    """Converts an int8 `.tflite`, runs it in LiteRT's reference kernels, writes the three files.

    Returns the path of the `.lil`.
    """
    expected = litert.run(model, inputs)
    path = folder / f"{name}.lil"
    path.write_bytes(lilliput.convert(model, paged=paged).data)
    path.with_suffix(".in").write_bytes(b"".join(value.tobytes() for value in inputs))
    path.with_suffix(".out").write_bytes(b"".join(value.tobytes() for value in expected))
    return path


def write_random_cases(folder: Path, chains: int) -> list[Path]:
    """One small graph for each kind of step, and `chains` graphs of several operators.

    The weights of every third model are paged.
    """
    single = [Recipe((11,), (Step(kind, 5),), largest=6) for kind in STEPS]
    several = [recipe_of(seed) for seed in range(chains)]
    paths = []
    for number, recipe in enumerate([*single, *several]):
        recipe = Recipe(recipe.inputs, recipe.steps, recipe.largest)
        graph = build_graph(recipe)
        name = f"{number:03}_{recipe.steps[0].kind.replace(' ', '_')}"
        inputs = random_inputs(graph, number)
        paged = number % 3 == 1
        paths.append(write_case(folder, name, write_tflite(graph), inputs, paged))
    return paths


if __name__ == "__main__":
    target = Path(sys.argv[1])
    target.mkdir(parents=True, exist_ok=True)
    print(f"{len(write_random_cases(target, chains=40))} cases in {target}")
