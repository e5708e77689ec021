"""Grid of a running study as text: a line for each arm, a cell for each seed, the effect so far."""

import time
from collections import Counter
from collections.abc import Collection, Mapping
from statistics import mean

from bagoftricks.cli.study_progress import CellState, RunCell, StudyProgress
from bagoftricks.errors import printable
from bagoftricks.report.curve_text import BARS
from bagoftricks.report.plan import show_duration
from bagoftricks.report.study_results import difference
from bagoftricks.report.text_table import Fit, fold, text_table, text_width
from bagoftricks.statistics.paired import Comparison

WORD = 6  # columns of a run that is shown by a word
EFFECT_WIDTH = 28  # of a difference with its interval and its number of seeds
LABEL = 24
MOST_SIGNS = 40  # runs of an arm that are shown by a sign each
BAR = 16
UNFOLDED = 72  # columns from which on a difference is not folded
MEAN = 8  # columns of a mean
LEAST_LINES = 8
STATE_SIGNS = {CellState.WAITING: ".", CellState.FAILED: "x", CellState.ELSEWHERE: "o"}


def grid_text(progress: StudyProgress, width: int, height: int, *, blocks: bool) -> str:
    """Return the grid in at most ``width`` columns and about ``height`` lines: the running and the latest arms.

    ``blocks``: the terminal can show block characters.
    """
    head = fold(headline(progress, blocks=blocks), width)
    room = max(height, LEAST_LINES) - len(head) - 1
    first = sorted(progress.arms, key=lambda label: _importance(progress.cells[label].values()))
    count = min(len(first), room)
    while True:
        shown = set(first[:count])
        lines = [*_table(progress, shown, width, blocks=blocks), *_hidden(progress, shown, width)]
        if len(lines) <= room or count <= 1:
            return "\n".join([*head, "", *lines])
        count = max(1, count - max(1, (len(lines) - room) // 2))


def headline(progress: StudyProgress, *, blocks: bool) -> str:
    """Return a bar, the number of runs in each state, and the time that is left."""
    counts, total, bars = progress.counts(), len(progress.runs), BARS[blocks]
    full = BAR * (counts[CellState.DONE] + counts[CellState.FAILED]) // max(total, 1)
    passed, left = int(time.monotonic() - progress.began), progress.seconds_left()
    others = [state for state in (CellState.FAILED, CellState.RUNNING, CellState.ELSEWHERE) if counts[state]]
    parts = [f"{counts[CellState.DONE]} of {total} done after {passed // 60}:{passed % 60:02}"]
    parts += [f"{counts[state]} {state.value}" for state in others]
    parts += [] if left is None else [f"about {show_duration(left)} left"]
    return f"{bars[-1] * full}{bars[0] * (BAR - full)} {', '.join(parts)}"


def effect_text(effect: Comparison | None) -> str:
    """Return a difference with its interval, if it has one, and its number of seeds."""
    return "" if effect is None else f"{difference(effect)}, n = {effect.n}"


def _importance(cells: Collection[RunCell]) -> tuple[bool, int]:
    """Return the key that sorts arms: running ones, then those that changed last, then those that come next."""
    return all(cell.state is not CellState.RUNNING for cell in cells), -max(cell.changed for cell in cells)


def _hidden(progress: StudyProgress, shown: Collection[str], width: int) -> list[str]:
    """Return a line about the arms that are not shown."""
    hidden = [cells.values() for label, cells in progress.cells.items() if label not in shown]
    ended = sum(all(cell.state.ended for cell in cells) for cells in hidden)
    waiting = sum(all(cell.state is CellState.WAITING for cell in cells) for cells in hidden)
    counts = {"complete": ended, "begun": len(hidden) - ended - waiting, "waiting": waiting}
    told = ", ".join(f"{count} {what}" for what, count in counts.items() if count)
    return fold(f"... {len(hidden)} more: {told}", width) if hidden else []


def _table(progress: StudyProgress, shown: Collection[str], width: int, *, blocks: bool) -> list[str]:
    """Return the lines of the arms that are shown: a word for each run if there is room, else a sign, else counts."""
    labels = {label: printable(label) for label in progress.arms}
    longest = max(map(text_width, labels.values()), default=0)
    seeds = [str(seed) for seed in progress.study.seeds]
    column = max(WORD, *map(len, seeds))
    room = width - min(longest, LABEL, width // 3) - EFFECT_WIDTH - 4
    words = (column + 1) * len(seeds) - 1 <= room
    signs = not words and len(seeds) + MEAN <= min(room, MOST_SIGNS)

    def runs(of: Mapping[int, RunCell]) -> list[str]:
        cells = [of.get(seed) for seed in progress.study.seeds]  # an arm may have seeds of its own
        if words:
            return [" ".join((_word(cell) if cell else "").rjust(column) for cell in cells)]
        signed = "".join(_sign(cell, blocks=blocks) if cell else " " for cell in cells)
        return [signed if signs else _counted(of.values()), _mean(of.values())]

    named = [f"seed {seeds[0]}"[-column:], *seeds[1:]] if len(seeds[0]) == 1 else seeds
    middle = [" ".join(seed.rjust(column) for seed in named)] if words else ["seeds", "score"]
    effects = {label: effect_text(progress.effects.get(label)) for label in progress.arms if label in shown}
    against, foldable = _against(progress), {0}
    if width < UNFOLDED:
        foldable.add(len(middle) + 1)
    else:  # aligned left, and as wide as the widest
        pad = max(map(len, [against, *effects.values()]))
        against, effects = against.ljust(pad), {label: text.ljust(pad) for label, text in effects.items()}
    rows = [[labels[label], *runs(progress.cells[label]), effect] for label, effect in effects.items()]
    heads = ["arm".ljust(longest), *middle, against]
    lines = text_table(heads, rows, foldable, Fit(width, "a wider terminal shows all")).split("\n")
    legend = f"{BARS[blocks][-1]} done, 0-9 tenths of a running one, x failed, o elsewhere, . waiting"
    return [*lines, *fold(legend, width)] if signs else lines


def _against(progress: StudyProgress) -> str:
    """Return the heading of the effects."""
    against = {arm.compare_to for arm in progress.arms.values()} - {None}
    label = printable(against.pop()) if len(against) == 1 else ""
    return f"against {label} [95 %]" if 0 < text_width(label) < LABEL - 4 else "difference [95 %]"


def _word(cell: RunCell) -> str:
    """Return a run as a word of at most six characters, mostly."""
    if cell.state is CellState.RUNNING:
        return "start" if cell.began is None else f"e{cell.epochs:.1f}"
    if cell.state is CellState.DONE:
        return "done" if cell.score is None else f"{cell.score:.2f}"
    return {CellState.WAITING: ".", CellState.FAILED: "failed", CellState.ELSEWHERE: "other"}[cell.state]


def _sign(cell: RunCell, *, blocks: bool) -> str:
    if cell.state is CellState.RUNNING:
        return str(min(9, int(10 * cell.share)))
    return STATE_SIGNS.get(cell.state, BARS[blocks][-1])


def _counted(cells: Collection[RunCell]) -> str:
    counts = Counter(cell.state for cell in cells)
    others = [state for state in (CellState.RUNNING, CellState.FAILED) if counts[state]]
    return ", ".join([f"{counts[CellState.DONE]} of {len(cells)}", *(f"{counts[s]} {s.value}" for s in others)])


def _mean(cells: Collection[RunCell]) -> str:
    scores = [cell.score for cell in cells if cell.score is not None]
    return f"{mean(scores):.2f}" if scores else ""
