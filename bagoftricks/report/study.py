"""A study's records as the papers' tables: mean over seeds, the published number, and what can be concluded."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from bagoftricks.errors import UserError
from bagoftricks.escape import for_json
from bagoftricks.report import dawnbench
from bagoftricks.report.column import Column, TracedText
from bagoftricks.report.dawnbench import TIME, Measure
from bagoftricks.report.locking import lock_study
from bagoftricks.report.query import Query
from bagoftricks.report.robustness import score_heading
from bagoftricks.report.rows import ScoredRow
from bagoftricks.report.selection_result import selection_line
from bagoftricks.report.study_notes import study_notes
from bagoftricks.report.study_parts import StudyRow
from bagoftricks.report.study_results import COLUMNS, StudyResults, difference, load_results, several_devices
from bagoftricks.report.study_robustness import ROBUSTNESS
from bagoftricks.report.styles import draw_table, latex_float, note_line, title_line, with_notes
from bagoftricks.report.text_table import Fit
from bagoftricks.statistics.paired import Comparison, Summary
from bagoftricks.store.json_fields import Json, to_json
from bagoftricks.store.robustness import RobustnessResult
from bagoftricks.store.store import Store
from bagoftricks.study.lock import DIGITS, lock_digest, lock_line, lock_values

if TYPE_CHECKING:
    from bagoftricks.statistics.effects import Effect  # its libraries take a second to import

MEASURED_ON_DEVICE = (
    *("train_images_per_s", "infer_images_per_s", "peak_memory_mib", "train_seconds", "wall_seconds"),
    *(TIME, "latency_ms", dawnbench.TRAIN_COST, dawnbench.INFER_COST),
)
ALL = Query()
NOT_OURS = "-"  # in the columns of ours, of a row that is only quoted


def study_report(
    store: Store,
    name: str,
    style: str,
    query: Query = ALL,
    measure: Measure | None = None,
    fit: Fit | None = None,
) -> str:
    """Return the table of a study with its notes, from records alone.

    ``query`` and ``measure``: columns and a measure other than the study's own, and which arms to show in which order.
    """
    return draw_study(load_results(store, name, measure), style, query, fit)


def draw_study(
    results: StudyResults, style: str, query: Query = ALL, fit: Fit | None = None, *, caption: str = ""
) -> str:
    """Return the table of a study with its notes in one of the styles of ``format=``.

    ``caption``: of LaTeX, instead of the usual one; ``{lock}`` in it becomes the digest of the study's lock.
    """
    rows, every = selected_rows(results, query, empty=style == "json"), len(results.study.arms)
    effects, notes = results.effects.rows, study_notes(results, rows)
    notes += [f"{len(rows)} of {every} arms; the tests are over all of them"] if len(rows) < every else []
    lock = lock_study(results.study, results.records) if style in ("json", "latex") else None
    if style == "json":
        made = [effect_values(effect, results) for effect in effects]
        sealed = lock_values(lock) if lock else None
        return for_json({"study": results.study.whole, "rows": rows, "effects": made, "notes": notes, "lock": sealed})
    if style == "csv":
        return tabulate_rows([flatten(row) for row in rows], style)
    headings = study_headings(results.columns(query.columns), results.known_columns, results.evaluations())
    if style == "latex":
        lines = [lock_line(lock, command=False)] if lock else []  # the command is among the notes
        caption = caption.replace("{lock}", lock_digest(lock)[:DIGITS] if lock else "none")
        return latex_study(results, rows, headings, [*notes, *lines], caption)
    cells = [shown_row(row, headings, results) for row in rows]
    against = against_note(rows) if style != "markdown" else ""
    if style != "markdown":
        notes[:0] = [against] if against else []
        told = {"against"} if against else set()
        told |= {"n"} if all(row.n == len(results.study.seeds) for row in rows if not row.quoted) else set()
        cells = [{key: cell for key, cell in row.items() if key not in told} for row in cells]
    parts = [title_line(results.title, style, fit)]
    if line := selection_line(results):
        parts += [note_line(line, style, fit), ""]
    if any(effect.estimate is not None for effect in effects):
        shown = [shown_effect(effect, results) for effect in effects]
        parts += [tabulate_rows(shown, style, fit), ""]
    parts.append(tabulate_rows(cells, style, fit))
    return with_notes("\n".join(parts), notes, style, fit)


def effect_values(effect: "Effect", results: StudyResults) -> Json:
    """Return an effect for JSON, with its share of the whole gain and the runs that it is estimated from."""
    share = results.shares.get(effect.tricks[0]) if len(effect.tricks) == 1 else None
    return {**to_json(effect), "share": None if share is None else to_json(share), "runs": all_runs(results)}


def selected_rows(results: StudyResults, query: Query, *, empty: bool = False) -> list[StudyRow]:
    """Return the rows that are asked for. Raises UserError if there is none, unless ``empty`` tables are allowed."""
    every = results.rows(results.columns(query.columns))
    rows = query.select(every, arm_values, instead="a study's rows are arms; bot-table without study= has the runs")
    if every and not rows and not empty:
        raise UserError(f"where: none of the {len(every)} arms of the study is like that")
    return rows


def all_runs(results: StudyResults) -> tuple[str, ...]:
    """Return the ids of all finished runs of a study."""
    return tuple(record.id for record in results.every_record)


def study_headings(
    columns: Sequence[str], known: Mapping[str, Column], robust: Mapping[str, RobustnessResult]
) -> list[Column]:
    """Return the columns, with the measured images in the heading of the robustness."""
    found = [known[key] for key in columns]
    if len(robust) != 1:
        return found
    ((name, result),) = robust.items()
    scored = result.score
    return [c._replace(heading=score_heading(result, name)) if c.key == scored else c for c in found]


def shown_row(row: StudyRow, columns: Sequence[Column], results: StudyResults) -> dict[str, str]:
    """Return the cells of a row by heading, the most important first: a terminal may have no room for the last."""
    (first, *others), several = columns, several_devices(results.records)
    by_mean = row.struck and row.comparison is None  # it was chosen by its mean
    cells = {"arm": row.label} | _column_cells(
        row, first, several, NOT_OURS if row.quoted else row.missing, struck=by_mean and first.key == results.score.key
    )
    compared = _comparison_cells(row.comparison, row.runs.get("comparison", ()), struck=row.struck)
    of = "" if results.score.key in ("top1", TIME) else f"{results.score.name} "
    cells |= dict(zip((f"{of}difference [95 %]", "verdict", "p (adjusted)"), compared, strict=True))
    cells["selection"] = row.selection
    cells["n"] = row.absent or (NOT_OURS if row.quoted else str(row.n))
    for column in others:
        cells |= _column_cells(
            row, column, several, NOT_OURS if row.quoted else "", struck=by_mean and column.key == results.score.key
        )
        if column.key == "mce":
            robust = _comparison_cells(row.comparison_mce, row.runs.get("comparison_mce", ()))
            cells |= {"mCE difference [95 %]": robust[0], "mCE verdict": robust[1], "mCE p (adjusted)": robust[2]}
    return {**cells, "against": row.comparison.against if row.comparison else ""}


def _comparison_cells(of: Comparison | None, runs: tuple[str, ...], *, struck: bool = False) -> tuple[str, str, str]:
    """Return the difference, the verdict and the corrected p of a comparison, each with the ids of its runs.

    ``struck``: the difference chose its arm, so it is no result.
    """
    if of is None:
        return "", "", ""
    gain = TracedText(difference(of), runs, struck=struck)
    return gain, TracedText(of.verdict, runs), TracedText(p_text(of.p_adjusted), runs)


def p_text(p: float | None) -> str:
    """Return a p-value with three digits."""
    return "" if p is None else "<0.001" if p < 0.0005 else f"{p:.3f}"


def against_note(rows: Sequence[StudyRow]) -> str:
    """Return what all rows are compared with, in words; an empty text if it takes a column to say."""
    above = ["", *(row.label for row in rows)]
    pairs = [(above[at], row.comparison.against) for at, row in enumerate(rows) if row.comparison]
    if len({against for _, against in pairs}) == 1 and len(pairs) > 1:
        return f"differences are against {pairs[0][1]}"
    return (
        "differences are against the row above" if pairs and all(before == against for before, against in pairs) else ""
    )


def _column_cells(
    row: StudyRow, column: Column, several: bool, missing: str, *, struck: bool = False
) -> dict[str, str]:
    """Return the cell of a result or a cost, ``missing`` without one, and that of the paper's value."""
    key, found = column.key, row.values.get(column.key)
    where = " (several devices)" if several and key in MEASURED_ON_DEVICE else ""
    doubt = ScoredRow.MARK if key in ROBUSTNESS and row.overlaps else ""
    cell = spread(column, found) + doubt if found else missing
    shown = f"{cell} {share(row)}".strip() if key == TIME and row.n else cell
    published = row.published.get(key)
    return {
        column.heading + where: TracedText(shown, row.runs.get(key, ()), struck=struck),
        f"{COLUMNS.get(key, column).heading} (paper)": "" if published is None else column.show(published),
    }


