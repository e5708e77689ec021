import json
from copy import deepcopy

import jsonschema
import pytest

from bagoftricks.cli.conf import YAML_GROUPS, options
from bagoftricks.cli.json_schema import DRAFT, json_schema
from bagoftricks.registry import all_cards
from bagoftricks.settings import Settings
from bagoftricks.store.json_fields import to_json
from bagoftricks.store.record import record_text
from bagoftricks.tricks.catalogue import cards
from tests.store.test_record import full

SCHEMA = json_schema()


def errors(schema, value):
    return [error.message for error in jsonschema.Draft202012Validator({**schema, "$schema": DRAFT}).iter_errors(value)]


@pytest.fixture(scope="module")
def config():
    return to_json(Settings())


def test_it_is_a_schema_of_the_draft_that_it_names():
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


def test_the_default_settings_and_every_trick_and_network_fit(config):
    assert errors(SCHEMA, config) == []
    known = [card for card in cards() if f"trick.{card.name}" in SCHEMA["$defs"]]  # others are of other tests' plug-ins
    tricks = {card.name: {field.name: field.default for field in card.fields} for card in known}
    assert errors(SCHEMA, {**config, "tricks": tricks}) == []
    for kind in all_cards("network"):
        assert errors(SCHEMA, {**config, "model": {"name": "mine", "kind": kind}}) == []


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("epochs",), "many"),
        (("epoch",), 3),
        (("format",), "xml"),
        (("data", "name"), "digit"),
        (("data", "pad"), 1.5),
        (("model", "width"), "wide"),
        (("tricks", "mixup"), {"alfa": 0.4}),
        (("runtime", "threads"), 2),
    ],
)
def test_a_wrong_setting_does_not_fit(config, place, value):
    wrong = deepcopy(config)
    inside = wrong
    for key in place[:-1]:
        inside = inside[key]
    inside[place[-1]] = value
    assert errors(SCHEMA, wrong)


def test_a_record_fits_and_one_with_another_field_does_not():
    schema = SCHEMA["$defs"]["record"]
    record = json.loads(record_text(full()))
    assert errors(schema, record) == []
    assert errors(schema, {**record, "colour": "red"})
    assert errors(schema, {name: value for name, value in record.items() if name != "cost"})
    assert errors(schema, {**record, "seed": "0"})


def test_the_choices_are_those_of_the_command_line():
    choices = SCHEMA["$defs"]["choices"]["properties"]
    for group in YAML_GROUPS:
        assert [choice["const"] for choice in choices[group]["oneOf"]] == list(options(group))
    assert {"mixup", "cosine"} <= {choice["const"] for choice in choices["refine"]["oneOf"]}


def test_the_command_prints_it_with_the_parts_of_plug_ins(bot, tmp_path):
    plugin = tmp_path / "mine.py"
    plugin.write_text(
        "from bagoftricks.recipe.trick import trick\n\n\n"
        '@trick(paper="none", family="refine")\nclass Mine:\n    """Mine."""\n\n'
        '    much: float = 1.0\n    """how much"""\n'
    )
    shown = bot("bagoftricks", "schema", f"plugins=[{plugin}]")
    assert shown.status == 0
    assert json.loads(shown.out)["$defs"]["trick.mine"]["properties"]["much"] == {
        "type": "number",
        "default": 1.0,
        "description": "how much",
    }


def test_the_command_takes_nothing_more(bot):
    assert "leave out 'record'" in bot("bagoftricks", "schema", "record").err
    assert "tricks.mixup.alpha" in bot("bagoftricks", "--help", "mixup").out
