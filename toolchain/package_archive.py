"""The system's package archive, without root: a newer suite of it, through apt folders of our own.

The archives that the system already trusts are asked for the packages of the suites that have what
is wanted. No host is named here.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self

DEBIAN_SUITE = "trixie"
DEBIAN_SUITE_NAMES = frozenset(
    ("bookworm", "trixie", "forky", "duke", "sid", "oldstable", "stable", "testing", "unstable")
)
UBUNTU_SUITES = ("resolute", "questing", "plucky")


class SetupError(RuntimeError):
    """What is needed cannot be fetched or built; the message says what to do."""


@dataclass(frozen=True)
class Archive:
    """One package archive that the system already trusts."""

    uris: str
    signed_by: str

    def entry(self, suite: str, components: str) -> str:
        """Return a deb822 paragraph for the archive's packages in `suite`, with their sources."""
        fields = [
            "Types: deb deb-src",
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
        (suite, "\n".join(archive.entry(suite, components) for archive in found))
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


class SuiteApt:
    """apt-get for one suite, with folders of its own below `folder`. Use it in a `with` statement.

    log: what apt-get has printed so far.
    """

    def __init__(self, sources: str, folder: Path) -> None:
        self.log = ""
        self._sources = sources
        self._private = tempfile.TemporaryDirectory(prefix="apt-", dir=folder)

    def __enter__(self) -> Self:
        private = Path(self._private.__enter__())
        for name in ("none.d", "state/lists/partial", "cache/archives/partial", "log"):
            (private / name).mkdir(parents=True)
        (private / "status").touch()
        (private / "archive.sources").write_text(self._sources)
        settings = private / "apt.conf"
        settings.write_text(apt_settings(private))
        self._environment = {**os.environ, "APT_CONFIG": str(settings), "LC_ALL": "C"}
        return self

    def __exit__(self, *error: object) -> None:
        self._private.cleanup()

    def run(self, *arguments: str, folder: Path) -> bool:
        """Run apt-get in `folder`; return whether it succeeded."""
        result = subprocess.run(
            ["apt-get", "-q", *arguments], cwd=folder, env=self._environment, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False,
        )  # fmt: skip
        self.log += result.stdout
        return result.returncode == 0


def download_source(suite: str, sources: str, package: str, downloads: Path) -> Path | None:
    """Download a source package from `suite`; return its newest .dsc file, or None."""
    with SuiteApt(sources, downloads) as apt:
        found = apt.run("update", folder=downloads) and apt.run(
            "source", "--download-only", package, folder=downloads
        )
    if not found:
        print(f"No source of {package} from {suite}:\n{apt.log}", file=sys.stderr)
        return None
    return max(downloads.glob(f"{package}_*.dsc"), key=_numbers, default=None)


def _numbers(path: Path) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", path.name))


def unpack_source(description: Path, destination: Path) -> Path:
    """Unpack the upstream tarball that belongs to a .dsc file; return its folder inside.

    Raises:
        SetupError: the file names no tarball.
    """
    name = re.search(r"\S+\.orig\.tar\.\w+$", description.read_text(), re.M)
    if name is None:
        raise SetupError(f"{description.name} names no upstream tarball.")
    with tarfile.open(description.parent / name.group()) as tar:
        if hasattr(tarfile, "data_filter"):
            tar.extractall(destination, filter="data")
        else:
            tar.extractall(destination)
    (tree,) = destination.iterdir()
    return tree
