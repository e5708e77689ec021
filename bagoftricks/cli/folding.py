"""bot-sweep extend=NAME: the command of a fractional study that exists, with more folds of its fraction."""

import shlex
from collections.abc import Sequence

from bagoftricks.cli.compose import compose_settings
from bagoftricks.cli.extend import split_extensions
from bagoftricks.cli.sweep_arguments import Sweep, parse
from bagoftricks.errors import UserError
from bagoftricks.report.study_parts import load_study
from bagoftricks.store.secrets import HIDDEN
from bagoftricks.store.store import Store
from bagoftricks.study.designs import folds_for


def extended_arguments(sweep: Sweep, typed: Sequence[str]) -> list[str]:
    """Return the arguments of the study that ``extend=`` names, with its folds, those to add, and what is ``typed``.

    A fold that the study has is not added again: the same command resumes. No code that the study names is loaded.
    Raises UserError for a study that does not exist, or is no fraction.
    """
    name = str(sweep.extend)
    study = load_study(Store(compose_settings(sweep.overrides).store), name)
    if study.design != "fractional":
        what = f"has design={study.design}" if study.design else "is that of an experiment"
        raise UserError(f"extend={name}: the study {what}: only one of design=fractional is folded")
    words = shlex.split(study.command)[1:]
    made = parse(split_extensions(words)[2])
    if made.design != "fractional" or HIDDEN in study.command:
        raise UserError(f"extend={name}: the study was made by {study.command}: type its tricks=, with fold=")
    folds = (*made.fold, *(fold for fold in sweep.fold if fold not in made.fold))
    if sweep.runs is not None:
        folds = folds_for(made.tricks, made.size, sweep.runs)
    mine = [word for word in typed if _key(word) not in ("extend", "fold", "runs")]
    replaced = {"fold", "name", "plan", "retry", *map(_key, mine)}
    kept = [word for word in words if _key(word) not in replaced]
    return [*kept, *mine, f"fold=[{','.join(folds)}]", f"name={name}"]


def _key(word: str) -> str:
    return word.partition("=")[0].lstrip("+")
