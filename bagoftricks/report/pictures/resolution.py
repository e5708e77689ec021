"""Resolution of a study: the smallest difference that it finds in 80 % of all cases, by the number of seeds."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import mean

from bagoftricks.report.pictures.drawing import Drawing, DrawnNumbers
from bagoftricks.report.pictures.material import EFFECTS_INSTEAD, Material
from bagoftricks.report.pictures.style import BLACK, BLUE, GREY, ORANGE, PALE, SMALL, drawn_text, new_figure
from bagoftricks.statistics.paired import powers
from bagoftricks.statistics.power import Power, one_test, sd_interval

MOST_SEEDS_DRAWN = (10, 20, 50)  # the first that is twice today's number or more


@dataclass(frozen=True)
class SeedNoise:
    """Standard deviation of the paired differences between seeds, and what tests against it find."""

    by_arm: dict[str, Power]
    power: Power
    low: float
    high: float
    n: int  # seeds of most comparisons

    @property
    def sd(self) -> float:
        return self.power.sd


def noise_of(of: Material) -> SeedNoise | None:
    """Return the noise of a study's differences, None without a comparison over two seeds that differ."""
    scores, pairs = of.results.paired_scores(of.results.score)
    found = {} if of.results.is_factorial else powers(scores, pairs, of.results.alpha)
    if not found:
        return None
    n = max(of.comparisons[label].n for label, _ in found)
    sd = math.sqrt(mean(power.sd**2 for power in found.values()))
    power = replace(next(iter(found.values())), sd=sd)
    by_arm = {label: power for (label, _), power in found.items()}
    return SeedNoise(by_arm, power, *sd_interval(sd, power.dof * (n - 1)), n)


def lacks_resolution(of: Material) -> str:
    """Return why the resolution is unknown, an empty text if it is known."""
    if of.results.is_factorial:
        return EFFECTS_INSTEAD
    if noise_of(of) is None:
        return "no two compared arms have two seeds in common whose differences vary: the noise is unknown"
    return ""


def draw_resolution(of: Material, width: float) -> Drawing:
    """Draw the smallest difference that is found, by the number of seeds, with the interval of the noise."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter

    noise = noise_of(of)
    assert noise is not None  # lacks_resolution has looked
    most = next((seeds for seeds in MOST_SEEDS_DRAWN if seeds >= 2 * noise.n), 2 * noise.n)
    rows = _rows(noise, most, of.results.alpha)
    seeds, found, low, high, single = (list(column) for column in zip(*rows, strict=True))
    figure = new_figure(width, 3.1)
    axes = figure.add_subplot()
    axes.fill_between(seeds, low, high, color=BLUE, alpha=0.18, linewidth=0, label="95 % interval of the noise")
    axes.plot(seeds, found, "-o", color=BLUE, markersize=2.5, label=f"{len(noise.by_arm)} tests together")
    axes.plot(seeds, single, "--", color=ORANGE, label="a single comparison")
    axes.axvline(noise.n, color=BLACK, linewidth=0.8, linestyle=":")
    today = found[noise.n - 2]
    axes.annotate(
        f"n = {noise.n}: {_figure(today)}", (noise.n, today), (5, 6), textcoords="offset points", fontsize=SMALL
    )
    own = [power.sees(noise.n) for power in noise.by_arm.values()]
    axes.plot([noise.n] * len(own), own, ".", color=GREY, markersize=4, markeredgewidth=0, label="single comparisons")
    axes.set_yscale("log")
    if floor := of.results.image_floor:
        bottom = min(axes.get_ylim()[0], floor.high / 2)
        axes.axhspan(  # from the bottom if its lower end is not known: a logarithm has no 0
            floor.low or bottom,
            floor.high,
            facecolor="none",
            edgecolor=PALE,
            hatch="////",
            label="noise of the test images",
        )
        if not floor.low:
            axes.set_ylim(bottom=bottom)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))
    axes.set(xlabel="seeds of each arm", ylabel=drawn_text(f"difference in {of.name} ({of.unit})", 44))
    axes.grid()
    figure.legend(loc="outside lower left", ncols=2)
    return Drawing(
        figure=figure,
        title=of.title("what it can resolve"),
        description=f"With {noise.n} seeds the study finds a difference of {_figure(today)} {of.unit} in 80 % of all "
        f"cases ({_figure(low[noise.n - 2])} to {_figure(high[noise.n - 2])}, as far as the noise is known); with "
        f"{most} seeds {_figure(found[-1])}.",
        caption=_caption(of, noise),
        numbers=_numbers(of, noise, rows),
    )


def _numbers(of: Material, noise: SeedNoise, lines: Sequence[Sequence[float]]) -> DrawnNumbers:
    """Return the lines by the number of seeds, the dots of single arms, and the band of the test images."""
    rows: list[tuple[str | float | None, ...]] = [("lines", *line) for line in lines]
    rows += [(arm, noise.n, power.sees(noise.n), None, None, None) for arm, power in noise.by_arm.items()]
    if floor := of.results.image_floor:
        rows.append(("test images", None, None, floor.low, floor.high, None))
    unit = f"difference ({of.unit})"
    return DrawnNumbers(("drawn", "seeds", unit, "from", "to", "single comparison"), tuple(rows))


def _rows(noise: SeedNoise, most: int, alpha: float) -> list[tuple[int, float, float, float, float]]:
    """Return for each number of seeds the difference that is found, its ends, and that of one comparison alone."""
    alone = Power(one_test(), noise.sd, noise.power.dof, alpha)
    rows = []
    for seeds in range(2, most + 1):
        found, low, high = (noise.power.sees(seeds, sd) for sd in (noise.sd, noise.low, noise.high))
        rows.append((seeds, found, low, high, alone.sees(seeds)))
    return rows


def _caption(of: Material, noise: SeedNoise) -> str:
    floor = of.results.image_floor
    images = f" Hatched: {floor}, at any number of seeds." if floor else ""
    return (
        f"Smallest true difference in {of.name} ({of.unit}) that the study's tests find in 80 % of all studies, by the "
        f"number of seeds: {len(noise.by_arm)} tests together, and one alone. Noise: the standard deviation of the "
        f"paired differences, {_figure(noise.sd)} with a 95 % interval from {_figure(noise.low)} to "
        f"{_figure(noise.high)} (n = {noise.n} seeds); grey dots: each comparison.{images} {of.setting()}"
    )


def _figure(value: float) -> str:
    """Return two significant digits, of large values the whole number."""
    return f"{value:.0f}" if value >= 100 else f"{value:.2g}"
