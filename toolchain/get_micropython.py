"""Fetch MicroPython's source from the system's package archive and build its host tools.

The source package is downloaded with private apt directories, so that neither root nor any change
to the system is needed. The finished tree holds `mpy-cross/build/mpy-cross` and the standard Unix
port, `ports/unix/build-standard/micropython`. It is cached: one rename makes it appear, complete.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from package_archive import SetupError, candidates, download_source, unpack_source
from package_cache import link, locked, open_cache

PINNED_VERSION = (1, 25, 0)
OLDEST_VERSION = (1, 24, 0)
STANDARD_BUILD = "ports/unix/build-standard"
UNIX_PORT_FLAGS = (
    "FROZEN_MANIFEST=",
    "MICROPY_PY_FFI=0",
    "MICROPY_PY_SSL=0",
    "MICROPY_PY_BTREE=0",
    "MICROPY_SSL_MBEDTLS=0",
)
HOW_TO_MEND = (
    "Check out MicroPython 1.24 or newer and set MPY_DIR to its folder, for example "
    "`make setup MPY_DIR=$HOME/micropython`."
)

Version = tuple[int, int, int]


def upstream_version(description: Path) -> Version:
    """Return MicroPython's version, read from the name of a .dsc file."""
    match = re.match(r"micropython_(\d+)\.(\d+)\.(\d+)", description.name)
    if match is None:
        raise SetupError(f"{description.name} does not name a MicroPython version. {HOW_TO_MEND}")
    major, minor, patch = (int(number) for number in match.groups())
    return major, minor, patch


def make(folder: Path, *arguments: str) -> None:
    """Run make in `folder`, apart from any make that called this script."""
    inherited = {"MAKEFLAGS", "MFLAGS", "MAKELEVEL", "MAKEOVERRIDES"}
    environment = {name: value for name, value in os.environ.items() if name not in inherited}
    command = ["make", "-C", str(folder), f"-j{os.cpu_count() or 1}", *arguments]
    result = subprocess.run(
        command, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        check=False,
    )  # fmt: skip
    if result.returncode != 0:
        sys.stderr.write(result.stdout)
        raise SetupError(f"MicroPython does not build: see the output of `{' '.join(command)}`.")


def build_host_tools(tree: Path) -> None:
    """Build mpy-cross and the standard Unix port inside `tree`."""
    print("Building mpy-cross and the standard Unix port (about a minute) ...", flush=True)
    make(tree / "mpy-cross")
    make(tree / "ports" / "unix", "BUILD=build-standard", *UNIX_PORT_FLAGS)


def cached_tree(cache: Path) -> Path | None:
    """Return a complete tree from the cache: the pinned version, or else the newest."""
    found: dict[Version, Path] = {}
    for path in cache.glob("micropython-*.*.*"):
        match = re.fullmatch(r"micropython-(\d+)\.(\d+)\.(\d+)", path.name)
        if match and path.is_dir():
            major, minor, patch = (int(number) for number in match.groups())
            found[major, minor, patch] = path
    if not found:
        return None
    return found.get(PINNED_VERSION) or found[max(found)]


def fill_cache(cache: Path) -> Path:
    """Download, build and cache MicroPython; return its tree."""
    if shutil.which("apt-get") is None:
        raise SetupError(f"This system has no apt-get to fetch MicroPython with. {HOW_TO_MEND}")
    for suite, sources in candidates():
        downloads = cache / "downloads" / suite
        downloads.mkdir(parents=True, exist_ok=True)
        print(f"Fetching MicroPython's source package from {suite} ...", flush=True)
        description = download_source(suite, sources, "micropython", downloads)
        if description is None or upstream_version(description) < OLDEST_VERSION:
            continue
        version = ".".join(str(number) for number in upstream_version(description))
        finished = cache / f"micropython-{version}"
        for abandoned in cache.glob("unfinished-*"):
            shutil.rmtree(abandoned, ignore_errors=True)
        unfinished = Path(tempfile.mkdtemp(prefix="unfinished-", dir=cache))
        try:
            tree = unpack_source(description, unfinished)
            build_host_tools(tree)
            tree.rename(finished)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
        return finished
    raise SetupError(
        "None of this system's package archives gave MicroPython's source package: are they "
        f"reachable? {HOW_TO_MEND}"
    )


def checkout_tree(tree: Path) -> Path:
    """Return the user's own MicroPython folder, after building the host tools in it."""
    if not (tree / "py" / "dynruntime.mk").is_file():
        raise SetupError(f"MPY_DIR is {tree}, which is not a MicroPython source folder.")
    build_host_tools(tree)
    return tree


def main() -> None:
    """Fetch and build MicroPython unless that is done, and link to it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--link", type=Path, required=True, help="symbolic link to the source tree")
    arguments = parser.parse_args()
    try:
        checkout = os.environ.get("MPY_DIR")
        if checkout:
            tree = checkout_tree(Path(checkout).absolute())
        else:
            cache = open_cache()
            with locked(cache, "MicroPython"):
                tree = cached_tree(cache) or fill_cache(cache)
    except (SetupError, OSError) as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit("Interrupted. Nothing is left half-done; run it again.")
    link(tree, arguments.link)


if __name__ == "__main__":
    main()
