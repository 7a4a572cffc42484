"""Where the C header that defines the model format lies."""

from __future__ import annotations

from pathlib import Path


def header_path() -> Path:
    """Return the path of `lil_format.h`: shipped beside this module, or in the source tree."""
    shipped = Path(__file__).with_name("lil_format.h")
    if shipped.is_file():
        return shipped
    return Path(__file__).parents[3] / "native_modules" / "core" / "lil_format.h"
