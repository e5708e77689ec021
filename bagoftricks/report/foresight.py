"""Foresight of a plan: the differences that its study will see, from the noise of like runs or a range of noises."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from bagoftricks.report.score import Score, measurements
from bagoftricks.report.study_results import value
from bagoftricks.statistics.layout import Layout, chance
from bagoftricks.statistics.max_t import LargestT, largest_of_pairs
from bagoftricks.statistics.paired import seeds_advice, two_digits
from bagoftricks.statistics.power import CONFIDENCE, Power, sd_interval
from bagoftricks.store.record import Record
from bagoftricks.study.arms import CROSSED, Arm

USUAL_NOISE = (0.2, 1.0)  # points of top-1 between seeds: of long trainings on CIFAR-10, and of short ones
FEWEST_DOF = 2.0


@dataclass(frozen=True)
class Foresight:
    """Differences that a study finds in 80 % of cases, by the low and the high end of the noise of one run."""

    seeds: int
    sees: tuple[float, float]
    resolve: float
    needed: tuple[int | None, int | None]  # seeds that see ``resolve``
    noise: tuple[float, float]
    like_runs: int  # whose noise it is; 0: the usual range
    what: str  # is seen: differences or effects, in the unit of the score
    unit: str

    def __str__(self) -> str:
        known = f"as {self.like_runs} like runs vary by {_range(*self.noise)}"
        usual = f"if runs vary by {_range(*self.noise)}, as no like run is known"
        return (
            f"{self.seeds} seeds will see {self.what} of {_range(*self.sees)} {self.unit} in 80 % of cases, and "
            f"{seeds_advice(*self.needed)} {self.resolve:g}: {known if self.like_runs else usual}"
        )


def foresee(
    design: str | None, arms: Sequence[Arm], seeds: int, like: Sequence[Record], score: Score, resolve: float
) -> Foresight | None:
    """Return what the study will see; None without comparisons, or for scores whose noise nobody knows."""
    power = design_power(design, arms)
    noise = noise_of_runs(like, score)
    if power is None or (noise is None and score.unit != "points"):
        return None
    low, high = USUAL_NOISE if noise is None else sd_interval(noise[0], noise[1], CONFIDENCE)
    told = max(2, seeds)
    ends = [replace(power, sd=power.sd * sd) for sd in (low, high)]
    return Foresight(
        seeds=told,
        sees=(ends[0].sees(told), ends[1].sees(told)),
        resolve=resolve,
        needed=(ends[0].seeds(resolve), ends[1].seeds(resolve)),
        noise=(low, high),
        like_runs=noise[2] if noise else 0,
        what="effects" if design in CROSSED else "differences",
        unit=score.unit,
    )


def design_power(design: str | None, arms: Sequence[Arm]) -> Power | None:
    """Return the power of a design's tests where single runs have a standard deviation of 1."""
    arms = [arm for arm in arms if not (arm.needs or arm.quoted)]
    if design in CROSSED:
        factors = len({level for arm in arms for level in arm.on})
        effects = min(len(arms) - 1, factors * (factors + 1) // 2)
        return Power(LargestT(np.eye(effects)), 2 / math.sqrt(len(arms)), len(arms) - 1) if effects else None
    at = {arm.label: index for index, arm in enumerate(arms)}
    pairs = tuple((at[arm.label], at[arm.compare_to]) for arm in arms if arm.compare_to in at)
    if not pairs:
        return None
    dof = chance(Layout(((True,) * 3,) * len(arms), pairs)).dof / 2 if len(arms) > 2 else 1.0
    return Power(largest_of_pairs(pairs), math.sqrt(2), dof)


def noise_of_runs(records: Sequence[Record], score: Score) -> tuple[float, float, int] | None:
    """Return the standard deviation between the seeds of a recipe, its degrees of freedom, and the number of runs.

    None with less than two degrees of freedom. What seeds do to all recipes alike is left out, as pairing does.
    """
    found: dict[str, dict[int, float]] = {}
    for record in measurements(records, score.key):
        known = value(record, score.key)
        if known is not None and math.isfinite(known):
            recipe = json.dumps([record.tricks, record.config.get("lr"), record.data.digest], sort_keys=True)
            found.setdefault(recipe, {})[record.seed] = known
    rows = [of for of in found.values() if len(of) > 1]
    if not rows:
        return None
    seeds = sorted({seed for of in rows for seed in of})
    layout = Layout(tuple(tuple(seed in of for seed in seeds) for of in rows), ())
    if layout.dof < FEWEST_DOF:
        return None
    values = np.array([[of.get(seed, 0.0) - np.mean([*of.values()]) for seed in seeds] for of in rows]) * layout.mask
    squares = float((layout.residuals(values) ** 2).sum())
    sd = math.sqrt(squares / layout.dof)
    return (sd, layout.dof, int(layout.mask.sum())) if sd > 0 else None


def _range(low: float, high: float) -> str:
    one, other = two_digits(low), two_digits(high)
    return one if one == other else f"{one} to {other}"
