"""How toolchain/get_micropython.py reads the system's package sources."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).parents[2] / "toolchain" / "get_micropython.py"

DEB822 = """\
# the distribution
Types: deb
URIs: http://archive.example/debian
Suites: bookworm bookworm-updates
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: http://archive.example/debian-security
Suites: bookworm-security
Components: main

Types: deb
URIs: http://elsewhere.example/apt
Suites: bookworm
Components: stable
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 abc

Enabled: no
Types: deb
URIs: http://disabled.example/debian
Suites: bookworm
Components: main
"""

ONE_LINE = """\
# deb http://commented.example/debian bookworm main
deb [arch=amd64 signed-by=/keys/archive.gpg] http://archive.example/debian/ bookworm main contrib
deb-src http://archive.example/debian bookworm main # the same again
deb http://flat.example/ ./
"""


@pytest.fixture(scope="module")
def script() -> dict[str, Any]:
    """The names that the script defines."""
    return runpy.run_path(str(SCRIPT))


def archives(script: dict[str, Any], apt_folder: Path) -> list[Any]:
    found: list[Any] = script["archives"](
        script["system_entries"](apt_folder), script["DEBIAN_SUITE_NAMES"]
    )
    return found


def test_deb822_sources(script: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "sources.list.d").mkdir()
    (tmp_path / "sources.list.d" / "debian.sources").write_text(DEB822)
    (archive,) = archives(script, tmp_path)
    assert archive.source_entry("trixie", "main").splitlines()[:4] == [
        "Types: deb-src",
        "URIs: http://archive.example/debian",
        "Suites: trixie",
        "Components: main",
    ]


def test_one_line_sources(script: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "sources.list").write_text(ONE_LINE)
    (archive,) = archives(script, tmp_path)
    assert archive.uris == "http://archive.example/debian/"
    assert archive.signed_by == "/keys/archive.gpg"


def test_embedded_key_is_kept(script: dict[str, Any]) -> None:
    paragraph = list(script["parse_deb822"](DEB822))[2]
    entry = script["Archive"](paragraph["uris"], paragraph["signed-by"]).source_entry("sid", "main")
    assert entry.endswith("Signed-By: \n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n abc\n")


def test_no_sources_give_no_archive(script: dict[str, Any], tmp_path: Path) -> None:
    assert archives(script, tmp_path) == []


def test_version_is_read_from_the_package_description(script: dict[str, Any]) -> None:
    assert script["upstream_version"](Path("micropython_1.25.0+ds-1.dsc")) == (1, 25, 0)
