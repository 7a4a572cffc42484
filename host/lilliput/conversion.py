"""From a model of TensorFlow's world to a `.lil` file: import, simplify, quantise, plan, write."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from . import __version__, samples
from .graph import Graph
from .passes.simplify import simplify

if TYPE_CHECKING:
    from .boards.memory import Room
    from .planner.plan import Plan
    from .quantize import Int4Options, Int4Report, Options, Report

Progress = Callable[[str, int, int], None]
CalibrationSource = (
    str | os.PathLike[str] | np.ndarray | Sequence[np.ndarray] | Iterable[Sequence[np.ndarray]]
)

DEFAULT_PIXEL_RANGE = (0.0, 1.0)

_WHY_FLOAT = "the model is float and must be quantised"
_WHY_INT4 = "layers for four-bit weights are chosen"


@dataclass(frozen=True)
class Conversion:
    """A converted model.

    data: the `.lil` file. report: what quantisation cost, layer by layer; None for a model that
    was int8. summary: `arena_bytes`, `flash_bytes`, `macs`, `operators`, `input`, `output` (dicts
    of name, shape, dtype, scale, zero_point), `inputs`, `outputs`, all in plain types.
    warnings: what the user should know, a sentence each. int4: which layers have four-bit weights,
    and what they cost; None unless they were asked for.
    """

    data: bytes
    report: Report | None
    summary: dict[str, Any]
    warnings: tuple[str, ...] = ()
    int4: Int4Report | None = None


def convert(
    model: Any,
    output: str | os.PathLike[str] | None = None,
    *,
    calibrate: CalibrationSource | None = None,
    sram: int | None = None,
    labels: Sequence[str] = (),
    input_range: tuple[float, float] | None = None,
    method: str = "mse",
    equalize: bool = True,
    bias_correction: bool = True,
    int4: Int4Options | None = None,
    max_samples: int = 256,
    paged: bool = False,
    room: Room | None = None,
    max_macs: float = 1.0,
    progress: Progress | None = None,
) -> Conversion:
    """Makes a `.lil` of a model, and writes it to `output` if given (all of it, or nothing).

    model: path of a `.tflite`, `.keras` or `.h5` file or a SavedModel folder, the bytes of a
        `.tflite`, a live Keras model, or a graph. An int8 model is taken bit for bit.
    calibrate: what a float model is quantised with, and layers are chosen on for `int4`: a folder
        of images, a `.npz` or `.npy` file, or arrays [samples, *input shape], one an input; see
        `samples.read_calibration`.
    sram: bytes the arena may have at most.
    labels: names of the classes, stored in the file.
    input_range: the reals that pixel values 0 and 255 stand for. By default 0 and 1 when images
        calibrate a float model; otherwise the ends of the int8 range of an image-like input.
    method, equalize, bias_correction: how a float model is quantised; see `quantize.Options`.
    int4: store the weights of as many layers in four bits as accuracy allows; see
        `quantize.Int4Options`. Without labels there, those of the calibration file are taken.
    paged: make a file whose weights are read into the arena as an inference needs them, for boards
        that can neither map a file nor hold it in RAM.
    room: what the board has for the model (`boards.Profile.room`): plans for it, paged if need be.
    max_macs: times the model's multiply-accumulates that patches may take to save memory. Patches
        read the input more than once: all of it must be in one buffer then.
    progress: called with (stage, done, total).

    Raises OSError when a file is missing, UnsupportedModel (a ValueError) naming the operator that
    cannot be run, ValueError when the data does not fit the model, BudgetError (a ValueError) when
    no arena of at most `sram` bytes was found,
    ImportError when a Keras model is given and TensorFlow is not installed.
    """
    from .boards.fitting import fit
    from .lower import lower
    from .planner import plan as make_plan
    from .quantize import Options

    tell = progress or (lambda stage, done, total: None)
    _check_options(output, input_range, sram)
    options = Options(method=method, equalize=equalize, bias_correction=bias_correction)
    imported = import_int8(
        model,
        calibrate=calibrate,
        input_range=input_range,
        options=options,
        int4=int4,
        max_samples=max_samples,
        progress=tell,
    )
    graph, source, report = imported.graph, imported.source, imported.report
    input_range, warnings = imported.input_range, imported.warnings
    tell("plan", 0, 1)
    program = lower(graph)

    def make(sram: int | None, paged: bool) -> tuple[Plan, bytes]:
        plan = make_plan(program, paged=paged, sram=sram, max_macs=max_macs)
        return plan, written(plan, labels, source, input_range)

    if room is None:
        plan, data = make(sram, paged)
    else:
        constants_bytes = sum(len(step.constants) for step in program.steps)
        plan, data = fit(room, make, constants_bytes, sram=sram, paged=paged)
    tell("plan", 1, 1)
    if output is not None:
        write_atomically(Path(output), data)
    return Conversion(data, report, _summary(plan, data, labels), warnings, imported.int4_report)


@dataclass(frozen=True)
class Imported:
    """An int8 graph, simplified. `source`: where it comes from, for the file's provenance.
    input_range: the reals that pixels 0 and 255 stand for; None where the input is no image."""

    graph: Graph
    source: dict[str, Any]
    report: Report | None
    input_range: tuple[float, float] | None
    warnings: tuple[str, ...]
    int4_report: Int4Report | None = None


def import_int8(
    model: Any,
    *,
    calibrate: CalibrationSource | None = None,
    input_range: tuple[float, float] | None = None,
    options: Options | None = None,
    int4: Int4Options | None = None,
    max_samples: int = 256,
    progress: Progress | None = None,
) -> Imported:
    """Reads a model, and quantises it when it is float. Arguments and errors as `convert`."""
    from .quantize import Options, choose_int4_layers, quantize

    tell = progress or (lambda stage, done, total: None)
    options = options or Options()
    tell("import", 0, 1)
    graph, source = _imported(model)
    graph = simplify(graph)
    tell("import", 1, 1)
    report = None
    int4_report = None
    read = None
    warnings: tuple[str, ...] = ()
    if is_float(graph):
        read = _calibration(
            graph, calibrate, input_range or DEFAULT_PIXEL_RANGE, max_samples, _WHY_FLOAT, tell
        )
        graph, report = quantize(graph, read.samples, options, tell)
        if input_range is None and read.took_pixels:
            low, high = DEFAULT_PIXEL_RANGE
            warnings = (
                f"pixels 0 to 255 were taken as {low:g} to {high:g}; "
                "if the model was trained on another range, say --input-range",
            )
            input_range = DEFAULT_PIXEL_RANGE
        source["quantization"] = {
            "method": options.method,
            "equalize": options.equalize,
            "bias_correction": options.bias_correction,
        }
    elif int4 is not None:
        pixel_range = input_range or _full_range(graph) or DEFAULT_PIXEL_RANGE
        read = _calibration(graph, calibrate, pixel_range, max_samples, _WHY_INT4, tell)
    elif calibrate is not None:
        warnings = ("the model is int8 already: the calibration data was not used",)
    input_range = input_range or _full_range(graph)
    if int4 is not None and read is not None:
        if int4.labels is None:
            int4 = replace(int4, labels=read.labels)
        graph, int4_report = choose_int4_layers(graph, read.samples, int4, tell)
        source["int4"] = {
            name: value for name, value in asdict(int4_report).items() if name != "layers"
        }
    return Imported(graph, source, report, input_range, warnings, int4_report)


def read_graph(model: Any) -> Graph:
    """The simplified graph of a model, float or int8; errors as `convert`."""
    return simplify(_imported(model)[0])


def is_float(graph: Graph) -> bool:
    """Whether the graph computes with reals and must be quantised."""
    return any(graph.tensors[index].dtype == np.float32 for index in graph.inputs)


def read_labels(path: Path) -> list[str]:
    """Class labels from a UTF-8 text file, one a line; empty lines at the end do not count.

    Raises OSError when it is missing, ValueError when it is no UTF-8 text.
    """
    try:
        return path.read_text(encoding="utf-8").rstrip("\n").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is no UTF-8 text: save the labels as UTF-8") from error


def write_atomically(path: Path, data: bytes) -> None:
    """Writes a file under a temporary name and renames it, so that no half file is ever seen."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        umask = os.umask(0)
        os.umask(umask)
        Path(name).chmod(0o666 & ~umask)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _check_options(
    output: str | os.PathLike[str] | None,
    input_range: tuple[float, float] | None,
    sram: int | None,
) -> None:
    if output is not None and Path(output).is_dir():
        raise IsADirectoryError(f"{output} is a folder: name the .lil file to write")
    if output is not None and not Path(output).parent.is_dir():
        raise FileNotFoundError(f"{Path(output).parent}: no such folder; make it first")
    if input_range is not None and not input_range[0] < input_range[1]:
        raise ValueError(
            f"input range {input_range[0]:g} to {input_range[1]:g} is empty: give the lower end "
            "first, such as -1 1"
        )
    if sram is not None and sram <= 0:
        raise ValueError(f"sram must be a positive number of bytes, not {sram}")


