"""The generated documents are those that the cards give today."""

from pathlib import Path

import pytest

from bagoftricks.cli.docs import BEGIN, COMMAND, END, reference, with_table

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_reference_of_tricks_is_up_to_date():
    stale = (ROOT / "docs" / "tricks.md").read_text(encoding="utf-8") != reference()
    assert not stale, f"docs/tricks.md is stale: type {COMMAND}"


def test_the_readmes_table_of_tricks_is_up_to_date():
    assert with_table(README) == README, f"README.md has a stale table of tricks: type {COMMAND}"


def test_a_stale_table_is_replaced_and_the_rest_is_kept():
    made = with_table(f"before\n{BEGIN}\nan old table\n{END}\nafter")
    assert made.startswith(f"before\n{BEGIN}\n| group | tricks |\n")
    assert made.endswith(f"\n{END}\nafter")
    assert "`mixup`" in made
    assert with_table(made) == made


def test_a_text_without_the_markers_of_a_table_is_kept():
    assert with_table("no table here") == "no table here"


@pytest.mark.parametrize(
    "line",
    [
        "| `tricks.progressive_size.stages` | int | 2 | number of smaller sizes before the full one |",
        "| `tricks.sgd.nesterov` | bool | false | Nesterov momentum: steps along g + mu v instead of v |",
        "| `tricks.cutmix.probability` | float | 1.0 |",
        "| `tricks.mixup.partner` | one of `batch`, `second_batch`, `halves` | batch |",
        "| `tricks.test_size.short_side` | int or null | null |",
    ],
)
def test_a_hyper_parameter_has_its_type_and_default(line):
    assert line in reference()


@pytest.mark.parametrize(("trick", "other"), [("se", "sk"), ("sk", "se")])
def test_a_discouraged_pair_stands_at_both_of_its_tricks(trick, other):
    entry = reference().partition(f"### `{trick}`\n")[2].partition("###")[0]
    assert f"Discouraged with `{other}`: together they are less accurate" in entry


def test_an_overlap_names_the_hyper_parameter_that_it_depends_on():
    assert "robustness protocols (with `all_ops=true`): all_ops changes" in reference()


def test_the_glossary_is_in_alphabetical_order_and_has_each_word_once():
    lines = (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8").splitlines()
    words = [line.split("**")[1] for line in lines if line.startswith("| **")]
    assert words == sorted(set(words), key=str.casefold)
