"""Columns, notes and the report of evaluations on corrupted images."""

from collections.abc import Iterable, Sequence
from statistics import mean

from bagoftricks.report.column import Column
from bagoftricks.report.rows import ScoredRow
from bagoftricks.report.styles import draw_table, with_notes
from bagoftricks.report.text_table import Fit
from bagoftricks.robustness.scoring import alexnet, alexnet_flips, corruption_errors
from bagoftricks.store.robustness import CONSTANTS, ROBUSTNESS_SCORES, RobustnessFacts, RobustnessResult

PERCENT = "{:.2f}".format


def score_heading(result: RobustnessFacts, name: str) -> str:
    """Return the heading of the score: a mean error is no mCE, though papers call it so."""
    known = ("mFR", "flip probability") if result.of_flips else ("mCE", "corruption error")
    return f"{known[0 if result.normalised else 1]} % ({name})"


def describe_evaluation(result: RobustnessResult, name: str) -> str:
    """Return one line with the images that the number was measured on."""
    flips = result.of_flips
    plural, single = ("flips", "flip probability") if flips else ("errors", "error")
    over = f"over {result.normaliser}'s {plural}" if result.normalised else f"mean {single}, not normalised"
    cells = "perturbations" if flips else "corruptions x 5 severities"
    if result.images == "stored":
        images = f"{result.count:,} images of a stored set ({result.stored_digest})"
    else:
        saved = f"re-saved as JPEG {result.jpeg_quality}" if result.jpeg_quality else "not re-saved"
        constants = CONSTANTS[str(result.constants)]
        made = "sequences made of" if flips else "generated"
        images = f"{result.count:,} {made} images, {constants} constants, {saved}, seed {result.seed}"
        images += f", frost: {result.frost}" if result.frost else ""
    return f"{name}: {result.corruptions} {cells}, {over}; {images}; {result.image_size} pixels"


def evaluations(rows: Iterable[ScoredRow]) -> dict[str, RobustnessResult]:
    """Return the evaluations in these rows by name, one result for each."""
    found = {name: result for row in rows for name, result in row.robustness.items()}
    return dict(sorted(found.items()))


def robustness_columns(rows: Iterable[ScoredRow], keys: Sequence[str] = ROBUSTNESS_SCORES) -> list[Column]:
    """Return the columns of each evaluation: the ``keys`` that it has, scores or names of corruptions."""
    columns = []
    for name, result in evaluations(rows).items():
        headings = {
            **dict.fromkeys(ROBUSTNESS_SCORES, score_heading(result, name)),
            "relative_mce": f"relative mCE % ({name})",
        }
        own = [key for key in keys if (key == "mfr") == result.of_flips]
        columns += [Column(f"{key}:{name}", headings.get(key, f"{key} error % ({name})"), PERCENT) for key in own]
    return columns


def score_keys(rows: Iterable[ScoredRow], *, each: bool) -> tuple[str, ...]:
    """Return the scores, with each corruption of these rows if ``each``."""
    corruptions = [name for result in evaluations(rows).values() for name in result.reported.corruptions]
    return (*ROBUSTNESS_SCORES, *(dict.fromkeys(corruptions) if each else ()))


def robustness_notes(rows: Sequence[ScoredRow]) -> list[str]:
    """Return the images of each evaluation and the meaning of the mark."""
    notes = [describe_evaluation(result, name) for name, result in evaluations(rows).items()]
    return notes + overlap_notes(dict.fromkeys(reason for row in rows if row.robustness for reason in row.overlaps))


def overlap_notes(reasons: Iterable[str]) -> list[str]:
    return [f"{ScoredRow.MARK} trained for some of the corruptions: {reason}" for reason in reasons]


def error_report(name: str, result: RobustnessResult, weights: str, style: str, fit: Fit | None = None) -> str:
    """Return the errors of one weight set, a row per corruption and a column per severity, and their score.

    For sequences, the flip probability of each perturbation.
    """
    scores, flips = result.weights[weights], result.of_flips
    base = alexnet_flips() if flips else alexnet()
    ratios = corruption_errors(scores.parts, base) if result.normaliser == base.name else {}
    rows = [
        [
            corruption,
            *([] if flips else map(PERCENT, errors)),
            PERCENT(mean(errors)),
            *([PERCENT(ratios[corruption])] if ratios else []),
        ]
        for corruption, errors in scores.parts.items()
    ]
    count = len(next(iter(scores.parts.values())))
    headings = ["corruption", *(f"severity {s}" for s in range(1, count + 1)), "mean error %", "CE %"]
    if flips:
        headings = ["perturbation", "flip probability %", "FR %"]
    headings = headings if ratios else headings[:-1]
    shown = draw_table(headings, rows, (0,), style, fit)
    relative = scores.relative_mce
    notes = [
        describe_evaluation(result, name),
        f"clean error {PERCENT(scores.clean_error)} %, "
        f"{score_heading(result, name)}: {PERCENT(scores.score(result.score))}"
        + (f", relative mCE {PERCENT(relative)} %" if relative is not None else ""),
    ]
    return with_notes(shown, notes, style, fit)
