"""Slots that a trick takes, what it conflicts with, and the networks and tasks that have a use for it: by trying."""

from collections.abc import Iterator
from functools import cache

from torch import nn

from bagoftricks.errors import ConflictError, UserError
from bagoftricks.recipe.compose import compose
from bagoftricks.recipe.edits import Edit, FreezeParams, SetPart
from bagoftricks.registry import all_cards
from bagoftricks.training.parameters import check_selectors
from bagoftricks.tricks.catalogue import create, families
from docs.site.tricks.scene import NETWORKS, Fixed, Shown, built, edits_of, make_task


def slots_of(name: str) -> list[str]:
    """Return the exclusive slots that a trick takes; no other trick can take them too."""
    found = (_slot(edit) for edit in edits_of(name))
    return list(dict.fromkeys(slot for slot in found if slot))


def _slot(edit: Edit) -> str:
    """Return the slot of an edit, an empty text if others can be merged with it."""
    try:
        compose({"one": Fixed([edit]), "other": Fixed([edit])}, make_task())
    except ConflictError as error:
        return error.slot.partition(" to the same thing")[0]
    return ""


@cache
def conflicts_of(name: str) -> dict[str, str]:
    """Return the tricks that cannot be combined with one, at their defaults, with what both set."""
    return {other: slot for other in families() if other != name and (slot := _conflict(name, other))}


def _conflict(name: str, other: str) -> str:
    tricks = {name: create(name), other: create(other)}
    freezes = any(isinstance(edit, FreezeParams) for made in (name, other) for edit in edits_of(made))
    try:
        recipe = compose(tricks, make_task())
        if freezes:
            check_selectors(baseline(NETWORKS[2]), recipe)
    except ConflictError as error:
        return error.slot
    except UserError:
        return ""  # no conflict: the network has nothing for one of them
    return ""


@cache
def baseline(shown: Shown) -> nn.Module:
    """Return a network without tricks, on the meta device."""
    return built({}, shown)


def refused_networks(name: str) -> dict[str, str]:
    """Return why each network that a trick changes nothing in, or does not fit, refuses it: by network."""
    return {shown.title: reason for shown in NETWORKS if (reason := _refusal(name, shown))}


def _refusal(name: str, shown: Shown) -> str:
    trick = create(name)
    try:
        recipe = compose({name: trick}, make_task(image_size=shown.pixels))
        changed = any(isinstance(edit, SetPart) for edit in edits_of(name))
        check_selectors(built({name: trick}, shown) if changed else baseline(shown), recipe)
    except UserError as error:
        return str(getattr(error, "why", error))
    return ""


def refusing_tasks(name: str) -> dict[str, str]:
    """Return why each task refuses a trick, by task."""
    return dict(_refusals(name))


def _refusals(name: str) -> Iterator[tuple[str, str]]:
    for card in all_cards("task").values():
        task = card.load()()
        if why := next((reason for edit in edits_of(name) if (reason := task.refuses(edit))), None):
            yield card.name, why
