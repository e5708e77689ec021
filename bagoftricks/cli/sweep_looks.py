"""A study that ends by itself: it is trained look by look, and goes on with what is not decided."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from bagoftricks.cli.streams import say
from bagoftricks.statistics.looks import FINAL, is_decided
from bagoftricks.statistics.paired import UNDECIDED

if TYPE_CHECKING:
    from bagoftricks.report.study_results import StudyResults
    from bagoftricks.store.store import Store
    from bagoftricks.study.look_history import Looks
    from bagoftricks.study.plan import Plan, PlannedRun

    Train = Callable[[Plan, Looks], list[PlannedRun]]

MOST_NAMES = 8  # in one line


def train_in_looks(
    whole: "Plan", looks: "Looks", store: "Store", name: str, train: "Train", *, stop: str | None
) -> "list[PlannedRun]":
    """Train the seeds of one look after the other, until all is decided or a run was interrupted; return the runs.

    ``whole``: all runs, should nothing be decided before the last look. ``train`` saves the study and trains what is
    missing of a plan.
    """
    from bagoftricks.report.study_results import load_results
    from bagoftricks.study.plan import stopped_runs

    most = len(whole.seeds)
    seeds = dict.fromkeys(whole.ids(), 0)  # of each arm
    going = set(seeds)
    for n in [n for n in looks.looks if n < most] + [most]:
        seeds |= dict.fromkeys(going, n)
        now = first_seeds(whole, seeds)
        runs = train(now, looks)
        if stopped_runs(runs, store):
            break
        looks = looks.after(n)
        verdicts, going = judge(load_results(store, name))
        if going and stop == "study":
            going = set(seeds)
        left = sum(most - seeds[label] for label in going)
        say("bot-sweep", f"{look_line(looks.looks, n, verdicts)}. {ending(len(going), len(seeds), len(runs), left)}")
        if not going:
            break
    return runs


def first_seeds(plan: "Plan", seeds: Mapping[str, int]) -> "Plan":
    """Return the plan with that many seeds of each arm, by label."""
    most = max(seeds.values())
    runs = tuple(run for run in plan.runs if run.seed in plan.seeds[: seeds[run.label]])
    return replace(plan, seeds=plan.seeds[:most], runs=runs)


def judge(results: "StudyResults") -> tuple[dict[str, str], set[str]]:
    """Return the verdicts by comparison or main effect, and the arms that take part in what is not decided.

    An arm without a finished run is given up: more seeds would fail as well.
    """
    if results.is_factorial:
        mains = [effect for effect in results.effects.rows if len(effect.tricks) == 1 and effect.estimate is not None]
        verdicts = {effect.tricks[0]: effect.verdict for effect in mains}
        undecided = not all(map(is_decided, verdicts.values()))
        return verdicts, {label for label, found in results.records.items() if found and undecided}
    made = results.comparisons.values()
    open_pairs = [(c.label, c.against) for c in made if not is_decided(c.verdict)]
    return {c.label: c.verdict for c in made}, {label for pair in open_pairs for label in pair}


def look_line(looks: Sequence[int], n: int, verdicts: Mapping[str, str]) -> str:
    """Return in words what a look at ``n`` seeds decided."""
    which = f"look {looks.index(n) + 1} of {len(looks)}, " if n in looks else ""
    named: dict[str, list[str]] = {word: [] for word in (*FINAL, UNDECIDED)}
    for name, verdict in verdicts.items():
        named[next((word for word in FINAL if verdict.startswith(word)), UNDECIDED)].append(name)
    return f"{which}{n} seeds: {'; '.join(f'{word}: {_listed(names)}' for word, names in named.items() if names)}"


def ending(going: int, arms: int, runs: int, left: int) -> str:
    """Return in words how a study goes on after a look: ``left`` runs at most."""
    if not going:
        return f"All is decided with {runs} runs"
    if not left:
        return f"All seeds are trained: {runs} runs"
    which = "all arms go" if going == arms else f"{going} of {arms} arms go"
    return f"{which} on: {runs} runs so far, {runs + left} at most".capitalize()


def plan_line(plan: "Plan", looks: Sequence[int]) -> str:
    """Return the looks of a plan in words, and its least and its most runs."""
    from bagoftricks.report.study_notes import seeds_in_words

    least = len(first_seeds(plan, dict.fromkeys(plan.ids(), looks[0])).runs)
    return f"judged at {seeds_in_words(looks)} seeds: {least} to {len(plan.runs)} runs"


def _listed(names: Sequence[str]) -> str:
    more = [f"{len(names) - MOST_NAMES} more"] if len(names) > MOST_NAMES else []
    return ", ".join([*names[:MOST_NAMES], *more])
