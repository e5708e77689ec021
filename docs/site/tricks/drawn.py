"""Helpers that all pictures of tricks share."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from bagoftricks.report.pictures.drawing import Drawing, DrawnNumbers
from bagoftricks.report.pictures.style import BLUE, GREY, ORANGE, SMALL, drawn_text, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH, HEIGHT = 6.0, 2.3  # inches
BASELINE = {"color": GREY, "linewidth": 1.2, "linestyle": "--"}
TRICK = {"color": BLUE, "linewidth": 1.6}
SECOND = {"color": ORANGE, "linewidth": 1.4}
NO_NUMBERS = DrawnNumbers((), ())


def panels(count: int, height: float = HEIGHT, width: float = WIDTH) -> "tuple[Figure, list[Axes]]":
    """Return a figure with panels next to each other."""
    figure = new_figure(width, height)
    return figure, list(figure.subplots(1, count, squeeze=False)[0])


def drawing(figure: "Figure", title: str, alt: str, caption: str) -> Drawing:
    """Return a figure with its words."""
    return Drawing(figure=figure, title=title, description=alt, caption=caption, numbers=NO_NUMBERS)


def image_row(axes: "Sequence[Axes]", pictures: Iterable[tuple[Tensor, str]]) -> None:
    """Draw images (3, H, W) of bytes, with a line above each; axes that are left over stay empty."""
    for ax in axes:
        ax.axis("off")
    for ax, (pixels, title) in zip(axes, pictures, strict=False):
        ax.imshow(pixels.permute(1, 2, 0).numpy(), interpolation="none")
        ax.set_title(drawn_text(title, 16, 2), fontsize=SMALL, pad=2)


def grid(rows: int, across: int, side: float | None = None) -> "tuple[Figure, Any]":
    """Return a figure with a grid of axes for images."""
    side = side or (WIDTH - 0.4) / across
    height = rows * (side + 0.22) + 0.05
    figure = new_figure(WIDTH, height)
    figure.set_layout_engine("none")
    places = {"left": 0.05, "right": 0.995, "top": 1 - 0.22 / height, "bottom": 0.02, "hspace": 0.28, "wspace": 0.07}
    return figure, figure.subplots(rows, across, squeeze=False, gridspec_kw=places)


def step_axis(axes: "Axes", label: str = "epoch") -> None:
    """Name the axis of time."""
    axes.set_xlabel(label)
    axes.margins(x=0.01)


def percent(value: float) -> str:
    """Return a share in percent."""
    return f"{100 * value:.3g} %"


def spaced(low: float, high: float, count: int = 201) -> np.ndarray:
    """Return equally spaced numbers."""
    return np.linspace(low, high, count)
