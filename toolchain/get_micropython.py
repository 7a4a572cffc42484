"""Fetch MicroPython's source from the system's package archive and build its host tools.

The source package is downloaded with private apt directories, so that neither root nor any change
to the system is needed. The finished tree holds `mpy-cross/build/mpy-cross` and the standard Unix
port, `ports/unix/build-standard/micropython`. It is cached: one rename makes it appear, complete.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PINNED_VERSION = (1, 25, 0)
OLDEST_VERSION = (1, 24, 0)
DEBIAN_SUITE = "trixie"
DEBIAN_SUITE_NAMES = frozenset(
    ("bookworm", "trixie", "forky", "duke", "sid", "oldstable", "stable", "testing", "unstable")
)
UBUNTU_SUITES = ("resolute", "questing", "plucky")
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


class SetupError(RuntimeError):
    """MicroPython cannot be fetched or built; the message says what to do."""


@dataclass(frozen=True)
class Archive:
    """One package archive that the system already trusts."""

    uris: str
    signed_by: str

    def source_entry(self, suite: str, components: str) -> str:
        """Return a deb822 paragraph for the archive's source packages in `suite`."""
        fields = [
            "Types: deb-src",
            f"URIs: {self.uris}",
            f"Suites: {suite}",
            f"Components: {components}",
        ]
        if self.signed_by:
            fields.append(f"Signed-By: {self._keyring_for(suite)}")
        return "\n".join(fields) + "\n"

    def _keyring_for(self, suite: str) -> str:
        if "debian-archive-" not in self.signed_by:
            return self.signed_by
        folder = Path("/usr/share/keyrings")
        names = ("debian-archive-keyring.gpg", f"debian-archive-{suite}-stable.gpg")
        return next(
            (str(folder / name) for name in names if (folder / name).is_file()), self.signed_by
        )


def parse_deb822(text: str) -> Iterator[dict[str, str]]:
    """Yield the paragraphs of a deb822 file as lower-case field names and values."""
    for paragraph in re.split(r"\n[ \t]*\n", text):
        fields: dict[str, str] = {}
        name = ""
        for line in paragraph.splitlines():
            if line.startswith("#"):
                continue
            if line[:1] in (" ", "\t") and name:
                fields[name] += "\n" + line
            elif ":" in line:
                name, value = line.split(":", 1)
                name = name.strip().lower()
                fields[name] = value.strip()
        if fields:
            yield fields


def parse_one_line(text: str) -> Iterator[dict[str, str]]:
    """Yield the entries of a one-line sources list with the field names of deb822."""
    pattern = re.compile(r"^\s*(deb|deb-src)\s+(?:\[([^]]*)\]\s+)?(\S+)\s+(\S+)\s*([^#\n]*)", re.M)
    for types, options, uri, suite, components in pattern.findall(text):
        fields = {"types": types, "uris": uri, "suites": suite, "components": components}
        for option in options.split():
            name, _, value = option.partition("=")
            fields[name.lower()] = value
        yield fields


def system_entries(apt_folder: Path) -> list[dict[str, str]]:
    """Return every enabled entry of the system's sources lists."""
    parts = apt_folder / "sources.list.d"
    entries: list[dict[str, str]] = []
    for path in sorted(parts.glob("*.sources")):
        entries += parse_deb822(path.read_text(errors="replace"))
    for path in [apt_folder / "sources.list", *sorted(parts.glob("*.list"))]:
        if path.is_file():
            entries += parse_one_line(path.read_text(errors="replace"))
    return [entry for entry in entries if entry.get("enabled", "yes").lower() != "no"]


def archives(entries: list[dict[str, str]], suites: frozenset[str]) -> list[Archive]:
    """Return the archives among `entries` that serve one of `suites`, without repetition."""
    found: dict[str, Archive] = {}
    for entry in entries:
        served = suites.intersection(entry.get("suites", "").split())
        if served and "main" in entry.get("components", "").split():
            uris = entry.get("uris", "")
            found.setdefault(uris.rstrip("/"), Archive(uris, entry.get("signed-by", "")))
    return list(found.values())


def operating_system() -> dict[str, str]:
    """Return the fields of /etc/os-release."""
    path = Path("/etc/os-release")
    text = path.read_text() if path.is_file() else ""
    return {name: value.strip("\"'") for name, value in re.findall(r"(?m)^(\w+)=(.*)$", text)}


