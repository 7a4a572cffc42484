"""Compiles the C core with the bare-metal runner for one processor."""

from __future__ import annotations

import concurrent.futures
import contextlib
import functools
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

from .cores import RISCV, Core
from .tools import REPOSITORY, emulator_version, host_compiler, tool

HERE = Path(__file__).resolve().parent
CORE_SOURCES = REPOSITORY / "native_modules"
CACHE = REPOSITORY / "build" / "bench"
STACK_BYTES = 64 << 10
CACHED_BUILDS = 64
WARNINGS = ("-Wall", "-Wextra", "-Wconversion")


class BuildError(RuntimeError):
    """The compiler refuses the core; the message is the compiler's."""


@dataclass(frozen=True)
class Build:
    """A linked program for one core. objects: of the C core alone."""

    core: Core
    optimization: str
    program: Path
    objects: tuple[Path, ...]

    @functools.cached_property
    def symbols(self) -> dict[str, int]:
        """Addresses of functions and objects."""
        listing = self.ask("nm", str(self.program))
        return {
            line.split()[2]: int(line.split()[0], 16)
            for line in listing.splitlines()
            if len(line.split()) == 3
        }

    def ask(self, program: str, *arguments: str) -> str:
        """What one of the compiler's companions (nm, objdump, size) prints."""
        return _run([tool(f"{self.core.target}-{program}"), *arguments])

    @property
    def module_bytes(self) -> tuple[int, int]:
        """Text and constants of the core alone, in bytes: (.text, .rodata)."""
        text = rodata = 0
        for line in self.ask("size", "-A", *map(str, self.objects)).splitlines():
            match = re.match(r"(\.text|\.rodata)\S*\s+(\d+)", line)
            if match:
                text += int(match[2]) * (match[1] == ".text")
                rodata += int(match[2]) * (match[1] == ".rodata")
        return text, rodata


def build(
    core: Core,
    sources: Path = CORE_SOURCES,
    optimization: str = "-O2",
    *,
    training: bool = False,
) -> Build:
    """Compiles the C core in the folder `sources` (with core/ in it) and the runner, if need be:
    for inferences alone, or for training steps, too.

    Raises BuildError with what the compiler says, EmulatorsMissing when there is no compiler.
    """
    files = sorted((sources / "core").rglob("*.c"))
    if not files:
        raise BuildError(f"no C core in {sources}: name the folder that holds core/")
    headers = sorted((sources / "core").rglob("*.h"))
    wanted = replace(core, flags=(*core.flags, f"-DLIL_TRAINING={int(training)}"))
    return _link(wanted, [HERE / "runner" / "runner.c"], files, headers, optimization)


def build_by_operator(core: Core, sources: Path = CORE_SOURCES, optimization: str = "-O2") -> Build:
    """Compiles as `build` does, with a region around every call of a kernel."""
    files = sorted((sources / "core").rglob("*.c"))
    headers = sorted((sources / "core").rglob("*.h"))
    wrapping = replace(core, flags=(*core.flags, "-DLIL_TRAINING=0", "-Wl,--wrap=lil_find_kernel"))
    programs = [HERE / "runner" / name for name in ("runner.c", "operator_regions.c")]
    return _link(wrapping, programs, files, headers, optimization)


def build_program(core: Core, source: Path, optimization: str = "-O2") -> Build:
    """Compiles a C file that has a `run_jobs` of its own, see runner/platform.h."""
    return _link(core, [source], [], [], optimization)


