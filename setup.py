"""Build the `_lilliput` extension from the C core and its generated binding."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from setuptools import Extension, find_namespace_packages, setup
from setuptools.command.build_py import build_py

BINDINGS = Path("native_modules/bindings")
CORE = Path("native_modules/core")
BINDING = Path("build/bindings/_lilliput_cpython.c")


class BuildPackage(build_py):
    """Copy the Python files, and what the package needs from outside of their folders."""

    def run(self) -> None:
        if self.editable_mode:
            super().run()
            return
        library = Path(self.build_lib)
        shutil.rmtree(library / "lilliput", ignore_errors=True)
        super().run()
        extra = {
            CORE / "lil_format.h": library / "lilliput" / "format" / "lil_format.h",
            BINDINGS / "_lilliput.pyi": library / "_lilliput.pyi",
        }
        modules = [*Path("dist").glob("*-6.3/**/*.mpy"), *Path("dist").glob("*-6.3-train/*.mpy")]
        for module in modules:
            extra[module] = library / "lilliput" / "natmods" / module.relative_to("dist")
        for source, destination in extra.items():
            destination.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, destination)


def write_binding() -> None:
    """Generate the extension's C file; leave it alone where it is up to date."""
    fresh = BINDING.with_suffix(".new")
    command = [sys.executable, str(BINDINGS / "generate.py"), "cpython", str(fresh)]
    subprocess.run(command, check=True)
    if BINDING.is_file() and BINDING.read_bytes() == fresh.read_bytes():
        fresh.unlink()
    else:
        fresh.replace(BINDING)


def files(pattern: str) -> list[str]:
    """Return the core's files that match `pattern`, as setuptools wants them."""
    return sorted(path.as_posix() for path in CORE.rglob(pattern))


def runtime_packages() -> list[str]:
    """Return the names under which the device package is installed."""
    found = find_namespace_packages("device", include=["lilliput", "lilliput.*"])
    return ["lilliput.runtime" + name.removeprefix("lilliput") for name in found]


write_binding()
setup(
    packages=[
        name
        for name in [
            *find_namespace_packages("host", include=["lilliput", "lilliput.*"]),
            *runtime_packages(),
        ]
        if "__pycache__" not in name
    ],
    package_dir={"": "host", "lilliput.runtime": "device/lilliput"},
    ext_modules=[
        Extension(
            "_lilliput",
            sources=[BINDING.as_posix(), *files("*.c")],
            depends=[*files("*.h"), (BINDINGS / "python_stable_abi.h").as_posix()],
            include_dirs=[CORE.as_posix(), BINDINGS.as_posix()],
            # On the host every row that a kernel reads is checked to be in its ring still.
            define_macros=[("LIL_CHECK_RINGS", "1")],
            extra_compile_args=["-std=c99", "-O3", "-fvisibility=hidden", "-Werror=implicit"],
            py_limited_api=True,
        )
    ],
    cmdclass={"build_py": BuildPackage},
    options={"build": {"build_base": "build/python"}, "bdist_wheel": {"py_limited_api": "cp311"}},
)
