"""Make cross compilers and emulators for Cortex-M and RISC-V available; print their folder.

What is on PATH is used. The rest comes from the system's package archive: the packages and their
dependencies are downloaded with private apt directories and unpacked in the cache, so that neither
root nor any change to the system is needed. Small scripts in `bin/` run the unpacked programs with
the paths they need. One rename makes the finished folder appear, complete.
"""

from __future__ import annotations

import argparse
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from package_archive import SetupError
from package_cache import link, locked, open_cache

ARM = "arm-none-eabi"
RISCV = "riscv64-unknown-elf"


@dataclass(frozen=True)
class Tool:
    """A program, and the packages that hold it: the first alternative the archive has is taken."""

    command: str
    packages: tuple[tuple[str, ...], ...]


TOOLS = (
    Tool(f"{ARM}-gcc", ((f"gcc-{ARM}", f"libnewlib-{ARM}"),)),
    Tool(f"{RISCV}-gcc", ((f"gcc-{RISCV}", f"picolibc-{RISCV}"),)),
    Tool("qemu-system-arm", (("qemu-system-arm",),)),
    Tool("qemu-system-riscv32", (("qemu-system-riscv",), ("qemu-system-misc",))),
)
HOW_TO_MEND = (
    "Install them with `apt-get install gcc-arm-none-eabi libnewlib-arm-none-eabi "
    "gcc-riscv64-unknown-elf picolibc-riscv64-unknown-elf qemu-system-arm qemu-system-misc` "
    "(qemu-system-riscv on Debian 13 and newer), or put them on PATH."
)


def missing(tools: tuple[Tool, ...], folder: Path | None) -> tuple[Tool, ...]:
    """Return the tools that are neither on PATH nor in `folder`."""
    return tuple(
        tool
        for tool in tools
        if shutil.which(tool.command) is None
        and (folder is None or not (folder / tool.command).is_file())
    )


def cached_folder(cache: Path) -> Path | None:
    """Return the newest cached `bin` folder that has all that PATH lacks."""
    found = sorted(cache.glob("emulators-*/bin"), key=version_of, reverse=True)
    return next((folder for folder in found if not missing(TOOLS, folder)), None)


def version_of(folder: Path) -> tuple[int, ...]:
    """Return the version in the name of a cached `bin` folder's parent."""
    return tuple(int(number) for number in re.findall(r"\d+", folder.parent.name))


class Apt:
    """The system's package archive, seen through apt directories of our own."""

    def __init__(self, private: Path) -> None:
        for name in ("lists/partial", "cache/archives/partial"):
            (private / name).mkdir(parents=True)
        options = {
            "Dir::State::lists": private / "lists",
            "Dir::Cache": private / "cache",
            "APT::Sandbox::User": "root",
            "APT::Install-Recommends": "false",
            "Debug::NoLocking": "true",
            "Acquire::Languages": "none",
            "Acquire::Retries": "3",
        }
        pairs = (("-o", f"{name}={value}") for name, value in options.items())
        self._options = [part for pair in pairs for part in pair]

    def run(self, *arguments: str, folder: Path | None = None) -> str | None:
        """Return what apt-get prints, or None when it fails (and then show why)."""
        result = subprocess.run(
            ["apt-get", "-q", *self._options, *arguments], cwd=folder, text=True,
            env={**os.environ, "LC_ALL": "C"}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            check=False,
        )  # fmt: skip
        if result.returncode == 0:
            return result.stdout
        print(result.stdout, file=sys.stderr)
        return None

    def has(self, package: str) -> bool:
        """Return whether the archive can install `package`."""
        command = ["apt-cache", *self._options, "--no-all-versions", "show", package]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0

    def with_dependencies(self, packages: list[str]) -> list[tuple[str, str]]:
        """Return (name, version) of `packages` and of whatever they need that is not installed."""
        plan = self.run("install", "--simulate", "--reinstall", *packages)
        if plan is None:
            raise SetupError(f"apt-get cannot resolve {' '.join(packages)}. {HOW_TO_MEND}")
        return re.findall(r"(?m)^Inst (\S+) (?:\[\S+\] )?\((\S+)", plan)


def packages_for(apt: Apt, tools: tuple[Tool, ...]) -> list[str]:
    """Return the packages that hold `tools`."""
    wanted: list[str] = []
    for tool in tools:
        held = next((names for names in tool.packages if all(map(apt.has, names))), None)
        if held is None:
            raise SetupError(
                f"None of this system's package archives has {tool.command}. {HOW_TO_MEND}"
            )
        wanted += held
    return list(dict.fromkeys(wanted))


