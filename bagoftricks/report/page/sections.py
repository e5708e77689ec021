"""Sections of a page: a study with its table, its arms and how it was measured; and the runs of the whole page."""

import re
from collections.abc import Iterable, Mapping, Sequence

from bagoftricks.escape import Html, for_html
from bagoftricks.registry import score_names
from bagoftricks.report.labels import label
from bagoftricks.report.page.elements import bullets, code_block, element, joined, link, scrolled
from bagoftricks.report.page.findings import ReportedStudy, findings, warnings
from bagoftricks.report.study import against_note, shown_effect, shown_row, study_headings, tabulate_rows
from bagoftricks.report.study_notes import study_notes
from bagoftricks.report.study_parts import SavedArm
from bagoftricks.report.study_results import COLUMNS
from bagoftricks.report.styles import draw_table
from bagoftricks.store.record import Record
from bagoftricks.store.survey import SHORT_ID

SEED_SETTING = re.compile(r"(?<=\s)seed=(\d+)")
MACHINE_FACTS = (
    "device",
    "devices",
    "cores",
    "threads",
    "bagoftricks",
    "python",
    "torch",
    "torchvision",
    "numpy",
    "revision",
)


def study_section(study: ReportedStudy, pictures: Html, heading: str) -> Html:
    """Return all that a page says of a study, with its pictures."""
    parts = [element("h2", heading, id=f"{study.anchor}-title"), *_about(study), pictures, *_made(study)]
    return element("section", *parts, id=study.anchor, aria_labelledby=f"{study.anchor}-title")


def _about(study: ReportedStudy) -> list[Html]:
    """Return what comes before the pictures: what was found, and the tables."""
    results, against = study.results, against_note(study.rows)
    return [
        bullets(findings(study), "findings"),
        _warnings(study),
        *_effects_table(study),
        element("h3", "Results", id=f"{study.anchor}-results"),
        scrolled(_results_table(study, bool(against)), f"Results of {results.title}", data_table="arms"),
        element("p", f"{against[:1].upper()}{against[1:]}.", class_="small") if against else Html(""),
    ]


def _made(study: ReportedStudy) -> list[Html]:
    """Return what comes after the pictures: how the numbers were made."""
    results = study.results
    return [
        element("h3", "How it was measured", id=f"{study.anchor}-measured"),
        bullets(study_notes(results, study.rows)[:-1], "notes"),
        element("h3", "Data, machine, versions"),
        *_provenance(study),
        element("h3", "Arms", id=f"{study.anchor}-arms"),
        *(_arm(study, number, arm) for number, arm in enumerate(results.study.arms)),
        element("h3", "Make it again"),
        code_block(results.study.command),
    ]


def _warnings(study: ReportedStudy) -> Html:
    found = warnings(study)
    if not found:
        return Html("")
    return element(
        "div", element("strong", "Before you read the numbers"), bullets(found), class_="warnings", role="note"
    )


def arm_anchor(study: ReportedStudy, number: int) -> str:
    """Return the id of the element about an arm of a study."""
    return f"{study.anchor}-arm{number}"


def _results_table(study: ReportedStudy, told: bool) -> str:
    """Return the table of the arms; the name of each leads to what is known of it.

    ``told``: a line says what the arms are compared with.
    """
    results = study.results
    headings = study_headings(results.columns(), results.known_columns, results.evaluations())
    rows = [shown_row(row, headings, results) for row in study.rows]
    arms = [link(arm_anchor(study, at), row.label) for at, row in enumerate(study.rows)]
    without = {"against": ""} if told else {}
    return tabulate_rows([{**row, **without, "arm": arm} for row, arm in zip(rows, arms, strict=True)], "html")


def _effects_table(study: ReportedStudy) -> list[Html]:
    effects = study.results.effects.rows
    if not effects:
        return []
    rows = [shown_effect(effect, study.results) for effect in effects]
    return [element("h3", "Effects"), scrolled(tabulate_rows(rows, "html"), f"Effects of {study.results.title}")]


def _provenance(study: ReportedStudy) -> list[Html]:
    """Return the data sets and the machines of the runs, each with the number of runs."""
    records = study.results.every_record
    data = [
        {
            "data set": r.data.name,
            "training images": f"{r.data.train_images:,}",
            "validation images": f"{r.data.val_images:,}",
            "classes": str(r.data.classes),
            "digest of all images": r.data.digest,
        }
        for r in records
    ]
    tables = [(data, "Data"), ([_machine(record) for record in records], "Machines and versions")]
    return [scrolled(_counted(rows), f"{about} of {study.results.title}") for rows, about in tables if rows]


def _machine(record: Record) -> dict[str, str]:
    """Return the machine and the versions of a run; neither its user nor the name of the machine."""
    found = record.environment
    revision = f"{(found.git_revision or '')[:12]}{' (changed)' if found.git_dirty else ''}"
    values = {**vars(found), "revision": revision}
    return {name: "" if values[name] is None else str(values[name]) for name in MACHINE_FACTS}