def candidates() -> list[tuple[str, str]]:
    """Return (suite, sources list) pairs to try, best first."""
    release = operating_system()
    entries = system_entries(Path("/etc/apt"))
    ubuntu = release.get("UBUNTU_CODENAME", "")
    if ubuntu:
        found = archives(entries, frozenset({ubuntu}))
        suites, components = dict.fromkeys((*UBUNTU_SUITES, ubuntu)), "main universe"
    else:
        codename = release.get("VERSION_CODENAME", "")
        found = archives(entries, DEBIAN_SUITE_NAMES | {codename})
        suites, components = dict.fromkeys((DEBIAN_SUITE,)), "main"
    if not found:
        return []
    return [
        (suite, "\n".join(archive.source_entry(suite, components) for archive in found))
        for suite in suites
    ]


def apt_settings(private: Path) -> str:
    """Return an apt configuration that keeps to `private` but downloads as the system does."""
    dump = subprocess.run(["apt-config", "dump"], capture_output=True, text=True, check=True).stdout
    acquire = [line for line in dump.splitlines() if line.startswith("Acquire")]
    own = {
        "Dir::Etc::main": private / "none",
        "Dir::Etc::parts": private / "none.d",
        "Dir::Etc::sourcelist": private / "archive.sources",
        "Dir::Etc::sourceparts": private / "none.d",
        "Dir::Etc::preferences": private / "none",
        "Dir::Etc::preferencesparts": private / "none.d",
        "Dir::State": private / "state",
        "Dir::State::status": private / "status",
        "Dir::Cache": private / "cache",
        "Dir::Log": private / "log",
        "APT::Sandbox::User": "root",
        "APT::Get::Only-Source": "true",
        "Acquire::Languages": "none",
        "Acquire::Retries": "3",
    }
    return "\n".join([*acquire, *(f'{name} "{value}";' for name, value in own.items())]) + "\n"


def download(suite: str, sources: str, downloads: Path) -> Path | None:
    """Download the source package from `suite`; return its .dsc file, or None if there is none."""
    with tempfile.TemporaryDirectory(prefix="apt-", dir=downloads) as folder:
        private = Path(folder)
        for name in ("none.d", "state/lists/partial", "cache/archives/partial", "log"):
            (private / name).mkdir(parents=True)
        (private / "status").touch()
        (private / "archive.sources").write_text(sources)
        (private / "apt.conf").write_text(apt_settings(private))
        environment = {**os.environ, "APT_CONFIG": str(private / "apt.conf"), "LC_ALL": "C"}
        log = ""
        for command in (["update"], ["source", "--download-only", "micropython"]):
            result = subprocess.run(
                ["apt-get", "-q", *command], cwd=downloads, env=environment, text=True,
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False,
            )  # fmt: skip
            log += result.stdout
        if result.returncode != 0:
            print(f"No MicroPython source from {suite}:\n{log}", file=sys.stderr)
            return None
    return max(downloads.glob("micropython_*.dsc"), key=upstream_version, default=None)


def upstream_version(description: Path) -> Version:
    """Return MicroPython's version, read from the name of a .dsc file."""
    match = re.match(r"micropython_(\d+)\.(\d+)\.(\d+)", description.name)
    if match is None:
        raise SetupError(f"{description.name} does not name a MicroPython version. {HOW_TO_MEND}")
    major, minor, patch = (int(number) for number in match.groups())
    return major, minor, patch


def unpack(description: Path, destination: Path) -> None:
    """Unpack the upstream tarball that belongs to `description` into `destination`."""
    name = re.search(r"\bmicropython_\S+\.orig\.tar\.\w+$", description.read_text(), re.M)
    if name is None:
        raise SetupError(f"{description.name} names no upstream tarball. {HOW_TO_MEND}")
    with tarfile.open(description.parent / name.group()) as tar:
        if hasattr(tarfile, "data_filter"):
            tar.extractall(destination, filter="data")
        else:
            tar.extractall(destination)


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


@contextlib.contextmanager
def locked(cache: Path, wanted: str = "MicroPython") -> Iterator[None]:
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
        description = download(suite, sources, downloads)
        if description is None or upstream_version(description) < OLDEST_VERSION:
            continue
        version = ".".join(str(number) for number in upstream_version(description))
        finished = cache / f"micropython-{version}"
        for abandoned in cache.glob("unfinished-*"):
            shutil.rmtree(abandoned, ignore_errors=True)
        unfinished = Path(tempfile.mkdtemp(prefix="unfinished-", dir=cache))
        try:
            unpack(description, unfinished)
            (tree,) = unfinished.iterdir()
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
            with locked(cache):
                tree = cached_tree(cache) or fill_cache(cache)
    except (SetupError, OSError) as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit("Interrupted. Nothing is left half-done; run it again.")
    link(tree, arguments.link)


if __name__ == "__main__":
    main()
