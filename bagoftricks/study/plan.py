"""Runs of a study and their states. Trains nothing."""

import json
import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bagoftricks.errors import DataError, NotHere, UserError
from bagoftricks.plugins import extension_arguments, typed_text
from bagoftricks.settings import OVERRIDE, Settings, make_part
from bagoftricks.store.files import read_file, write_whole
from bagoftricks.store.json_fields import Json, parse_json, sealed_text, unsealed
from bagoftricks.store.lease import LEASE, is_live
from bagoftricks.store.secrets import hide
from bagoftricks.store.store import STUDIES, STUDY_BYTES, RunState, Store
from bagoftricks.study.arms import Arm, Tricks
from bagoftricks.study.factors import typed_value
from bagoftricks.study.stages import TEACHER, RowTeacher, row_teacher, taught_by_row, teachers_first
from bagoftricks.tricks.catalogue import families, family_of, hyper_parameter

if TYPE_CHECKING:
    from bagoftricks.data import Dataset
    from bagoftricks.run.check import Checked
    from bagoftricks.run.prepare import Prepared

STUDY_FORMAT = 2  # of a study's file; the first had neither a format nor a seal
LONGEST_STUDY = 200  # bytes of a name, which is a file's

Compose = Callable[[Sequence[str]], Settings]  # overrides as typed on the command line -> settings


@dataclass(frozen=True)
class PlannedRun:
    """One arm with one seed."""

    label: str
    seed: int
    id: str
    settings: Settings
    command: str  # trains this run alone
    evaluation: str | None = None  # the name of the evaluation on corrupted images that it is to have in its record
    identity: Json = field(default_factory=dict, repr=False, compare=False)  # what its id is made of
    weights: int = field(default=0, compare=False)  # bytes of the weights that it keeps; 0: not known


@dataclass(frozen=True)
class UnnamedRun:
    """One arm with one seed, whose id depends on what is not here: on the contents of its data, say."""

    label: str
    seed: int
    settings: Settings
    command: str
    why: str  # "data", "a package", ...
    weights: int = field(default=0, compare=False)
    waits_for: str = ""  # label of the arm whose first run is its teacher, if it only waits for that


@dataclass(frozen=True)
class Plan:
    """A study's runs, in the order of its arms, and why some arms have none."""

    arms: tuple[Arm, ...]
    seeds: tuple[int, ...]
    runs: tuple[PlannedRun, ...]
    impossible: Mapping[str, str]  # label -> the conflict or other mistake
    needs: Mapping[str, str]  # label -> what does not exist yet
    unnamed: tuple[UnnamedRun, ...] = ()  # runs without an id
    lacking: Mapping[str, Sequence[str]] = field(default_factory=dict)  # label -> what this machine lacks for it

    @property
    def every_run(self) -> list[PlannedRun | UnnamedRun]:
        """Return the runs with an id, then those without."""
        return [*self.runs, *self.unnamed]

    def ids(self) -> dict[str, dict[int, str]]:
        """label -> seed -> run id."""
        found: dict[str, dict[int, str]] = {}
        for run in self.runs:
            found.setdefault(run.label, {})[run.seed] = run.id
        return found

    def evaluation(self, label: str) -> str | None:
        """Return the name of the evaluation on corrupted images that an arm's runs are to have."""
        return next((run.evaluation for run in self.runs if run.label == label), None)


