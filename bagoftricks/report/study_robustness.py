"""A study's robustness to corruptions: whose evaluation an arm's numbers are of, and how arms compare by it."""

from collections.abc import Mapping, Sequence

from bagoftricks.report.column import Column
from bagoftricks.report.robustness import PERCENT, describe_evaluation, overlap_notes
from bagoftricks.report.study_parts import SavedArm, StudyRow
from bagoftricks.robustness.scoring import corruption_names
from bagoftricks.store.record import Record
from bagoftricks.store.robustness import RobustnessResult

ROBUSTNESS = {
    "mce": Column("mce", "mCE %", PERCENT),
    "relative_mce": Column("relative_mce", "relative mCE %", PERCENT),
    "mfr": Column("mfr", "mFR %", PERCENT),
    **{name: Column(name, f"{name} error %", PERCENT) for name in corruption_names()},
}


def robustness(record: Record, key: str, evaluation: str | None) -> float | None:
    """Return the value of a column of ``ROBUSTNESS``; ``evaluation``: the one that the run's arm requests.

    Flips are those of the record's only evaluation of them, if the arm requests errors.
    """
    result = robustness_result(record, evaluation)
    if key == "mfr" and not (result and result.of_flips):
        of_flips = [found for found in record.robustness.values() if found.of_flips]
        result = of_flips[0] if len(of_flips) == 1 else None
    return result.reported.score(key) if result else None


def robustness_result(record: Record, evaluation: str | None) -> RobustnessResult | None:
    """Return the result of the evaluation of that name; without a name, of the only one in the record."""
    if evaluation is None and len(record.robustness) == 1:
        return next(iter(record.robustness.values()))
    return record.robustness.get(evaluation or "")


def measured_evaluations(
    arms: Sequence[SavedArm], records: Mapping[str, Mapping[int, Record]]
) -> dict[str, RobustnessResult]:
    """Return by name the evaluations on corrupted images behind the arms' numbers."""
    found: dict[str, RobustnessResult] = {}
    for arm in arms:
        for record in records[arm.label].values():
            evaluation = arm.evaluation or (next(iter(record.robustness)) if len(record.robustness) == 1 else "")
            if evaluation in record.robustness:
                found.setdefault(evaluation, record.robustness[evaluation])
    return found


def measured_notes(robust: Mapping[str, RobustnessResult], rows: Sequence[StudyRow]) -> list[str]:
    """Return the notes on the images and the limits of the robustness."""
    if not robust:
        return []
    notes = [describe_evaluation(result, name) for name, result in robust.items()]
    notes.append("mCE differences: paired by seed and corrected as those of top-1 are; below 0, fewer errors")
    if len(robust) > 1:
        notes.append("the arms' robustness was measured in different ways (above): no two of them compare")
    if any("mce" in row.published for row in rows) and not all(result.normalised for result in robust.values()):
        notes.append("the paper's mCE is over AlexNet's errors, and ours is a mean error: two scales")
    return notes + overlap_notes(dict.fromkeys(reason for row in rows if row.n for reason in row.overlaps))
