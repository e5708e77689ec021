"""Effects of a factorial design: each with its interval, and the matrix of all two-way interactions."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from bagoftricks.report.pictures.drawing import Drawing, DrawnNumbers
from bagoftricks.report.pictures.material import Material
from bagoftricks.report.pictures.style import (
    BLACK,
    GREY,
    HELPS,
    HURTS,
    NOTHING,
    SEED,
    SIDE_BY_SIDE,
    SMALL,
    Mark,
    arm_rows,
    draw_interval,
    draw_legend,
    draw_mark,
    draw_seeds,
    drawn_text,
    new_figure,
    signed,
)
from bagoftricks.report.study import alias_text
from bagoftricks.report.study_results import counted, effects_by_seed

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from bagoftricks.statistics.effects import Effect

UNDECIDED = Mark("o", GREY, False, "no verdict")
SIZE_OF_MATRIX = 8  # tricks, above which the cells have no numbers


def lacks_effects(of: Material) -> str:
    """Return why there are no effects, an empty text if there are."""
    if not of.results.is_factorial:
        return "the study is no factorial design (design=factorial or fractional)"
    if not any(effect.estimate is not None for effect in of.results.effects.rows):
        return "no effect can be estimated: factorial effects need the arms' runs"
    return ""


def draw_effects(of: Material, width: float) -> Drawing:
    """Draw the effects with intervals and single seeds, and their matrix if there are interactions."""
    effects = of.results.effects.rows
    drawn = [effect for effect in effects if effect.estimate is not None]
    tricks = [effect.tricks[0] for effect in effects if len(effect.tricks) == 1]
    seeds = effects_by_seed(of.results.factor_runs(), of.results.factors) if len(of.seeds) > 1 else {}
    rows = arm_rows([_name(effect) for effect in drawn])
    paired = any(len(effect.tricks) > 1 for effect in drawn)
    side = 0.9 + 0.36 * len(tricks)
    beside = paired and width >= SIDE_BY_SIDE
    height = max(rows.inches + 0.8, side) if beside else rows.inches + 0.8 + paired * (side + 0.3)
    figure = new_figure(width, height)
    ratios = {"height_ratios": [rows.inches + 0.5, side]} if paired and not beside else {}
    grid = figure.subplots(1 + (paired and not beside), 1 + beside, squeeze=False, gridspec_kw=ratios)
    axes = grid.flat[0]
    rows.arrange(axes)
    axes.axvline(0, color=BLACK, linewidth=0.8, zorder=1)
    for effect, y in zip(drawn, rows.places, strict=True):
        mark = effect_mark(effect)
        draw_seeds(axes, list(seeds.get(effect.tricks, {}).values()), y)
        draw_interval(axes, effect.low, effect.high, y, mark.colour)
        draw_mark(axes, float(effect.estimate or 0), y, mark)
    axes.set_xlabel(f"effect on {of.name} ({of.unit})")
    if paired:
        _draw_matrix(grid.flat[-1], effects, tricks)
    draw_legend(figure, [*dict.fromkeys(effect_mark(effect) for effect in drawn), SEED])
    return Drawing(
        figure=figure,
        title=of.title("effects"),
        description=_description(of, drawn),
        caption=_caption(of, effects, paired),
        numbers=_numbers(of, effects, seeds),
    )


def effect_mark(effect: "Effect") -> Mark:
    """Return the mark of an effect: a filled one if its verdict stands, or if it is too small to matter."""
    if effect.verdict.startswith(NOTHING.word):
        return NOTHING
    if not effect.stands:
        return UNDECIDED
    return (HELPS if effect.verdict in ("helps", "better together") else HURTS)._replace(word=effect.verdict)


def _name(effect: "Effect") -> str:
    return " x ".join(effect.tricks) + (" *" if effect.aliased_with else "")


def _draw_matrix(axes: "Axes", effects: "Sequence[Effect]", tricks: Sequence[str]) -> None:
    """Draw main effects on the diagonal and interactions under it; a bold number stands after the correction."""
    cells = np.full((len(tricks), len(tricks)), np.nan)
    stands = np.zeros_like(cells, dtype=bool)
    for effect in effects:
        first, *other = sorted(tricks.index(trick) for trick in effect.tricks)
        at = (other[0] if other else first, first)
        cells[at] = np.nan if effect.estimate is None else effect.estimate
        stands[at] = effect.stands
    most = float(np.nanmax(np.abs(cells))) or 1.0
    axes.pcolormesh(np.ma.masked_invalid(cells), cmap="RdBu", vmin=-most, vmax=most, edgecolors="white")
    axes.set_aspect("equal")
    axes.invert_yaxis()
    names = [drawn_text(trick, 18, 2) for trick in tricks]
    middles = [at + 0.5 for at in range(len(tricks))]
    axes.set_yticks(middles, names)
    axes.set_xticks(middles, names, rotation=90)
    axes.tick_params(length=0)
    axes.spines[["left", "bottom"]].set_visible(False)
    if len(tricks) > SIZE_OF_MATRIX:
        return
    for (row, column), value in np.ndenumerate(cells):
        if not np.isnan(value):
            colour = "white" if abs(value) > 0.7 * most else BLACK
            weight = "bold" if stands[row, column] else "normal"
            text = signed(float(value), 1)
            axes.text(
                column + 0.5, row + 0.5, text, ha="center", va="center", color=colour, fontsize=SMALL, fontweight=weight
            )


def _description(of: Material, drawn: "Sequence[Effect]") -> str:
    stands = [effect for effect in drawn if effect.stands]
    named = "; ".join(f"{' x '.join(e.tricks)} {_interval(e)}" for e in stands[:5]) or "none"
    together = " that hold together" if len(drawn) > 1 else ""
    return f"{counted(len(drawn), 'effect')} on {of.name} with 95 % intervals{together}. Effects that stand: {named}."


def _aliased(effects: "Sequence[Effect]") -> str:
    """Return the first of the aliased effects, and how many more there are."""
    more = len(effects) - 1
    return _name(effects[0])[:-2] + (f" and {counted(more, 'more effect')}" if more else "")


def _interval(effect: "Effect") -> str:
    ends = [signed(end) for end in (effect.low, effect.high) if end is not None]
    return signed(effect.estimate or 0.0) + (f" [{', '.join(ends)}]" if ends else "")


def _caption(of: Material, effects: "Sequence[Effect]", paired: bool) -> str:
    aliased = [effect for effect in effects if effect.aliased_with]
    lost = [" x ".join(effect.tricks) for effect in effects if effect.estimate is None]
    tested = sum(effect.noise is not None for effect in effects)
    dots = "; small dots are the effects in single seeds" if len(of.seeds) > 1 else ""
    parts = [
        f"Effects on {of.name} ({of.unit}; of one trick: the mean with it minus the mean without it; of two: half of "
        f"how much either gains by the other) by least squares with a mean per seed; n = {len(of.results.every_record)}"
        f" runs over {counted(len(of.seeds), 'seed')}{dots}.",
        f"The 95 % intervals of {counted(tested, 'effect')} hold together; a filled triangle is a verdict that stands, "
        "a filled circle no effect of a size that matters." if tested else "Nothing tells their noise: no intervals.",
        "Matrix: main effects on the diagonal, interactions under it; bold if it stands." if paired else "",
        f"* aliased: the design cannot tell {_aliased(aliased)} from the ones that the numbers name."
        if aliased else "",
        f"Not estimable: {', '.join(lost)}." if lost else "",
        of.setting(),
    ]  # fmt: skip
    return " ".join(part for part in parts if part)


def _numbers(of: Material, effects: "Sequence[Effect]", seeds: dict[tuple[str, ...], dict[int, float]]) -> DrawnNumbers:
    rows = []
    for effect in effects:
        aliases = alias_text(effect) or None
        own = seeds.get(effect.tricks, {}) if effect.estimate is not None else {}
        values = (effect.estimate, effect.low, effect.high, effect.p_adjusted, effect.verdict, aliases)
        rows.append((" x ".join(effect.tricks), *values, *(own.get(seed) for seed in of.seeds)))
    headings = ("effect", f"{of.name} ({of.unit})", "from", "to", "p (adjusted)", "verdict", "aliased with")
    return DrawnNumbers((*headings, *(f"seed {seed}" for seed in of.seeds)), tuple(rows))
