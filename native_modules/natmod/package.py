"""Put the device's Python, compiled, and mip's package.json beside a native module."""

from __future__ import annotations

import argparse
import json
import subprocess
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DEVICE_PACKAGE = ROOT / "device" / "lilliput"


FOR_TRAINING = frozenset({"train.py"})


def write_package(folder: Path, module: str, mpy_cross: str) -> None:
    """Complete `folder`, which mip then installs: `mpremote mip install FOLDER/package.json`."""
    files = [f"{module}.mpy"]
    (folder / "lilliput").mkdir(exist_ok=True)
    for source in sorted(DEVICE_PACKAGE.glob("*.py")):
        if source.name in FOR_TRAINING and module == "_lilliput":
            continue
        name = f"lilliput/{source.stem}.mpy"
        subprocess.run(
            [mpy_cross, "-s", f"lilliput/{source.name}", "-o", str(folder / name), str(source)],
            check=True,
        )
        files.append(name)
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    package = {"urls": [[name, name] for name in files], "version": version}
    (folder / "package.json").write_text(json.dumps(package, indent=2) + "\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--module", default="_lilliput")
    parser.add_argument("--mpy-cross", required=True)
    arguments = parser.parse_args()
    write_package(arguments.folder, arguments.module, arguments.mpy_cross)
