"""The runs of a study before they are trained."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bagoftricks.escape import for_json
from bagoftricks.report.foresight import Foresight
from bagoftricks.report.study import tabulate_rows
from bagoftricks.report.study_results import counted
from bagoftricks.report.styles import with_notes
from bagoftricks.report.text_table import Fit
from bagoftricks.store.json_fields import Json, to_json
from bagoftricks.store.store import RunState
from bagoftricks.study.disk import DiskNeed
from bagoftricks.study.estimate import Estimate
from bagoftricks.study.plan import Plan, PlannedRun, UnnamedRun, runs_to_train

GIB = 2**30
MOST_ARMS_NAMED = 3  # arms that a line names
WAYS = {  # states in the words of a count
    RunState.DONE: "done",
    RunState.QUEUED: "queued",
    RunState.RUNNING: "running",
    RunState.FAILED: "failed (retry=failed trains them again)",
}


@dataclass(frozen=True)
class PlanRow:
    """A run of a study, or an arm without one, and why."""

    arm: str
    state: str = ""
    seed: int | None = None
    id: str | None = None
    tricks: str = ""
    command: str | None = None


@dataclass(frozen=True)
class Outlook:
    """Time, room and findings to expect from a plan, as far as they are known."""

    time: Estimate | None = None
    foresight: Foresight | None = None
    disk: DiskNeed | None = None
    price_per_hour: float | None = None  # of a device
    slots: int = 1
    retry: bool = False  # failed runs as well

    @property
    def cost(self) -> float | None:
        """Return the price of the time of all devices."""
        if self.time is None or self.price_per_hour is None:
            return None
        return self.time.device_seconds / 3600 * self.price_per_hour


def plan_table(plan: Plan, at: Mapping[str, RunState], outlook: Outlook, style: str, fit: Fit | None = None) -> str:
    """Return every run with its state, and what the missing ones will take and show."""
    todo, rows = runs_to_train(plan, at, retry=outlook.retry), plan_rows(plan, at)
    if style == "json":
        return for_json({"runs": to_json(rows), "missing": len(todo), **outlook_values(plan, at, outlook)})
    shown = tabulate_rows([{k: v for k, v in vars(row).items() if k != "command"} for row in rows], style, fit)
    return shown if style == "csv" else with_notes(shown, plan_notes(plan, at, outlook), style, fit)


def outlook_values(plan: Plan, at: Mapping[str, RunState], outlook: Outlook) -> Json:
    """Return what a plan will take and show, for JSON: null where it is not known."""
    time = outlook.time
    unnamed = Counter("waiting" if run.waits_for else "unknown" for run in plan.unnamed)
    return {
        "states": Counter(state.value for state in at.values()) + unnamed,
        "seconds": None if time is None else time.seconds,
        "device_seconds": None if time is None else time.device_seconds,
        "cost": outlook.cost,
        "disk": None if outlook.disk is None else to_json(outlook.disk),
        "foresight": None if outlook.foresight is None else to_json(outlook.foresight),
        "lacking": {label: [*lines] for label, lines in plan.lacking.items()},
    }


def plan_notes(plan: Plan, at: Mapping[str, RunState], outlook: Outlook) -> list[str]:
    """Return what a plan will take and show in sentences, and what this machine lacks for it."""
    todo = runs_to_train(plan, at, retry=outlook.retry)
    counts = Counter(at.values())
    others = [f"{counts[state]} {how}" for state, how in WAYS.items() if counts[state]]
    if outlook.retry and counts[RunState.FAILED]:
        others[-1:] = []
    about = "" if outlook.time is None else f", about {show_duration(outlook.time.seconds)}"
    notes = [", ".join([f"{counted(len(at) + len(plan.unnamed), 'run')}, {len(todo)} to train{about}", *others])]
    if todo:
        notes += [_time_line(outlook), *([_disk_line(outlook.disk, len(todo))] if outlook.disk else [])]
    notes += [] if outlook.foresight is None else [str(outlook.foresight)]
    if unknown := Counter(run.why for run in plan.unnamed if not run.waits_for):
        whose = "; ".join(f"{n} for {why}" for why, n in unknown.items())
        notes.append(f"runs whose id and state are unknown here: {whose}")
    return [*notes, *waiting_lines(plan), *lacking_lines(plan)]


def waiting_lines(plan: Plan) -> list[str]:
    """Return a line on the runs that wait for the weights of another row, if there are any."""
    waiting = [run.waits_for for run in plan.unnamed if run.waits_for]
    teachers = ", ".join(repr(label) for label in dict.fromkeys(waiting))
    return [f"runs that wait for the weights of {teachers}, trained first: {len(waiting)}"] if waiting else []


def _time_line(outlook: Outlook) -> str:
    time = outlook.time
    if time is None:
        return "time: unknown, for no like run is in the store, and none can be tried here in seconds"
    known = f"as {time.like_runs} like runs took" if time.like_runs else "by a few steps on this machine"
    price = "" if outlook.cost is None else f", which cost {outlook.cost:,.2f} at {outlook.price_per_hour:g} an hour"
    slots = f"{max(1, outlook.slots)} at a time"
    return f"time: {slots}, {show_duration(time.device_seconds)} of devices{price}: {known}"


def _disk_line(disk: DiskNeed, runs: int) -> str:
    known = f"as those of {disk.like_runs} like runs" if disk.like_runs else "by the sizes of their networks"
    needed, free = show_bytes(disk.bytes), show_bytes(disk.free)
    room = f"about {needed} for {counted(runs, 'run')}, {known}; {free} are free in the store"
    return f"disk: {room}" if disk.fits else f"warning: disk: {room}: make room, or name another store="


def lacking_lines(plan: Plan) -> list[str]:
    """Return a line for each thing that this machine lacks, with the arms that need it."""
    of: dict[str, list[str]] = {}
    for label, lines in plan.lacking.items():
        for line in dict.fromkeys(lines):
            of.setdefault(line, []).append(label)
    every = len({run.label for run in plan.every_run})
    return [f"not here, so checked where the runs run: {why} ({_arms(labels, every)})" for why, labels in of.items()]


def _arms(labels: Sequence[str], every: int) -> str:
    if len(labels) == every > 1:
        return f"all {every} arms"
    more = f" and {len(labels) - MOST_ARMS_NAMED} more" if len(labels) > MOST_ARMS_NAMED else ""
    return f"arm{'s' * (len(labels) > 1)} {', '.join(repr(label) for label in labels[:MOST_ARMS_NAMED])}{more}"


def plan_rows(plan: Plan, at: Mapping[str, RunState]) -> list[PlanRow]:
    """Return a row for every run with its state, in the order of the arms, and one for each arm that has none."""
    order = {arm.label: place for place, arm in enumerate(plan.arms)}
    runs = sorted(plan.every_run, key=lambda run: order.get(run.label, 0))
    rows = [_row(run, at) for run in runs]
    rows += [PlanRow(label, state=f"cannot run: {why}") for label, why in plan.impossible.items()]
    return rows + [PlanRow(label, state=f"needs {what}") for label, what in plan.needs.items()]


def _row(run: PlannedRun | UnnamedRun, at: Mapping[str, RunState]) -> PlanRow:
    tricks = ", ".join(run.settings.tricks) or "none"
    if isinstance(run, UnnamedRun):
        state = f"waits for {run.waits_for}" if run.waits_for else f"unknown: {run.why}"
        return PlanRow(run.label, state, run.seed, None, tricks, run.command)
    return PlanRow(run.label, at[run.id].value, run.seed, run.id, tricks, run.command)


def show_duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def show_bytes(count: int) -> str:
    """Return a number of bytes with two or three digits."""
    return f"{count / GIB:.3g} GiB" if count >= GIB / 10 else f"{count / 2**20:.3g} MiB"
