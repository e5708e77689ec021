"""Uses of runs by others: what would miss a run that is deleted. Loads no torch."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from bagoftricks.errors import UserError
from bagoftricks.store.files import read_file
from bagoftricks.store.json_fields import from_json, parse_json, unsealed
from bagoftricks.store.store import STUDIES, STUDY_BYTES, Store
from bagoftricks.store.survey import SurveyedRun


@dataclass(frozen=True, kw_only=True)
class StudyRuns:
    """Runs of a study that bot-sweep saved: the label of the arm and the command of each."""

    name: str
    labels: dict[str, str] = field(default_factory=dict)  # run id -> label of its arm
    commands: dict[str, str] = field(default_factory=dict)  # run id -> command


def studies_of(store: Store) -> list[StudyRuns]:
    """Return the studies of the store; those that cannot be read are left out."""
    try:
        files = sorted(store.shared(STUDIES).glob("*.json"))
    except UserError:  # a link
        return []
    return [found for file in files if (found := _read(file)) is not None]


def _read(path: Path) -> StudyRuns | None:
    try:
        values, _ = unsealed(parse_json(read_file(path, STUDY_BYTES)))
        arms = [(str(arm["label"]), from_json(dict[str, str], arm.get("runs", {}))) for arm in values["arms"]]
        labels = {run_id: label for label, runs in arms for run_id in runs.values()}
        commands = from_json(dict[str, str], values.get("commands", {}), "commands")
        return StudyRuns(name=path.stem.replace("--", "/"), labels=labels, commands=commands)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def uses_of(run_id: str, runs: Iterable[SurveyedRun], studies: Iterable[StudyRuns]) -> list[str]:
    """Return what depends on a run, a line each: runs that learn from it or are compared with it, and studies."""
    found = [f"run {run.id} {use}" for run in runs if run.id != run_id for use in _uses(run_id, run)]
    return found + [
        f"study {study.name} has it as an arm: {study.labels[run_id]}" for study in studies if run_id in study.labels
    ]


def _uses(run_id: str, run: SurveyedRun) -> Iterable[str]:
    """Yield how one run uses the other."""
    about, record = run.description, run.record
    if about is None:
        return
    if about.teacher is not None and about.teacher.run == run_id:
        yield "was distilled from it" if record else "is to be distilled from it"
    if record and any(result.normaliser == f"run {run_id[:8]}" for result in record.robustness.values()):
        yield "has an error on corrupted images that is normalised by it"
    if about.parent is not None and about.parent.id == run_id:
        yield "goes on from it"
    weights = about.config.get("model", {}).get("weights") if isinstance(about.config.get("model"), dict) else None
    if isinstance(weights, str) and run_id in Path(weights).parts:
        yield "started from its weights"
