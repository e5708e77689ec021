"""Accuracy against cost: what is faster and at least as good, as far as the seeds can say."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations
from statistics import median
from typing import TYPE_CHECKING

from bagoftricks.report.pictures.drawing import Drawing, DrawnNumbers
from bagoftricks.report.pictures.material import Material, seeds_text
from bagoftricks.report.pictures.style import (
    BLACK,
    GREY,
    SIDE_BY_SIDE,
    SMALL,
    draw_legend,
    drawn_text,
    legend_of,
    mark_of,
    new_figure,
)
from bagoftricks.report.study_results import several_devices
from bagoftricks.statistics.paired import Summary, summarise

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SPEED, MACS = "infer_images_per_s", "macs"


@dataclass(frozen=True)
class CostAxis:
    """A cost of the arms by seed, and who wins by it for certain."""

    key: str
    heading: str
    sign: int  # 1 if more is better
    of: Material
    labels: tuple[str, ...]

    def values(self, label: str) -> dict[int, float]:
        """Return the cost by seed, in the unit of the heading."""
        scale = 1e-9 if self.key == MACS else 1.0
        return {seed: scale * number for seed, number in self.of.values(label, self.key).items()}

    def cost(self, label: str) -> float:
        return median(self.values(label).values())

    def certain(self, label: str, other: str, key: str = "") -> bool:
        """Return True if an arm is better than another: the interval of the paired differences excludes 0."""
        own, others = self.of.values(label, key or self.key), self.of.values(other, key or self.key)
        sign = 1 if key else self.sign
        differences = [sign * (own[seed] - others[seed]) for seed in own if seed in others]
        if len(differences) < 2:
            return False
        found = summarise(differences)
        if self.key == MACS and not key:  # counted, not measured: it has no spread
            return min(differences) > 0
        return found.low is not None and found.low > 0

    def dominated(self) -> dict[str, list[str]]:
        """Return by arm those that are more accurate and cost less, both for certain."""
        score = self.of.results.first
        pairs = [(a, b) for a, b in permutations(self.labels, 2) if self.certain(b, a) and self.certain(b, a, score)]
        return {label: [b for a, b in pairs if a == label] for label in self.labels}

    def frontier(self) -> list[str]:
        """Return the arms that no other can dominate, the cheapest first: each other one is worse in something."""

        score = self.of.results.first

        def stands(label: str) -> bool:
            others = [other for other in self.labels if other != label]
            return all(self.certain(label, other) or self.certain(label, other, score) for other in others)

        found = [label for label in self.labels if stands(label)]
        return sorted(found, key=lambda label: -self.sign * self.cost(label))


def lacks_pareto(of: Material) -> str:
    """Return why there is no picture of accuracy against cost, an empty text if there is one."""
    if len(_labels(of)) < 2:
        return "fewer than two arms have finished runs"
    if several_devices(of.results.records):
        devices = sorted({record.environment.device for record in of.results.every_record})
        return f"the runs are of several devices ({', '.join(devices)}), whose throughputs do not compare"
    return ""


def _labels(of: Material) -> tuple[str, ...]:
    return tuple(arm.label for arm in of.arms if of.values(arm.label, of.results.first))


def draw_pareto(of: Material, width: float) -> Drawing:
    """Draw top-1 against throughput, and against multiply-accumulates if the arms differ in them."""
    labels = _labels(of)
    costs = [CostAxis(SPEED, "inference, images per second", 1, of, labels)]
    macs = CostAxis(MACS, "multiply-accumulates (G)", -1, of, labels)
    costs += [macs] if len({macs.cost(label) for label in labels}) > 1 else []
    scores = {label: summarise(list(of.values(label, of.results.first).values())) for label in labels}
    beside = width >= SIDE_BY_SIDE
    legend = 0.16 * (2 + len(labels) / (4 if beside else 2))
    figure = new_figure(width, (2.4 if beside else 2.3 * len(costs)) + legend + 0.3)
    grid = figure.subplots(1 if beside else len(costs), len(costs) if beside else 1, squeeze=False)
    for axes, cost in zip(grid.flat, costs, strict=True):
        _draw_cost(axes, cost, scores)
    names = [
        mark_of(of.comparisons.get(label))._replace(word=drawn_text(f"{at} {label}", 26))
        for at, label in enumerate(labels, 1)
    ]
    verdicts = legend_of([of.comparisons.get(label) for label in labels])
    draw_legend(figure, [*names, *verdicts], columns=4 if beside else 2)
    return Drawing(
        figure=figure,
        title=of.title("accuracy against cost"),
        description=_description(of, costs),
        caption=_caption(of, costs, scores),
        numbers=_numbers(of, costs, scores),
    )


def _draw_cost(axes: "Axes", cost: CostAxis, scores: Mapping[str, Summary]) -> None:
    """Draw the arms by number with their seeds, brackets around those that are dominated, and the frontier."""
    dominated = cost.dominated()
    line = cost.frontier()
    if len(line) > 1:
        across, up = zip(*sorted((cost.cost(label), scores[label].mean) for label in line), strict=True)
        axes.step(across, up, where="pre" if cost.sign > 0 else "post", color=BLACK, linewidth=0.8, zorder=1)
    for at, label in enumerate(cost.labels, 1):
        x, found, mark = cost.cost(label), scores[label], mark_of(cost.of.comparisons.get(label))
        costs, tops = cost.values(label), cost.of.values(label, cost.of.results.first)
        dots = [costs.get(seed, x) for seed in tops], [*tops.values()]
        axes.plot(*dots, ".", color=GREY, markersize=3, markeredgewidth=0)
        if found.low is not None and found.high is not None:
            axes.plot([x, x], [found.low, found.high], "-", color=mark.colour, linewidth=0.8, zorder=3)
        axes.plot([x], [found.mean], mark.shape, color=mark.colour, markerfacecolor=mark.face, zorder=4)
        text = f"({at})" if dominated[label] else str(at)
        axes.annotate(text, (x, found.mean), (4, 3), textcoords="offset points", fontsize=SMALL, zorder=5)
    axes.set(xlabel=cost.heading, ylabel=f"{cost.of.first} (%)")
    axes.grid()


def _dominated_text(costs: Sequence[CostAxis]) -> str:
    found = []
    for cost in costs:
        worse = [f"{label} by {', '.join(by)}" for label, by in cost.dominated().items() if by]
        found.append(f"by {cost.heading}: {'; '.join(worse) or 'none'}")
    return "; ".join(found)


def _description(of: Material, costs: Sequence[CostAxis]) -> str:
    arms = f"{of.opening} against cost of {len(costs[0].labels)} arms"
    return f"{arms}, every seed drawn. Dominated {_dominated_text(costs)}."


def _caption(of: Material, costs: Sequence[CostAxis], scores: Mapping[str, Summary]) -> str:
    lines = [f"by {cost.heading}: {' to '.join(cost.frontier()) or 'no arm'}" for cost in costs]
    counts = [found.n for found in scores.values()]
    return (
        f"{of.opening} (mean, bar: 95 % t interval over seeds) against cost (median), {seeds_text(counts)}; small "
        "dots are single seeds, marks the verdicts (a filled triangle: it stands). In brackets: "
        "dominated, which is said only where the 95 % intervals of both paired differences exclude 0, each for itself. "
        "The steps go through each arm that no other can dominate: against each one such an interval is in its "
        f"favour ({'; '.join(lines)}). {of.setting()}"
    )


def _numbers(of: Material, costs: Sequence[CostAxis], scores: Mapping[str, Summary]) -> DrawnNumbers:
    headings = ["number", "arm", "n", f"{of.first} (%)", "from", "to"]
    headings += [
        text for cost in costs for text in (cost.heading, f"{cost.heading}: dominated by", f"{cost.heading}: steps")
    ]
    headings += [
        f"seed {seed}: {what}" for seed in of.seeds for what in (f"{of.first} (%)", *(c.heading for c in costs))
    ]
    rows = []
    dominated = [cost.dominated() for cost in costs]
    for at, label in enumerate(scores, 1):
        row: list[str | float | None] = [at, label, *scores[label].__dict__.values()]
        for cost, worse in zip(costs, dominated, strict=True):
            row += [cost.cost(label), ", ".join(worse[label]) or None, "yes" if label in cost.frontier() else None]
        for seed in of.seeds:
            row += [of.values(label, of.results.first).get(seed), *(cost.values(label).get(seed) for cost in costs)]
        rows.append(tuple(row))
    return DrawnNumbers(tuple(headings), tuple(rows))
