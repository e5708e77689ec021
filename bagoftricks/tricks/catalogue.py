"""Tricks by name: their cards from the source at once, their classes by import when they are used (registry.py)."""

from functools import cache
from typing import TYPE_CHECKING, Any

from bagoftricks.errors import UserError, did_you_mean
from bagoftricks.registry import PACKAGE, Card, HyperParameter, added_cards, cards_in, make_object
from bagoftricks.tricks import FAMILY_OF

if TYPE_CHECKING:
    from bagoftricks.recipe.trick import Trick


def card(name: str) -> Card:
    """Return the card of one trick, read from its source."""
    family_of(name)
    return added_cards("trick").get(name) or _shipped_card(name)


@cache
def _shipped_card(name: str) -> Card:
    (found,) = cards_in(PACKAGE / "tricks" / FAMILY_OF[name] / f"{name}.py", "trick")
    return found


def cards() -> list[Card]:
    """Return every card, in the order of the table of contents; those of plug-ins last."""
    return [card(name) for name in families()]


def cards_that_name(word: str) -> list[Card]:
    """Return the cards whose source has a word: to parse all sources takes longer than a person waits for help."""
    sources = {name: PACKAGE / "tricks" / family / f"{name}.py" for name, family in FAMILY_OF.items()}
    return [card(n) for n in families() if n not in sources or word in sources[n].read_text(encoding="utf-8")]


def families() -> dict[str, str]:
    """Return the family of every trick by name, those of plug-ins last."""
    return {**FAMILY_OF, **{name: card.family for name, card in added_cards("trick").items()}}


def family_of(name: str) -> str:
    """Return the family of a trick. Raises UserError with the nearest name."""
    known = families()
    if name not in known:
        raise UserError(f"there is no trick '{name}'{did_you_mean(name, known)} (bot-train --help lists them)")
    return known[name]


def hyper_parameter(trick: str, name: str) -> HyperParameter:
    """Return a hyper-parameter of a trick. Raises UserError with the nearest name."""
    known = {field.name: field for field in card(trick).fields}
    if name not in known:
        raise UserError(f"trick '{trick}' has no hyper-parameter '{name}'{did_you_mean(name, known)}")
    return known[name]


def create(name: str, **params: Any) -> "Trick":
    """Return the trick called ``name`` with these hyper-parameters, the others at their defaults."""
    for key in params:
        hyper_parameter(name, key)
    made: Trick = make_object(card(name), params)
    return made
