import ast
import subprocess
import sys
from pathlib import Path

import pytest

import bagoftricks
from bagoftricks.errors import UserError
from bagoftricks.registry import HyperParameter, fields_of
from bagoftricks.tricks import FAMILY_OF
from bagoftricks.tricks.catalogue import card, cards, create


def fields(source: str) -> list[HyperParameter]:
    (node,) = ast.parse(source).body
    return fields_of(node)


def test_the_cards_come_in_the_order_of_the_table_of_contents():
    assert [found.name for found in cards()] == list(FAMILY_OF)


def test_a_card_says_what_the_source_says():
    found = card("label_smoothing")
    assert (found.family, found.class_name) == ("refine", "LabelSmoothing")
    assert found.fields[0] == HyperParameter(
        "epsilon", "float", 0.1, "share eps that is moved, in [0, 1)", "must be in [0, 1)"
    )


def test_reading_every_card_imports_no_torch():
    code = "import sys, bagoftricks.tricks.catalogue as c; c.cards(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=Path(bagoftricks.__file__).parents[1]).returncode == 0


def test_a_docstring_of_two_lines_is_one_line_of_help():
    (found,) = fields('class A:\n    x: int = 3\n    """one\n    two"""\n')
    assert found == HyperParameter("x", "int", 3, "one two")


def test_a_docstring_belongs_to_the_field_above_it():
    assert [f.doc for f in fields('class A:\n    x: int = 3\n    y: int = -4\n    """of y"""\n')] == ["", "of y"]


def test_a_choice_is_text_to_the_command_line():
    assert HyperParameter("form", "Literal['a', 'b']", "a", "").type is str


def test_hyper_parameters_are_handed_on():
    trick = create("mixup", alpha=0.4)
    assert (trick.alpha, trick.partner) == (0.4, "batch")


def test_a_trick_that_does_not_exist_is_refused_with_a_suggestion():
    message = r"^there is no trick 'mixpu'; did you mean 'mixup'\? \(bot-train --help lists them\)$"
    with pytest.raises(UserError, match=message):
        create("mixpu")


def test_a_hyper_parameter_that_does_not_exist_is_refused_with_a_suggestion():
    message = r"^trick 'mixup' has no hyper-parameter 'alhpa'; did you mean 'alpha'\?$"
    with pytest.raises(UserError, match=message):
        create("mixup", alhpa=0.4)


def test_a_word_like_no_other_gets_no_suggestion():
    with pytest.raises(UserError, match=r"^trick 'mixup' has no hyper-parameter 'zzz'$"):
        create("mixup", zzz=1)
