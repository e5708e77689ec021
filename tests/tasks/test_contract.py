"""The shipped tasks keep the contract that bagoftricks.testing offers for those of plug-ins."""

import pytest

from bagoftricks.registry import all_cards
from bagoftricks.testing import check_task

QUICK = {"classification": (), "retrieval": ("task.embedding=8",)}
SLOW = {"segmentation": (), "detection": ("task.channels=8", "task.proposals=20")}


def test_every_task_is_checked_here():
    assert {*QUICK, *SLOW} == set(all_cards("task"))


@pytest.mark.parametrize("name", QUICK)
def test_a_task_keeps_its_contract(name):
    check_task(name, *QUICK[name])


@pytest.mark.slow
@pytest.mark.parametrize("name", SLOW)
def test_a_task_of_parts_keeps_its_contract(name):
    check_task(name, *SLOW[name])


def test_what_a_task_measures_it_has_to_name(monkeypatch):
    card = all_cards("task")["retrieval"]
    monkeypatch.delitem(card.options["scores"], "recall_at_4")
    with pytest.raises(AssertionError, match="measures recall_at_4, which its decorator does not name"):
        check_task("retrieval", "task.embedding=8")
