"""The ladder: the arms in their order with their scores, their differences, and the paper's on an axis of their own."""

from typing import TYPE_CHECKING

from bagoftricks.report.pictures.drawing import Drawing, DrawnNumbers
from bagoftricks.report.pictures.forest import difference_numbers, differences_caption, draw_differences, found_text
from bagoftricks.report.pictures.material import Material, reference_text, seeds_text
from bagoftricks.report.pictures.style import (
    BLACK,
    GREY,
    SMALL,
    ArmRows,
    Mark,
    arm_rows,
    draw_interval,
    draw_legend,
    draw_mark,
    draw_seeds,
    drawn_text,
    legend_of,
    mark_of,
    row_panels,
)
from bagoftricks.statistics.paired import Summary, summarise

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PAPER = Mark("D", BLACK, False, "the paper")


def lacks_ladder(of: Material) -> str:
    """Return why there is no ladder, an empty text if there is one."""
    return "" if any(of.values(arm.label) for arm in of.arms) else f"no run has a {of.name}"


def draw_ladder(of: Material, width: float) -> Drawing:
    """Draw scores, paired differences and published values in panels of their own, the arms in the study's order."""
    published = {arm.label: arm.published[of.key] for arm in of.arms if of.key in arm.published}
    rows = arm_rows([arm.label for arm in of.arms])
    figure, panels = row_panels(rows, 1 + bool(of.comparisons) + bool(published), width)
    summaries = _draw_scores(panels[0], of, rows)
    panels[0].set_xlabel(of.axis)
    if of.comparisons:
        draw_differences(panels[1], of, of.arms, rows.places)
        against = drawn_text(reference_text(of.comparisons, of.arms) or "the arm compared with", 24)
        panels[1].set_xlabel(f"difference from {against}\n({of.unit})")
    if published:
        for arm, y in zip(of.arms, rows.places, strict=True):
            if arm.label in published:
                draw_mark(panels[-1], published[arm.label], y, PAPER)
        panels[-1].set_xlabel(f"the paper's {of.axis}")
    compared = [of.comparisons.get(label) for label in summaries]
    draw_legend(figure, [*legend_of(compared), *([PAPER] if published else [])])
    return Drawing(
        figure=figure,
        title=of.title("the arms in order"),
        description=_description(of, summaries),
        caption=_caption(of, summaries, bool(published)),
        numbers=_numbers(of, summaries, published),
    )


def _draw_scores(axes: "Axes", of: Material, rows: ArmRows) -> dict[str, Summary]:
    """Draw the scores of each arm, and return their means with intervals."""
    summaries = {}
    for arm, y in zip(of.arms, rows.places, strict=True):
        values = list(of.values(arm.label).values())
        if not values:
            axes.text(0.02, y, of.absence(arm), transform=axes.get_yaxis_transform(), va="center", fontsize=SMALL)
            continue
        found = summaries[arm.label] = summarise(values)
        mark = mark_of(of.comparisons.get(arm.label))
        draw_seeds(axes, values, y)
        draw_interval(axes, found.low, found.high, y, mark.colour)
        draw_mark(axes, found.mean, y, mark)
        if len(values) < (runs := len(of.results.records[arm.label])):
            note = f"{len(values)} of {runs} runs"
            axes.text(
                1.0, y, note, transform=axes.get_yaxis_transform(), va="center", ha="right", fontsize=SMALL, color=GREY
            )
    return summaries


def _description(of: Material, summaries: dict[str, Summary]) -> str:
    first, last = next(iter(summaries)), list(summaries)[-1]
    ends = f"from {first} with {summaries[first].mean:.2f} to {last} with {summaries[last].mean:.2f}"
    return f"Mean {of.axis} of {len(of.arms)} arms in order, {ends}. {found_text(of) if of.comparisons else ''}".strip()


def _caption(of: Material, summaries: dict[str, Summary], published: bool) -> str:
    counts = seeds_text([found.n for found in summaries.values()])
    source = f" ({of.results.study.source})" if of.results.study.source else ""
    paper = f"The paper's numbers{source} are of its own setting and have an axis of their own. " if published else ""
    differences = f"Differences: {differences_caption(of)} " if of.comparisons else ""
    scores = f"{of.axis[0].upper()}{of.axis[1:]} of each arm, {counts}: means with 95 % t intervals over seeds"
    return f"{scores}; small dots are single seeds. {differences}{paper}{of.setting()}"


def _numbers(of: Material, summaries: dict[str, Summary], published: dict[str, float]) -> DrawnNumbers:
    """Return the scores, then the differences as the forest has them."""
    differences = difference_numbers(of, of.arms)
    rows = []
    for arm, difference in zip(of.arms, differences.rows, strict=True):
        found, values = summaries.get(arm.label), of.values(arm.label)
        score = (found.n, found.mean, found.low, found.high) if found else (0, None, None, None)
        seeds = [values.get(seed) for seed in of.seeds]
        rows.append((arm.label, *score, published.get(arm.label), *seeds, *difference[1:]))
    own = ("arm", "runs", of.axis, "from", "to", f"the paper's {of.axis}", *(f"seed {seed}" for seed in of.seeds))
    return DrawnNumbers((*own, *(f"difference: {name}" for name in differences.headings[1:])), tuple(rows))
