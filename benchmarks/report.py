"""Figures of a benchmark, as a table in Markdown and as data in JSON; what every benchmark's command line has.

A figure has a subject (the row: a network, an optimizer), a measure (the column) and perhaps a goal. It is a median of
repeated measurements, with the range of their middle half.
"""

import argparse
import json
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from machine import machine


@dataclass(frozen=True)
class Figure:
    """goal: what it should reach: at least, or at_most."""

    subject: str
    measure: str
    value: float
    low: float
    high: float
    goal: float | None = None
    at_most: bool = False

    @property
    def missed(self) -> bool:
        return self.goal is not None and (self.value > self.goal if self.at_most else self.value < self.goal)

    def __str__(self) -> str:
        spread = "" if self.low == self.high else f" ({number(self.low)} to {number(self.high)})"
        if self.goal is None:
            return number(self.value) + spread
        aim = f"{'≤' if self.at_most else '≥'} {self.goal:g}"
        return f"{number(self.value)}{spread}; goal {aim}{', missed' if self.missed else ''}"


def figure(
    subject: str, measure: str, samples: Sequence[float], goal: float | None = None, at_most: bool = False
) -> Figure:
    """The median and the middle half of the samples."""
    low, value, high = statistics.quantiles(samples, n=4, method="inclusive") if len(samples) > 1 else [samples[0]] * 3
    return Figure(subject, measure, value, low, high, goal, at_most)


def number(value: float) -> str:
    """About three digits: 0.0123, 1.23, 12.3, 123, 12,345."""
    size = abs(value)
    digits = 0 if size >= 100 else 1 if size >= 10 else 2 if size >= 0.1 or size == 0 else 4
    return f"{value:,.{digits}f}"


@dataclass(frozen=True)
class Table:
    """More than figures."""

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]

    def __str__(self) -> str:
        return f"{self.title}\n\n{markdown_table(self.head, self.rows)}"


@dataclass(frozen=True)
class Report:
    """What a benchmark has found. about: one paragraph on what the figures are."""

    title: str
    about: str
    figures: Sequence[Figure]
    tables: Sequence[Table] = ()
    text: str = ""  # what a program without figures prints
    versions: str = ""  # of the peers
    machine: str = field(default_factory=machine)

    def __str__(self) -> str:
        where = self.machine + (f"; {self.versions}" if self.versions else "")
        parts = [f"## {self.title}", self.about, f"{where}."]
        parts += [self._figures()] if self.figures else []
        parts += map(str, self.tables)
        parts += [f"```\n{self.text.rstrip()}\n```"] if self.text else []
        return "\n\n".join(parts) + "\n"

    def _figures(self) -> str:
        """Subjects down, measures across."""
        subjects = list(dict.fromkeys(figure.subject for figure in self.figures))
        measures = list(dict.fromkeys(figure.measure for figure in self.figures))
        cells = {(figure.subject, figure.measure): str(figure) for figure in self.figures}
        rows = [[subject, *(cells.get((subject, measure), "") for measure in measures)] for subject in subjects]
        return markdown_table(["", *measures], rows)

    def save(self, path: Path) -> None:
        path.write_text(json.dumps(asdict(self), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def load_report(path: Path) -> Report:
    fields = json.loads(path.read_text(encoding="utf-8"))
    figures, tables = [Figure(**each) for each in fields["figures"]], [Table(**each) for each in fields["tables"]]
    return Report(**fields | {"figures": figures, "tables": tables})


def markdown_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def parser_of(description: str | None, quick: str) -> argparse.ArgumentParser:
    """A command line with what every benchmark has. quick: what --quick makes shorter."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help=quick)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the report to this file too")
    return parser


def finish(report: Report, options: argparse.Namespace) -> None:
    """Print the report, and save it if asked to."""
    print(report)
    if options.json:
        report.save(options.json)
