"""The forest of differences: each arm against the one that it is compared with, paired by seed."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from bagoftricks.report.pictures.drawing import Drawing, DrawnNumbers
from bagoftricks.report.pictures.material import EFFECTS_INSTEAD, Material, reference_text, seeds_text
from bagoftricks.report.pictures.style import (
    BLACK,
    SMALL,
    arm_rows,
    draw_interval,
    draw_legend,
    draw_mark,
    draw_seeds,
    drawn_text,
    interval_text,
    legend_of,
    mark_of,
    new_figure,
)
from bagoftricks.report.study_parts import SavedArm
from bagoftricks.report.study_results import counted
from bagoftricks.statistics.paired import Comparison

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_NAMED = 5  # arms of a description


def lacks_forest(of: Material) -> str:
    """Return why there is no forest, an empty text if there is one."""
    if of.results.is_factorial:
        return EFFECTS_INSTEAD
    if not any(arm.compare_to for arm in of.arms):
        return "no arm of the study is compared with another"
    if not any(made.n for made in of.comparisons.values()):
        return f"no two compared arms have finished runs of the same seed with a {of.name}"
    return ""


def draw_forest(of: Material, width: float) -> Drawing:
    """Draw the paired differences with their intervals and verdicts, and those of single seeds under them."""
    compared = of.comparisons
    arms = [arm for arm in of.arms if arm.compare_to]
    against = reference_text(compared, of.arms)
    rows = arm_rows([arm.label if against else f"{arm.label} (against {arm.compare_to})" for arm in arms])
    from_what = drawn_text(against or "the arm that it is compared with", 30, 2)
    figure = new_figure(width, rows.inches + 0.95 + 0.13 * from_what.count("\n"))
    axes = figure.add_subplot()
    rows.arrange(axes)
    draw_differences(axes, of, arms, rows.places)
    for arm, y in zip(arms, rows.places, strict=True):
        verdict = "\n".join(drawn_text(part, 26) for part in _verdict(of, arm, compared.get(arm.label)) if part)
        axes.text(1.02, y, verdict, transform=axes.get_yaxis_transform(), va="center", fontsize=SMALL)
    axes.set_xlabel(f"difference in {of.name} from {from_what}\n({of.unit_in_words})")
    draw_legend(figure, legend_of(compared.values()))
    return Drawing(
        figure=figure,
        title=of.title("paired differences"),
        description=f"Forest plot, {seeds_text([c.n for c in compared.values()])}. {found_text(of)}",
        caption=f"Differences in {of.name} ({of.unit_in_words}) from {against or 'the arm named in the row'}, "
        f"{differences_caption(of)} {of.setting()}",
        numbers=difference_numbers(of, arms),
    )


def draw_differences(axes: "Axes", of: Material, arms: Sequence[SavedArm], places: Sequence[float]) -> None:
    """Draw a mark with its interval for each comparison, the seeds' own differences under it, and the line of none."""
    axes.axvline(0, color=BLACK, linewidth=0.8, zorder=1)
    for arm, y in zip(arms, places, strict=True):
        made = of.comparisons.get(arm.label)
        if made is None or made.difference is None:
            continue
        draw_seeds(axes, list(of.differences(arm.label).values()), y)
        draw_interval(axes, made.low, made.high, y, mark_of(made).colour)
        draw_mark(axes, made.difference, y, mark_of(made))


def _verdict(of: Material, arm: SavedArm, made: Comparison | None) -> tuple[str, str]:
    """Return the verdict and the numbers of a row, or why it has none."""
    return (of.absence(arm), "") if made is None else (mark_of(made).word, interval_text(made))


def found_text(of: Material) -> str:
    """Return in a sentence which arms have a verdict that stands, with their numbers."""
    compared = of.comparisons
    stands = [made for made in compared.values() if made.stands]
    rest = len(compared) - len(stands)
    named = ", ".join(f"{made.label} {made.verdict} ({interval_text(made)})" for made in stands[:MOST_NAMED])
    named += f" and {len(stands) - MOST_NAMED} more verdicts stand" if len(stands) > MOST_NAMED else ""
    others = f"{rest} of {len(compared)} differences have no verdict that stands" if rest else ""
    return "; ".join(part for part in (named, others) if part) + "."


def differences_caption(of: Material) -> str:
    """Return how differences were made and judged."""
    compared = of.comparisons
    counts = [made.n for made in compared.values()]
    tested = sum(made.noise is not None for made in compared.values())
    where = "" if of.results.study.selection is None else " in each step"
    intervals = f" with 95 % intervals of {counted(tested, 'test')}, which hold together{where}" if tested else ""
    return (
        f"paired by seed, {seeds_text(counts)}: means{intervals}; "
        "small dots are single seeds. A filled triangle is a verdict that stands: its interval leaves out 0. A "
        "filled circle is no effect of a size that matters, an open circle no verdict."
    )


def difference_numbers(of: Material, arms: Sequence[SavedArm]) -> DrawnNumbers:
    """Return the drawn differences: means, intervals, verdicts and single seeds."""
    seeds = of.seeds
    rows: list[tuple[str | float | None, ...]] = []
    for arm in arms:
        made = of.comparisons.get(arm.label)
        if made is None:
            rows.append(
                (
                    arm.label,
                    arm.compare_to,
                    0,
                    None,
                    None,
                    None,
                    None,
                    of.absence(arm) if arm.compare_to else None,
                    *[None] * len(seeds),
                )
            )
            continue
        found = of.differences(arm.label)
        numbers = (made.n, made.difference, made.low, made.high, made.p_adjusted, made.verdict)
        rows.append((arm.label, made.against, *numbers, *(found.get(seed) for seed in seeds)))
    unit = f"difference ({of.unit_in_words})"
    headings = ("arm", "against", "n", unit, "low", "high", "p (adjusted)", "verdict")
    return DrawnNumbers((*headings, *(f"seed {seed}" for seed in seeds)), tuple(rows))