def _imported(model: Any) -> tuple[Graph, dict[str, Any]]:
    from .importers.tflite import read_tflite

    if isinstance(model, (bytes, bytearray, memoryview)):
        return read_tflite(bytes(model)), _origin("model", bytes(model))
    if isinstance(model, Graph):
        return model, {"source": model.name}
    if not isinstance(model, (str, os.PathLike)):
        from .importers.keras import read_keras

        graph = read_keras(model)
        return graph, {"source": graph.name}
    path = Path(model)
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such model")
    if path.suffix.lower() == ".lil":
        raise ValueError(f"{path} is a .lil file already: run it with `lilliput run`")
    if path.is_dir() or path.suffix.lower() in {".keras", ".h5", ".hdf5"}:
        from .importers.keras import read_keras

        return read_keras(path), {"source": path.name}
    data = path.read_bytes()
    return read_tflite(data, path.stem), _origin(path.name, data)


def _origin(name: str, data: bytes) -> dict[str, Any]:
    return {"source": name, "sha256": hashlib.sha256(data).hexdigest()}


def _calibration(
    graph: Graph,
    calibrate: CalibrationSource | None,
    pixel_range: tuple[float, float],
    max_samples: int,
    why: str,
    tell: Progress,
) -> samples.Calibration:
    """The samples; ValueError begins with `why` they are needed when there are none."""
    ports = [graph.tensors[index] for index in graph.inputs]
    if calibrate is None:
        shapes = ", ".join(f"{port.name!r} {list(port.shape)}" for port in ports)
        raise ValueError(
            f"{why} with typical inputs: pass --calibrate with a folder of images or a .npz file "
            f"(inputs: {shapes})"
        )
    source = Path(calibrate) if isinstance(calibrate, (str, os.PathLike)) else calibrate
    if isinstance(source, Path) and not source.exists():
        raise FileNotFoundError(f"{source}: no such calibration data")
    return samples.read_calibration(
        source,
        [port.name for port in ports],
        [port.shape for port in ports],
        pixel_range,
        limit=max_samples,
        progress=lambda done, total: tell("read samples", done, total),
    )