def script(root: Path, program: Path) -> str:
    """Return a shell script that runs `program`, unpacked under `root`, with what it needs."""
    name = program.name
    usr = root / "usr"
    shared = {path.parent for top in (root / "lib", usr / "lib") for path in top.rglob("*.so.*")}
    libraries = sorted(folder for folder in shared if folder.parent.name == "lib")
    arguments: list[str] = []
    if name.startswith("qemu-system-"):
        data = [usr / "share" / "qemu", usr / "share" / "seabios", usr / "lib" / "ipxe" / "qemu"]
        arguments = [part for folder in data for part in ("-L", str(folder))]
    elif re.fullmatch(rf"{ARM}-(gcc|g\+\+|cpp|c\+\+)(-[\d.]+)?", name):
        arguments = ["-idirafter", str(usr / "include" / "newlib")]
        arguments += [f"-B{usr / 'lib' / ARM / 'newlib'}/"]
    elif re.fullmatch(rf"{RISCV}-(gcc|g\+\+|cpp|c\+\+)(-[\d.]+)?", name):
        arguments = ["-isystem", str(usr / "lib" / "picolibc" / RISCV / "include")]
        arguments += [f"-B{specs.parent}/" for specs in usr.rglob("picolibc.specs")]
    path = ":".join(str(folder) for folder in libraries)
    return (
        "#!/bin/sh\n"
        f'LD_LIBRARY_PATH={shlex.quote(path)}"${{LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}}"\n'
        "export LD_LIBRARY_PATH\n"
        f'exec {shlex.join([str(program), *arguments])} "$@"\n'
    )


def relocate(unpacked: Path, finished: Path) -> None:
    """Give `unpacked` a `bin` folder, and paths that are right once it is at `finished`."""
    usr = unpacked / "root" / "usr"
    for specs in usr.rglob("picolibc*.specs"):
        text = specs.read_text()
        specs.write_text(text.replace("/usr/lib/picolibc", f"{finished}/root/usr/lib/picolibc"))
    folder = unpacked / "bin"
    folder.mkdir()
    for program in sorted((usr / "bin").iterdir()):
        if program.name.startswith((ARM, RISCV, "qemu-system-")):
            path = folder / program.name
            text = script(unpacked / "root", usr / "bin" / program.name)
            path.write_text(text.replace(str(unpacked), str(finished)))
            path.chmod(0o755)


def fill_cache(cache: Path, tools: tuple[Tool, ...]) -> Path:
    """Download and unpack `tools`; return the `bin` folder that runs them."""
    names = ", ".join(tool.command for tool in tools)
    for program in ("apt-get", "dpkg-deb"):
        if shutil.which(program) is None:
            raise SetupError(f"{names}: not on PATH, and {program} is missing. {HOW_TO_MEND}")
    print(f"Fetching {names} (about 150 MB) ...", file=sys.stderr, flush=True)
    for abandoned in cache.glob("partial-emulators-*"):
        shutil.rmtree(abandoned, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix="partial-emulators-", dir=cache) as name:
        work = Path(name)
        downloads = work / "downloads"
        unpacked = work / "emulators"
        downloads.mkdir()
        (unpacked / "root").mkdir(parents=True)
        apt = Apt(work / "apt")
        if apt.run("update") is None:
            raise SetupError(f"This system's package archives cannot be reached. {HOW_TO_MEND}")
        packages = apt.with_dependencies(packages_for(apt, tools))
        chosen = [f"{package}={version}" for package, version in packages]
        if apt.run("download", *chosen, folder=downloads) is None:
            raise SetupError(f"The packages cannot be downloaded. {HOW_TO_MEND}")
        for archive in sorted(downloads.glob("*.deb")):
            subprocess.run(["dpkg-deb", "-x", archive, unpacked / "root"], check=True)
        finished = cache / f"emulators-{folder_version(packages)}"
        relocate(unpacked, finished)
        if finished.is_dir():
            finished.rename(work / "replaced")
        unpacked.rename(finished)
    return finished / "bin"


def folder_version(packages: list[tuple[str, str]]) -> str:
    """Return the upstream version of QEMU, or of the first package when QEMU is not fetched."""
    versions = [version for package, version in packages if package.startswith("qemu-system")]
    match = re.search(r"(?:\d+:)?(\d+(?:\.\d+)+)", (versions or [packages[0][1]])[0])
    return match[1] if match else "0"


def emulators() -> Path:
    """Return a folder to put on PATH, after which every tool is on it.

    Raises:
        SetupError: the tools are neither on PATH nor to be had from the package archive.
    """
    if not missing(TOOLS, None):
        return Path(shutil.which("qemu-system-arm") or "").parent
    cache = open_cache()
    with locked(cache, "emulators"):
        return cached_folder(cache) or fill_cache(cache, missing(TOOLS, None))


def main() -> None:
    """Fetch the tools unless that is done, and print the folder that holds them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--link", type=Path, help="symbolic link to make to the folder")
    arguments = parser.parse_args()
    try:
        folder = emulators()
    except (SetupError, OSError, subprocess.CalledProcessError) as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit("Interrupted. Nothing is left half-done; run it again.")
    if arguments.link:
        link(folder, arguments.link)
    print(folder)


if __name__ == "__main__":
    main()
