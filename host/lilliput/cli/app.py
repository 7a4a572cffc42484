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
from .console import (
    Parser,
    board_function,
    board_profile,
    byte_count,
    emulated_core,
    fail,
    macs_ratio,
    positive,
    run_place,
)

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
    _add_train_plan(commands)
    _add_inspect(commands)
    _add_run(commands)
    _add_emulate(commands)
    _add_deploy(commands)
    _add_boards(commands)
    _add_probe(commands)
    _add_bench(commands)
    _add_watch(commands)
    _add_search(commands)
    _add_zoo(commands)
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command. Returns 0, 1 for an error (one line on stderr), 2 for wrong usage."""
    options = parser().parse_args(arguments)
    command = import_module(f".{options.command.replace('-', '_')}", __package__)
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
        "--int4",
        action="store_true",
        help="store the weights of as many layers in four bits as accuracy allows, as --calibrate "
        "shows; of an int8 model, too. Classes in a .npz file's array `y` make that accuracy "
        "on them, else the answers that stay the same",
    )
    command.add_argument(
        "--max-accuracy-loss",
        metavar="PERCENT",
        type=float,
        help="what --int4 may cost a classifier, in percent of the samples (default: 1)",
    )
    command.add_argument(
        "--min-sqnr",
        metavar="DB",
        type=float,
        help="what --int4 must keep of other models' outputs: signal to noise against the int8 "
        "model, in dB (default: 20)",
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
    _add_board(command)
    command.add_argument(
        "--paged",
        action="store_true",
        help="read weights from the file as they are needed, for boards without ROMFS",
    )
    _add_max_macs(command)
    command.add_argument(
        "--report", action="store_true", help="print the quantisation error of every layer"
    )
    command.add_argument("--json", action="store_true", help="print one JSON object")


def _add_max_macs(command: Parser) -> None:
    command.add_argument(
        "--max-macs",
        metavar="RATIO",
        type=macs_ratio,
        default=1.0,
        help="allow patches that compute their borders twice: at most so many times the model's "
        "multiply-accumulates, such as 1.1 (default: 1)",
    )


def _add_train_plan(commands: Commands) -> None:
    command = commands.add_parser(
        "train-plan",
        help="make a .lil file that can be trained on the board",
        description="Makes a .lil file that a board can train: gives the model a classifier of N "
        "classes, or keeps its outputs (regressions, autoencoders), chooses what is trained within "
        "a memory budget, plans the forward pass, the backward pass and the updates together, and "
        "writes them.",
    )
    command.add_argument("model", metavar="MODEL", type=Path)
    command.add_argument(
        "--data",
        metavar="DIR_OR_NPZ",
        type=Path,
        required=True,
        help="samples like those to come: a folder with a folder of images a class, or a .npz file "
        "of x and y; y is a class, or for the squared error the output wanted: without y, x itself",
    )
    command.add_argument(
        "--classes",
        metavar="N",
        type=int,
        help="give the model a new classifier of N classes (default: it keeps its last layer)",
    )
    command.add_argument(
        "--loss",
        choices=("cross-entropy", "squared-error"),
        help="of classes, or of the output's numbers (default: of classes with --classes)",
    )
    command.add_argument("-o", "--output", metavar="OUT.lil", type=Path, required=True)
    command.add_argument(
        "--sram",
        metavar="BYTES",
        type=byte_count,
        help="bytes that the arena of a training step may have: 131072, 128K",
    )
    chosen = command.add_mutually_exclusive_group()
    chosen.add_argument(
        "--mode",
        choices=("search", "last", "full", "tinytl"),
        default="search",
        help="what is trained: what a search finds within --sram (default; takes hours for large "
        "models), the last layer, everything, or biases and lite residuals, small branches that "
        "are added beside the model's blocks (TinyTL)",
    )
    chosen.add_argument(
        "--biases", metavar="K", type=int, help="train the last layer and the biases of K before it"
    )
    chosen.add_argument(
        "--scheme",
        metavar="FILE.json",
        type=Path,
        help='train what a file says: {"biases": [layer, ...], "weights": {layer: fraction, ...}}',
    )
    command.add_argument(
        "--blocks",
        metavar="N",
        type=int,
        help="with --mode tinytl: branches beside the last N blocks only, and biases from there on",
    )
    command.add_argument(
        "--momentum",
        metavar="M",
        type=float,
        default=0.0,
        help="what each change keeps of the one before it, 0.9 for instance: takes 2 bytes of the "
        "arena for each trained weight and 4 for each bias (default: 0)",
    )
    command.add_argument(
        "--accumulate",
        metavar="N",
        type=int,
        default=1,
        help="change the weights once in N samples, by the sum of their gradients: takes as many "
        "bytes, once for both (default: 1)",
    )
    command.add_argument(
        "--resident",
        action="store_true",
        help="hold the whole input in the arena, in place of rows of the caller's buffer",
    )
    command.add_argument(
        "--input-range",
        metavar=("LO", "HI"),
        nargs=2,
        type=float,
        help="the reals that pixel values 0 and 255 stand for",
    )
    command.add_argument("--epochs", metavar="N", type=int, default=3, help="of the search's runs")
    command.add_argument("--rate", type=float, default=0.01, help="the search's learning rate")
    command.add_argument("--seed", type=int, default=0)
    command.add_argument(
        "--layers", metavar="N", type=int, default=24, help="the search tries the last N layers"
    )
    command.add_argument(
        "--work",
        metavar="FILE",
        type=Path,
        help="note the search's results there, and take up from them after an interruption",
    )
    command.add_argument("--plot", metavar="FILE.png", type=Path, help="draw what the search found")
    command.add_argument("--json", action="store_true", help="print one line of JSON")


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
        help="choose the plan that computes, then reads from flash, the least in an arena of so "
        "many bytes: 65536, 64K",
    )
    _add_board(command)
    command.add_argument(
        "--input",
        choices=("fed", "resident"),
        help="fed from the caller's buffer or row by row, or in the arena (default: both)",
    )
    command.add_argument(
        "--paged",
        action="store_true",
        help="plan weights that are read from the file into the arena, segment by segment",
    )
    _add_max_macs(command)
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
        metavar="PLACE",
        type=run_place,
        default="host",
        help="host: in this Python (the default); unix: in MicroPython's Unix port; qemu:CORE: on "
        "an emulated board, such as qemu:cortex-m7",
    )
    command.add_argument(
        "--as",
        dest="profile",
        metavar="BOARD",
        help="with qemu:CORE, give the emulated board the free heap of this one: pico2",
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


def _add_emulate(commands: Commands) -> None:
    command = commands.add_parser(
        "emulate",
        help="start an emulated board that mpremote can talk to",
        description="Starts MicroPython on a processor that QEMU emulates, prints its serial port "
        "and runs it until Ctrl-C. Without BOARD, lists what can be emulated.",
    )
    command.add_argument("board", metavar="BOARD", nargs="?", help="such as cortex-m4")
    command.add_argument(
        "--as",
        dest="profile",
        metavar="BOARD",
        help="give it the free heap, file system and ROMFS of this one: pico2, or a .toml file",
    )
    command.add_argument(
        "--user-module", action="store_true", help="take the firmware with Lilliput built in"
    )


def _add_deploy(commands: Commands) -> None:
    command = commands.add_parser(
        "deploy",
        help="put a model on a board, and run it there",
        description="Copies Lilliput and a model to a board that runs MicroPython, only what is "
        "not there yet, runs the model once and compares its output with this computer's.",
    )
    command.add_argument(
        "model", metavar="MODEL", type=Path, help="a .lil file, or a model to convert for the board"
    )
    place = command.add_mutually_exclusive_group()
    _add_port(place)
    place.add_argument(
        "--on", metavar="qemu:CORE", type=emulated_core, help="an emulated board: qemu:cortex-m4"
    )
    command.add_argument(
        "--as",
        dest="profile",
        metavar="BOARD",
        type=board_profile,
        help="with --on, give the emulated board the memory of this one: pico2",
    )
    command.add_argument(
        "--name", metavar="NAME.lil", help="the model's file on the board (default: as here)"
    )
    command.add_argument("--json", action="store_true", help="print one JSON object")


def _add_boards(commands: Commands) -> None:
    command = commands.add_parser(
        "boards",
        help="list board profiles, and what is connected",
        description="Lists the boards that --board knows, with what their stock firmware leaves "
        "for a model, and the serial ports that boards are connected to.",
    )
    command.add_argument("--json", action="store_true", help="print one JSON object")


def _add_probe(commands: Commands) -> None:
    command = commands.add_parser(
        "probe",
        help="measure a connected board",
        description="Measures the free heap and the file systems of a connected board.",
    )
    _add_port(command)
    command.add_argument(
        "-o", "--output", metavar="BOARD.toml", type=Path, help="write a profile for --board"
    )
    command.add_argument("--json", action="store_true", help="print one JSON object")


def _add_bench(commands: Commands) -> None:
    command = commands.add_parser(
        "bench",
        help="measure what an inference costs",
        description="Counts the instructions of an inference on an emulated core, which are the "
        "same on every computer, or takes its time on a connected board.",
    )
    command.add_argument("model", metavar="MODEL", type=Path, help="a .lil file, or a model")
    place = command.add_mutually_exclusive_group()
    place.add_argument(
        "--on", metavar="qemu:CORE", type=emulated_core, help="such as qemu:cortex-m7"
    )
    _add_port(place)
    command.add_argument(
        "--repeats",
        metavar="N",
        type=int,
        default=5,
        help="inferences on a board, of which the median counts (default: 5)",
    )
    command.add_argument(
        "--per-op", action="store_true", help="count each operator (on an emulated core)"
    )
    command.add_argument("--json", action="store_true", help="print one JSON object")


def _add_watch(commands: Commands) -> None:
    command = commands.add_parser(
        "watch",
        help="show in a web page what a board's model sees and says",
        description="Runs a model on a board, picture by picture, and shows the pictures, the "
        "scores and the time of each inference in a page on this computer.",
    )
    command.add_argument(
        "model",
        metavar="MODEL.lil",
        help="the model's path on the board, such as /person.lil; with --on, a file here",
    )
    place = command.add_mutually_exclusive_group()
    _add_port(place)
    place.add_argument(
        "--on", metavar="qemu:CORE", type=emulated_core, help="an emulated board: qemu:cortex-m4"
    )
    command.add_argument(
        "--source",
        metavar="MODULE:FUNCTION",
        type=board_function,
        help="what yields pictures on the board: function(shape) is a generator of pictures, each "
        "a buffer or an iterator of rows, such as camera_rows:pictures of device/examples",
    )
    command.add_argument(
        "--images",
        metavar="PATH",
        type=Path,
        help="with --on, an image or a folder of images that the board sees in turn",
    )
    command.add_argument(
        "--as",
        dest="profile",
        metavar="BOARD",
        type=board_profile,
        help="with --on, give the emulated board the free heap of this one: pico2",
    )
    command.add_argument(
        "--width",
        metavar="PIXELS",
        type=positive,
        default=96,
        help="show every second or third pixel of wider pictures (default: 96); fewer pixels "
        "come faster over a slow serial line",
    )
    command.add_argument(
        "--web-port", metavar="N", type=int, default=8642, help="of the page (default: 8642)"
    )


def _add_search(commands: Commands) -> None:
    command = commands.add_parser(
        "search",
        help="find and train the network for a board",
        description="Searches the network that names images best within a board's memory, trains "
        "it and writes it as a .lil file, with the Pareto set (.json) and a report (.html) beside "
        "it. Started again, it goes on where it was. Needs the extra `tensorflow`, or Keras.",
    )
    command.add_argument(
        "--data",
        metavar="DIR_OR_NPZ",
        type=Path,
        required=True,
        help="a folder with one folder of images for each class (or two such, train and test), or "
        "a .npz file with x and y (and x_test, y_test, classes)",
    )
    command.add_argument("-o", "--output", metavar="BEST.lil", type=Path, required=True)
    _add_board(command)
    command.add_argument(
        "--sram", metavar="BYTES", type=byte_count, help="the arena's limit: 16384, 16K"
    )
    command.add_argument(
        "--flash", metavar="BYTES", type=byte_count, help="the file's limit: 131072, 128K"
    )
    command.add_argument(
        "--latency",
        metavar="MS",
        type=float,
        help="milliseconds of one inference at the board's clock, as predicted from instructions",
    )
    command.add_argument(
        "--folder",
        metavar="DIR",
        type=Path,
        help="where everything that is found is kept (default: BEST.search)",
    )
    command.add_argument(
        "--images", metavar="N", type=int, help="train with a fixed subset of so many images"
    )
    command.add_argument(
        "--effort",
        metavar="FACTOR",
        type=float,
        default=1.0,
        help="times the usual number of epochs, of which a search takes 62 (default: 1)",
    )
    command.add_argument(
        "--spaces",
        metavar="N",
        type=int,
        default=1,
        help="train a super-network for the N best pairs of resolution and width (default: 1)",
    )
    command.add_argument(
        "--population", metavar="N", type=int, default=100, help="of a generation (default: 100)"
    )
    command.add_argument(
        "--generations", metavar="N", type=int, default=30, help="of evolution (default: 30)"
    )
    command.add_argument(
        "--augment",
        metavar="FACTOR",
        type=float,
        default=1.0,
        help="train the chosen network as a part of ones with so many times its channels, such as "
        "2 (default: 1, alone)",
    )
    command.add_argument("--seed", metavar="N", type=int, default=1)
    spread = command.add_mutually_exclusive_group()
    spread.add_argument(
        "--processes", metavar="N", type=int, default=1, help="judge networks in N processes"
    )
    spread.add_argument(
        "--cluster",
        metavar="ADDRESS",
        help="judge networks on the workers of a Dask scheduler, such as tcp://host:8786 (needs "
        "the extra `cluster`)",
    )
    command.add_argument("--json", action="store_true", help="print one JSON object")


def _add_zoo(commands: Commands) -> None:
    command = commands.add_parser(
        "zoo",
        help="list and write networks that come with Lilliput",
        description="Lists small networks that were searched and trained with Lilliput. With a "
        "name, shows one and the command that made it, and writes it to a file.",
    )
    command.add_argument("name", metavar="NAME", nargs="?", help="such as fashion-mnist-16k")
    command.add_argument(
        "-o", "--output", metavar="FILE.lil", type=Path, help="write the network there"
    )
    command.add_argument("--json", action="store_true", help="print one line of JSON")


def _add_board(command: Parser) -> None:
    command.add_argument(
        "--board",
        metavar="BOARD",
        type=board_profile,
        help="plan for the memory of this board: one that `lilliput boards` lists, or a .toml file "
        "that `lilliput probe` wrote",
    )


def _add_port(command: argparse._ActionsContainer) -> None:
    command.add_argument(
        "--port",
        metavar="P",
        help="the board's serial port, such as /dev/ttyACM0 (default: the only board connected)",
    )


if __name__ == "__main__":
    sys.exit(main())
