"""The pictures of docs/speed.md, drawn from the results of benchmarks/every.py.

    python benchmarks/pictures.py [RESULTS] [FOLDER]       # benchmarks/results and docs/figures

Ratios have their quartiles, on an axis of doublings; above 1 ours is better. Figures have theirs too, and a dashed line
at what nothing that does the same work can go below.
"""

import json
import re
import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator

BETTER, WORSE, INK, PALE = "#1b6ca8", "#b5651d", "#222222", "#c9c9c9"
Row = dict[str, Any]


def results(folder: Path) -> dict[str, Row]:
    """Return what each benchmark measured."""
    found = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.json"))}
    return {name: facts for name, facts in found.items() if "machine" in facts}


def source(facts: Row) -> str:
    about = facts["machine"]
    device = about.get("card", about["processor"].partition(",")[0])
    return f"{device}, {about['cores']} cores, {about['date']}, {about['revision']}"


def draw(axes: Axes, rows: list[Row], colours: list[str]) -> None:
    """Draw a mark with its quartiles and its number for each row, from the top."""
    for place, (row, colour) in enumerate(zip(rows, colours, strict=True)):
        axes.plot([row["low"], row["high"]], [-place] * 2, color=colour, linewidth=2, solid_capstyle="butt")
        axes.plot(row["median"], -place, "o", color=colour, markersize=5)
        text = f"{row['median']:.2f}  (n = {row['n']})"
        axes.annotate(text, (1.01, -place), xycoords=("axes fraction", "data"), va="center", fontsize=8, color=INK)
    axes.set_yticks([-place for place in range(len(rows))])
    axes.set_ylim(0.6 - len(rows), 0.6)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x", color=PALE, linewidth=0.5)
    axes.set_axisbelow(True)


def ratios(found: dict[str, Row]) -> Figure:
    """Draw how many times as good ours is as what it is compared with."""
    rows = [row for facts in found.values() for row in facts["ratios"]]
    figure = Figure((9, 0.9 + 0.24 * len(rows)), layout="constrained")
    axes = figure.subplots()
    draw(axes, rows, [BETTER if row["median"] >= 1 else WORSE for row in rows])
    axes.set_yticklabels([f"{row['what']}  /  {row['against']}" for row in rows], fontsize=8)
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_locator(LogLocator(2, subs=(1.0, 1.5)))
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.axvline(1, color=INK, linewidth=1)
    sources = sorted({source(facts) for facts in found.values() if facts["ratios"]})
    axes.set_xlabel("times as fast, median and quartiles\n" + "; ".join(sources), fontsize=7)
    return figure


def bars(chart: str, rows: list[Row], facts: Row) -> Figure:
    """Draw figures of one unit, and the floor."""
    figure = Figure((8, 0.9 + 0.26 * len(rows)), layout="constrained")
    axes = figure.subplots()
    draw(axes, rows, [INK if row["floor"] else BETTER if "torchvision" not in row["what"] else WORSE for row in rows])
    axes.set_yticklabels([row["what"] for row in rows], fontsize=8)
    for row in rows:
        if row["floor"]:
            axes.axvline(row["median"], color=INK, linewidth=1, linestyle="--")
    axes.set_xlim(left=0)
    axes.set_title(chart, fontsize=9, loc="left")
    axes.set_xlabel(f"{rows[0]['unit']}, median and quartiles; {source(facts)}", fontsize=7)
    return figure


def pictures(found: dict[str, Row]) -> dict[str, Figure]:
    """Return all pictures by their names."""
    made = {"ratios": ratios(found)} if any(facts["ratios"] for facts in found.values()) else {}
    for name, facts in found.items():
        for chart in dict.fromkeys(row["chart"] for row in facts["bars"]):
            made[name] = bars(chart, [row for row in facts["bars"] if row["chart"] == chart], facts)
    return made


def main(results_folder: str = "benchmarks/results", folder: str = "docs/figures") -> None:
    mpl.rcParams |= {"svg.hashsalt": "speed", "svg.fonttype": "none"}  # the same figures, the same small file
    Path(folder).mkdir(parents=True, exist_ok=True)
    for name, figure in pictures(results(Path(results_folder))).items():
        place = Path(folder) / f"speed-{name}.svg"
        figure.savefig(place, metadata={"Date": None})
        place.write_text(re.sub(r"[ \t]+$", "", place.read_text(encoding="utf-8"), flags=re.M), encoding="utf-8")
        print(place)


if __name__ == "__main__":
    main(*sys.argv[1:])