def spread(column: Column, found: Summary) -> str:
    """Return the mean, with half of its interval if it has one."""
    mean = column.show(found.mean)
    if found.low is None or found.high is None:
        return mean
    return f"{mean} ± {column.show((found.high - found.low) / 2)}"


def share(row: StudyRow) -> str:
    """Return the share of the runs with a learning curve that reach the target."""
    how_many, runs = row.reached or (0, 0)
    return f"({how_many} of {runs})" if how_many else f"not reached (0 of {runs})" if runs else ""


def latex_verdict(comparison: Comparison | None) -> str:
    """Return the first words of a verdict; none without a test."""
    tested = comparison is not None and comparison.p_adjusted is not None
    return comparison.verdict.partition(":")[0] if comparison and tested else ""


def latex_study(
    results: StudyResults,
    rows: Sequence[StudyRow],
    headings: Sequence[Column],
    notes: Sequence[str],
    own_caption: str = "",
) -> str:
    """Return the columns that a paper would print as a floating table with caption and label; notes are comments."""
    cells = []
    for row in rows:
        own = shown_row(row, headings, results)
        verdict = latex_verdict(row.comparison)
        cells.append({**own, "verdict": TracedText(verdict, row.runs.get("comparison", ()))})
    against = against_note(rows)
    told = {"against"} if against else set()
    alike = {row.n for row in rows if not row.quoted}
    told |= {"n"} if len(alike) == 1 else set()
    seeds = f"{max(alike)} seeds" if len(alike) == 1 else "n seeds"
    over = (
        "One seed: no interval, no conclusion" if alike == {1} else f"Mean ± half of the 95 % t interval over {seeds}"
    )
    caption = [results.title[:1].upper() + results.title[1:].rstrip("."), over]
    if any(row.comparison for row in rows):
        caption += [against[:1].upper() + against[1:]] if against else []
        tested = any(row.comparison and row.comparison.noise for row in rows)
        where = "" if results.study.selection is None else " in each step"
        verdicts = f"; their 95 % intervals hold together{where}, and verdicts stand at {results.alpha:.3g}"
        verdicts = verdicts if tested else ""
        caption.append(f"Differences are paired by seed{verdicts}")
    if line := selection_line(results):
        caption.insert(1, line.rstrip("."))
    if results.study.source:
        caption.append(f"Paper: {results.study.source.rstrip('.')}")
    table = tabulate_rows([{key: cell for key, cell in row.items() if key not in told} for row in cells], "latex")
    return latex_float(table, own_caption or ". ".join(caption) + ".", results.study.name, [results.title, *notes])


