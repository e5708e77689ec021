"""Notes on a study: its data, network and device, how it was tested and judged, and what is missing."""

from collections.abc import Callable, Sequence

from bagoftricks.report import dawnbench
from bagoftricks.report.dawnbench import TIME
from bagoftricks.report.score import OF_PREDICTIONS
from bagoftricks.report.selection import selection_notes
from bagoftricks.report.study_parts import StudyRow
from bagoftricks.report.study_results import StudyResults, counted
from bagoftricks.report.study_robustness import ROBUSTNESS, measured_notes
from bagoftricks.statistics.noise import MODERATED, OWN, SHARED
from bagoftricks.statistics.paired import ALPHA
from bagoftricks.store.record import Record
from bagoftricks.store.weight_sets import LAST
from bagoftricks.study.selection import Selection

NOISES = {
    SHARED: "shared by all arms",
    MODERATED: "each comparison's own, drawn towards the others', as the arms' noise differs",
    OWN: "each comparison's own",
}
VERDICTS = (
    "no effect: an interval within {} either way (resolve=); sees: what such a study finds in 80 % of cases, and how "
    "many seeds would be enough, as far as its noise is known"
)


def study_notes(results: StudyResults, rows: Sequence[StudyRow] = ()) -> list[str]:
    """Return the notes on data, network, device, seeds, tests and left-out records; the command comes last.

    ``rows``: those whose robustness is shown.
    """
    robust = results.evaluations() if any(set(row.values) & set(ROBUSTNESS) for row in rows) else {}
    notes = [*_about(results), *_prediction_notes(results, rows), *measured_notes(robust, rows)]
    notes += [f"left out: {damage}" for damage in results.damaged]
    return [*notes, f"made by: {results.study.command}"]


def _prediction_notes(results: StudyResults, rows: Sequence[StudyRow]) -> list[str]:
    """Return how often the shown costs of predictions were measured, where runs took them over."""
    taken_over = sum(record.cost.measured_by is not None for record in results.every_record)
    if not taken_over or not any(set(row.values) & set(OF_PREDICTIONS) for row in rows):
        return []
    return [
        f"costs of predictions: measured once for an arm on a machine, and taken over by {counted(taken_over, 'run')} "
        "of other seeds; rerun=true measures again"
    ]


def _about(results: StudyResults) -> list[str]:
    """Return the notes on data, network, device, seeds and tests."""
    study, records = results.study, results.every_record
    notes = [f"paper's numbers: {study.source}"] if study.source else []
    if study.scale:
        notes.append(f"scale: {study.scale}" + ("" if study.scale == "paper" else ", not the paper's setting"))
    about: dict[str, Callable[[Record], str]] = {
        "data": lambda r: f"{r.data.name} ({r.data.train_images:,} + {r.data.val_images:,} images)",
        "network": lambda r: f"{r.model['name']} at {r.data.image_size} pixels",
        "epochs": lambda r: str(r.epochs),
        "device": lambda r: f"{r.environment.device}, torch {r.environment.torch}",
    }
    for what, of in about.items():
        said = sorted({of(record) for record in records})
        notes += [f"{what}: {'; '.join(said)}"] if said else []
    notes.append(f"seeds: {', '.join(map(str, study.seeds))}; ±: 95 % t intervals of each mean over seeds")
    notes += _unscored_notes(results)
    notes += _effect_notes(results) if results.is_factorial else _comparison_notes(results)
    notes += _look_notes(results)
    notes += selection_notes(study)
    if floor := results.image_floor:
        notes.append(f"{floor}, which no number of seeds removes")
    notes += _missing_notes(results)
    notes += dawnbench.notes(records, results.measure)
    notes.append("MACs: multiply-accumulates of convolutions and matrix products, what the papers call FLOPs")
    averaged = sorted({r.reported for r in records if r.reported != LAST})
    notes += [f"arms with {name} are scored by its averaged weights" for name in averaged]
    return [*notes, *study.notes]


def _unscored_notes(results: StudyResults) -> list[str]:
    """Return that no run has the score that arms are compared in, and what to type for one of robustness."""
    key, name = results.score.key, results.score.name
    if not results.every_record or any(results.values(label, key) for label in results.records):
        return []
    measured = "; bot-eval run=ID corruptions=NAME measures it" if key in ROBUSTNESS else ""
    return [f"no run has this score, so nothing is compared: {name} (score={key}){measured}"]


