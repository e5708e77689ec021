"""Index of the runs of a large store, by which bot-runs chooses some of them without reading every folder.

It has finished runs about which there is nothing else to say, and only chooses: each run that is shown is read. All
other runs are read each time.
"""

import os
import time
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass

from bagoftricks.report.query import Query
from bagoftricks.report.runs import ListedRun, chosen_runs, listed_run
from bagoftricks.report.store_index import (
    CLOCK_TICK,
    MANY_RUNS,
    RENEWED,
    Facts,
    IndexEntries,
    file_numbers,
    index_place,
    read_entries,
    write_entries,
)
from bagoftricks.store.lease import LEASE
from bagoftricks.store.store import RECORD, Store
from bagoftricks.store.survey import FolderState, SurveyedRun, run_names, survey, survey_run
from bagoftricks.study.uses import studies_of

NOT_KEPT = ("age_seconds", "facts")  # fields of a listed run that are not kept
CHANGED_AT = "changed_at"  # column of the Unix times; ages follow from them


@dataclass(frozen=True)
class ChosenRuns:
    """Runs that a query selects, the ids of all runs, and how many of them are in each state."""

    rows: list[ListedRun]
    ids: list[str]
    counts: Counter[str]


def choose_runs(store: Store, query: Query, states: Collection[FolderState]) -> ChosenRuns | None:
    """Return the runs in these states, or any, that a query selects; None where all runs are to be read."""
    names = run_names(store)
    if len(names) < MANY_RUNS:
        return None
    now = time.time()
    entries, others = _renewed(store, names)
    counts = Counter(others[name].state.value if name in others else FolderState.FINISHED.value for name in names)
    wanted = [n for n in names if not states or (others[n].state if n in others else FolderState.FINISHED) in states]
    unnamed = any(not _command(others[name]) for name in wanted if name in others)
    studies = studies_of(store) if unnamed else []
    rows = [listed_run(others[name], now, studies) if name in others else _row(entries, name, now) for name in wanted]
    chosen = [row.id for row in chosen_runs(rows, query)]
    return ChosenRuns([listed_run(survey_run(store, name), now, studies) for name in chosen], names, counts)


def every_run(store: Store, query: Query, states: Collection[FolderState]) -> ChosenRuns:
    """Return what ``choose_runs`` does, of all runs as they are read now."""
    found, now = list(survey(store)), time.time()
    wanted = [run for run in found if not states or run.state in states]
    studies = studies_of(store) if any(not _command(run) for run in wanted) else []
    rows = chosen_runs([listed_run(run, now, studies) for run in wanted], query)
    return ChosenRuns(rows, [run.id for run in found], Counter(run.state.value for run in found))


def _renewed(store: Store, names: list[str]) -> tuple[IndexEntries, dict[str, SurveyedRun]]:
    """Return the entries of runs as they are now, which are kept in the cache, and the runs that are read each time."""
    place, began = index_place(store, "runs"), time.time_ns()
    entries, now = read_entries(place), {name: _facts(store, name) for name in names}
    stale = [name for name, facts in now.items() if not facts or entries.facts.get(name) != facts]
    gone, fresh, others = entries.facts.keys() - now.keys(), 0, dict[str, SurveyedRun]()
    entries.drop([*stale, *gone])
    for name in stale:
        run, facts = survey_run(store, name), now[name]
        plain = run.state is FolderState.FINISHED and not run.why and _command(run) and run.record is not None
        leased = (run.folder / LEASE).exists()  # which may be renewed
        if facts and plain and not leased and max(facts[3], facts[7]) < began - CLOCK_TICK:
            cells = {key: value for key, value in vars(listed_run(run, 0.0)).items() if key not in NOT_KEPT}
            entries.add(name, facts, [{**cells, CHANGED_AT: run.changed}])
            fresh += 1
        else:
            others[name] = run
    if (fresh + len(gone)) * RENEWED > len(names):
        write_entries(place, entries, set())
    return entries, others


def _command(run: SurveyedRun) -> str | None:
    return run.description.command if run.description else None


def _facts(store: Store, name: str) -> Facts:
    """Return the facts of a run's folder and of its record, nothing if it has none."""
    path = f"{store.root}{os.sep}{name}"
    try:
        return *file_numbers(os.lstat(path)), *file_numbers(os.lstat(f"{path}{os.sep}{RECORD}"))
    except OSError:
        return ()


def _row(entries: IndexEntries, name: str, now: float) -> ListedRun:
    (at,) = entries.rows[name]
    cells = {key: column[at] for key, column in entries.columns.items()}
    return ListedRun(age_seconds=max(0.0, now - cells.pop(CHANGED_AT)), **cells)
