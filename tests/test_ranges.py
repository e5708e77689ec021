"""Numbers that no run can use are refused, whatever setting or hyper-parameter they are typed for."""

from typing import get_args, get_origin, get_type_hints

import pytest

from bagoftricks.errors import UserError
from bagoftricks.registry import all_cards, make_object
from bagoftricks.settings import CorruptionSettings, DataSettings, RuntimeSettings, Settings, dataset_settings
from bagoftricks.tricks.catalogue import cards

NUMBERS = (float("nan"), float("inf"), -float("inf"), 1e300, 10**20, -(10**20))
PARTS = {"": Settings, "runtime.": RuntimeSettings, "corruptions.": CorruptionSettings, "data.": DataSettings}
SETTINGS = [
    (prefix, name, get_origin(hint) is list)
    for prefix, part in PARTS.items()
    for name, hint in get_type_hints(part).items()
    if {int, float} & {hint, *get_args(hint)}
]
OWN = [(card, field) for of in ("dataset", "network") for card in all_cards(of).values() for field in card.fields]
OWN += [(card, field) for card in cards() for field in card.fields]
OWN = [(card, field) for card, field in OWN if any(kind in field.annotation for kind in ("int", "float"))]


@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.parametrize(("prefix", "name", "listed"), SETTINGS)
def test_a_setting_refuses_a_number_beyond_any_use(prefix, name, listed, number, unchecked):
    make = dataset_settings if prefix == "data." else PARTS[prefix]
    with pytest.raises(UserError, match=f"^{prefix}{name}="):
        make(**{name: [number, 1, 1] if listed else number})


@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.parametrize(("card", "field"), OWN, ids=lambda part: part.name)
def test_a_hyper_parameter_refuses_a_number_beyond_any_use(card, field, number, unchecked):
    value = [number, 1] if "list" in field.annotation or "tuple" in field.annotation else number
    with pytest.raises(UserError, match=rf"\b{field.name}="):
        make_object(card, {field.name: value})
