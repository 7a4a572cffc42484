"""The folder that what is fetched is kept in, shared by all source trees of a user."""

from __future__ import annotations

import contextlib
import fcntl
import os
import sys
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def locked(cache: Path, wanted: str) -> Iterator[None]:
    """Hold the cache's lock for what is wanted, so that only one process fetches it."""
    with (cache / f"{wanted.lower()}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(
                f"Waiting for another process that is fetching {wanted} ...",
                file=sys.stderr,
                flush=True,
            )
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def link(target: Path, path: Path) -> None:
    """Make `path` a symbolic link to `target`, replacing an older link in one step."""
    if path.is_symlink() and path.readlink() == target:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f"{path.name}.{os.getpid()}")
    fresh.symlink_to(target)
    fresh.replace(path)


def open_cache() -> Path:
    """Return the cache folder: $LILLIPUT_CACHE, or one in the user's home, or else under build/."""
    named = os.environ.get("LILLIPUT_CACHE")
    if named:
        folder = Path(named).absolute()
        folder.mkdir(parents=True, exist_ok=True)
        return folder
    home = os.environ.get("HOME")
    if home:
        folder = Path(home).absolute() / ".cache" / "lilliput"
        with contextlib.suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True)
            if os.access(folder, os.W_OK):
                return folder
    folder = Path(__file__).absolute().parents[1] / "build" / "cache"
    folder.mkdir(parents=True, exist_ok=True)
    return folder
