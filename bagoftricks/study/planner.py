"""From the arms of a study to its runs: each is composed, checked and named. Trains nothing."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from functools import lru_cache
from itertools import chain
from typing import TYPE_CHECKING, Any

from bagoftricks.errors import DataError, NotHere, UserError
from bagoftricks.plugins import typed_text
from bagoftricks.settings import Settings, make_part
from bagoftricks.store.store import RunState, Store
from bagoftricks.store.weight_sets import LAST
from bagoftricks.study.arms import Arm
from bagoftricks.study.stages import INITIAL, ROW, RowSource, row_source, sources_first, started_from_row, taught_by_row

if TYPE_CHECKING:
    from torch import nn

    from bagoftricks.data import Dataset
    from bagoftricks.run.check import Checked
    from bagoftricks.run.prepare import Prepared


from bagoftricks.study.overrides import (
    Compose,
    bot_train,
    latest,
    split_parameters,
    trick_overrides,
    with_parameters,
    with_source,
    with_tricks,
)
from bagoftricks.study.plan import Plan, PlannedRun, UnnamedRun


class Planner:
    """Arms of a study as checked runs. What they share is composed, found and built once.

    ``here``: the runs are to be trained on this machine, so that what it lacks is an error. ``base``: the settings of
    the overrides, where they are composed already.
    """

    def __init__(
        self, overrides: Sequence[str], compose: Compose, *, here: bool = True, base: Settings | None = None
    ) -> None:
        self.plain, self.parameters = split_parameters(overrides)
        self.compose, self.base, self.here = compose, base or compose(self.plain), here
        self._networks: dict[str, Any] = {}
        self._datasets: dict[str, Dataset | DataError | NotHere] = {}

    def check(self, arm: Arm) -> None:
        """Raise UserError if the tricks of an arm conflict or do not fit the network. No data is read."""
        self._check(self._composed(arm)[0], None if self.here else [])

    def run_id(self, arm: Arm) -> str | None:
        """Return the id of the run of an arm with seed 0, None if it depends on what is not here.

        Raises UserError if the arm cannot run.
        """
        named = self._runs(arm, [0])[0]
        return named[0].id if named else None

    def _prepare(self, checked: "Checked", lacking: list[str] | None) -> "Prepared":
        """Return the run of these settings. Raises UserError if it cannot run."""
        from bagoftricks.run.prepare import prepare

        return prepare(checked.settings, checked, self._dataset(checked.settings), lacking)

    def plan(self, arms: Sequence[Arm], seeds: Sequence[int]) -> Plan:
        """Cross the arms with their seeds, or these; an arm that cannot run is in ``impossible`` with the reason."""
        for name, key, value in self.parameters:
            if name not in self.base.tricks and all(name not in arm.tricks for arm in arms):
                raise UserError(f"tricks.{name}.{key}={typed_text(value)}: no arm has the trick '{name}'; leave it out")
        runs: dict[str, list[PlannedRun]] = {arm.label: [] for arm in arms}
        unnamed: dict[str, list[UnnamedRun]] = {arm.label: [] for arm in arms}
        impossible: dict[str, str] = {}
        lacks: dict[str, list[str]] = {}
        of_label, sources = {arm.label: arm for arm in arms}, self._row_sources(arms)
        seeds_of = {arm.label: arm.seeds or tuple(seeds) for arm in arms if not arm.quoted}
        for arm in map(of_label.__getitem__, sources_first([*of_label], sources)):
            if arm.needs or arm.quoted:
                continue
            try:
                rows = [self._found(row, runs, unnamed) for row in sources.get(arm.label, ())]
                named, others, lacking = self._runs(arm, seeds_of[arm.label], rows)
                if named:
                    require_another_run(named[0].id, chain.from_iterable(runs.values()))
            except UserError as error:
                impossible[arm.label] = str(error)
                continue
            runs[arm.label], unnamed[arm.label] = named, others
            lacks |= {arm.label: lacking} if lacking else {}
        needs = {arm.label: ", ".join(arm.needs) for arm in arms if arm.needs}
        every = {seed for own in seeds_of.values() for seed in own}
        found = tuple(chain.from_iterable(runs.values())), impossible, needs
        return Plan(tuple(arms), _in_order(every, seeds), *found, tuple(chain.from_iterable(unnamed.values())), lacks)

    def _row_sources(self, arms: Sequence[Arm]) -> dict[str, list[RowSource]]:
        """Return the rows whose weights other rows need, by the labels of those."""
        labels = [arm.label for arm in arms]
        return {
            arm.label: [
                row_source(*typed, labels)
                for typed in (taught_by_row(self._tricks_of(arm)), started_from_row(arm.settings))
                if typed is not None
            ]
            for arm in arms
            if not (arm.needs or arm.quoted)
        }

    def _found(
        self,
        row: RowSource,
        runs: Mapping[str, Sequence[PlannedRun]],
        unnamed: Mapping[str, Sequence[UnnamedRun]],
    ) -> RowSource:
        """Return a row with the source of its first run's weights if that is finished."""
        if not (runs[row.label] or unnamed[row.label]):
            role = "it starts from the weights of" if row.key == INITIAL else "its teacher is"
            raise UserError(f"{role} '{row.label}', which has no run")
        first, store = next(iter(runs[row.label]), None), Store(self.base.store)
        if first is None or store.state(first.id) is not RunState.DONE:
            return row
        if row.key == INITIAL:
            return replace(row, source=str(store.weights(first.id, row.weights.removeprefix("@") or LAST)))
        return replace(row, source=f"run:{first.id}{row.weights}")

    def _runs(
        self, arm: Arm, seeds: Sequence[int], rows: Sequence[RowSource] = ()
    ) -> tuple[list[PlannedRun], list[UnnamedRun], list[str]]:
        """Return the runs of an arm, with or without ids, and what this machine lacks for them."""
        composed, typed = self._composed(arm)
        for row in [row for row in rows if row.source]:
            composed, typed = with_source(composed, typed, row)
        waits = next((row.label for row in rows if not row.source), "")
        commands = {seed: bot_train([*typed, f"seed={seed}"]) for seed in seeds}
        lacking: list[str] = []
        weights = 0
        try:
            checked = self._check(without_row_weights(composed), None if self.here else lacking)
            weights = kept_weights(checked)
            if waits or taught_by_row(composed.tricks):
                raise NotHere("", "its teacher")
            of_arm = self._prepare(checked, None if self.here else lacking)
        except (NotHere, DataError) as error:
            if self.here and not (waits and not str(error)):
                raise
            why = error.what if isinstance(error, NotHere) else "data"
            about = why, weights, waits
            unnamed = [
                UnnamedRun(arm.label, seed, replace(composed, seed=seed), commands[seed], *about) for seed in seeds
            ]
            return [], unnamed, [*dict.fromkeys([*lacking, *filter(None, [str(error)])])]
        evaluation = of_arm.evaluation.name if of_arm.evaluation else None
        runs = []
        for seed in seeds:
            prepared = of_arm.with_seed(seed)
            made = prepared.id, prepared.settings, commands[seed], evaluation, prepared.identity
            runs.append(PlannedRun(arm.label, seed, *made, weights))
        return runs, [], lacking

    def _check(self, settings: Settings, lacking: list[str] | None) -> "Checked":
        from bagoftricks.run.check import check  # here, so that tables of studies need no torch

        return check(settings, networks=self._networks, lacking=lacking)

    def _dataset(self, settings: Settings) -> "Dataset":
        """Return the data set of these settings, found once. Raises the same error each time."""
        from bagoftricks.data import find_dataset

        key = json.dumps(asdict(settings.data))
        if key not in self._datasets:
            try:
                self._datasets[key] = find_dataset(make_part("dataset", json.loads(key)))
            except (DataError, NotHere) as error:  # a large folder, or a try to download, takes its time
                self._datasets[key] = error
        found = self._datasets[key]
        if isinstance(found, Exception):
            raise found
        return found

    def _tricks_of(self, arm: Arm) -> dict[str, dict[str, object]]:
        """Return the tricks of an arm with the hyper-parameters that were typed for them."""
        return with_parameters(arm.tricks, self.base, [*self.parameters, *split_parameters(arm.settings)[1]])

    def _composed(self, arm: Arm) -> tuple[Settings, list[str]]:
        """Return the settings of an arm and its overrides; composed again if it changes more than tricks."""
        settings_only, parameters = split_parameters(arm.settings)
        tricks = self._tricks_of(arm)
        for name, key, value in parameters:
            if name not in tricks:
                raise UserError(f"tricks.{name}.{key}={typed_text(value)}: it has no trick '{name}'; leave it out")
        typed = latest([*self.plain, *trick_overrides(tricks, self.base), *settings_only])
        return self.compose(typed) if settings_only else with_tricks(self.base, tricks), typed