def _missing_notes(results: StudyResults) -> list[str]:
    """Return what it means that runs have no record: they failed, or are still to be trained."""
    notes, failed = [], any(results.failed.values())
    if left := _runs_to_come(results):
        done = len(results.every_record)
        notes.append(
            f"not finished: {done} of {done + left} runs are there, and all numbers and verdicts are of these; the "
            "command below trains the others"
        )
    if failed:
        of = "means and effects" if results.is_factorial else "means"
        notes.append(f"{of} are of the runs that finished: where runs diverged or failed, they are a selection")
    return notes


def _runs_to_come(results: StudyResults) -> int:
    """Return how many runs of a study have neither a record nor failed; those with a damaged record are none."""
    known = sum(len(found) for of in (results.records, results.failed) for found in of.values())
    return max(0, sum(len(arm.runs) for arm in results.study.arms) - known - len(results.damaged))


def _comparison_notes(results: StudyResults) -> list[str]:
    """Return how differences were tested."""
    score, made = results.score, results.comparisons.values()
    where = ", where all runs of both arms reach the target" if score.key == TIME else ""
    notes = [f"differences in {score.of_differences}{where}, paired by seed"] if made else []
    tested = [comparison for comparison in made if comparison.noise]
    if tested:
        noise = "; ".join(NOISES[noise] for noise in dict.fromkeys(str(c.noise) for c in tested))
        notes.append(f"{_together(len(tested), 'difference', results.study.selection)}; noise: {noise}")
        notes.append(VERDICTS.format(f"{results.resolve:g} {score.unit}"))
    return notes


def _effect_notes(results: StudyResults) -> list[str]:
    """Return what effects are, and how they were tested."""
    found = results.effects
    if all(effect.estimate is None for effect in found.rows):
        return ["no effect can be estimated yet: too few of the arms have run"] if found.rows else []
    notes = [
        f"effects in {results.score.of_differences}: of one trick, the mean with it minus the mean without it; of two, "
        "half of what either gains by the other"
    ]
    if found.main_effects_only:
        what = "the runs so far" if _runs_to_come(results) else "this design"
        notes.append(f"they are these effects only if there are no interactions, which {what} cannot tell apart")
    tested = sum(effect.noise is not None for effect in found.rows)
    if not tested:
        notes.append("nothing tells the noise of these effects: no interval, no conclusion; more seeds= do")
    else:
        freedom = counted(round(found.dof or 0), "degree") + " of freedom"
        noise = {
            "replicates": f"between the seeds of an arm ({freedom})",
            "residuals": f"what the effects leave of the runs ({freedom})",
            "Lenth": "Lenth's pseudo standard error, as one seed leaves nothing else: it takes most effects for small",
        }
        notes.append(f"{_together(tested, 'effect')}; noise: {noise[str(found.noise)]}")
        notes.append(VERDICTS.format(f"{results.resolve:g} {results.score.unit}"))
    return notes


def _together(count: int, what: str, selection: Selection | None = None) -> str:
    if count == 1:
        return f"1 {what} with its 95 % interval: a verdict stands where it leaves out 0"
    tested = "tested together" if selection is None else "tested, those of each step together"
    return (
        f"{count} {what}s {tested}: their 95 % intervals all hold at once, and a verdict stands where one leaves out 0"
    )


def _look_notes(results: StudyResults) -> list[str]:
    """Return at which numbers of seeds the study is judged, and what that costs; nothing if it costs nothing."""
    if results.alpha == ALPHA:
        return []
    looks, judged, extensions = results.study.looks, results.study.judged, results.study.extensions
    past, ahead = [n for n in looks if n <= judged], [n for n in looks if n > judged]
    told = [f"{what} with {seeds_in_words(of)} seeds" for what, of in (("judged", past), ("planned", ahead)) if of]
    told += [f"judged {counted(extensions, 'time')} before it was extended"] if extensions else []
    need = f"a verdict needs p <= {results.alpha:.3g} in place of {ALPHA:g}"
    return [f"looks: {', '.join(told)}: {need}, and 95 % intervals hold at all looks together"]


def seeds_in_words(numbers: Sequence[int]) -> str:
    """Return numbers as they are spoken: ``3, 5 and 8``."""
    *others, last = map(str, numbers)
    return f"{', '.join(others)} and {last}" if others else last