class Planner:
    """Arms of a study as checked runs. What they share is composed, found and built once.

    ``here``: the runs are to be trained on this machine, so that what it lacks is an error.
    """

    def __init__(self, overrides: Sequence[str], compose: Compose, *, here: bool = True) -> None:
        self.plain, self.parameters = split_parameters(overrides)
        self.compose, self.base, self.here = compose, compose(self.plain), here
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
        of_label, teachers = {arm.label: arm for arm in arms}, self._row_teachers(arms)
        seeds_of = {arm.label: arm.seeds or tuple(seeds) for arm in arms if not arm.quoted}
        for arm in map(of_label.__getitem__, teachers_first([*of_label], teachers)):
            if arm.needs or arm.quoted:
                continue
            try:
                teacher = self._taught(teachers.get(arm.label), runs, unnamed)
                named, others, lacking = self._runs(arm, seeds_of[arm.label], teacher)
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

    def _row_teachers(self, arms: Sequence[Arm]) -> dict[str, RowTeacher]:
        """Return the teachers that are rows, by the labels of their students."""
        found, labels = {}, [arm.label for arm in arms]
        for arm in arms:
            named = taught_by_row(self._tricks_of(arm)) if not (arm.needs or arm.quoted) else None
            if named is not None:
                found[arm.label] = row_teacher(*named, labels)
        return found

    def _taught(
        self,
        teacher: RowTeacher | None,
        runs: Mapping[str, Sequence[PlannedRun]],
        unnamed: Mapping[str, Sequence[UnnamedRun]],
    ) -> RowTeacher | None:
        """Return a teacher that is a row, with the source of its run if that is finished."""
        if teacher is None:
            return None
        if not (runs[teacher.label] or unnamed[teacher.label]):
            raise UserError(f"its teacher is '{teacher.label}', which has no run")
        first = next(iter(runs[teacher.label]), None)
        if first is None or Store(self.base.store).state(first.id) is not RunState.DONE:
            return teacher
        return replace(teacher, source=f"run:{first.id}{teacher.weights}")

    def _runs(
        self, arm: Arm, seeds: Sequence[int], teacher: RowTeacher | None = None
    ) -> tuple[list[PlannedRun], list[UnnamedRun], list[str]]:
        """Return the runs of an arm, with or without ids, and what this machine lacks for them."""
        composed, typed = self._composed(arm)
        if teacher is not None and teacher.source:
            composed, typed = with_teacher(composed, typed, teacher)
        commands = {seed: bot_train([*typed, f"seed={seed}"]) for seed in seeds}
        lacking: list[str] = []
        weights = 0
        try:
            checked = self._check(composed, None if self.here else lacking)
            weights = kept_weights(checked)
            if taught_by_row(composed.tricks):
                raise NotHere("", "its teacher")
            of_arm = self._prepare(checked, None if self.here else lacking)
        except (NotHere, DataError) as error:
            if self.here and not (teacher and not teacher.source and not str(error)):
                raise
            why = error.what if isinstance(error, NotHere) else "data"
            waits = teacher.label if teacher is not None and not teacher.source else ""
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
        settings_only, _ = split_parameters(arm.settings)
        tricks = self._tricks_of(arm)
        typed = latest([*self.plain, *trick_overrides(tricks, self.base), *settings_only])
        return self.compose(typed) if settings_only else with_tricks(self.base, tricks), typed


def kept_weights(checked: "Checked") -> int:
    """Return the bytes of the weights that a run keeps: its last ones, and each average of them."""
    parameters = sum(parameter.numel() for parameter in checked.network.parameters())
    return 4 * parameters * (1 + len(checked.recipe.averages))


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


def arm_settings(arm: Arm, overrides: Sequence[str], compose: Compose) -> Settings:
    """Return the settings of one arm alone, composed as for its runs."""
    plain, parameters = split_parameters(overrides)
    settings_only, own = split_parameters(arm.settings)
    base = compose(plain)
    tricks = with_parameters(arm.tricks, base, [*parameters, *own])
    return compose(latest([*plain, *trick_overrides(tricks, base), *settings_only]))


def latest(overrides: Sequence[str]) -> list[str]:
    """Return the overrides without those whose setting a later one gives: an arm's own go before the study's."""
    keys = [match["key"] if (match := OVERRIDE.fullmatch(override)) else "" for override in overrides]
    groups = families().values()  # their tricks add up
    return [override for i, override in enumerate(overrides) if keys[i] in groups or keys[i] not in keys[i + 1 :]]


Parameter = tuple[str, str, Any]  # trick, hyper-parameter, value


def split_parameters(overrides: Sequence[str]) -> tuple[list[str], list[Parameter]]:
    """Apart from the others, overrides such as ``tricks.mixup.alpha=0.5``: they hold for arms that have the trick."""
    plain, parameters = [], []
    for override in overrides:
        key, equals, value = override.partition("=")
        words = key.split(".")
        if equals and len(words) == 3 and words[0] == "tricks":
            family_of(name := words[1])
            typed = typed_value(f"trick '{name}': ", hyper_parameter(name, words[2]), value)
            parameters.append((name, words[2], typed))
        else:
            plain.append(override)
    return plain, parameters


def with_parameters(tricks: Tricks, base: Settings, parameters: Sequence[Parameter]) -> dict[str, dict[str, object]]:
    """Return the arm's tricks with those hyper-parameters that belong to them, or to a trick that every arm has."""
    merged = {name: dict(params) for name, params in tricks.items()}
    for name, key, value in parameters:
        if name in merged or name in base.tricks:
            merged.setdefault(name, {})[key] = value
    return merged


def with_tricks(base: Settings, tricks: Tricks) -> Settings:
    """``base`` with an arm's tricks on top; hyper-parameters that are given win."""
    merged = {name: dict(params) for name, params in base.tricks.items()}
    for name, params in tricks.items():
        merged[name] = {**merged.get(name, {}), **params}
    return replace(base, tricks=merged)


def with_teacher(composed: Settings, typed: Sequence[str], teacher: RowTeacher) -> tuple[Settings, list[str]]:
    """Return the settings of an arm, and its overrides, with the run of the row that teaches it."""
    tricks = {
        name: {**params, TEACHER: teacher.source} if params.get(TEACHER) == teacher.typed else params
        for name, params in composed.tricks.items()
    }
    end, new = (f".{TEACHER}={typed_text(source)}" for source in (teacher.typed, teacher.source))
    words = [word.removesuffix(end) + new if word.endswith(end) else word for word in typed]
    return replace(composed, tricks=tricks), words


