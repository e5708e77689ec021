"""Errors on corrupted images: by severity, by corruption, and the intervals of their means."""

from collections.abc import Mapping, Sequence
from statistics import mean
from typing import TYPE_CHECKING, Any

import numpy as np

from bagoftricks.report.pictures.curves import MOST_TOGETHER
from bagoftricks.report.pictures.drawing import Drawing, DrawnNumbers
from bagoftricks.report.pictures.material import Material, seeds_text
from bagoftricks.report.pictures.style import (
    BLACK,
    DASHES,
    GREY,
    PALETTE,
    SHAPES,
    SIDE_BY_SIDE,
    SMALL,
    ArmRows,
    arm_rows,
    draw_interval,
    draw_mark,
    draw_seeds,
    drawn_text,
    mark_of,
    new_figure,
)
from bagoftricks.report.robustness import describe_evaluation
from bagoftricks.report.score import SCORES_BY_KEY
from bagoftricks.report.study_robustness import robustness_result
from bagoftricks.statistics.paired import Comparison, Summary, summarise
from bagoftricks.store.robustness import SEVERITY_LEVELS, RobustnessScores

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ByArmAndSeed = Mapping[str, Mapping[int, RobustnessScores]]


def lacks_corruptions(of: Material) -> str:
    """Return why there is no picture of corruptions, an empty text if there is one."""
    found = of.results.evaluations()
    if not found:
        return "no run was evaluated on corrupted images (bot-eval run=<id> corruptions=NAME)"
    if len(found) > 1:
        return f"the arms were evaluated in different ways ({', '.join(found)}), which do not compare"
    if next(iter(found.values())).of_flips:
        return "perturbations have no severities: their flip probabilities are in the table"
    return ""


def _scores(of: Material) -> ByArmAndSeed:
    found: dict[str, dict[int, RobustnessScores]] = {}
    for arm in of.arms:
        results = {s: robustness_result(r, arm.evaluation) for s, r in of.results.records[arm.label].items()}
        if known := {seed: result.reported for seed, result in results.items() if result}:
            found[arm.label] = known
    return found


def draw_corruptions(of: Material, width: float) -> Drawing:
    """Draw the error by severity, the errors by corruption, and next to these the mean error with its interval."""
    scores = _scores(of)
    compared = of.results.compared_in(SCORES_BY_KEY["mce"])
    rows = arm_rows(list(scores), 18)
    beside = width >= SIDE_BY_SIDE
    tall, legend = rows.inches + 0.5, 0.17 * (1 + min(len(scores), MOST_TOGETHER) / 2)
    figure = new_figure(width, 2.0 + legend + (tall + 1.0) * (1 if beside else 2) - 0.5 * (not beside))
    grid = figure.add_gridspec(
        2 if beside else 3, 2 if beside else 1, height_ratios=[1.8, tall] + [tall] * (not beside)
    )
    by_severity = figure.add_subplot(grid[0, :])
    _draw_severities(by_severity, scores)
    heat = figure.add_subplot(grid[1, 0])
    intervals = figure.add_subplot(grid[1, 1] if beside else grid[2, 0])
    corruptions = _corruptions(scores)
    _draw_heat(heat, rows, scores, corruptions)
    rows.arrange(intervals, named=not beside)
    summaries = _draw_means(intervals, rows, scores, compared)
    intervals.set_xlabel("mean error over corruptions (%), 95 % interval")
    figure.legend(*by_severity.get_legend_handles_labels(), loc="outside lower left", ncols=2)
    return Drawing(
        figure=figure,
        title=of.title("errors on corrupted images"),
        description=_description(summaries, compared),
        caption=_caption(of, scores, compared),
        numbers=_numbers(of, scores, summaries, corruptions),
    )


def _corruptions(scores: ByArmAndSeed) -> list[str]:
    """Return the corruptions that all runs have, in the order of the protocol."""
    every = [found for by_seed in scores.values() for found in by_seed.values()]
    return [name for name in every[0].corruptions if all(name in found.corruptions for found in every)]


def _by_severity(found: RobustnessScores) -> list[float]:
    """Return the clean error, then the mean error over the corruptions at each severity."""
    return [found.clean_error, *(mean(errors[at] for errors in found.parts.values()) for at in range(SEVERITY_LEVELS))]


def _mean_error(found: RobustnessScores) -> float:
    return mean(mean(errors) for errors in found.parts.values())


