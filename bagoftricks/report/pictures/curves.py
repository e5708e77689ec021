"""Learning curves of every seed, as they were measured: no smoothing, no average."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bagoftricks.report.dawnbench import seconds_to
from bagoftricks.report.pictures.drawing import Drawing, DrawnNumbers
from bagoftricks.report.pictures.material import Material, seeds_text
from bagoftricks.report.pictures.style import (
    BLACK,
    BLUE,
    DASHES,
    GREY,
    PALE,
    PALETTE,
    SHAPES,
    SIDE_BY_SIDE,
    SMALL,
    drawn_text,
    new_figure,
)
from bagoftricks.store.record import CurvePoint, Record

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_TOGETHER, MOST_PANELS = 6, 24  # arms of one panel that are told apart, and arms with a panel of their own
MOST_MARKED = 40  # evaluations of a curve whose points are marked


@dataclass(frozen=True)
class Look:
    """Look of the curves of one arm; the shape marks each evaluation."""

    colour: str
    dash: Any = "-"
    shape: str = ""
    order: int = 2

    def draw(self, axes: "Axes", of: Material, label: str) -> None:
        """Draw the curve of each seed."""
        for points in map(curve_points, of.results.records[label].values()):
            marker = "o" if len(points) == 1 else self.shape if len(points) <= MOST_MARKED else ""
            how: dict[str, Any] = {"marker": marker, "markersize": 2.5, "markeredgewidth": 0, "zorder": self.order}
            x, y = [_x(of, point) for point in points], [point.score for point in points]
            axes.plot(x, y, color=self.colour, linestyle=self.dash, linewidth=0.8, **how)


def lacks_curves(of: Material) -> str:
    """Return why there are no curves, an empty text if there are."""
    if not any(curve_points(record) for record in of.results.every_record):
        return "no record has a learning curve: those of the first versions have none"
    return ""


def curve_points(record: Record) -> list[CurvePoint]:
    """Return the evaluations of the weights that a study reports, in the order of training."""
    return [p for p in record.cost.curve if p.weights == record.reported and math.isfinite(p.score)]


def draw_curves(of: Material, width: float) -> Drawing:
    """Draw every seed's accuracy over epochs, or over seconds of training if arms are timed to an accuracy."""
    from matplotlib.ticker import MaxNLocator

    labels = [arm.label for arm in of.arms if any(map(curve_points, of.results.records[arm.label].values()))]
    figure = new_figure(width, 2.4)
    if len(labels) <= MOST_TOGETHER or len(labels) > MOST_PANELS:
        panels = _draw_together(figure, of, labels)
    else:
        panels = _draw_apart(figure, of, labels, width)
    x = "epoch" if of.target is None else "seconds in training"
    if len(panels) > 1:
        figure.supxlabel(x, fontsize=8)
        figure.supylabel(f"{of.first} (%)", fontsize=8)
    else:
        panels[0].set(xlabel=x, ylabel=f"{of.first} (%)")
    for axes in panels:
        axes.grid(axis="y")
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=of.target is None))
        if of.target is not None:
            axes.axhline(100 * of.target, color=BLACK, linestyle=(0, (1, 1)), linewidth=0.8)
    return Drawing(
        figure=figure,
        title=of.title("learning curves"),
        description=_description(of, labels),
        caption=_caption(of, labels),
        numbers=_numbers(of, labels),
    )


def _draw_together(figure: "Figure", of: Material, labels: Sequence[str]) -> "list[Axes]":
    """Draw few arms with names, or very many without, the first one in black."""
    from matplotlib.lines import Line2D

    axes = figure.add_subplot()
    if len(labels) > MOST_TOGETHER:
        for at, label in enumerate(labels):
            Look(GREY if at else BLACK, order=2 if at else 3).draw(axes, of, label)
        handles = [Line2D([], [], color=BLACK, label=drawn_text(labels[0])), Line2D([], [], color=GREY, label="others")]
    else:
        handles = []
        for at, label in enumerate(labels):
            look = Look(PALETTE[at], DASHES[at % len(DASHES)], SHAPES[at])
            look.draw(axes, of, label)
            name = drawn_text(label + _reached(of, label), 26)
            handles.append(
                Line2D([], [], color=look.colour, linestyle=look.dash, marker=look.shape, markersize=3, label=name)
            )
    figure.legend(handles=handles, loc="outside lower left", ncols=2, handlelength=2.6)
    return [axes]


def _draw_apart(figure: "Figure", of: Material, labels: Sequence[str], width: float) -> "list[Axes]":
    """Draw each arm in a panel of its own, the first arm behind it in grey."""
    across = 2 if width < SIDE_BY_SIDE else 4
    down = -(-len(labels) // across)
    figure.set_size_inches(width, 0.3 + 1.05 * down)
    panels = list(figure.subplots(down, across, sharex=True, sharey=True, squeeze=False).flat)
    for axes in panels[len(labels) :]:
        axes.set_visible(False)
    for axes, label in zip(panels, labels, strict=False):
        if label != labels[0]:
            Look(PALE, order=1).draw(axes, of, labels[0])
        Look(BLUE).draw(axes, of, label)
        axes.set_title(drawn_text(label + _reached(of, label), 26, 3), fontsize=SMALL, pad=2)
    return panels[: len(labels)]


def _x(of: Material, point: CurvePoint) -> float:
    return point.epoch if of.target is None else point.train_seconds


def _reached(of: Material, label: str) -> str:
    """Return how many runs of an arm reach the target."""
    if of.target is None:
        return ""
    runs = list(of.results.records[label].values())
    reach = sum(seconds_to(record, of.target) is not None for record in runs)
    return f" ({reach} of {len(runs)} reach it)" if reach else " (not reached)"


def _description(of: Material, labels: Sequence[str]) -> str:
    points = [(label, curve_points(record)) for label in labels for record in of.results.records[label].values()]
    ends = sorted((found[-1].score, label) for label, found in points if found)
    (low, worst), (high, best) = ends[0], ends[-1]
    between = f"the last evaluations lie between {low:.2f} % ({worst}) and {high:.2f} % ({best})"
    return f"Learning curves of {len(labels)} arms, every seed drawn: {between}."


def _caption(of: Material, labels: Sequence[str]) -> str:
    counts = seeds_text([len(of.results.records[label]) for label in labels])
    weights = sorted({record.reported for record in of.results.every_record})
    how = "each arm in a panel of its own, the first one behind it in grey; " if len(labels) > MOST_TOGETHER else ""
    if len(labels) > MOST_PANELS:
        how = f"the {len(labels)} arms are too many to be told apart, the first one is black: the numbers name them; "
    target = "" if of.target is None else f" Dotted line: the target of {100 * of.target:g} %."
    missing = [arm.label for arm in of.arms if arm.label not in labels]
    left = f" Without a curve: {', '.join(missing)}." if missing else ""
    return (
        f"{of.opening} of the validation images at each evaluation ({' or '.join(weights)} weights), {counts}; {how}"
        f"every run is a line, nothing is smoothed or averaged, so there is no interval.{target}{left} {of.setting()}"
    )


def _numbers(of: Material, labels: Sequence[str]) -> DrawnNumbers:
    rows = [
        (label, seed, point.epoch, point.train_seconds, point.score)
        for label in labels
        for seed, record in of.results.records[label].items()
        for point in curve_points(record)
    ]
    return DrawnNumbers(("arm", "seed", "epoch", "seconds in training", f"{of.first} (%)"), tuple(rows))
