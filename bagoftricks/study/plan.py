"""Runs of a study and their states. Trains nothing."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from bagoftricks.errors import UserError
from bagoftricks.settings import Settings
from bagoftricks.store.files import read_file, write_whole
from bagoftricks.store.json_fields import Json, parse_json, sealed_text, unsealed
from bagoftricks.store.lease import LEASE, is_live
from bagoftricks.store.secrets import hide
from bagoftricks.store.store import STUDIES, STUDY_BYTES, RunState, Store
from bagoftricks.study.arms import Arm

if TYPE_CHECKING:
    pass

STUDY_FORMAT = 2  # of a study's file; the first had neither a format nor a seal
LONGEST_STUDY = 200  # bytes of a name, which is a file's


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
    waits_for: str = ""  # label of the arm whose first run's weights it needs, if it only waits for those


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
