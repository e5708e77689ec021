"""Comparison of a run with its repetition, and the verdict."""

from dataclasses import dataclass

from bagoftricks.escape import for_json
from bagoftricks.report.run_diff import OF_ONE_RUN
from bagoftricks.report.styles import note_line
from bagoftricks.store.json_fields import to_json
from bagoftricks.store.record import Record
from bagoftricks.store.store import WEIGHTS
from bagoftricks.store.typed import environment_by_key

PLACE_ALONE = ("continuations", "git_revision", "host", "cores")  # facts that need no change of a result


@dataclass(frozen=True, kw_only=True)
class Repetition:
    """Verdict on a repetition. Changes of metrics are the repetition's values minus the run's, by weight set."""

    id: str
    repeated_id: str  # another one where data, plug-ins or the version are others
    identical: bool  # weights, bit for bit
    metrics: dict[str, dict[str, float]]
    environment: dict[str, tuple[object, object]]  # facts that differ: of the run, of the repetition


def compare_repetition(record: Record, again: Record) -> Repetition:
    """Return how a repetition compares with its run."""
    names = [name for name in {*record.files, *again.files} if name.endswith(WEIGHTS)]
    ours, theirs = environment_by_key(record), environment_by_key(again)
    changes = {
        weights: {
            key: other - value
            for key, value in scores.values().items()
            if value is not None and (other := again.metrics[weights].values().get(key)) is not None
        }
        for weights, scores in record.metrics.items()
        if weights in again.metrics
    }
    keys = [key for key in dict.fromkeys([*ours, *theirs]) if key not in OF_ONE_RUN]
    return Repetition(
        id=record.id,
        repeated_id=again.id,
        identical=bool(names) and all(record.files.get(name) == again.files.get(name) for name in names),
        metrics=changes,
        environment={key: (ours.get(key), theirs.get(key)) for key in keys if ours.get(key) != theirs.get(key)},
    )


def verdict(found: Repetition) -> str:
    """Return the verdict in one line."""
    if found.identical:
        return f"identical: the weights are those of run {found.id}, bit for bit"
    scores = [
        f"{key} [{weights}] {change:+.4g}"
        for weights, changes in found.metrics.items()
        for key, change in changes.items()
    ]
    bits = "not identical" if any(any(of.values()) for of in found.metrics.values()) else "equal metrics, other weights"
    return f"{bits}: {', '.join(scores)}; {_causes(found)}"


def repetition_text(found: Repetition, style: str) -> str:
    """Return the comparison in a style: the verdict, and in JSON all that differs."""
    return (
        for_json({**to_json(found), "verdict": verdict(found)}) if style == "json" else note_line(verdict(found), style)
    )


def _causes(found: Repetition) -> str:
    """Return the machine's and the versions' differences that can change the last bits."""
    facts = [
        f"{key} {ours} there, {theirs} here"
        for key, (ours, theirs) in found.environment.items()
        if key not in PLACE_ALONE
    ]
    return ", ".join(facts) if facts else "the same device, threads and versions"


def identity_note(record: Record, again: Record) -> str | None:
    """Return why the repetition has another id, None if it has the same one."""
    if again.id == record.id:
        return None
    causes = {
        "its data differ (by their digest)": again.data.digest != record.data.digest,
        "its plug-ins differ": again.plugins != record.plugins,
        "bagoftricks is another version": again.environment.bagoftricks != record.environment.bagoftricks
        or again.environment.git_revision != record.environment.git_revision,
    }
    known = [cause for cause, holds in causes.items() if holds] or ["its settings mean something else here"]
    return f"it is not the same run here ({again.id}): {', '.join(known)}"