def _counted(every: Sequence[Mapping[str, str]]) -> str:
    """Return a table of the rows that differ, with how often each occurs."""
    counts: dict[tuple[tuple[str, str], ...], int] = {}
    for row in every:
        key = tuple(row.items())
        counts[key] = counts.get(key, 0) + 1
    rows = [{**dict(key), "runs": str(count)} for key, count in counts.items()]
    return draw_table(list(rows[0]), [list(row.values()) for row in rows], range(len(rows[0])), "html")


def _arm(study: ReportedStudy, number: int, arm: SavedArm) -> Html:
    """Return what is known of an arm: its tricks, what it is compared with, its command and its runs."""
    records = study.results.records[arm.label]
    labels = [each.label for each in study.results.study.arms]
    facts: list[tuple[str, object]] = [("tricks", label(arm.tricks))]
    if arm.compare_to in labels:
        facts.append(("compared with", link(arm_anchor(study, labels.index(arm.compare_to)), arm.compare_to)))
    if arm.published:
        source = study.results.study.source
        values = ", ".join(f"{COLUMNS[k].heading if k in COLUMNS else k} {v:g}" for k, v in arm.published.items())
        facts.append(("published", f"{values} ({source})" if source else values))
    facts += [("needs", what) for what in arm.needs]
    if arm.quoted:
        facts[:1] = [("quoted", "published numbers without a run")]
    runs = [_run_of_arm(seed, record) for seed, record in records.items()]
    runs += [for_html(f"seed {run.seed}: {run.state}") for run in study.unfinished if run.label == arm.label]
    facts.append(("runs", joined(runs, "; ") if runs else "none"))
    commands = _commands(study, arm)
    if len(arm.runs) > len(commands) == 1:
        seeds = ", ".join(map(str, study.results.study.seeds))
        facts.append(("command", f"of the first seed; the seeds {seeds} differ in seed= alone"))
    listed = element("dl", *(joined([element("dt", term), element("dd", text)]) for term, text in facts))
    blocks = map(code_block, commands)
    return element("div", element("h4", arm.label), listed, *blocks, id=arm_anchor(study, number), class_="arm")


def _run_of_arm(seed: int, record: Record) -> Html:
    score = f" ({record.score():.2f} %)"
    return joined([f"seed {seed}: ", link(run_anchor(record.id), record.id[:SHORT_ID]), score])


def _commands(study: ReportedStudy, arm: SavedArm) -> list[str]:
    """Return the command of an arm's runs: once with its first seed if they differ by their seeds alone."""
    planned = study.results.study.whole.get("commands", {})
    records = study.results.records[arm.label]
    found = [(s, records[int(s)].command if int(s) in records else planned.get(run)) for s, run in arm.runs.items()]
    commands = [str(command) for _, command in found if command]
    if len({SEED_SETTING.sub("", command) for command in commands}) == 1 and len(commands) > 1:
        return commands[:1]
    return commands


def run_anchor(run_id: str) -> str:
    """Return the id of the element about a run."""
    return f"run-{run_id}"


def runs_section(studies: Sequence[ReportedStudy], others: Iterable[Record]) -> Html:
    """Return all runs of the page, each once, with links to its arms."""
    arms: dict[str, list[Html]] = {}
    records: dict[str, Record] = {}
    for study in studies:
        for number, arm in enumerate(study.results.study.arms):
            for record in study.results.records[arm.label].values():
                records[record.id] = record
                arms.setdefault(record.id, []).append(link(arm_anchor(study, number), arm.label))
    records |= {record.id: record for record in others}
    rows = [
        _run_row(record, arms.get(record.id) or [Html(element("span", label(record.tricks)))])
        for record in records.values()
    ]
    firsts = dict.fromkeys(record.first for record in records.values())
    heading = " or ".join(f"{score_names().get(key, key)} %" for key in firsts) or "top-1 %"
    headings = ["run", "arm", "seed", heading, "weights", "network", "epochs", "train s", "device", "date (UTC)"]
    table = draw_table(headings, rows, (0, 1, 4, 5, 8, 9), "html")
    title = element("h2", "Runs", id="runs-title")
    return element(
        "section",
        title,
        scrolled(table, "Table of all runs", data_table="runs"),
        id="runs",
        aria_labelledby="runs-title",
    )


def _run_row(record: Record, arms: Sequence[Html]) -> list[object]:
    machine = record.environment
    numbers = [record.seed, f"{record.score():.2f}", record.reported, record.model["name"], record.epochs]
    name = element("code", record.id, id=run_anchor(record.id))
    date = (machine.date or "")[:16].replace("T", " ")
    return [name, joined(arms, ", "), *numbers, f"{record.cost.train_seconds:.0f}", machine.device, date]
