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
from trainable_cases import write_trainable_cases

import lilliput
from lilliput import litert
from lilliput.exporters.tflite import write_tflite
from lilliput.format import write
from lilliput.importers.tflite import read_tflite
from lilliput.lower import lower
from lilliput.passes.simplify import simplify
from lilliput.planner import plan
from lilliput.planner.patches import Patching, patch, runs
from lilliput.planner.schedule import order_inputs


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
    return _write(folder / f"{name}.lil", lilliput.convert(model, paged=paged).data, model, inputs)


def write_patched_case(
    folder: Path, name: str, model: bytes, inputs: Sequence[np.ndarray], paged: bool = False
) -> Path | None:
    """As `write_case`, with the longest run that can be in 2 x 2 patches; None when none can."""
    program = order_inputs(lower(simplify(read_tflite(model))))
    heights = [
        (program.tensors[program.steps[end - 1].output], first, end) for first, end in runs(program)
    ]
    large = [(end - first, first, end) for m, first, end in heights if min(m.height, m.width) > 1]
    if not large:
        return None
    _, first, end = max(large)
    planned = plan(patch(program, Patching(first, end, 2, 2)), paged=paged)
    return _write(folder / f"{name}.lil", write(planned.program, planned), model, inputs)


def _write(path: Path, data: bytes, model: bytes, inputs: Sequence[np.ndarray]) -> Path:
    expected = litert.run(model, inputs)
    path.write_bytes(data)
    path.with_suffix(".in").write_bytes(b"".join(value.tobytes() for value in inputs))
    path.with_suffix(".out").write_bytes(b"".join(value.tobytes() for value in expected))
    return path


def write_random_cases(folder: Path, chains: int) -> list[Path]:
    """One small graph for each kind of step, and `chains` graphs of several operators.

    The weights of every third model are paged; what can be in patches is written so, too.
    """
    single = [Recipe((11,), (Step(kind, 5),), largest=6) for kind in STEPS]
    several = [recipe_of(seed) for seed in range(chains)]
    local = ("convolution", "depthwise convolution", "pointwise convolution", "add", "max pool")
    several += [
        Recipe((seed,), tuple(Step(kind, seed + i) for i, kind in enumerate(local)), largest=9)
        for seed in range(chains // 2)
    ]
    paths = []
    for number, recipe in enumerate([*single, *several]):
        recipe = Recipe(recipe.inputs, recipe.steps, recipe.largest)
        graph = build_graph(recipe)
        name = f"{number:03}_{recipe.steps[0].kind.replace(' ', '_')}"
        inputs = random_inputs(graph, number)
        paged = number % 3 == 1
        model = write_tflite(graph)
        paths.append(write_case(folder, name, model, inputs, paged))
        patched = write_patched_case(folder, f"{name}_in_patches", model, inputs, paged)
        paths += [] if patched is None else [patched]
    return paths


if __name__ == "__main__":
    target = Path(sys.argv[1])
    target.mkdir(parents=True, exist_ok=True)
    print(f"{len(write_random_cases(target, chains=40))} cases in {target}")
    write_trainable_cases(target / "trainable")
