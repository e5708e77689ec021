"""Searches: with -m, sweepers of Hydra's such as Optuna's choose the next run by the objective of the earlier ones."""

import logging
from collections.abc import Sequence
from importlib.util import find_spec

from bagoftricks.cli.streams import say
from bagoftricks.errors import UserError

DIRECTIONS = {  # sweeper -> setting of its direction, with the values for less and for more
    "optuna": ("hydra.sweeper.direction", ("minimize", "maximize")),
    "ax": ("hydra.sweeper.ax_config.experiment.minimize", ("true", "false")),
}
PACKAGES = {"optuna": "'bagoftricks[optuna]'", "ax": "hydra-ax-sweeper"}  # sweeper -> what pip installs for it
SEEDED = ("tpe", "random", "cmaes", "nsgaii", "motpe")  # samplers of Optuna's


def sweeper_of(arguments: Sequence[str]) -> str | None:
    """Return the sweeper that searches, None for the plain multirun or a single run. Raises UserError without -m."""
    name = _typed(arguments, "hydra/sweeper")
    multirun = {"-m", "--multirun"} & set(arguments)
    if name in (None, "basic"):
        if multirun and (interval := next((argument for argument in arguments if "interval(" in argument), None)):
            raise UserError(f"{interval}: only a search takes an interval: type hydra/sweeper=optuna as well")
        return None
    if not multirun:
        raise UserError(f"hydra/sweeper={name}: searches over several runs: type -m as well")
    if name in PACKAGES and find_spec("hydra_plugins") and not find_spec(f"hydra_plugins.hydra_{name}_sweeper"):
        raise UserError(f"hydra/sweeper={name}: is not installed: type pip install {PACKAGES[name]}")
    logging.getLogger("optuna.storages._in_memory").setLevel(logging.WARNING)  # the name of a study nobody can open
    return name


def search_arguments(arguments: Sequence[str]) -> list[str]:
    """Return what a search needs besides: the direction of the objective, and a seed for the sampler.

    With a seed, the same command tries the same runs, so that finished ones need no training. Raises UserError for the
    direction that makes the objective worse.
    """
    from bagoftricks.report.objective import better_if_higher

    name = sweeper_of(arguments)
    if name is None:
        return []
    objective = _typed(arguments, "objective") or "top1"
    higher = better_if_higher(objective)
    better = f"objective={objective} is better the {'higher' if higher else 'lower'} it is"
    if name not in DIRECTIONS:
        say("bot-train", f"warning: hydra/sweeper={name}: see that it has the right direction: {better}")
        return []
    key, values = DIRECTIONS[name]
    direction, typed = values[higher], _typed(arguments, key)
    if typed not in (None, direction):
        raise UserError(f"{key}={typed}: {better}: leave the direction out")
    added = [f"{key}={direction}"] if typed is None else []
    seeded = name == "optuna" and (_typed(arguments, "hydra/sweeper/sampler") or "tpe") in SEEDED
    if seeded and _typed(arguments, "hydra.sweeper.sampler.seed") is None:
        added.append("hydra.sweeper.sampler.seed=0")
    return added


def _typed(arguments: Sequence[str], key: str) -> str | None:
    """Return the value of an argument, None if it was not typed."""
    values = [
        value for name, _, value in (argument.lstrip("+").partition("=") for argument in arguments) if name == key
    ]
    return values[-1] if values else None
