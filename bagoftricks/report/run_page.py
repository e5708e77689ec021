"""All that is known of one run, on a page: settings, results, costs, curve, versions, command, files."""

import math
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bagoftricks.escape import for_json
from bagoftricks.folders import yaml_files
from bagoftricks.plugins import typed_text
from bagoftricks.registry import all_cards, score_names
from bagoftricks.report.curve_text import curve_ends, sparkline
from bagoftricks.report.runs import age_text, command_of, listed_run
from bagoftricks.settings import CHOSEN_BY
from bagoftricks.store.checkpoint_header import FOLDER, SUFFIX, read_values, steps_in
from bagoftricks.store.description import RunDescription
from bagoftricks.store.files import open_regular
from bagoftricks.store.json_fields import Json, to_json
from bagoftricks.store.store import FAILURE, LOG, METRICS, Store, read_metrics
from bagoftricks.store.survey import FolderState, SurveyedRun
from bagoftricks.store.typed import default_settings, settings_by_key
from bagoftricks.study.uses import StudyRuns
from bagoftricks.system import NO_LINKS
from bagoftricks.yaml_files import read_yaml

LOG_LINES = 5
NOT_SHOWN = ("tricks", "plugins", "store", "format", "rerun")  # settings that say nothing of this run
MISSING = object()
CHANGED = "Settings that differ from the defaults of the data set and the network"


@dataclass(frozen=True, kw_only=True)
class FileFact:
    """One file of a run."""

    name: str
    bytes: int


@dataclass(frozen=True, kw_only=True)
class RunPage:
    """All that is known of one run."""

    run: Json  # as listed
    settings: Json  # that differ from the default, by key
    results: Json = field(default_factory=dict)  # by weight set
    robustness: Json = field(default_factory=dict)  # by evaluation, of the reported weight set
    cost: Json = field(default_factory=dict)
    first: str = "top-1"  # name of the task's first score
    curve: tuple[float, ...] = ()  # of it, of the reported weight set, or of the last one so far
    environment: Json = field(default_factory=dict)
    progress: str | None = None  # of an unfinished run
    resume: str | None = None  # command
    failure: Json = field(default_factory=dict)  # error, where, log
    files: tuple[FileFact, ...] = ()
    uses: tuple[str, ...] = ()  # what depends on it


def run_page(run: SurveyedRun, store: Store, studies: Sequence[StudyRuns], uses: Sequence[str], now: float) -> RunPage:
    """Return the page of a run; ``now`` is the Unix time."""
    record, unfinished = run.record, run.state in (FolderState.INTERRUPTED, FolderState.FAILED)
    cost = to_json(record.cost) if record else {}
    cost.pop("curve", None)
    robust = {name: result.flat(record.reported) for name, result in record.robustness.items()} if record else {}
    return RunPage(
        run=listed_run(run, now, studies).values(),
        settings=changed_settings(run.description) if run.description else {},
        results=to_json(record.metrics) if record else {},
        robustness=robust,
        cost=cost,
        first=score_names().get(record.first, record.first) if record else "top-1",
        curve=tuple(_curve(run)),
        environment=to_json(record.environment) if record else {},
        progress=_progress(run.folder) if record is None else None,
        resume=command_of(run, studies) if unfinished else None,
        failure=_failure(run, store),
        files=tuple(_files(run.folder)),
        uses=tuple(uses),
    )


def changed_settings(about: RunDescription) -> Json:
    """Return the settings of a run that differ from the default, by key; the data set and the network always.

    The default of a choice is what its YAML file sets.
    """
    given = {key: value for key, value in about.config.items() if key not in NOT_SHOWN}
    found = settings_by_key(given)
    defaults = _defaults(about)
    changed = {key: value for key, value in found.items() if not _same(value, defaults.get(key, MISSING))}
    return {"data": about.data, "model": about.model["name"], "seed": about.seed, **changed}


def _same(value: Any, default: Any) -> bool:
    return bool(value == default or (value is None and default is MISSING) or str(value) == str(default))


def _defaults(about: RunDescription) -> Json:
    """Return the defaults of all settings by key, those of the chosen data set and network included."""
    found = dict(default_settings())
    for of, (group, key, _) in CHOSEN_BY.items():
        chosen, name = _chosen(about, group, key)
        card = all_cards(of).get(chosen)
        found |= {f"{group}.{each.name}": each.default for each in card.fields} if card else {}
        file = next((file for file in yaml_files(group) if file.stem == name), None)
        of_file = read_yaml(file) if file else None
        found |= {f"{group}.{name}": value for name, value in (of_file or {}).items()}
    return found | {"corruptions": "none", "model.kind": about.model.get("kind")}


def _chosen(about: RunDescription, group: str, key: str) -> tuple[str, str]:
    """Return the part that a run has, and the file of settings that it was chosen by."""
    if group == "model":
        return str(about.model.get(key, "")), about.model["name"]
    name = about.data if group == "data" else str(about.config.get(group, {}).get(key, ""))
    return name, name


# --- the state of a run ---


def _curve(run: SurveyedRun) -> list[float]:
    """Return the first score after each evaluated epoch, of the reported weight set; so far, of the last weights."""
    if run.record is not None:
        return [point.score for point in run.record.cost.curve if point.weights == run.record.reported]
    try:
        rows = [row for row in read_metrics(run.folder / METRICS) if row.get("weights", "last") == "last"]
        key = next((key for key in score_names() if rows and key in rows[0]), "top1")
        return [score for row in rows if math.isfinite(score := float(row[key]))]
    except (ValueError, KeyError, TypeError):
        return []


