"""How toolchain/package_archive.py reads the system's package sources."""

from __future__ import annotations

from pathlib import Path

from get_micropython import upstream_version
from package_archive import (
    DEBIAN_SUITE_NAMES,
    Archive,
    parse_deb822,
    system_entries,
)
from package_archive import archives as archives_among

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


def archives(apt_folder: Path) -> list[Archive]:
    return archives_among(system_entries(apt_folder), DEBIAN_SUITE_NAMES)


def test_deb822_sources(tmp_path: Path) -> None:
    (tmp_path / "sources.list.d").mkdir()
    (tmp_path / "sources.list.d" / "debian.sources").write_text(DEB822)
    (archive,) = archives(tmp_path)
    assert archive.entry("trixie", "main").splitlines()[:4] == [
        "Types: deb deb-src",
        "URIs: http://archive.example/debian",
        "Suites: trixie",
        "Components: main",
    ]


def test_one_line_sources(tmp_path: Path) -> None:
    (tmp_path / "sources.list").write_text(ONE_LINE)
    (archive,) = archives(tmp_path)
    assert archive.uris == "http://archive.example/debian/"
    assert archive.signed_by == "/keys/archive.gpg"


def test_embedded_key_is_kept() -> None:
    paragraph = list(parse_deb822(DEB822))[2]
    entry = Archive(paragraph["uris"], paragraph["signed-by"]).entry("sid", "main")
    assert entry.endswith("Signed-By: \n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n abc\n")


def test_no_sources_give_no_archive(tmp_path: Path) -> None:
    assert archives(tmp_path) == []


def test_version_is_read_from_the_package_description() -> None:
    assert upstream_version(Path("micropython_1.25.0+ds-1.dsc")) == (1, 25, 0)
