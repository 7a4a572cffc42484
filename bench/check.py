"""Fails when an inference needs more instructions than bench/instructions.json says.

python bench/check.py [--models FOLDER] [--core CORE ...]
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from emulation import CORES, BuildError, EmulationError, EmulatorsMissing
from measuring import Figures, by_name, compilers, kernels, measure, published, read_figures

TOLERANCE = 0.02
LARGEST_MACS = 20_000_000


@dataclass(frozen=True)
class Change:
    """Instructions of one model or kernel on one core, as stored and as measured now."""

    name: str
    core: str
    stored: int
    now: int

    @property
    def ratio(self) -> float:
        return self.now / self.stored

    def __str__(self) -> str:
        numbers = f"{self.stored:,} -> {self.now:,} ({self.ratio - 1:+.1%})"
        return f"{self.name} on {self.core}: {numbers}"


def changes(figures: Figures, cores: Sequence[str], models: Path) -> list[Change]:
    """What was stored and can be measured, but for models that take long; the worst first.

    Raises ValueError when the figures are those of another compiler, and as `measure` does.
    """
    used = compilers()
    if figures.compilers != used:
        raise ValueError(
            f"the stored figures are of {figures.compilers}, installed is {used}: run `make bench` "
            "before and after a change to compare"
        )
    found = []
    quick = [subject for subject in published(models) if subject.macs <= LARGEST_MACS]
    for stored, measured in ((figures.models, quick), (figures.kernels, kernels())):
        known = [subject for subject in measured if subject.name in stored]
        now = by_name(measure(known, cores)) if known else {}
        found += [
            Change(name, core, stored[name][core], count)
            for name, counts in now.items()
            for core, count in counts.items()
            if core in stored[name]
        ]
    return sorted(found, key=lambda change: -change.ratio)


def regressions(found: Sequence[Change]) -> list[Change]:
    """Those that need more than the tolerance allows."""
    return [change for change in found if change.ratio > 1 + TOLERANCE]


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints what changed; exits with 1 when something needs more than the tolerance allows."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    default = Path(os.environ.get("LILLIPUT_MODELS", "../shared/models"))
    parser.add_argument("--models", type=Path, default=default)
    parser.add_argument("--core", action="append", choices=CORES)
    options = parser.parse_args(arguments)
    try:
        found = changes(read_figures(), options.core or list(CORES), options.models)
    except (BuildError, EmulationError, EmulatorsMissing, OSError, ValueError) as error:
        sys.exit(f"error: {error}")
    worse = regressions(found)
    better = [change for change in found if change.ratio < 1 - TOLERANCE]
    for title, changed in (("more", worse), ("fewer", better)):
        for change in changed:
            print(f"{title} instructions: {change}")
    print(f"{len(found)} figures: {len(worse)} worse, {len(better)} better by more than 2%")
    if better:
        print("`make bench` writes the better figures down.")
    if worse:
        sys.exit(1)


if __name__ == "__main__":
    main()
