"""A plot of each report that has figures: python plots.py REPORT.json ..., which writes REPORT.svg beside each.

One panel a measure with a bar for each subject: the median, the range of the middle half, and a mark at the goal.
Runs in the environment "plots", which has matplotlib and nothing of ours.
"""

import json
import sys
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("svg")
from matplotlib import pyplot
from matplotlib.ticker import NullFormatter

REACHED, MISSED, PLAIN = "#4c78a8", "#e4a04f", "#9aa5b1"
COLUMNS, PANEL_WIDTH, BAR_HEIGHT = 3, 4.2, 0.26  # inches
MOST_LINEAR = 20.0  # the largest ratio of values in a panel with a linear axis

matplotlib.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "distprop", "font.size": 8})


def missed(figure: dict[str, Any]) -> bool:
    return figure["value"] > figure["goal"] if figure["at_most"] else figure["value"] < figure["goal"]


def draw_panel(axes: Any, measure: str, figures: list[dict[str, Any]]) -> None:
    for place, figure in enumerate(figures):
        goal, value = figure["goal"], figure["value"]
        color = PLAIN if goal is None else MISSED if missed(figure) else REACHED
        axes.barh(place, value, color=color, height=0.7)
        axes.plot([figure["low"], figure["high"]], [place, place], color="black", linewidth=1)
        if goal is not None:
            axes.plot([goal, goal], [place - 0.4, place + 0.4], color="black", linewidth=1.5)
    values = [number for figure in figures for number in (figure["value"], figure["goal"]) if number]
    if min(values, default=1) > 0 and max(values) / min(values) > MOST_LINEAR:
        axes.set_xscale("log")
        axes.xaxis.set_minor_formatter(NullFormatter())
    else:
        axes.locator_params(axis="x", nbins=5)
    axes.set_yticks(range(len(figures)), [figure["subject"] for figure in figures])
    axes.invert_yaxis()
    axes.set_title(measure, loc="left", fontsize=9)
    axes.spines[["top", "right"]].set_visible(False)


def draw(path: Path) -> None:
    report = json.loads(path.read_text(encoding="utf-8"))
    measures = list(dict.fromkeys(figure["measure"] for figure in report["figures"]))
    if not measures:
        return
    panels = {name: [figure for figure in report["figures"] if figure["measure"] == name] for name in measures}
    columns = min(COLUMNS, len(panels))
    rows = -(-len(panels) // columns)
    height = rows * (0.7 + BAR_HEIGHT * max(map(len, panels.values())))
    canvas, grid = pyplot.subplots(rows, columns, figsize=(columns * PANEL_WIDTH, height), squeeze=False)
    for axes, (measure, figures) in zip(grid.flat, panels.items(), strict=False):
        draw_panel(axes, measure, figures)
    for axes in grid.flat[len(panels) :]:
        axes.set_axis_off()
    canvas.suptitle(f"{report['title']} (bar: median; line: middle half of the rounds; mark: goal)", fontsize=10)
    canvas.tight_layout()
    canvas.savefig(path.with_suffix(".svg"), metadata={"Date": None})
    pyplot.close(canvas)


for argument in sys.argv[1:]:
    draw(Path(argument))
