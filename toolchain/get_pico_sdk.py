"""Make a MicroPython source tree whose rp2 port builds.

A checkout of MicroPython with its submodules is one. MicroPython's source package lacks the Pico
SDK, TinyUSB, Mbed TLS and picotool: they come from the packages that are installed, or else are
downloaded from the system's package archive and unpacked in the cache, without root. The tree
consists of links to both.
"""

from __future__ import annotations

import argparse
import platform
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from package_archive import SetupError, SuiteApt, candidates, download_source, unpack_source
from package_cache import locked, open_cache

PACKAGES = ("pico-sdk-source", "tinyusb-source", "picotool")
# What picotool loads: the archive's newer suite may have newer libraries than this system.
LIBRARIES = ("libc6", "libgcc-s1", "libstdc++6", "libusb-1.0-0", "libudev1", "libcap2")
MBEDTLS = "mbedtls"
SUBMODULES = ("pico-sdk", "tinyusb", MBEDTLS, "micropython-lib")
HOW_TO_MEND = (
    "Install them (Debian 13: `apt-get install cmake pico-sdk-source tinyusb-source picotool`), or "
    "check out MicroPython, run `make -C ports/rp2 submodules` in it, and name it: `make firmware "
    "BOARD=RPI_PICO2 MPY_DIR=$HOME/micropython`."
)


def is_complete(micropython: Path) -> bool:
    """Return whether a MicroPython tree has its submodules for the rp2 port."""
    return all(any((micropython / "lib" / name).glob("*")) for name in SUBMODULES)


def installed(root: Path) -> bool:
    """Return whether the packages are unpacked under `root`."""
    sources = (root / "usr/src/pico-sdk", root / "usr/src/tinyusb", root / "usr/bin/picotool")
    return all(path.exists() for path in sources)


def wrap_picotool(root: Path) -> None:
    """Make `usr/bin/picotool` under `root` run with the libraries beside it."""
    program = root / "usr/bin/picotool"
    own = root / "usr/libexec/picotool"
    loader = next(root.glob("usr/lib/*-linux-gnu*/ld-linux*.so.*"), None)
    if loader is None:
        raise SetupError(f"The archive's libc6 is of an unknown kind. {HOW_TO_MEND}")
    own.parent.mkdir(parents=True, exist_ok=True)
    program.rename(own)
    # Its place is found when it runs, because the folder moves once more.
    program.write_text(
        "#!/bin/sh\n"
        'root=$(cd -P "$(dirname "$0")/../.." && pwd)\n'
        f'exec "$root/{loader.relative_to(root)}" --library-path '
        f'"$root/{loader.parent.relative_to(root)}" "$root/{own.relative_to(root)}" "$@"\n'
    )
    program.chmod(0o755)


def fill_cache(cache: Path, finished: Path) -> None:
    """Download and unpack what is not installed into the folder `finished`, which appears whole."""
    if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
        raise SetupError(f"{', '.join(PACKAGES)}: apt-get is missing. {HOW_TO_MEND}")
    print("Fetching the Pico SDK, TinyUSB, Mbed TLS and picotool (about 15 MB) ...", flush=True)
    for abandoned in cache.glob("partial-pico-*"):
        shutil.rmtree(abandoned, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix="partial-pico-", dir=cache) as name:
        work = Path(name)
        (work / "tree" / "root").mkdir(parents=True)
        (work / "downloads").mkdir()
        for suite, sources in candidates():
            if download(suite, sources, work):
                (work / "tree").rename(finished)
                return
    raise SetupError(
        f"This system's package archives have no {', '.join(PACKAGES)}, or cannot be reached. "
        f"{HOW_TO_MEND}"
    )


def download(suite: str, sources: str, work: Path) -> bool:
    """Unpack one suite's packages into `work/tree`; return whether it has them."""
    downloads, tree = work / "downloads", work / "tree"
    description = download_source(suite, sources, MBEDTLS, downloads)
    if description is None:
        return False
    (work / "unpacked").mkdir()
    unpack_source(description, work / "unpacked").rename(tree / MBEDTLS)
    if installed(Path("/")):
        return True
    with SuiteApt(sources, downloads) as apt:
        found = apt.run("update", folder=downloads) and apt.run(
            "download", *PACKAGES, *LIBRARIES, folder=downloads
        )
    if not found:
        print(f"No {', '.join(PACKAGES)} from {suite}:\n{apt.log}", file=sys.stderr)
        return False
    for archive in sorted(downloads.glob("*.deb")):
        subprocess.run(["dpkg-deb", "-x", archive, tree / "root"], check=True)
    wrap_picotool(tree / "root")
    return True


def assemble(micropython: Path, fetched: Path, tree: Path) -> None:
    """Make `tree`: links to MicroPython's files, and to what it lacks in `lib`."""
    root = fetched / "root" if installed(fetched / "root") else Path("/")
    lacking = {
        "pico-sdk": root / "usr/src/pico-sdk",
        "tinyusb": root / "usr/src/tinyusb",
        "picotool": root / "usr/lib/cmake/picotool",
        MBEDTLS: fetched / MBEDTLS,
    }
    with tempfile.TemporaryDirectory(prefix="rp2-", dir=tree.parent) as name:
        fresh = Path(name) / "tree"
        # CMake takes ../.. of the port's folder for MicroPython's: they are real folders here.
        link_all(micropython, fresh, apart_from=("lib", "ports"))
        link_all(micropython / "lib", fresh / "lib", apart_from=SUBMODULES)
        link_all(micropython / "ports" / "rp2", fresh / "ports" / "rp2")
        for submodule, target in lacking.items():
            (fresh / "lib" / submodule).symlink_to(target)
        # Nothing of micropython-lib is frozen, but CMake wants to see the file.
        (fresh / "lib" / "micropython-lib").mkdir()
        (fresh / "lib" / "micropython-lib" / "README.md").touch()
        shutil.rmtree(tree, ignore_errors=True)
        fresh.rename(tree)


def link_all(source: Path, folder: Path, apart_from: tuple[str, ...] = ()) -> None:
    """Link to everything in `source`, apart from some names, in a new folder."""
    folder.mkdir(parents=True)
    for path in source.iterdir():
        if path.name not in apart_from:
            (folder / path.name).symlink_to(path)


def main() -> None:
    """Make the tree, fetching what it lacks."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--micropython", type=Path, required=True, help="MicroPython's source tree")
    parser.add_argument("--tree", type=Path, required=True, help="the tree to make")
    arguments = parser.parse_args()
    micropython = arguments.micropython.resolve()
    try:
        if shutil.which("cmake") is None:
            raise SetupError("cmake is missing. Install it with `apt-get install cmake`.")
        if is_complete(micropython):
            shutil.rmtree(arguments.tree, ignore_errors=True)
            arguments.tree.symlink_to(micropython)
            return
        cache = open_cache()
        with locked(cache, "pico-sdk"):
            fetched = cache / f"pico-sdk-{platform.machine()}"
            if not fetched.is_dir():
                fill_cache(cache, fetched)
        assemble(micropython, fetched, arguments.tree)
    except (SetupError, OSError, subprocess.CalledProcessError) as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit("Interrupted. Nothing is left half-done; run it again.")


if __name__ == "__main__":
    main()
