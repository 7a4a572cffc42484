"""How toolchain/get_emulators.py fetches and unpacks packages: from an archive made on the spot."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "toolchain" / "get_emulators.py"
COMMANDS = {
    "gcc-arm-none-eabi": "arm-none-eabi-gcc",
    "libnewlib-arm-none-eabi": "",
    "gcc-riscv64-unknown-elf": "riscv64-unknown-elf-gcc",
    "picolibc-riscv64-unknown-elf": "",
    "qemu-system-arm": "qemu-system-arm",
    "qemu-system-misc": "qemu-system-riscv32",
}
VERSION = "1:7.2+dfsg-7"
APT_GET = """\
#!/bin/sh
while [ "$1" = -q ] || [ "$1" = -o ]; do [ "$1" = -q ] && shift || shift 2; done
verb=$1
shift
echo "$verb $*" >>"$ARCHIVE/calls"
case $verb in
update) exit 0;;
install) shift 2; for name; do echo "Inst $name (@VERSION@ Debian [amd64])"; done;;
download) for name; do cp "$ARCHIVE/${name%%=*}.deb" .; done;;
esac
"""
APT_CACHE = """\
#!/bin/sh
for name; do :; done
test -f "$ARCHIVE/$name.deb"
"""


@pytest.fixture
def machine(tmp_path: Path) -> dict[str, str]:
    """The environment of a system without emulators, whose archive is a folder."""
    if shutil.which("dpkg-deb") is None:
        pytest.skip("dpkg-deb is missing: this is no Debian system")
    programs, archive = tmp_path / "programs", tmp_path / "archive"
    programs.mkdir()
    archive.mkdir()
    for name in ("sh", "cp", "dpkg-deb", "tar", "xz", "zstd", "gzip"):
        found = shutil.which(name)
        if found:
            (programs / name).symlink_to(found)
    for name, text in (("apt-get", APT_GET), ("apt-cache", APT_CACHE)):
        (programs / name).write_text(text.replace("@VERSION@", VERSION))
        (programs / name).chmod(0o755)
    for package, command in COMMANDS.items():
        tree = tmp_path / "packages" / package
        (tree / "DEBIAN").mkdir(parents=True)
        (tree / "usr" / "bin").mkdir(parents=True)
        (tree / "DEBIAN" / "control").write_text(
            f"Package: {package}\nVersion: {VERSION}\nArchitecture: all\n"
            "Maintainer: nobody <nobody@example.org>\nDescription: test\n"
        )
        if command:
            program = tree / "usr" / "bin" / command
            program.write_text(f'#!/bin/sh\necho "{command} of the archive: $*"\n')
            program.chmod(0o755)
        built = archive / f"{package}.deb"
        subprocess.run(["dpkg-deb", "--build", tree, built], check=True, capture_output=True)
    return {
        "PATH": str(programs),
        "ARCHIVE": str(archive),
        "LILLIPUT_CACHE": str(tmp_path / "cache"),
    }


def get(environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPT)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)


def test_what_path_lacks_is_fetched_once(machine: dict[str, str]) -> None:
    found = get(machine)
    assert found.returncode == 0, found.stderr
    folder = Path(found.stdout.strip())
    assert folder == Path(machine["LILLIPUT_CACHE"]) / "emulators-7.2" / "bin"
    said = subprocess.run([folder / "qemu-system-arm", "-x"], capture_output=True, text=True)
    assert said.stdout.startswith("qemu-system-arm of the archive: -L ")
    assert said.stdout.endswith(" -x\n")
    calls = (Path(machine["ARCHIVE"]) / "calls").read_text()
    assert get(machine).stdout == found.stdout
    assert (Path(machine["ARCHIVE"]) / "calls").read_text() == calls
    assert sorted(path.name for path in Path(machine["LILLIPUT_CACHE"]).iterdir()) == [
        "emulators-7.2",
        "emulators.lock",
    ]


def test_what_path_has_is_not_fetched(machine: dict[str, str]) -> None:
    own = Path(machine["PATH"])
    for command in filter(None, COMMANDS.values()):
        (own / command).write_text("#!/bin/sh\n")
        (own / command).chmod(0o755)
    assert get(machine).stdout.strip() == str(own)
    assert not (Path(machine["ARCHIVE"]) / "calls").exists()


def test_a_missing_package_is_named_with_what_to_do(machine: dict[str, str]) -> None:
    (Path(machine["ARCHIVE"]) / "qemu-system-misc.deb").unlink()
    found = get(machine)
    assert found.returncode != 0
    assert "qemu-system-riscv32" in found.stderr
    assert "apt-get install gcc-arm-none-eabi" in found.stderr
    assert not list(Path(machine["LILLIPUT_CACHE"]).glob("*emulators-*"))


def test_without_apt_the_packages_are_named(machine: dict[str, str]) -> None:
    (Path(machine["PATH"]) / "apt-get").unlink()
    found = get(machine)
    assert found.returncode != 0
    assert "apt-get is missing" in found.stderr
    assert "put them on PATH" in found.stderr
