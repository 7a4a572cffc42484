"""The `lilliput` command: reads its arguments and calls one module a command."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import TypeAlias

from .. import __version__
from .console import Parser, byte_count, fail

Commands: TypeAlias = "argparse._SubParsersAction[Parser]"


def parser() -> Parser:
    """The command's arguments; each command names the module here that runs it."""
    top = Parser(
        prog="lilliput",
        description="Runs int8 convolutional networks on microcontrollers, from MicroPython.",
    )
    top.add_argument("--version", action="version", version=f"lilliput {__version__}")
    commands = top.add_subparsers(dest="command", metavar="COMMAND", required=True)
    _add_convert(commands)
    _add_plan(commands)
    _add_inspect(commands)
    _add_run(commands)
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command. Returns 0, 1 for an error (one line on stderr), 2 for wrong usage."""
    options = parser().parse_args(arguments)
    command = import_module(f".{options.command}", __package__)
    try:
        command.run(options)
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        return fail(f"{error.filename}: {error.strerror}" if error.filename else str(error))
    except (ValueError, MemoryError, ImportError, RuntimeError) as error:
        return fail(str(error) or type(error).__name__)
    except Exception as error:
        if os.environ.get("LILLIPUT_TRACEBACK"):
            raise
        return fail(
            f"internal error, {type(error).__name__}: {error}; please report it "
            "(LILLIPUT_TRACEBACK=1 shows where it is)"
        )
    except KeyboardInterrupt:
        fail("interrupted")
        return 130
    return 0


def _add_convert(commands: Commands) -> None:
    command = commands.add_parser(
        "convert",
        help="make a .lil file of a model",
        description="Makes a .lil file of a .tflite, .keras, .h5 or SavedModel model: imports it, "
        "quantises it to int8 when it is float, plans its memory and writes it.",
    )
    command.add_argument("model", metavar="MODEL", type=Path)
    command.add_argument("-o", "--output", metavar="OUT.lil", type=Path, required=True)
    command.add_argument(
        "--calibrate",
        metavar="DIR_OR_NPZ",
        type=Path,
        help="data to quantise a float model with: a folder of images, or a .npz or .npy file of "
        "inputs, [samples, ...] each; some 100 typical inputs are enough",
    )
    command.add_argument(
        "--samples",
        metavar="N",
        type=int,
        default=256,
        help="calibrate with at most N inputs, evenly spaced (default: 256)",
    )
    command.add_argument(
        "--method",
        choices=("minmax", "average", "percentile", "mse"),
        default="mse",
        help="how the range of an activation is chosen (default: mse)",
    )
    command.add_argument(
        "--no-equalization",
        action="store_true",
        help="do not rescale channels so that each fills its tensor's range",
    )
    command.add_argument(
        "--no-bias-correction",
        action="store_true",
        help="do not correct biases for the mean error of quantised weights",
    )
    command.add_argument(
        "--input-range",
        metavar=("LO", "HI"),
        nargs=2,
        type=float,
        help="the reals that pixel values 0 and 255 stand for, as in training: 0 1, -1 1 or 0 255",
    )
    command.add_argument(
        "--labels", metavar="FILE", type=Path, help="text file with one class label a line"
    )
    command.add_argument(
        "--sram",
        metavar="BYTES",
        type=byte_count,
        help="fail when the arena is larger: 65536, 64K, 1M",
    )
    command.add_argument(
        "--paged",
        action="store_true",
        help="read weights from the file as they are needed, for boards without ROMFS",
    )
    command.add_argument(
        "--report", action="store_true", help="print the quantisation error of every layer"
    )
    command.add_argument("--json", action="store_true", help="print one JSON object")


def _add_plan(commands: Commands) -> None:
    command = commands.add_parser(
        "plan",
        help="show how much memory a model needs, and what more of it buys",
        description="Plans a .tflite, .keras or .h5 model: the least arena, the Pareto front of "
        "arena, multiply-accumulates and flash reads, and what the peak is made of.",
    )
    command.add_argument("model", metavar="MODEL", type=Path)
    command.add_argument(
        "--sram",
        metavar="BYTES",
        type=byte_count,
        help="choose the plan that reads the least flash in an arena of so many bytes: 65536, 64K",
    )
    command.add_argument(
        "--input",
        choices=("fed", "resident"),
        help="fed from the caller's buffer or row by row, or in the arena (default: both)",
    )
    command.add_argument(
        "--plot", metavar="OUT.png", type=Path, help="draw the arena over time, and the front"
    )
    command.add_argument(
        "--advise", action="store_true", help="name kernels to shrink and to grow for less memory"
    )
    command.add_argument("--json", action="store_true", help="print one JSON object")


def _add_inspect(commands: Commands) -> None:
    command = commands.add_parser(
        "inspect",
        help="show what is in a .lil file",
        description="Shows the operators, shapes, arena map, sizes and origin of a .lil file.",
    )
    command.add_argument("model", metavar="MODEL.lil", type=Path)
    command.add_argument("--json", action="store_true", help="print one JSON object")


def _add_run(commands: Commands) -> None:
    command = commands.add_parser(
        "run",
        help="run a .lil file",
        description="Runs a .lil file on one input, with the same code and bits as on a board.",
    )
    command.add_argument("model", metavar="MODEL.lil", type=Path)
    command.add_argument(
        "--input",
        metavar="FILE",
        type=Path,
        required=True,
        help="an image (scaled to the input's size), or a .npy file with the input tensor: int8 "
        "as it is, float32 reals, uint8 pixels; a .npz file for several inputs",
    )
    command.add_argument(
        "--on",
        choices=("host", "unix"),
        default="host",
        help="in this Python, or in MicroPython's Unix port through the native module",
    )
    command.add_argument(
        "--output",
        metavar="FILE",
        type=Path,
        help="write the raw output tensor to a .npy file (.npz when there are several)",
    )
    command.add_argument(
        "--top", metavar="K", type=int, default=5, help="print the K best classes (default: 5)"
    )
    command.add_argument("--json", action="store_true", help="print one JSON object")


if __name__ == "__main__":
    sys.exit(main())