def _full_range(graph: Graph) -> tuple[float, float] | None:
    """The reals at the ends of the int8 range of an image-like input, else None."""
    port = graph.tensors[graph.inputs[0]]
    if len(graph.inputs) != 1 or not samples.takes_images(port.shape) or port.quantization is None:
        return None
    scale = float(port.quantization.scale[0])
    zero_point = int(port.quantization.zero_point[0])
    return scale * (-128 - zero_point), scale * (127 - zero_point)


def written(
    plan: Plan,
    labels: Sequence[str],
    source: dict[str, Any],
    input_range: tuple[float, float] | None,
) -> bytes:
    """The `.lil` file of a plan, with its provenance."""
    from .format import write

    program = plan.program
    provenance = {
        "tool": f"lilliput {__version__}",
        **source,
        "inputs": [port.name for port in program.inputs],
        "outputs": [port.name for port in program.outputs],
    }
    return write(program, plan, labels=labels, provenance=provenance, input_range=input_range)


def _port(port: Any, tensor: Any) -> dict[str, Any]:
    return {
        "name": port.name,
        "shape": list(port.shape),
        "dtype": tensor.dtype,
        "scale": float(port.scale),
        "zero_point": int(port.zero_point),
    }


def _summary(plan: Plan, data: bytes, labels: Sequence[str]) -> dict[str, Any]:
    program = plan.program
    inputs = [_port(port, program.tensors[port.tensor]) for port in program.inputs]
    outputs = [_port(port, program.tensors[port.tensor]) for port in program.outputs]
    return {
        "name": program.name,
        "arena_bytes": plan.arena_bytes,
        "flash_bytes": len(data),
        "macs": program.macs,
        "operators": sum(step.kind != "INPUT" for step in program.steps),
        "input": inputs[0] if inputs else None,
        "output": outputs[0],
        "inputs": inputs,
        "outputs": outputs,
        "labels": len(labels),
        "paged": plan.is_paged,
    }
