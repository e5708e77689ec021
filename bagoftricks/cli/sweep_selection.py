"""Studies that choose among their arms: one round of runs after the other, then fresh seeds of what was chosen.

Both designs spend seeds, not epochs: a run of a later round is the run of an earlier one, so its record is used again,
and no arm is judged at a short budget, where the order of tricks is another (docs/evidence.md).
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from statistics import median
from typing import TYPE_CHECKING, Protocol

from bagoftricks.cli.streams import say
from bagoftricks.statistics.paired import HELPS
from bagoftricks.statistics.selection import best_by_mean, best_that_helps
from bagoftricks.store.json_fields import Json, to_json
from bagoftricks.study.arms import Arm
from bagoftricks.study.designs import GreedyStep, greedy_first, greedy_next, make_arms
from bagoftricks.study.factors import BASELINE
from bagoftricks.study.selection import Round, Selection, confirming_arms, halving_line, halving_rungs

if TYPE_CHECKING:
    from bagoftricks.cli.sweep_arguments import Sweep
    from bagoftricks.report.study_results import StudyResults
    from bagoftricks.store.store import Store
    from bagoftricks.study.plan import Plan, PlannedRun

    Train = Callable[[Plan, Json], list[PlannedRun]]


class Choosing(Protocol):
    """Selection that is going on: its arms so far, the first the baseline, and what it chose."""

    arms: list[Arm]
    chosen: str  # label of the arm that would be the result now; empty: none
    over: bool  # no further round

    def judge(self, results: "StudyResults") -> Round:
        """Return what the present round chose, and list the arms of the next one."""
        ...

    def later(self) -> str:
        """Return in words what comes after the first round."""
        ...


class Greedy:
    """Forward selection: the candidate with the largest gain among those that help, until none does."""

    def __init__(self, sweep: "Sweep") -> None:
        self.tricks, self.floor, self.confirm = sweep.tricks, sweep.floor, sweep.confirm
        self.chosen, self.over = "", False
        self.arms = make_arms("greedy", sweep.tricks)
        self.step: GreedyStep = greedy_first(sweep.tricks)

    def judge(self, results: "StudyResults") -> Round:
        labels = tuple(arm.label for arm in self.step.candidates)
        made = [results.comparisons[label] for label in labels if label in results.comparisons]
        fast = [label for label in labels if self.floor is None or _speed(results, label) >= self.floor]
        best = best_that_helps(made, fast, higher_is_better=results.score.higher_is_better)
        tested = f"step {len(self.step.chosen) + 1}: {len(made)} candidates tested together"
        if best is None:
            slow = f", or is slower than floor={self.floor:g}" if len(fast) < len(labels) else ""
            say("bot-sweep", f"{tested}: none helps{slow}")
            self.over = True
            return Round(arms=labels, seeds=len(results.study.seeds))
        helping = sum(c.verdict == HELPS for c in made)
        say("bot-sweep", f"{tested}: '{best}' is chosen, the largest gain of those that help ({helping})")
        self.step, self.chosen = greedy_next(self.step, self.tricks, best), best
        self.arms += self.step.candidates
        self.over = not self.step.candidates
        return Round(arms=labels, chosen=(best,), seeds=len(results.study.seeds))

    def later(self) -> str:
        fresh = f", then {2 * self.confirm} runs with fresh seeds, of the chosen set and of {BASELINE}"
        return f"the later steps depend on what the first one measures{fresh if self.confirm else ''}"


class Halving:
    """Successive halving: the best arms by their mean go on with more seeds, until one is left."""

    def __init__(self, sweep: "Sweep") -> None:
        self.every, self.seeds, self.confirm = make_arms("halving", sweep.tricks), sweep.seeds, sweep.confirm
        self.rungs = halving_rungs(len(self.every) - 1, len(sweep.seeds), sweep.eta)
        self.left = [arm.label for arm in self.every[1:]]
        self.rung, self.chosen, self.over = 0, "", False
        self.arms = self._with_seeds(self.left)

    def _with_seeds(self, going: Sequence[str]) -> list[Arm]:
        """Return all arms, those that go on and the baseline with the seeds of the present rung."""
        before = {arm.label: arm.seeds for arm in getattr(self, "arms", ())}
        now = self.seeds[: self.rungs[self.rung].seeds]
        on = {*going, self.every[0].label}
        return [replace(arm, seeds=now if arm.label in on else before[arm.label]) for arm in self.every]

    def judge(self, results: "StudyResults") -> Round:
        rung, score = self.rungs[self.rung], results.score
        seeds = self.seeds[: rung.seeds]
        scores, last = results.paired_scores(score)[0], self.rung + 1 == len(self.rungs)
        baseline = [self.every[0].label] if last else []
        of = {label: scores[label] for label in [*baseline, *self.left] if label in scores}
        best = best_by_mean(of, rung.keep, seeds, higher_is_better=score.higher_is_better)
        done = Round(arms=tuple(self.left), chosen=tuple(b for b in best if b not in baseline), seeds=rung.seeds)
        what = f"rung {self.rung + 1} of {len(self.rungs)}, {rung.seeds} seed{'s' * (rung.seeds > 1)}"
        say("bot-sweep", f"{what}: the best of {len(of)} by their mean: {', '.join(best) or 'none, for runs failed'}")
        self.left = list(done.chosen)
        self.over = last or not best
        if self.over:
            self.chosen = self.left[0] if self.left else ""
            return replace(done, chosen=(self.chosen,) if self.chosen else ())
        self.rung += 1
        self.arms = self._with_seeds(self.left)
        return done

    def later(self) -> str:
        return halving_line(self.rungs, self.confirm)


def _speed(results: "StudyResults", label: str) -> float:
    """Return the median inference throughput of an arm in images per second, 0 without a run."""
    found = results.values(label, "infer_images_per_s")
    return median(found.values()) if found else 0.0


def start_selection(sweep: "Sweep") -> Choosing:
    """Return the selection of a design before its first round. Raises UserError if it has nothing to choose."""
    return Greedy(sweep) if sweep.design == "greedy" else Halving(sweep)


def train_selected(
    sweep: "Sweep", store: "Store", name: str, plan: "Callable[[Sequence[Arm]], Plan]", train: "Train"
) -> "list[PlannedRun]":
    """Train and judge round by round, then fresh seeds of what was chosen; return the runs.

    ``train`` saves the study with its facts, and trains what is missing of a plan. An interrupted round is not judged:
    the same command resumes.
    """
    from bagoftricks.report.study_results import load_results
    from bagoftricks.study.plan import stopped_runs

    choosing, selection = start_selection(sweep), Selection(confirm=sweep.confirm)
    while not choosing.over:
        runs = train(plan(choosing.arms), _facts(selection))
        if stopped_runs(runs, store):
            return runs
        selection = selection.then(choosing.judge(load_results(store, name)))
    fresh: list[Arm] = []
    if choosing.chosen and sweep.confirm:
        chosen = next(arm for arm in choosing.arms if arm.label == choosing.chosen)
        fresh = confirming_arms(chosen, choosing.arms[0], sweep.seeds, sweep.confirm)
        seeds = f"{sweep.confirm} fresh seed{'s' * (sweep.confirm > 1)}"
        say("bot-sweep", f"'{chosen.label}' and {BASELINE} are trained with {seeds}, which show whether it gains")
    selection = replace(selection, result=choosing.chosen, over=True)
    return train(plan([*fresh, *choosing.arms]), _facts(selection))


def _facts(selection: Selection) -> Json:
    """Return the selection so far as a fact of its study."""
    return {"selection": to_json(selection)}
