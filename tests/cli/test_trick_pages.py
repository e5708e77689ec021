"""The site's page of each trick is made from its card, its code and the committed results."""

import pytest

from bagoftricks.tricks import FAMILY_OF
from bagoftricks.tricks.catalogue import card
from docs.site.tricks.index import index_text
from docs.site.tricks.markdown import prose
from docs.site.tricks.measured import findings_of
from docs.site.tricks.page import page_text

NAMES = sorted(FAMILY_OF)


def page(name):
    return page_text(card(name))


def cells(line):
    return [cell.strip() for cell in line.strip("|").split(" | ")]


@pytest.mark.parametrize("name", NAMES)
def test_a_page_has_the_summary_the_paper_and_the_defaults_of_the_class(name):
    text, known = page(name), card(name)
    assert text.startswith(f"# `{name}`\n\n{prose(known.summary)}")
    assert f"| paper | {prose(known.paper)} |" in text
    assert known.paper
    trick = known.load()()
    section = text.partition("## Hyper-parameters")[2].partition("\n## ")[0]
    rows = {cells(line)[0]: cells(line) for line in section.splitlines() if line.startswith(f"| `tricks.{name}.")}
    for field in known.fields:
        default = rows[f"`tricks.{name}.{field.name}`"][2].strip("`'")
        value = getattr(trick, field.name)
        assert default == {"True": "true", "False": "false", "None": "null", "": "none"}.get(f"{value}", f"{value}")
    assert len(rows) == len(known.fields)


def test_the_whole_docstring_is_on_the_page_with_its_settings_as_code():
    text = page("cutmix")
    assert "its mean at alpha = 1 is 0.68, not 0.5" in text
    assert "`switch` uses mixup instead" in text
    assert "`partner=batch`: one lambda for the batch" in page("mixup")


def test_conflicts_and_discouraged_pairs_stand_with_their_reasons():
    text = page("mixup")
    assert "| [`cutmix`](cutmix.md) | the mixing of a batch |" in text
    assert "takes alone | the mixing of a batch |" in text
    assert "| [`sk`](sk.md) | together they are less accurate" in page("se")


def test_networks_and_tasks_that_refuse_a_trick_stand_with_their_reasons():
    assert "| resnet9 at 32 pixels | resnet9 builds no bottleneck 3x3 |" in page("sk")
    assert "| `task=retrieval` | its loss takes logits" in page("bce")


def test_committed_effects_are_those_of_the_tables():
    found = findings_of("muon")
    (effect,) = (each for each in found if each.table.folder == "evidence/eight-tricks" and each.alone)
    assert (round(effect.estimate, 2), effect.verdict) == (8.38, "helps")
    assert effect.table.unit == "top-1 points"
    assert "with `mixup`" in page("mixup")
    assert "Not measured here yet." in page("fmix")


def test_a_row_that_changes_more_than_the_trick_stands_after_those_that_do_not():
    found = findings_of("frozen_norm_scale")
    assert [each.what for each in found if "bias_scale" in each.what]
    assert not any(each.alone for each in found if ";" in each.what)


def test_the_index_names_every_trick_once():
    text = index_text()
    assert all(text.count(f"[`{name}`]({name}.md)") == 1 for name in NAMES)
