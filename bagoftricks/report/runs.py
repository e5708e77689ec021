"""List of the runs of a store in every state, as a table."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime, timezone

from bagoftricks.report.column import Column
from bagoftricks.report.labels import short_label
from bagoftricks.report.query import Query
from bagoftricks.report.rows import Row
from bagoftricks.report.table import render
from bagoftricks.report.text_table import Fit
from bagoftricks.store.json_fields import Json
from bagoftricks.store.survey import FolderState, SurveyedRun, shortest_prefixes
from bagoftricks.study.uses import StudyRuns

LONGEST_REASON = 60  # characters in a table that people read
SECONDS = {"s": 1.0, "min": 60.0, "hours": 3600.0, "days": 86400.0}


@dataclass(frozen=True, kw_only=True)
class ListedRun(Row):
    """One run of a store, in any state. What is not known is None."""

    id: str
    state: str
    age_seconds: float
    changed: str  # in UTC, as ISO 8601
    host: str | None = None
    user: str | None = None
    pid: int | None = None
    model: str | None = None
    data: str | None = None
    epochs: int | None = None
    seed: int | None = None
    top1: float | None = None
    score: float | None = None  # the first one of another task
    parent: str | None = None  # run that it goes on from
    why: str = ""
    command: str | None = None

    def values(self) -> Json:
        """Return the row as a JSON object: flat already, and of hundreds of thousands at a time."""
        return {name: value for name, value in vars(self).items() if name != "facts" and value is not None}


KEYS = tuple(
    each.name for each in fields(ListedRun) if each.name != "facts"
)  # of where= and sort=, also where no row has a value


def listed_run(run: SurveyedRun, now: float, studies: Sequence[StudyRuns] = ()) -> ListedRun:
    """Return the row of a run; ``now`` is the Unix time."""
    about, record = run.description, run.record
    of_study = next((study for study in studies if run.id in study.labels), None)
    known = {} if about is None else {"model": about.model["name"], "data": about.data}
    known |= {} if about is None else {"epochs": about.epochs, "seed": about.seed}
    name = f"{of_study.labels[run.id]} (study {of_study.name})" if of_study else ""
    return ListedRun(
        label=short_label(about.tricks, about.command, about.teacher) if about else name,
        id=run.id,
        state=run.state.value,
        age_seconds=max(0.0, now - run.changed),
        changed=datetime.fromtimestamp(run.changed, timezone.utc).isoformat(timespec="seconds"),
        host=run.owner.host if run.owner else about.host if about else None,
        user=about.user if about else None,
        pid=run.owner.pid if run.owner and run.state is FolderState.RUNNING else None,
        top1=record.metrics[record.reported].top1 if record else None,
        score=record.score() if record and record.task else None,
        parent=about.parent.id if about and about.parent else None,
        why=run.why,
        command=command_of(run, studies),
        **known,
    )


def command_of(run: SurveyedRun, studies: Sequence[StudyRuns] = ()) -> str | None:
    """Return the command that makes a run, None if nothing tells."""
    if run.description and run.description.command:
        return run.description.command
    return next((study.commands[run.id] for study in studies if run.id in study.commands), None)


def runs_table(rows: Sequence[ListedRun], ids: Sequence[str], style: str, fit: Fit | None = None) -> str:
    """Return the rows as a table; ``ids`` are all ids of the store, to tell which beginning names one run.

    A text table shows the columns that ``fit``.
    """
    short: Mapping[str, str] = shortest_prefixes(list(ids))
    columns = [
        Column("id", "id", lambda run_id: short.get(run_id, run_id)),
        Column("state", "state"),
        Column("age_seconds", "age", age_text),
        Column("label", "run"),
        Column("top1", "top-1 %", "{:.2f}".format),
        Column("score", "score %", "{:.2f}".format),
        Column("why", "note", _shortened),
        Column("model", "model"),
        Column("data", "data"),
        Column("seed", "seed"),
        Column("parent", "goes on from", lambda run_id: short.get(run_id, run_id)),
        Column("host", "host"),
        Column("user", "user"),
        Column("pid", "pid"),
    ]
    if style == "csv":
        keys = [column.key for column in columns]
        columns += [Column(key, key) for key in ("epochs", "changed", "command") if key not in keys]
    known = [column for column in columns if any(getattr(row, column.key) not in ("", None) for row in rows)]
    return render(rows, known, style, fit)


def chosen_runs(rows: Sequence[ListedRun], query: Query) -> list[ListedRun]:
    """Return the chosen rows, the newest first unless sorted otherwise. Raises UserError for unknown keys."""
    newest = sorted(rows, key=lambda row: row.age_seconds)
    return query.select(newest, lambda row: {**row.values(), "age": row.age_seconds}, KEYS, "bot-runs lists these")


def age_text(seconds: float) -> str:
    """Return a time span in its largest unit: 40 s, 3 min, 5 hours, 2 days."""
    unit = next((unit for unit, size in reversed(SECONDS.items()) if seconds >= 2 * size), "s")
    return f"{seconds / SECONDS[unit]:.0f} {unit}"


def _shortened(text: str) -> str:
    return text if len(text) <= LONGEST_REASON else f"{text[: LONGEST_REASON - 3]}..."