def _link(
    core: Core, programs: list[Path], core_files: list[Path], headers: list[Path], optimization: str
) -> Build:
    """Links programs, core and what the machine needs; reuses what was linked of equal files."""
    compiler = tool(f"{core.target}-gcc") if core.target else host_compiler()
    flags = [optimization, "-g", *core.flags, "-ffunction-sections", "-fdata-sections"]
    flags += ["-ffreestanding", "-fbuiltin", "-fno-pic"] if core.target else ["-march=native"]
    flags += [f"-I{HERE / 'runner'}"]
    if core_files:
        flags += [f"-I{core_files[0].parent}"]
    machine = [HERE / "runner" / f"{part}.c" for part in _machine_parts(core)]
    script = HERE / "runner" / "machine.ld"
    key = hashlib.sha256(repr((compiler, flags, core)).encode())
    for path in (*programs, *core_files, *headers, *machine, script, Path(__file__)):
        key.update(str(path).encode() + b"\0" + path.read_bytes())
    folder = CACHE / f"{core.name}{optimization}-{key.hexdigest()[:16]}"
    if not folder.is_dir():
        _compile_into(folder, core, [compiler, *flags], core_files, [*programs, *machine])
        _prune(keep=folder)
    os.utime(folder)
    objects = tuple(sorted(folder.glob("core-*.o")))
    return Build(core, optimization, folder / "program.elf", objects)


def _machine_parts(core: Core) -> list[str]:
    if not core.target:
        return ["markers", "start_host"]
    start = "start_riscv" if core.target == RISCV else "start_cortex_m"
    return ["markers", "semihosting", "string", start]


def _compile_into(
    folder: Path, core: Core, compiler: list[str], core_files: list[Path], others: list[Path]
) -> None:
    CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="unfinished-", dir=CACHE) as name:
        work = Path(name) / "build"
        work.mkdir()
        commands = []
        for number, source in enumerate(core_files):
            target = work / f"core-{number:02}-{source.stem}.o"
            command = [*compiler, *WARNINGS, "-std=c99", "-c", str(source), "-o", str(target)]
            commands.append(command)
        for source in others:
            target = work / f"other-{source.stem}.o"
            commands.append([*compiler, "-std=gnu11", "-c", str(source), "-o", str(target)])
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            list(pool.map(_run, commands))
        objects = sorted(map(str, work.glob("*.o")))
        _run([*compiler, *objects, *_link_flags(core), "-o", str(work / "program.elf")])
        with contextlib.suppress(OSError):
            work.rename(folder)  # fails when another process was faster
    if not folder.is_dir():
        raise BuildError(f"{folder} cannot be written")


def _link_flags(core: Core) -> list[str]:
    if not core.target:
        return []
    symbols = {
        "CODE_START": core.code,
        "RAM_START": core.ram,
        "IMAGE_START": core.image,
        "STACK_BYTES": STACK_BYTES,
        "entry_point": "start" if core.target == RISCV else "reset",
    }
    defined = [f"-Wl,--defsym={name}={value}" for name, value in symbols.items()]
    script = HERE / "runner" / "machine.ld"
    return ["-nostdlib", "-static", f"-Wl,-T,{script}", "-Wl,--gc-sections", *defined, "-lgcc"]


def build_plugin(emulator: str) -> Path:
    """The plugin that counts instructions, compiled for a QEMU program's plugin interface."""
    source = HERE / "plugin" / "count_instructions.c"
    api = 1 if emulator_version(emulator) < (9, 0) else 2
    key = hashlib.sha256(source.read_bytes() + bytes([api])).hexdigest()[:16]
    library = CACHE / f"count_instructions-{api}-{key}.so"
    if not library.is_file():
        CACHE.mkdir(parents=True, exist_ok=True)
        fresh = library.with_suffix(f".{os.getpid()}")
        flags = ["-std=c11", "-O2", "-shared", "-fPIC", "-fvisibility=hidden", *WARNINGS]
        _run([host_compiler(), *flags, f"-DPLUGIN_API={api}", str(source), "-o", str(fresh)])
        fresh.replace(library)
    return library


def _run(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise BuildError(f"{Path(command[0]).name} fails: {done.stdout}{done.stderr}")
    return done.stdout


def _prune(keep: Path) -> None:
    """Removes the builds that have not been used for longest."""
    builds = [path for path in CACHE.iterdir() if path.is_dir() and path != keep]
    finished = [path for path in builds if not path.name.startswith("unfinished-")]
    finished.sort(key=lambda path: path.stat().st_mtime, reverse=True)
    for path in finished[CACHED_BUILDS:]:
        shutil.rmtree(path, ignore_errors=True)