def _draw_severities(axes: "Axes", scores: ByArmAndSeed) -> None:
    """Draw a line for every run; many arms have no names, and the first is black."""
    many = len(scores) > MOST_TOGETHER
    for at, (label, by_seed) in enumerate(scores.items()):
        colour = (GREY if at else BLACK) if many else PALETTE[at]
        name = drawn_text(label, 26) if not many or at == 0 else "others" if at == 1 else None
        for number, found in enumerate(by_seed.values()):
            how: dict[str, Any] = {"label": None if number else name, "markersize": 3, "linewidth": 0.8}
            if not many:
                how |= {"linestyle": DASHES[at % len(DASHES)], "marker": SHAPES[at]}
            axes.plot(range(SEVERITY_LEVELS + 1), _by_severity(found), color=colour, **how)
    axes.set_xticks(range(SEVERITY_LEVELS + 1), ["clean", *map(str, range(1, SEVERITY_LEVELS + 1))])
    axes.set(xlabel="severity", ylabel="error (%)")
    axes.grid(axis="y")


def _draw_heat(axes: "Axes", rows: ArmRows, scores: ByArmAndSeed, corruptions: Sequence[str]) -> None:
    """Draw the mean error of each arm on each corruption."""
    cells = np.array([[_cell(by_seed, name).mean for name in corruptions] for by_seed in scores.values()])
    edges = [0.0]
    for place in rows.places:
        edges.append(2 * place - edges[-1])
    across = range(len(corruptions) + 1)
    mesh = axes.pcolormesh(across, edges, cells, cmap="Blues", edgecolors="white", linewidth=0.3)
    rows.arrange(axes)
    axes.grid(visible=False)
    names = [drawn_text(name.replace("_", " "), 18, 2) for name in corruptions]
    axes.set_xticks([at + 0.5 for at in range(len(corruptions))], names, rotation=90, fontsize=SMALL)
    axes.tick_params(length=0)
    axes.spines["bottom"].set_visible(False)
    bar = axes.figure.colorbar(mesh, ax=axes, location="top", aspect=30, pad=0.02, label="error (%)")
    bar.outline.set_visible(False)


def _cell(by_seed: Mapping[int, RobustnessScores], corruption: str) -> Summary:
    return summarise([mean(found.parts[corruption]) for found in by_seed.values()])


def _draw_means(
    axes: "Axes", rows: ArmRows, scores: ByArmAndSeed, compared: Mapping[str, Comparison]
) -> dict[str, Summary]:
    """Draw the mean error of each arm with its interval, seeds and verdict."""
    summaries = {}
    for (label, by_seed), y in zip(scores.items(), rows.places, strict=True):
        values = [_mean_error(found) for found in by_seed.values()]
        found, mark = summarise(values), mark_of(compared.get(label))
        summaries[label] = found
        draw_seeds(axes, values, y)
        draw_interval(axes, found.low, found.high, y, mark.colour)
        draw_mark(axes, found.mean, y, mark)
    return summaries


def _description(summaries: Mapping[str, Summary], compared: Mapping[str, Comparison]) -> str:
    best, worst = (choose(summaries, key=lambda label: summaries[label].mean) for choose in (min, max))
    stands = [f"{label} {made.verdict}" for label, made in compared.items() if made.stands]
    return (
        f"Errors on corrupted images of {len(summaries)} arms: the mean lies between {summaries[best].mean:.1f} % "
        f"({best}) and {summaries[worst].mean:.1f} % ({worst}). Verdicts that stand: {', '.join(stands) or 'none'}."
    )


def _caption(of: Material, scores: ByArmAndSeed, compared: Mapping[str, Comparison]) -> str:
    ((name, result),) = of.results.evaluations().items()
    tested = sum(made.noise is not None for made in compared.values())
    return (
        f"Errors on corrupted images, {seeds_text([len(found) for found in scores.values()])}. Top: mean over the "
        "corruptions at each severity, a line for each run. Heat map: mean over seeds and severities; the intervals "
        "next to it are those of the mean over all corruptions (95 % t over seeds; small dots are single seeds). A "
        f"filled triangle is a verdict on the protocol's score, paired by seed, of {tested} tests together; "
        f"those of each cell are in the numbers. {describe_evaluation(result, name)}. {of.setting()}"
    )


def _numbers(
    of: Material, scores: ByArmAndSeed, summaries: Mapping[str, Summary], corruptions: Sequence[str]
) -> DrawnNumbers:
    """Return the means, then every line by severity, then every cell with its interval."""
    rows: list[tuple[str | float | None, ...]] = []
    for label, by_seed in scores.items():
        whole = summaries[label]
        rows.append((label, "all corruptions", None, None, whole.n, whole.mean, whole.low, whole.high))
        for seed, found in by_seed.items():
            rows += [
                (label, "all corruptions", seed, severity or "clean", 1, error, None, None)
                for severity, error in enumerate(_by_severity(found))
            ]
        for name in corruptions:
            cell = _cell(by_seed, name)
            rows.append((label, name, None, None, cell.n, cell.mean, cell.low, cell.high))
    return DrawnNumbers(("arm", "corruption", "seed", "severity", "n", "error (%)", "from", "to"), tuple(rows))
