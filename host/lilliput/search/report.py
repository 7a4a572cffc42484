"""The report of a search: one HTML page with its plots in it."""

from __future__ import annotations

import html
from collections.abc import Sequence

from ..planner.plan import Plan
from .budget import Budget
from .memory import MemoryModel
from .network import Network
from .pipeline import Outcome
from .spaces import SpaceScore

_WIDTH, _HEIGHT = 760, 320
_LEFT, _RIGHT, _TOP, _BOTTOM = 70, 16, 12, 40
_COLOURS = ("#1769aa", "#b3541e", "#2e7d32", "#7b1fa2", "#c2185b", "#546e7a")
_KINDS = {"map": "#1769aa", "ring": "#2e7d32", "scratch": "#b3541e", "weights": "#7b1fa2"}
_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #1f2933; max-width: 820px; margin: 2em auto; }
table { border-collapse: collapse; } td, th { padding: 2px 14px 2px 0; text-align: right; }
td:first-child, th:first-child { text-align: left; } svg text { font-size: 12px; fill: #6b7785; }
"""


def report(outcome: Outcome, budget: Budget, classes: Sequence[str]) -> str:
    """The page."""
    summary = outcome.conversion.summary
    facts = [
        ("test accuracy, int8", f"{outcome.accuracy:.2%}"),
        ("test accuracy, float", f"{outcome.float_accuracy:.2%}"),
        ("classes", f"{len(classes)}"),
        ("budget", str(budget)),
        ("arena", f"{summary['arena_bytes']:,} bytes"),
        ("model file", f"{summary['flash_bytes']:,} bytes"),
        ("multiply-accumulates", f"{summary['macs']:,}"),
    ]
    if outcome.chosen.cost.instructions is not None:
        predicted = f"{outcome.chosen.cost.instructions:,.0f} predicted on {budget.core}"
        facts.append(("instructions", predicted))
    plan = MemoryModel(budget.schedule).placed(outcome.network)
    assert plan is not None  # there is no limit
    sections = [
        ("The network that was found", _table((), facts)),
        ("Stage one: what the networks that fit compute", _spaces(outcome.scores)),
        ("Stage two: accuracy against arena", _candidates(outcome)),
        ("Best accuracy by generation", _generations(outcome)),
        ("Its architecture", _architecture(outcome.network)),
        ("Its arena over the steps", _timeline(plan)),
    ]
    body = "".join(f"<h2>{html.escape(title)}</h2>{content}" for title, content in sections)
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>lilliput search</title>'
        f"<style>{_STYLE}</style><h1>lilliput search</h1>{body}</html>"
    )


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f"<th>{html.escape(each)}</th>" for each in heads)
    body = "".join(
        "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in rows
    )
    return f"<table><tr>{head}</tr>{body}</table>"


class _Plot:
    """Axes from zero or `lowest` up, and what is drawn in them."""

    def __init__(
        self, x_title: str, y_title: str, right: float, top: float, lowest: float = 0.0
    ) -> None:
        self.right, self.top, self.lowest = max(right, 1e-9), max(top, lowest + 1e-9), lowest
        self.parts: list[str] = []
        self._axes(x_title, y_title)

    def x(self, value: float) -> float:
        return _LEFT + value / self.right * (_WIDTH - _LEFT - _RIGHT)

    def y(self, value: float) -> float:
        share = (value - self.lowest) / (self.top - self.lowest)
        return _HEIGHT - _BOTTOM - share * (_HEIGHT - _TOP - _BOTTOM)

    def _axes(self, x_title: str, y_title: str) -> None:
        for step in range(5):
            across, up = self.right * step / 4, self.lowest + (self.top - self.lowest) * step / 4
            self.text(self.x(across), _HEIGHT - _BOTTOM + 16, _short(across), "middle")
            self.text(_LEFT - 6, self.y(up) + 4, _short(up), "end")
            self.line([(0, up), (self.right, up)], "#e4e8ed")
        self.text(_WIDTH - _RIGHT, _HEIGHT - 6, x_title, "end")
        self.text(_LEFT + 4, _TOP + 10, y_title, "start")

    def text(self, x: float, y: float, text: str, anchor: str) -> None:
        self.parts.append(
            f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{html.escape(text)}</text>'
        )

    def line(self, points: Sequence[tuple[float, float]], colour: str) -> None:
        path = " ".join(f"{self.x(x):.1f},{self.y(y):.1f}" for x, y in points)
        self.parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}"/>')

    def dot(self, x: float, y: float, colour: str, size: float, title: str) -> None:
        self.parts.append(
            f'<circle cx="{self.x(x):.1f}" cy="{self.y(y):.1f}" r="{size}" fill="{colour}">'
            f"<title>{html.escape(title)}</title></circle>"
        )

    def box(self, x: float, y: float, right: float, top: float, colour: str, title: str) -> None:
        width, height = self.x(right) - self.x(x), self.y(y) - self.y(top)
        self.parts.append(
            f'<rect x="{self.x(x):.1f}" y="{self.y(top):.1f}" width="{width:.1f}" '
            f'height="{height:.1f}" fill="{colour}" fill-opacity="0.6" stroke="white">'
            f"<title>{html.escape(title)}</title></rect>"
        )

    def svg(self) -> str:
        return (
            f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}" height="{_HEIGHT}">'
            f"{''.join(self.parts)}</svg>"
        )


def _short(value: float) -> str:
    for size, unit in ((1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.3g}{unit}"
    return f"{value:.3g}"


def _spaces(scores: Sequence[SpaceScore]) -> str:
    shown = [score for score in scores if score.macs][: len(_COLOURS)]
    plot = _Plot(
        "multiply-accumulates", "share of fitting networks with fewer",
        max(score.macs[-1] for score in shown), 1.0,
    )  # fmt: skip
    for colour, score in zip(_COLOURS, shown, strict=False):
        steps = [(m, (index + 1) / len(score.macs)) for index, m in enumerate(score.macs)]
        plot.line([(0, 0), *steps], colour)
    rows = [
        (
            score.space.name,
            f"{score.fitting:.0%}",
            f"{score.mean:,.0f}",
            *(f"{tail:,.0f}" for tail in score.tails),
        )
        for score in scores[:12]
    ]
    heads = ("space", "fit", "mean MACs", "half reach", "a fifth reach", "a tenth reach")
    colours = ", ".join(
        f'<span style="color:{colour}">{html.escape(score.space.name)}</span>'
        for colour, score in zip(_COLOURS, shown, strict=False)
    )
    return plot.svg() + f"<p>{colours}</p>" + _table(heads, rows)


def _candidates(outcome: Outcome) -> str:
    everything = [c for each in outcome.searched for c in each.evolved.candidates]
    best = {id(candidate) for _, candidate in outcome.pareto()}
    accuracies = [candidate.accuracy for candidate in everything]
    plot = _Plot(
        "bytes of arena", "validation accuracy with the super-network's weights",
        max(c.cost.arena_bytes for c in everything) * 1.05, max(accuracies), min(accuracies),
    )  # fmt: skip
    for candidate in sorted(everything, key=lambda each: id(each) in best):
        is_best = id(candidate) in best
        cost = candidate.cost
        plot.dot(
            cost.arena_bytes,
            candidate.accuracy,
            "#c2185b" if is_best else "#9fb3c8",
            4 if is_best else 2,
            f"{candidate.accuracy:.2%}, {cost.arena_bytes:,} bytes of arena, "
            f"{cost.flash_bytes:,} of flash, {cost.macs:,} multiply-accumulates",
        )
    return plot.svg() + "<p>Red: no other network is better in every way.</p>"


def _generations(outcome: Outcome) -> str:
    curves = [each.evolved.best_by_generation for each in outcome.searched]
    values = [value for curve in curves for value in curve]
    plot = _Plot("generation", "accuracy", max(map(len, curves)) - 1, max(values), min(values))
    for colour, curve in zip(_COLOURS * len(curves), curves, strict=False):
        plot.line(list(enumerate(curve)), colour)
    return plot.svg()


def _architecture(network: Network) -> str:
    sizes = network.sizes()
    rows = [("stem", "3x3", "", f"{network.stem}", f"{sizes[0]}x{sizes[0]}", "")]
    for number, (block, size) in enumerate(zip(network.blocks, sizes[1:], strict=True)):
        rows.append(
            (
                f"block {number}",
                f"{block.kernel}x{block.kernel}",
                f"{block.expanded}",
                f"{block.outputs}",
                f"{size}x{size}",
                "adds its input" if block.adds_input else "",
            )
        )
    return _table(("layer", "kernel", "expanded", "channels", "map", ""), rows)


def _timeline(plan: Plan) -> str:
    plot = _Plot("step", "bytes of arena", len(plan.program.steps), plan.arena_bytes)
    for block in plan.blocks:
        plot.box(
            block.first_step,
            block.offset,
            block.last_step + 1,
            block.offset + block.bytes,
            _KINDS[block.kind],
            f"{block.name}: {block.kind}, {block.bytes:,} bytes",
        )
    legend = ", ".join(f'<span style="color:{c}">{kind}</span>' for kind, c in _KINDS.items())
    return plot.svg() + f"<p>{legend}</p>"