def _progress(folder: Path) -> str | None:
    """Return how far the last checkpoint of an unfinished run is, None without one."""
    steps = steps_in(folder / FOLDER)
    if not steps:
        return None
    said = f"step {steps[-1]:,}"
    try:
        values = read_values(folder / FOLDER / f"{steps[-1]:09}{SUFFIX}")
        return f"{said}, in epoch {int(values['progress']['epoch'])} of {int(values['identity']['epochs'])}"
    except (OSError, ValueError, KeyError, TypeError):
        return said


def _failure(run: SurveyedRun, store: Store) -> Json:
    """Return the error of a run that failed, the place in the code, and the end of its log."""
    if not (run.folder / FAILURE).is_file():
        return {}
    found = store.failure(run.id)
    places = re.findall(r'File "([^"]*)", line (\d+), in (\S+)', found["traceback"])
    where = "{}:{} in {}".format(*places[-1]) if places else None
    return {"error": found["error"], "where": where, "log": _log_end(run.folder / LOG)}


def _log_end(path: Path) -> list[str]:
    try:
        with open_regular(path, NO_LINKS) as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - 10_000))
            return file.read().decode(errors="replace").splitlines()[-LOG_LINES:]
    except OSError:
        return []


def _files(folder: Path) -> list[FileFact]:
    """Return the files of a run, those of its checkpoints too, with their sizes."""
    if folder.is_symlink():
        return []
    paths = sorted(Path(base, name) for base, _, names in os.walk(folder) for name in names)
    return [FileFact(name=path.relative_to(folder).as_posix(), bytes=path.lstat().st_size) for path in paths]


# --- text ---

Section = tuple[str, list[tuple[str, str]]]  # title, terms with texts
TO_TYPE = ("command", "resume", "again")  # terms whose text is typed as it stands: it is not folded


def page_sections(page: RunPage, *, blocks: bool) -> list[Section]:
    """Return the page as titles with terms and texts; ``blocks``: the terminal can show them."""
    run = page.run
    why = "" if page.failure else run.get("why")  # the failure has a part of its own
    state = ", ".join(text for text in (run["state"], _place(run), why) if text)
    about = [("state", state), ("run", run["label"] or "not known")]
    if page.progress:
        about.append(("progress", page.progress))
    term = {FolderState.INTERRUPTED.value: "resume", FolderState.FAILED.value: "again"}.get(run["state"], "command")
    about.append((term, run.get("command") or "not known"))
    sections = [
        ("", about),
        (
            CHANGED,
            [(key, typed_text(value)) for key, value in page.settings.items()],
        ),
        ("Results", [(weights, _scores(scores)) for weights, scores in page.results.items()] + _robust(page)),
        ("Learning curve", [(f"{page.first} %", f"{sparkline(page.curve, blocks=blocks)}  {curve_ends(page.curve)}")]),
        ("Costs", [(key, fact_text(value)) for key, value in page.cost.items() if not isinstance(value, dict)]),
        ("Machine and versions", [(key, fact_text(value)) for key, value in page.environment.items()]),
        ("Failure", [(key, text) for key in ("error", "where") if (text := page.failure.get(key))] + _log(page)),
        ("Files", [(size_text(file.bytes), file.name) for file in page.files]),
        ("What depends on it", [("-", use) for use in page.uses]),
    ]
    empty = {"Learning curve"} if len(page.curve) < 2 else set()
    return [(title, entries) for title, entries in sections if entries and title not in empty]


def _place(run: Json) -> str:
    where = f"on {run['host']}" if run.get("host") else ""
    since = "since" if run["state"] == FolderState.RUNNING.value else ""
    age = f"{since} {age_text(run['age_seconds'])}".strip() + ("" if since else " ago")
    return " ".join(text for text in (age, where) if text)


def _scores(scores: Json) -> str:
    names = {"top1": "top-1 {:.2f} %", "top5": "top-5 {:.2f} %", "loss": "loss {:.4f}", "ece": "ECE {:.2f} %"}
    names |= {key: f"{name} {{:.2f}} %" for key, name in score_names().items() if key not in names}
    scores = {**scores, **(scores.get("others") or {})}
    return ", ".join(form.format(scores[key]) for key, form in names.items() if scores.get(key) is not None)


def _robust(page: RunPage) -> list[tuple[str, str]]:
    keys = ("mce", "relative_mce", "mfr", "clean_error")
    return [
        (name, ", ".join(f"{key} {found[key]:.2f} %" for key in keys if found.get(key) is not None))
        for name, found in page.robustness.items()
    ]


def _log(page: RunPage) -> list[tuple[str, str]]:
    return [("log" if at == 0 else "", line) for at, line in enumerate(page.failure.get("log", []))]


def fact_text(value: object) -> str:
    """Return a cost or a version as text, with few digits."""
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "none"}[value]
    if isinstance(value, float):
        return f"{value:,.0f}" if 1e4 <= abs(value) < 1e12 else f"{value:.4g}"
    return f"{value:,}" if isinstance(value, int) and abs(value) >= 10_000 else str(value)


def size_text(size: float) -> str:
    """Return a number of bytes as text: 512 B, 1.5 KiB, 3.0 MiB."""
    units = ["B", "KiB", "MiB", "GiB"]
    power = 0 if size < 1 else min(len(units) - 1, int(math.log(size, 1024)))
    return f"{size / 1024**power:.{0 if power == 0 else 1}f} {units[power]}"


def page_json(page: RunPage) -> str:
    """Return the page as JSON."""
    return for_json(to_json(page))