def trick_overrides(tricks: Tricks, base: Settings) -> list[str]:
    """Return an arm's tricks as typed over ``base``: ``+refine=[cosine,mixup]`` and ``tricks.mixup.alpha=0.5``."""
    families: dict[str, list[str]] = {}
    for name in tricks:
        if name not in base.tricks:
            families.setdefault(family_of(name), []).append(name)
    chosen = [f"+{family}=[{','.join(names)}]" for family, names in families.items()]
    return chosen + [
        f"tricks.{name}.{key}={typed_text(value)}" for name, params in tricks.items() for key, value in params.items()
    ]


def bot_train(overrides: Sequence[str]) -> str:
    return shlex.join(["bot-train", *overrides, *extension_arguments()])


def states(plan: Plan, store: Store) -> dict[str, RunState]:
    """run id -> state."""
    store.refresh()
    return {run.id: state_of(run, store) for run in plan.runs}


def state_of(run: PlannedRun, store: Store) -> RunState:
    """Return the state of a run, with the evaluation that it is to have."""
    state = store.state(run.id)
    if state is not RunState.DONE or run.evaluation is None:
        return state
    try:
        record = store.record(run.id)
    except UserError:  # damaged: the table names it
        return state
    if record is not None and record.evaluation(run.evaluation) is not None:
        return state
    return RunState.RUNNING if is_live(store.folder(run.id) / LEASE) else RunState.UNEVALUATED


def with_ids_alone(plan: Plan) -> Plan:
    """Return the plan without the arms whose runs have no id on this machine, which makes them impossible here."""
    lost = {run.label: "; ".join(plan.lacking[run.label]) for run in plan.unnamed if not run.waits_for}
    waiting = tuple(run for run in plan.unnamed if run.waits_for)
    return replace(plan, impossible={**plan.impossible, **lost}, unnamed=waiting)


def runs_to_train(plan: Plan, at: Mapping[str, RunState], *, retry: bool = False) -> list[PlannedRun | UnnamedRun]:
    """Return the runs that a sweep would train, each once; with ``retry``, the failed ones as well."""
    others = {RunState.DONE, RunState.QUEUED, RunState.RUNNING, *([] if retry else [RunState.FAILED])}
    first = {run.id: run for run in reversed(plan.runs)}  # two arms may be the same run
    named = [run for run in first.values() if at[run.id] not in others][::-1]
    return [*named, *plan.unnamed]


def stopped_runs(runs: Iterable[PlannedRun], store: Store) -> list[PlannedRun]:
    """Return the runs that are neither done nor failed: they were interrupted, or are trained elsewhere."""
    at = [(run, state_of(run, store)) for run in runs]
    left = [(run, state) for run, state in at if state not in (RunState.DONE, RunState.FAILED)]
    return [run for run, state in left if not (state is RunState.UNEVALUATED and store.failed(run.id))]


def replaced_arms(store: Store, name: str, plan: Plan) -> list[str]:
    """Return the arms of the study that has this name so far, if the plan lacks one of them; empty otherwise."""
    try:
        saved, _ = unsealed(parse_json(read_file(study_path(store, name), STUDY_BYTES)))
        labels = [str(arm["label"]) for arm in saved["arms"]]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):  # none, or damaged
        return []
    return labels if set(labels) - {arm.label for arm in plan.arms} else []


def save_study(store: Store, name: str, plan: Plan, about: Json) -> Path:
    """Write down what the study is made of, so that its table needs nothing but records."""
    study = {
        "format": STUDY_FORMAT,
        "name": name,
        **about,
        "seeds": list(plan.seeds),
        "arms": [
            {**asdict(arm), "runs": plan.ids().get(arm.label, {}), "evaluation": plan.evaluation(arm.label)}
            for arm in plan.arms
        ],
        "commands": {run.id: run.command for run in plan.runs},
    }
    path = study_path(store, name)
    write_whole(path, lambda p: p.write_text(sealed_text(hide(study)), encoding="utf-8"))
    store.place.publish(path)
    return path


def study_name(experiment: str, scale: str) -> str:
    """Return the name of an experiment's study in a store: the two scales are two studies."""
    return f"{experiment}-{scale}"


def study_path(store: Store, name: str) -> Path:
    if len(name.encode(errors="replace")) > LONGEST_STUDY:
        raise UserError(f"name={name[:40]}...: has more than {LONGEST_STUDY} bytes: type a shorter one")
    return store.shared(STUDIES) / (name.replace("/", "--") + ".json")


def study_names(store: Store) -> list[str]:
    return [path.stem.replace("--", "/") for path in sorted(store.shared(STUDIES).glob("*.json"))]
