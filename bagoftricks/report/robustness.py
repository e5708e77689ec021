"""Columns, notes and the report of evaluations on corrupted images."""

from collections.abc import Iterable, Sequence
from statistics import mean

from tabulate import tabulate

from bagoftricks.report.column import STYLES, Column, Row
from bagoftricks.robustness.result import Result, describe_evaluation, is_of_flips, parts, score, score_heading
from bagoftricks.robustness.scoring import alexnet, alexnet_flips, corruption_errors

MARK = "†"
PERCENT = "{:.2f}".format
ROBUSTNESS_SCORES = ("mce", "mfr")


def evaluations(rows: Iterable[Row]) -> dict[str, Result]:
    """Return the evaluations in these rows by name, one result for each."""
    found: dict[str, Result] = {}
    for row in rows:
        found.update(row.get("robustness", {}))
    return dict(sorted(found.items()))


def robustness_columns(rows: Sequence[Row], keys: Sequence[str] = ROBUSTNESS_SCORES) -> list[Column]:
    """Return the columns of each evaluation: the ``keys`` that it has, scores or names of corruptions."""
    columns = []
    for name, result in evaluations(rows).items():
        headings = {
            **dict.fromkeys(ROBUSTNESS_SCORES, score_heading(result, name)),
            "relative_mce": f"relative mCE % ({name})",
        }
        own = [key for key in keys if (key == "mfr") == is_of_flips(result)]
        columns += [Column(f"{key}:{name}", headings.get(key, f"{key} error % ({name})"), PERCENT) for key in own]
    return columns


def score_keys(rows: Sequence[Row], *, each: bool) -> tuple[str, ...]:
    """Return the scores, with each corruption of these rows if ``each``."""
    corruptions = dict.fromkeys(name for result in evaluations(rows).values() for name in result.get("errors", ()))
    return (*ROBUSTNESS_SCORES, *(corruptions if each else ()))


def flattened(row: Row) -> Row:
    """Return a row with its scores under the keys of ``robustness_columns``."""
    scores = {
        f"{key}:{name}": found
        for name, result in row.get("robustness", {}).items()
        for key in (*ROBUSTNESS_SCORES, "relative_mce", *result.get("errors", ()))
        if (found := score(result, key)) is not None
    }
    return {**row, **scores}


def with_mark(row: Row, key: str, text: str) -> str:
    """Return the text of a cell, with a mark if the training was for some of the corruptions."""
    return text + MARK if row.get("overlaps") and ":" in key and text else text


def robustness_notes(rows: Sequence[Row]) -> list[str]:
    """Return the images of each evaluation and the meaning of the mark."""
    notes = [describe_evaluation(result, name) for name, result in evaluations(rows).items()]
    reasons = dict.fromkeys(reason for row in rows if row.get("robustness") for reason in row.get("overlaps", ()))
    return notes + overlap_notes(reasons)


def overlap_notes(reasons: Iterable[str]) -> list[str]:
    return [f"{MARK} trained for some of the corruptions: {reason}" for reason in reasons]


def with_notes(table: str, notes: Sequence[str], style: str) -> str:
    """Return a table with the notes under it, as the style has them."""
    if not notes or style in ("json", "csv"):
        return table
    bullet = {"markdown": "- ", "latex": "% "}.get(style, "")
    return "\n".join([table, "", *(bullet + note for note in notes)])


def error_report(name: str, result: Result, style: str) -> str:
    """Return the errors of one weight set, a row per corruption and a column per severity, and their score.

    For sequences, the flip probability of each perturbation.
    """
    errors, flips = parts(result), is_of_flips(result)
    base = alexnet_flips() if flips else alexnet()
    ratios = corruption_errors(errors, base) if result["normaliser"] == "AlexNet" else {}
    rows = [
        [
            corruption,
            *([] if flips else map(PERCENT, of)),
            PERCENT(mean(of)),
            *([PERCENT(ratios[corruption])] if ratios else []),
        ]
        for corruption, of in errors.items()
    ]
    count = len(next(iter(errors.values())))
    headings = ["corruption", *(f"severity {s}" for s in range(1, count + 1)), "mean error %", "CE %"]
    if flips:
        headings = ["perturbation", "flip probability %", "FR %"]
    headings = headings if ratios else headings[:-1]
    shown: str = tabulate(
        rows, headings, STYLES[style], disable_numparse=True, colalign=("left", *["right"] * (len(headings) - 1))
    )
    relative = result.get("relative_mce")
    notes = [
        describe_evaluation(result, name),
        f"clean error {PERCENT(result['clean_error'])} %, "
        f"{score_heading(result, name)}: {PERCENT(result['mfr' if flips else 'mce'])}"
        + (f", relative mCE {PERCENT(relative)} %" if relative is not None else ""),
    ]
    return with_notes(shown, notes, style)
