"""The runs of a study before they are trained."""

import json

from bagoftricks.report.column import Row
from bagoftricks.report.study import tabulate_rows
from bagoftricks.store.store import RunState, Store
from bagoftricks.study.plan import Plan, states


def plan_table(plan: Plan, store: Store, seconds: float | None, slots: int, style: str) -> str:
    """Return every run with its state, and the time of the missing ones at ``seconds`` each, ``slots`` at a time."""
    at = states(plan, store)
    rows: list[Row] = [
        {"arm": run.label, "tricks": ", ".join(run.settings.tricks) or "none", "seed": run.seed, "id": run.id}
        | {"state": at[run.id].value.replace("running", "running elsewhere"), "command": run.command}
        for run in plan.runs
    ]
    rows += [{"arm": label, "state": f"cannot run: {why}"} for label, why in plan.impossible.items()]
    rows += [{"arm": label, "state": f"needs {what}"} for label, what in plan.needs.items()]
    missing = len([run_id for run_id, state in at.items() if state is not RunState.DONE])
    total = None if seconds is None else seconds * missing / max(1, slots)
    if style == "json":
        return json.dumps({"runs": rows, "missing": missing, "seconds": total}, indent=2)
    keys = ("arm", "tricks", "seed", "id", "state")
    shown = tabulate_rows([{key: str(row.get(key, "")) for key in keys} for row in rows], style)
    return f"{shown}\n\n{len(at)} runs, {missing} to train" + (
        "" if total is None else f", about {show_duration(total)}"
    )


def show_duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
