import pytest

from bagoftricks.cli.newest import with_ids
from bagoftricks.store.store import Store
from tests.store.test_record import whole_run


@pytest.fixture
def store(tmp_path):
    whole_run(Store(tmp_path), "ab12")
    return f"store={tmp_path}"


@pytest.mark.parametrize(
    ("typed", "read"),
    [
        ("run=last", "run=ab12"),
        ("extend=last~0", "extend=ab12"),
        ("tricks.distill.teacher=run:last@ema", "tricks.distill.teacher=run:ab12@ema"),
        ("tricks.distill.teacher=last", "tricks.distill.teacher=run:ab12"),
        ("corruptions.normalise_by=last", "corruptions.normalise_by=ab12"),
        ("run=last~1", "run=last~1"),
        ("model.name=last", "model.name=last"),
        ("run=lastly", "run=lastly"),
    ],
)
def test_last_becomes_the_id_that_it_names(store, typed, read, capsys):
    assert with_ids("bot-eval", [typed, store]) == [read, store]
    assert capsys.readouterr().err == ""


def test_a_training_prints_the_id_to_type_later(store, capsys):
    with_ids("bot-train", [store, "extend=last"])
    assert "last is run ab12" in capsys.readouterr().err


def test_a_store_without_runs_leaves_the_word_to_whoever_reads_it(tmp_path):
    assert with_ids("bot-train", ["extend=last", f"store={tmp_path}/none"])[0] == "extend=last"
