"""What the documents promise is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import lilliput
from lilliput.format.structs import definitions
from lilliput.lower import supported_operators

DOCUMENTS = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")


def table_rows(text: str, heading: str) -> list[list[str]]:
    """The cells of the first table after a heading."""
    lines = text[text.index(heading) :].splitlines()
    first = next(index for index, line in enumerate(lines) if line.startswith("| ---"))
    rows = []
    for line in lines[first + 1 :]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.strip("|").split("|")])
    return rows


def kernels(is_training: bool) -> set[str]:
    """The kinds that have a kernel: all but INPUT, of an inference or of a training step."""
    names = definitions().typeof("enum lil_kind").relements
    return {
        name.removeprefix("LIL_")
        for name, value in names.items()
        if (value >= names["LIL_MASK"]) == is_training
    } - {"INPUT", "KIND_COUNT"}


def test_the_page_on_training_names_every_kernel(repository: Path) -> None:
    rows = table_rows((repository / "docs/training.md").read_text(encoding="utf-8"), "## Kernels")
    named = [name for row in rows for name in re.findall(r"`([A-Z_]+)`", row[0])]
    assert sorted(named) == sorted(kernels(is_training=True))


@pytest.mark.parametrize(
    ("document", "heading", "operators", "kernel"),
    [("README.md", "## Operators", 0, 1), ("docs/operators.md", "## How each kernel", 1, 0)],
)
def test_tables_name_every_kernel_and_operator(
    repository: Path, document: str, heading: str, operators: int, kernel: int
) -> None:
    rows = table_rows((repository / document).read_text(encoding="utf-8"), heading)
    named = {name for row in rows for name in re.findall(r"`([A-Z_]+)`", row[kernel])}
    assert named == kernels(is_training=False)
    listed = {name for row in rows for name in re.findall(r"\b[A-Z][A-Z0-9_]+\b", row[operators])}
    assert set(supported_operators()) <= listed


def test_arenas_are_those_of_the_readme(repository: Path, models: Path) -> None:
    rows = table_rows((repository / "README.md").read_text(encoding="utf-8"), "## Memory")
    assert len(rows) == 5
    for description, macs, arena, *_ in rows:
        [name] = re.findall(r"`(\w+)`", description)
        summary = lilliput.convert(models / f"{name}.tflite").summary
        assert f"{summary['macs'] / 1e6:.1f} M" == macs
        documented = int(arena.replace(",", ""))
        # A planner that does a little better need not change the README at once.
        assert 0.95 * documented <= summary["arena_bytes"] <= documented, name


def test_links_lead_somewhere(repository: Path) -> None:
    documents = [repository / name for name in DOCUMENTS]
    documents += sorted((repository / "docs").rglob("*.md"))
    checked = 0
    for document in documents:
        text = document.read_text(encoding="utf-8")
        for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", text):
            if not target.startswith("http"):
                assert (document.parent / target).exists(), f"{document}: {target}"
                checked += 1
    assert checked > 15


def test_commands_of_the_readme_exist(repository: Path) -> None:
    from lilliput.cli.app import parser

    text = (repository / "README.md").read_text(encoding="utf-8").replace("\\\n", " ")
    commands = re.findall(r"^\$ lilliput (.*?)(?: +#.*)?$", text, re.MULTILINE)
    assert len(commands) >= 5
    for command in commands:
        parser().parse_args(command.split())
    makefile = (repository / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"^\$ make (\w+)", text, re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_picture_is_small(repository: Path) -> None:
    assert (repository / "docs" / "images" / "face.png").stat().st_size < 200_000
