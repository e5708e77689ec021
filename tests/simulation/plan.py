"""Cells that are simulated, and the promises that they are held to."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import product

from tests.simulation.cells import KINDS, Cell, Share, share
from tests.simulation.kinds import FACTORIALS, factorial_arms
from tests.simulation.selection import selection

EQUAL = ("normal", "heavy tails", "skewed")
TWICE = ("baseline x2", "half the arms x2", "one arm x2")
FIVE = ("baseline x5", "half the arms x5", "one arm x5")
EVERY = (*EQUAL, *TWICE, *FIVE, "collapsing")
FAR = 3.0  # Monte Carlo standard errors beyond a limit that break a promise
SOME_RUNS = {("one_at_a_time", 6, 3), ("one_at_a_time", 11, 5), ("stack", 6, 3)}  # where 10 % are missing too


def all_cells() -> list[Cell]:
    """Return every cell, those of most interest first."""
    return [cell for cell in [*_comparisons(), *_effects(), *_advice(), *_looks(), *_selection()] if cell.kind in KINDS]


def quick_cells() -> list[Cell]:
    """Return the cells of the quick form: the example's size, with each noise; the designs; the advice; looks."""
    few = {("one_at_a_time", 6, 3), ("one_at_a_time", 2, 3), ("stack", 6, 3), ("one_at_a_time", 31, 3)}
    return [
        cell
        for cell in all_cells()
        if (cell.kind == "comparisons" and (cell.design, cell.arms, cell.seeds) in few)
        or (cell.kind != "comparisons" and cell.noise == "normal" and cell.seeds in (1, 3))
        or (cell.kind == "looks" and (cell.arms, cell.seeds) == (2, 8))
    ]


def _comparisons() -> list[Cell]:
    cells = []
    for arms, seeds, noise in product((6, 2, 3, 11, 31), (3, 2, 5, 10), EVERY):
        two_arms = arms == 2 and not noise.startswith("baseline") and noise not in EQUAL  # one of two is the baseline
        rare = (noise in FIVE or noise == "collapsing") and seeds in (2, 10)
        if not two_arms and not rare:
            cells.append(Cell("comparisons", "one_at_a_time", arms, seeds, noise))
    noises = "normal", "half the arms x2", "one arm x5", "collapsing"
    for design, (arms, seeds), noise in product(("stack", "leave_one_out"), ((6, 3), (11, 5), (3, 2)), noises):
        cells.append(Cell("comparisons", design, arms, seeds, noise))
    for (design, arms, seeds), noise in product(sorted(SOME_RUNS), ("normal", "half the arms x2", "heavy tails")):
        cells.append(Cell("comparisons", design, arms, seeds, noise, missing=0.1))
    return cells


def _effects() -> list[Cell]:
    noises = "normal", "heavy tails", "skewed", "half the arms x2", "one arm x5"
    cells = [
        Cell("effects", design, len(factorial_arms(design)[1]), seeds, noise)
        for design, seeds, noise in product(FACTORIALS, (1, 2, 3), noises)
        if seeds < 3 or noise == "normal"
    ]
    return [*cells, Cell("effects", "fraction 2^(8-4)", 16, 2, "normal", missing=0.1)]


def _advice() -> list[Cell]:
    return [
        Cell("advice", "one_at_a_time", arms, seeds, noise)
        for arms, seeds, noise in product((2, 6), (3, 5), ("normal", "half the arms x2"))
        if arms > 2 or noise == "normal"
    ]


def _looks() -> list[Cell]:
    return [Cell("looks", "one_at_a_time", arms, seeds) for arms, seeds in product((2, 6, 11), (8, 20))]


def _selection() -> list[Cell]:
    return [Cell(selection.__name__, "greedy", 9, seeds, studies=50) for seeds in (2, 3, 5)]


def _has_verdicts(*noises: str) -> Callable[[Cell], bool]:
    return lambda cell: cell.kind != "advice" and cell.noise in noises


def _by_lenth(cell: Cell) -> bool:
    return cell.kind == "effects" and cell.seeds == 1 and cell.design != "Plackett-Burman"


