"""Longer runs: one that continues a finished run exactly, or a new one from its last weights.

The steps of a run and of one with more epochs are the same up to the first whose learning rate, or whose averaged
weights, depend on the length. The state after the last shared step is all that the longer run needs of the shorter one.
"""

from collections.abc import Collection
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from bagoftricks.errors import UserError
from bagoftricks.recipe.compose import compose
from bagoftricks.recipe.edits import AverageWeights
from bagoftricks.recipe.recipe import Recipe
from bagoftricks.recipe.trick import Clock, Length
from bagoftricks.run.check import Checked
from bagoftricks.run.keeper import differences
from bagoftricks.settings import OF_LOGGERS, Settings
from bagoftricks.store.checkpoint_header import read_values
from bagoftricks.store.json_fields import Json
from bagoftricks.store.record import ParentFacts, Record, settings_of
from bagoftricks.store.secrets import require_secrets
from bagoftricks.store.store import Store

LEAST_SHARE = 0.5  # of a run's steps that a longer one must share, so that it is worth its state
OF_THE_COMMAND = (
    *("store", "format", "metric", "target", "price_per_hour", "rerun", "extend", "restart", "corruptions"),
    *OF_LOGGERS,
)
FREE = ("epochs", "plugins", *OF_THE_COMMAND)
OF_A_RESTART = ("seed", "lr", "weight_decay", "batch_size")


@dataclass(frozen=True)
class Parent:
    """Finished run that a run goes on from; ``state``: the file of the state to continue, None for its weights."""

    facts: ParentFacts
    state: Path | None = None


def longer_settings(settings: Settings, typed: Collection[str]) -> Settings:
    """Return the settings of the run that ``settings.extend`` names, with the ``typed`` ones that may differ.

    Raises UserError for a setting that makes another run, and for a number of epochs that is none.
    """
    record = Store(settings.store).find(str(settings.extend), "extend")
    _check_typed(settings, record, typed)
    parent = settings_of(record)
    require_secrets(asdict(parent))
    own = {name: getattr(settings, name) for name in OF_THE_COMMAND}
    own |= {name: getattr(settings, name) for name in ("epochs", *OF_A_RESTART) if name in typed}
    places = {name: getattr(settings.data, name) for name in settings.data.places if f"data.{name}" in typed}
    runtime = {name: getattr(settings.runtime, name) for name in vars(settings.runtime) if f"runtime.{name}" in typed}
    made = replace(
        parent,
        **{**own, "extend": record.id},
        data=replace(parent.data, **places),
        runtime=replace(parent.runtime, **{"progress": settings.runtime.progress, **runtime}),
    )
    if settings.restart:
        weights = str(Store(settings.store).weights(record.id))
        made.model = replace(parent.model, weights=weights, new_head=False)
    return made


def _check_typed(settings: Settings, record: Record, typed: Collection[str]) -> None:
    same_data = ("data",) * (settings.data.name == record.data.name)  # typed for its data.root=
    places = (f"data.{place}" for place in settings.data.places)
    free = (*FREE, *places, *same_data, *(OF_A_RESTART if settings.restart else ()))
    other = [
        name for name in typed if name not in free and not name.startswith(("runtime.", "corruptions.", "loggers."))
    ]
    if other:
        weights = Store(settings.store).weights(record.id)
        instead = f"leave it out, or start a run of its own from model.weights={weights}"
        if not settings.restart and other[0] in OF_A_RESTART:
            instead = "leave it out, or type restart=true for a new run from its last weights"
        raise UserError(f"{other[0]}: makes another run than {record.id}, which has its own: {instead}")
    if "epochs" not in typed:
        of = "those of the new run" if settings.restart else f"more than its {record.epochs}, in all"
        raise UserError(f"extend={settings.extend}: needs epochs=N ({of})")
    if not settings.restart and settings.epochs <= record.epochs:
        raise UserError(
            f"epochs={settings.epochs}: run {record.id} has {record.epochs} epochs already: type more, in all"
        )


def find_parent(settings: Settings, checked: Checked, identity: Json, length: Length) -> Parent | None:
    """Return the run that this one goes on from, None without one.

    Raises UserError if it cannot be continued exactly, with the reason and what to type instead.
    """
    if settings.extend is None:
        return None
    record = Store(settings.store).find(settings.extend, "extend")
    facts = ParentFacts(record.id, record.epochs, exact=not settings.restart)
    if settings.restart:
        return Parent(facts)
    total = record.epochs * length.steps_per_epoch
    shared = shared_steps(checked, Length(length.steps_per_epoch, total), length)
    instead = (
        f"train all {settings.epochs} epochs without extend=, or type restart=true for {settings.epochs} epochs more "
        "from its last weights"
    )
    if shared < LEAST_SHARE * total:
        raise UserError(f"extend={settings.extend}: {why_not(shared, total)}: {instead}")
    path = Store(settings.store).kept_state(record.id)
    try:
        values = read_values(path)
        steps, theirs = int(values["trainer"]["steps"]), values["identity"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"extend={settings.extend}: the run has kept no state (runtime.keep_state=true with rerun=true trains it "
            f"again and keeps it): {instead}"
        ) from error
    if steps > shared:
        raise UserError(
            f"extend={settings.extend}: its state is of step {steps:,}, and {why_not(shared, total)}: {instead}"
        )
    ours = {**identity, "epochs": record.epochs}
    if other := [
        f"{name}: {there} there, {here} here" for name, there, here in differences(theirs, ours) if there != here
    ]:
        raise UserError(f"extend={settings.extend}: another run would go on ({'; '.join(other[:3])}): {instead}")
    return Parent(facts, path)


def why_not(shared: int, total: int) -> str:
    """Return why a longer run cannot continue one of ``total`` steps whose first ``shared`` steps it has."""
    return (
        f"a longer run shares only the first {shared:,} of its {total:,} steps, as what follows depends on epochs= "
        "(the decay or the warm-up of the learning rate, or an average of weights)"
    )


def step_to_keep(checked: Checked, length: Length) -> tuple[int | None, str]:
    """Return the steps after which to keep the state of a run for longer ones; or None, and why."""
    shared = shared_steps(checked, length, Length(length.steps_per_epoch, 2 * length.total_steps))
    if shared >= LEAST_SHARE * length.total_steps:
        return shared, ""
    return None, why_not(shared, length.total_steps)


def shared_steps(checked: Checked, one: Length, other: Length) -> int:
    """Return the number of first steps that runs of two lengths share, at most all of the shorter one."""
    recipes = [_recipe_of(checked, length) for length in (one, other)]
    steps = min(one.total_steps, other.total_steps)
    mine, theirs = (recipe.schedule for recipe in recipes)
    shared = next((step for step in range(steps) if mine(step) != theirs(step)), steps)
    pairs = zip(*([edit for _, edit in recipe.averages] for recipe in recipes), strict=True)
    return min([shared, *(_shared_updates(one, other, shared) for one, other in pairs)])


def _recipe_of(checked: Checked, length: Length) -> Recipe:
    task = replace(checked.task, clock=Clock())
    task.clock.begin(length)
    return compose(checked.tricks, task)


def _shared_updates(one: AverageWeights, other: AverageWeights, steps: int) -> int:
    """Return the number of ``steps`` before two averages differ."""
    (first, every), theirs = one.times(), other.times()
    if (first, every) != theirs:
        return min(steps, max(0, min(first, theirs[0]) - 1))
    updates = range(1, max(0, (steps - first) // every) + 1)
    different = next((update for update in updates if one.weight(update) != other.weight(update)), None)
    return steps if different is None else first + different * every - 1