def tabulate_rows(rows: Sequence[Mapping[str, object]], style: str, fit: Fit | None = None) -> str:
    """Rows with the columns that have something in them; a row may lack some."""
    known = dict.fromkeys(key for row in rows for key in row)
    headings = [key for key in known if any(row.get(key) not in ("", None) for row in rows)]
    cells = [[row.get(key, "") for key in headings] for row in rows]
    words = {"arm", "against", "verdict", "mCE verdict", "effect", "aliased with", "state", "tricks", "id"}
    return draw_table(headings, cells, [at for at, heading in enumerate(headings) if heading in words], style, fit)


def flatten(row: StudyRow) -> Json:
    """Return a row for CSV: one number per cell, in the units of the keys."""
    flat: Json = {"label": row.label, "n": row.n, "missing": row.missing}
    flat |= {name: value for name in ("absent", "selection") if (value := getattr(row, name))}
    if row.reached is not None:
        flat |= dict(zip(("reached", "reached_of"), row.reached, strict=True))
    for key, found in row.values.items():
        flat |= {key: found.mean, f"{key}_low": found.low, f"{key}_high": found.high}
    flat |= {f"{key}_published": number for key, number in row.published.items()}
    names = (
        "against",
        "difference",
        "low",
        "high",
        "p_adjusted",
        "verdict",
        "noise",
        "sees",
        "seeds_low",
        "seeds_high",
    )
    flat |= {f"compared_{name}": getattr(row.comparison, name, None) for name in names}
    return flat | {f"compared_mce_{name}": getattr(row.comparison_mce, name, None) for name in names}


def arm_values(row: StudyRow) -> Json:
    """Return the values of an arm by the keys of ``where=`` and ``sort=``."""
    compared = {key: getattr(row.comparison, key, None) for key in ("difference", "p_adjusted", "verdict", "against")}
    return {"arm": row.label, "n": row.n, **{key: found.mean for key, found in row.values.items()}, **compared}


def shown_effect(effect: "Effect", results: StudyResults) -> dict[str, str]:
    """Return the cells of an effect, with the ids of the runs that it is estimated from."""
    runs = all_runs(results)
    estimate = "not estimable" if effect.estimate is None else f"{effect.estimate:+.2f}"
    interval = "" if effect.low is None else f" [{effect.low:+.2f}, {effect.high:+.2f}]"
    return {
        "effect": " x ".join(effect.tricks),
        f"{results.score.of_differences} [95 %]": TracedText(estimate + interval, runs),
        "verdict": TracedText(effect.verdict, runs),
        "p (adjusted)": TracedText(p_text(effect.p_adjusted), runs),
        "share of the whole gain [95 %]": TracedText(share_text(results, effect.tricks), runs),
        "aliased with": alias_text(effect),
    }


def share_text(results: StudyResults, tricks: Sequence[str]) -> str:
    """Return a trick's share of the gain of all; none in a fraction, whose shares are the main effects."""
    found = results.shares.get(tricks[0]) if len(tricks) == 1 else None
    if found is None or len(results.study.arms) < 2 ** len(results.factors):
        return ""
    interval = "" if found.low is None else f" [{found.low:+.2f}, {found.high:+.2f}]"
    return f"{found.value:+.2f}{interval}"


def alias_text(effect: "Effect") -> str:
    """Return the effects that a design cannot tell from this one, with their signs: ``-a x b, c``."""
    names = (
        ("-" if alias.sign < 0 else "") + (" x ".join(alias.tricks) or "the mean") for alias in effect.aliased_with
    )
    return ", ".join(names)