@dataclass(frozen=True)
class Promise:
    """Limits of a measure in the cells that it is promised for."""

    words: str
    measure: str
    about: Callable[[Cell], bool]
    low: float = 0.0
    high: float = 1.0

    @property
    def never(self) -> bool:
        """Return True if one case is too many."""
        return self.high == 0

    def beyond(self, found: Share) -> float:
        """Return by how many standard errors a share is beyond the limits; negative: within them."""
        return max(self.low - found.value, found.value - self.high) / found.error


PROMISES = (
    Promise("false verdicts in at most 5.5 % of tables: equal sds", "false verdict", _has_verdicts(*EQUAL), high=0.055),
    Promise(
        "all intervals hold in 94 to 96 % of tables: equal, normal noise",
        "all intervals",
        lambda cell: _has_verdicts("normal")(cell) and not _by_lenth(cell),
        *(0.94, 0.96),
    ),
    Promise(
        "and in at least 94 % of those by Lenth's error, which real effects enlarge", "all intervals", _by_lenth, 0.94
    ),
    Promise(
        "false verdicts in at most 7 % of tables: sds that differ by a factor of 2",
        "false verdict",
        _has_verdicts(*TWICE),
        high=0.07,
    ),
    Promise(
        "4 sd among 6 arms at 3 seeds is found in 90 %",
        "found 4 sd",
        lambda cell: (cell.kind, cell.arms, cell.seeds, cell.noise, cell.missing) == ("comparisons", 6, 3, "normal", 0),
        0.9,
    ),
    Promise(
        "false verdicts at any look in at most 5.5 % of studies that stop what is decided",
        "false verdict at any look",
        lambda cell: cell.kind == "looks",
        high=0.055,
    ),
    Promise(
        "all intervals hold after the last look, in 95 % of studies or more",
        "all last intervals",
        lambda cell: cell.kind == "looks",
        0.95,
    ),
    Promise("no verdict contradicts its interval", "contradiction", lambda cell: cell.kind != "advice", high=0.0),
    Promise(
        "greedy chooses any of eight useless tricks in at most 6 % of studies",
        "any of eight useless ones",
        lambda cell: cell.kind == "selection",
        high=0.06,
    ),
    Promise(
        "the gain on fresh seeds is above the truth in as many studies as below it",
        "gain on fresh seeds above the truth",
        lambda cell: cell.kind == "selection",
        *(0.47, 0.53),
    ),
    Promise(
        "the advice's upper end gives 80 % power in 78 % of studies",
        "upper end is enough",
        lambda cell: cell.kind == "advice",
        0.78,
    ),
    Promise(
        "78 % of studies that follow it find the effect",
        "found by its upper end",
        lambda cell: cell.kind == "advice",
        0.78,
    ),
)


@dataclass(frozen=True)
class Verdict:
    """What the simulation says of a promise."""

    promise: Promise
    worst: str  # the cell
    found: Share  # there
    cells: int
    beyond: int  # cells whose estimate is beyond the limits
    broken: int  # of these, by more than ``FAR`` standard errors
    overall: Share

    @property
    def word(self) -> str:
        if self.broken:
            return "BROKEN"
        return "holds within Monte Carlo error" if self.beyond else "holds"


def verdicts(counts: Mapping[Cell, Mapping[str, int]]) -> list[Verdict]:
    """Judge each promise by the cells that were simulated."""
    found = []
    for promise in PROMISES:
        of = {cell: share(counted, promise.measure) for cell, counted in counts.items() if promise.about(cell)}
        of = {cell: each for cell, each in of.items() if each.of}
        if not of:
            continue
        distance = {cell: promise.beyond(each) for cell, each in of.items()}
        worst = max(distance, key=lambda cell: distance[cell])
        overall = Share(sum(each.hits for each in of.values()), sum(each.of for each in of.values()))
        far = sum(d > (0 if promise.never else FAR) for d in distance.values())
        found.append(
            Verdict(promise, worst.name, of[worst], len(of), sum(d > 0 for d in distance.values()), far, overall)
        )
    return found
