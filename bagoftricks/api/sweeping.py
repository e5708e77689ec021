"""A study from Python: ``bot.sweep``."""

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, overload

from bagoftricks.api.session import callers_state, require_none, typed_request, user_errors
from bagoftricks.cli.sweep import (
    how_it_ended,
    planned,
    swept_study,
    train_study,
)
from bagoftricks.cli.sweep_arguments import parse
from bagoftricks.cli.sweep_page import check_page, leave_page, wanted_page
from bagoftricks.cli.swept_study import SweptStudy
from bagoftricks.plugins import extension_arguments

if TYPE_CHECKING:
    import pandas as pd

    from bagoftricks.report.frames import Study


@overload
def sweep(*overrides: str, plan: Literal[False] = False, **settings: Any) -> "Study": ...


@overload
def sweep(*overrides: str, plan: Literal[True], **settings: Any) -> "pd.DataFrame": ...


def sweep(*overrides: str, plan: bool = False, **settings: Any) -> "Study | pd.DataFrame":
    """Train the runs of a study that are missing, as ``bot-sweep`` does; return the study.

    Its own settings are those of the command: ``design=`` with ``tricks=[...]``, ``experiment=`` or ``from_=FILE``;
    ``seeds=3``, ``seeds=[0, 7]`` or, until decided, ``seeds="3..20"``; ``name=``, ``slots=``, ``retry=``. All others,
    and ``overrides``, are those of ``train`` and hold for each run. With ``plan=True`` nothing is trained: the result
    is a frame of the runs and their states; its ``attrs`` estimate the ``seconds`` of those that are missing.

    A run that fails raises nothing: ``notes`` of the study name it. Raises ``errors.UserError`` for what cannot be
    planned as given.

    >>> import bagoftricks as bot
    >>> study = bot.sweep(design="stack", tricks=["label_smoothing"], epochs=1, data={"limit": 300}, slots=0)
    >>> list(study.arms["arm"])
    ['baseline', '+ label_smoothing']
    """
    arguments, without = sweep_arguments(overrides, settings)
    with user_errors(), callers_state():
        asked = swept_study(parse(arguments), [*arguments, *extension_arguments()])
        require_none(asked.base, without)
        if plan:
            return plan_frame(asked)
        check_page(asked)
        how_it_ended(train_study(asked), asked.store)
        if wanted_page(asked):
            leave_page(asked)
        from bagoftricks.report.frames import study

        return study(asked.name, str(asked.store))


def sweep_arguments(overrides: tuple[str, ...], settings: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """Return a call as the arguments of bot-sweep, and its texts that are None; a trick may be ``mixup(alpha=0.4)``."""
    values = {key.rstrip("_"): value for key, value in settings.items()}
    tricks = values.get("tricks")
    if isinstance(tricks, list | tuple):
        values["tricks"] = f"[{','.join(map(str, tricks))}]"
    return typed_request("bot-sweep", overrides, values)


def plan_frame(study: SweptStudy) -> "pd.DataFrame":
    """Return the runs of a plan; of a design that selects, those of its first round."""
    import pandas as pd

    from bagoftricks.cli.sweep_plan import outlook
    from bagoftricks.report.plan import outlook_values, plan_rows
    from bagoftricks.study.plan import runs_to_train, states

    study = replace(study, sweep=replace(study.sweep, plan=True))
    made = planned(study, study.arms)
    at, ahead = states(made, study.store), outlook(made, study)
    frame = pd.DataFrame([vars(row) for row in plan_rows(made, at)])
    missing = len(runs_to_train(made, at, retry=ahead.retry))
    frame.attrs |= {"missing": missing, **outlook_values(made, at, ahead)}
    return frame
