"""Print which kernels some models need, as the C core's LIL_KINDS: bit k for operator kind k."""

from __future__ import annotations

import sys
from pathlib import Path

from lilliput.format import read
from lilliput.format.structs import constants


def kinds(paths: list[Path]) -> int:
    """Return the set of operator kinds in the `.lil` files as a bit mask.

    Raises OSError when one is missing, ValueError when one is not sound.
    """
    numbers = constants()
    mask = 0
    for path in paths:
        for operator in read(path.read_bytes()).operators:
            mask |= 1 << numbers[f"LIL_{operator.kind}"]
    return mask


if __name__ == "__main__":
    try:
        print(f"{kinds([Path(name) for name in sys.argv[1:]]):#x}u")
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")
