"""Learning curves drawn in text: bars on one line or on several."""

from collections.abc import Sequence

from bagoftricks.report.text_table import fold
from bagoftricks.store.record import CurvePoint
from bagoftricks.store.weight_sets import LAST

BARS = {True: "▁▂▃▄▅▆▇█", False: "_.-~=+*#"}  # where the encoding has blocks and where not
LONGEST_CURVE = 60  # bars
CHART_LINES = 4


def sparkline(values: Sequence[float], *, blocks: bool = True) -> str:
    """Return a bar for each value between the least and the greatest; of many, the last one of each group."""
    return "".join(_bars(values, LONGEST_CURVE, 1, blocks))


def curve_lines(points: Sequence[CurvePoint], width: int, *, blocks: bool) -> list[str]:
    """Return a chart of the score in % by epoch, ``width`` columns at most, with its first, best and last value marked.

    The bars reach from the least value to the greatest; the last value is the result. Nothing for fewer than two.
    """
    values = [point.score for point in points]
    if len(values) < 2:
        return []
    high, low = f"{max(values):.2f}", f"{min(values):.2f}"
    margin = max(len(high), len(low))
    bars = max(2, min(LONGEST_CURVE, width - margin - 1))
    lines = _bars(values, bars, CHART_LINES, blocks)
    scale = [high, *[""] * (CHART_LINES - 2), low]
    best, last = max(range(len(values)), key=values.__getitem__), len(values) - 1
    marks = {0: "f", best: "b", last: "l"}
    columns = _last_of_groups(len(values), bars)
    under = {next(at for at, of in enumerate(columns) if of >= value): mark for value, mark in marks.items()}
    told = {0: "first", best: "best", last: "last" if best != last else "last and best"}
    texts = [f"{told[at]} {values[at]:.2f} at {'epoch ' * (at == 0)}{points[at].epoch}" for at in sorted(told)]
    of = "" if points[0].weights == LAST else f" of {points[0].weights}"
    grouped = "" if len(columns) == len(values) else "; each bar is the last of several epochs"
    return [
        *(f"{mark:>{margin}} {line}".rstrip() for mark, line in zip(scale, lines, strict=True)),
        f"{'':{margin}} {''.join(under.get(at, ' ') for at in range(len(columns)))}".rstrip(),
        *fold(f"top-1 %{of}: {', '.join(texts)}: the result{grouped}", width),
    ]


def curve_ends(curve: Sequence[float]) -> str:
    """Return the first and the last value in words, and the best one where that is another."""
    if not curve:
        return ""
    best = max(range(len(curve)), key=curve.__getitem__)
    best_text = "" if best == len(curve) - 1 else f", best {curve[best]:.2f}"
    return f"{curve[0]:.2f} to {curve[-1]:.2f}{best_text}"


def _last_of_groups(count: int, most: int) -> list[int]:
    """Return the positions of ``count`` values that are drawn, at most ``most``: the last one of each group."""
    groups = min(count, most)
    return [(at + 1) * count // groups - 1 for at in range(groups)]


def _bars(values: Sequence[float], most: int, lines: int, blocks: bool) -> list[str]:
    """Return the lines of a bar chart, the highest first."""
    chosen = [values[at] for at in _last_of_groups(len(values), most)]
    if not chosen:
        return [""] * lines
    bars = BARS[blocks]
    low, span, levels = min(values), max(values) - min(values), lines * len(bars)
    heights = [1 + round((levels - 1) * (value - low) / span) if span else 1 for value in chosen]
    bar = " " + bars
    return [
        "".join(bar[min(max(height - line * len(bars), 0), len(bars))] for height in heights)
        for line in reversed(range(lines))
    ]