def without_row_weights(settings: Settings) -> Settings:
    """Return the settings without initial weights that are another row's, whose file does not exist yet."""
    if not (settings.model.weights or "").startswith(ROW):
        return settings
    return replace(settings, model=replace(settings.model, weights=None, new_head=False))


def kept_weights(checked: "Checked") -> int:
    """Return the bytes of the weights that a run keeps: its last ones, and each average of them."""
    return 4 * _parameters(checked.network) * (1 + len(checked.recipe.averages))


@lru_cache(maxsize=64)  # networks that many arms share
def _parameters(network: "nn.Module") -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def _in_order(every: set[int], seeds: Sequence[int]) -> tuple[int, ...]:
    """Return the seeds that arms have: first those of the study as typed, then others."""
    return (*(seed for seed in seeds if seed in every), *sorted(every.difference(seeds)))


def make_plan(arms: Sequence[Arm], seeds: Sequence[int], overrides: Sequence[str], compose: Compose) -> Plan:
    """Return the plan of these arms and seeds."""
    return Planner(overrides, compose).plan(arms, seeds)


def require_another_run(run_id: str, runs: Iterable[PlannedRun]) -> None:
    """Raise UserError if an arm is one of ``runs``: two rows with one result say that a change does nothing."""
    if same := next((run for run in runs if run.id == run_id), None):
        raise UserError(f"it is the run of '{same.label}' in every setting: change one of the two, or leave one out")
