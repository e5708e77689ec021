"""Difference of two runs: the settings, the results, the costs, and the machines and versions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bagoftricks.escape import for_json
from bagoftricks.plugins import typed_text
from bagoftricks.report.run_page import NOT_SHOWN, fact_text
from bagoftricks.report.styles import draw_table, title_line
from bagoftricks.report.text_table import Fit
from bagoftricks.store.json_fields import Json, to_json
from bagoftricks.store.record import Record
from bagoftricks.store.survey import SurveyedRun
from bagoftricks.store.typed import default_settings, environment_by_key, record_settings, settings_by_key

ABSENT = "-"
CONTENTS = ("data.digest", "model.weights_digest")
OF_ONE_RUN = ("date", "user", "git_dirty")  # facts of an environment that two runs seldom share


@dataclass(frozen=True, kw_only=True)
class Difference:
    """A value that two runs do not share; ``change`` is the difference of a result, or the ratio of a cost."""

    key: str
    a: object
    b: object
    change: float | None = None


@dataclass(frozen=True, kw_only=True)
class RunDiff:
    """Differences of two runs."""

    a: str
    b: str
    settings: tuple[Difference, ...]
    runtime: tuple[Difference, ...]  # settings that change no result
    results: tuple[Difference, ...]
    cost: tuple[Difference, ...]
    environment: tuple[Difference, ...]
    notes: tuple[str, ...] = ()


def diff_runs(a: SurveyedRun, b: SurveyedRun) -> RunDiff:
    """Return what differs between two runs. One that is not finished has settings alone."""
    settings = _different(_settings(a), _settings(b))
    if a.record is None or b.record is None:  # contents are known of finished runs alone
        settings = tuple(found for found in settings if found.key not in CONTENTS)
    runtime = tuple(found for found in settings if found.key.startswith("runtime."))
    unfinished = [run for run in (a, b) if run.record is None]
    notes = tuple(f"{run.id} is {run.state.value}: it has no results" for run in unfinished)
    parts: dict[str, tuple[Difference, ...]] = {"results": (), "cost": (), "environment": ()}
    if a.record and b.record:
        parts = {
            "results": _results(a.record, b.record),
            "cost": _costs(a.record, b.record),
            "environment": _different(_machine(a.record), _machine(b.record)),
        }
    rest = tuple(found for found in settings if found not in runtime)
    return RunDiff(a=a.id, b=b.id, settings=rest, runtime=runtime, notes=notes, **parts)


def _settings(run: SurveyedRun) -> Json:
    """Return the settings of a run by key, without those that are no part of it."""
    about = run.description
    if run.record is not None:
        found = record_settings(run.record)
    elif about is not None:
        found = settings_by_key({**about.config, "tricks": about.tricks})
        found |= {"data": about.data, "model": about.model["name"], "seed": about.seed, "epochs": about.epochs}
        for name in ("image_size", "num_classes"):
            found[name] = found.get(name) or found.pop(f"data.{name}", None)
            found.pop(f"data.{name}", None)
    else:
        found = {}
    return {key: value for key, value in found.items() if key not in NOT_SHOWN}


def _machine(record: Record) -> Json:
    return {key: value for key, value in environment_by_key(record).items() if key not in OF_ONE_RUN}


def _different(a: Mapping[str, object], b: Mapping[str, object]) -> tuple[Difference, ...]:
    """Return the keys whose values differ. Of a trick that one run alone has, its hyper-parameters are left out."""
    missing = [f"{key}." for key in {*a, *b} if key.startswith("tricks.") and (key in a) != (key in b)]
    keys = [key for key in dict.fromkeys([*a, *b]) if not key.startswith(tuple(missing))]
    usual = default_settings()  # of what a record of an earlier version does not have
    pairs = {key: (a.get(key, usual.get(key)), b.get(key, usual.get(key))) for key in keys}
    return tuple(Difference(key=key, a=one, b=two) for key, (one, two) in pairs.items() if one != two)


def _results(a: Record, b: Record) -> tuple[Difference, ...]:
    """Return the results of the weight sets that both have, and their differences."""
    found = []
    for weights in [name for name in a.metrics if name in b.metrics]:
        mine, theirs = (record.metrics[weights].values() for record in (a, b))
        for key in [key for key in mine if key in theirs]:
            one, two = mine[key], theirs[key]
            if one is not None and two is not None and one != two:
                found.append(Difference(key=f"{weights}.{key}", a=one, b=two, change=two - one))
    return tuple(found)


def _costs(a: Record, b: Record) -> tuple[Difference, ...]:
    """Return the costs that differ, and the ratio of the second to the first."""
    one, two = to_json(a.cost), to_json(b.cost)
    numbers = [key for key in one if isinstance(one[key], int | float) and isinstance(two.get(key), int | float)]
    ratios = {key: two[key] / one[key] for key in numbers if one[key] and one[key] != two[key]}
    return tuple(Difference(key=key, a=one[key], b=two[key], change=ratio) for key, ratio in ratios.items())


def diff_text(diff: RunDiff, style: str, fit: Fit | None = None) -> str:
    """Return the differences as tables; text ones ``fit`` the terminal."""
    if style == "json":
        return for_json(to_json(diff))
    parts = {
        "Settings": (diff.settings, ""),
        "Results": (diff.results, "difference"),
        "Costs": (diff.cost, "ratio"),
        "Machine and versions": (diff.environment, ""),
        "Runtime settings, which change no result": (diff.runtime, ""),
    }
    if style == "csv":
        rows = [[t.lower(), d.key, d.a, d.b, d.change] for t, (found, _) in parts.items() for d in found]
        return draw_table(["part", "key", diff.a, diff.b, "change"], rows, (), style)
    same = [name for name in ("settings", "results") if not getattr(diff, name)] if not diff.notes else []
    lines = list(diff.notes)
    if not any((diff.settings, diff.results, diff.cost, diff.environment, diff.runtime, diff.notes)):
        return f"{diff.a} and {diff.b}: nothing differs"
    if "settings" in same:
        lines.append("settings: nothing differs")
    if "results" in same:
        lines.append("results: nothing differs")
    for title, (found, heading) in parts.items():
        if found:
            lines += ["", title_line(title, style), _table(diff, found, heading, style, fit)]
    return "\n".join(lines).strip("\n")


def _table(diff: RunDiff, found: Sequence[Difference], heading: str, style: str, fit: Fit | None) -> str:
    headings = ["", diff.a[:8], diff.b[:8], *([heading] if heading else [])]
    rows = [
        [
            each.key,
            _cell(each, each.a),
            _cell(each, each.b),
            *([_change(each.change, heading)] if heading else []),
        ]
        for each in found
    ]
    return draw_table(headings, rows, (0, 1, 2) if not heading else (0,), style, fit)


def _cell(found: Difference, value: object) -> str:
    if found.key.startswith("tricks.") and found.key.count(".") == 1:
        return "on" if value else "off"
    if value is None:
        return ABSENT
    return typed_text(value) if found.change is None else fact_text(value)


def _change(change: float | None, heading: str) -> str:
    if change is None:
        return ""
    return f"{change:.3f}" if heading == "ratio" else f"{change:+.4g}"
