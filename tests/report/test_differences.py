from dataclasses import asdict, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bagoftricks.report.differences import OF_COMMANDS, differing, in_common
from bagoftricks.report.table import record_rows, render, run_columns
from bagoftricks.settings import Settings
from bagoftricks.store.typed import default_settings
from tests.store.test_store import record

CLASSES = 10  # of the records' data: typed or not, it is the same run
CONFIG = asdict(Settings())


def run(number=0, tricks=None, environment=None, **config):
    """A record whose settings have these values at dotted keys."""
    made = {name: dict(value) if isinstance(value, dict) else value for name, value in CONFIG.items()}
    for key, value in config.items():
        group, dot, name = key.partition(".")
        (made[group] if dot else made)[name if dot else group] = value
    facts = {"seed": made["seed"], "epochs": made["epochs"], "config": made, "tricks": tricks or {}}
    data = {"name": made["data"]["name"], "digest": made.pop("digest", "d"), "image_size": made["image_size"]}
    return record(id=f"{number:08}", data=data, environment=environment, **facts, model=made["model"])


def headings(*runs):
    rows = [row for each in runs for row in record_rows(each)]
    return [column.key for column in differing([r.facts for r in rows], [(r.shown, r.weights) for r in rows])]


def test_what_differs_has_a_column_and_what_does_not_has_none():
    runs = [run(1, lr=0.1, seed=0), run(2, lr=0.01, seed=0), run(3, lr=0.1, seed=1, **{"data.limit": 100})]
    assert headings(*runs) == ["seed", "lr", "data.limit"]
    assert headings(runs[0]) == []


def test_a_digest_is_shown_only_where_nothing_shown_explains_it():
    assert headings(run(1), run(2, digest="e")) == ["data.digest"]
    assert headings(run(1), run(2, digest="e", **{"data.limit": 5})) == ["data.limit"]


def test_what_follows_from_the_data_set_has_no_column():
    other = {"data.name": "cifar10", "data.pad": 4, "image_size": 32, "digest": "e"}
    assert headings(run(1), run(2, **other)) == ["data"]
    assert headings(run(1), run(2, **other), run(3, **{"data.pad": 3})) == ["data", "data.pad"]


def test_versions_and_machines_come_last_and_the_revision_only_if_nothing_else_tells_runs_apart():
    older = {"torch": "0", "git_revision": "abc"}
    assert headings(run(1), run(2, environment=older, lr=1.0)) == ["lr", "torch"]
    assert headings(run(1), run(2, environment={"git_revision": "abc"})) == ["git_revision"]
    assert headings(run(1, {"ema": {}}), run(2, environment={"git_revision": "abc"})) == []


def test_a_setting_that_an_earlier_version_lacks_is_at_its_default():
    earlier = run(1)
    del earlier.config["weight_decay"]
    assert headings(earlier, run(2)) == []


def test_what_all_rows_share_is_stated_once():
    facts = [row.facts for each in (run(1), run(2, lr=0.5)) for row in record_rows(each)]
    shared = in_common(facts)
    assert "data=digits" in shared
    assert "batch_size=256" in shared
    assert "lr=" not in shared


def other_value(value):
    numbers = st.integers(1, 99)
    kinds = {bool: st.just(not value), float: st.floats(0.01, 9.0), str: st.sampled_from("xyz")}
    kinds |= {list: st.lists(st.floats(0.0, 9.0), min_size=1, max_size=3)}
    return kinds.get(type(value), numbers).filter(lambda other: other not in (value, CLASSES))


OF_RUNS = [
    key for key in default_settings()
    if key not in (*OF_COMMANDS, "data.image_size", "data.num_classes", "image_size", "model", "data")
    and not key.startswith(("corruptions", "tricks"))
]  # fmt: skip


@pytest.mark.parametrize("style", ["text", "markdown", "csv"])
@given(data=st.data())
def test_two_runs_that_differ_in_a_setting_never_look_the_same(style, data):
    key = data.draw(st.sampled_from(OF_RUNS))
    second = run(2, **{key: data.draw(other_value(default_settings()[key]))})
    rows = [row for each in (run(1), second) for row in record_rows(each)]
    columns = [column for column in run_columns(rows, style) if column.key != "id"]
    *_, one, two = render(rows, columns, style).split("\n")
    assert one != two


def test_two_runs_of_one_label_and_other_weights_keep_apart():
    (row,) = record_rows(run(1))
    rows = [row, replace(row, weights="ema", shown="baseline [ema]")]
    assert len({render([each], run_columns(rows, "text"), "text") for each in rows}) == 2
