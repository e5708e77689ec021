import json

import pytest

from bagoftricks.report.pictures.kinds import STUDY_KINDS
from bagoftricks.report.pictures.registry import PICTURES
from bagoftricks.store.json_fields import sealed_text
from bagoftricks.store.store import Store
from tests.report.pictures.studies import run


@pytest.fixture
def stored(tmp_path, monkeypatch):
    """A store with a study of two arms over two seeds."""
    monkeypatch.chdir(tmp_path)
    store, arms = Store("results/runs"), []
    for label, tops in {"plain": [70.0, 71.0], "mixup": [72.0, 74.0]}.items():
        runs = {}
        for seed, top1 in enumerate(tops):
            tricks = {} if label == "plain" else {label: {}}
            made = run(seed, top1, id=f"{label}{seed}", tricks=tricks, config={"epochs": 2}, curve=(top1 - 9, top1))
            store.write_record(made)
            runs[str(seed)] = made.id
        arms.append({"label": label, "runs": runs, "compare_to": None if label == "plain" else "plain"})
    study = {"name": "pair", "command": "bot-sweep", "seeds": [0, 1], "arms": arms}
    (tmp_path / "results/runs/studies").mkdir()
    (tmp_path / "results/runs/studies/pair.json").write_text(sealed_text(study))
    return tmp_path


def test_a_picture_of_a_study_is_written_and_its_words_are_printed(bot, stored):
    done = bot("bot-table", "study=pair", "plot=forest", "file=a/forest.svg")
    assert done.out.startswith("a/forest.svg: pair: paired differences")
    assert "paired by seed, n = 2 seeds" in done.out
    assert "<svg" in (stored / "a/forest.svg").read_text()
    found = json.loads(bot("bot-table", "study=pair", "plot=forest", "file=forest.png", "format=json").out)
    assert found["numbers"][0]["difference (percentage points)"] == 2.5
    csv = bot("bot-table", "study=pair", "plot=forest", "file=forest.pdf", "format=csv").out
    assert csv.splitlines()[0].startswith("arm,against,n,difference")


def test_plot_alone_lists_the_kinds_with_what_is_lacking(bot, stored):
    kinds = json.loads(bot("bot-table", "study=pair", "plot=", "format=json").out)
    assert {kind["plot"] for kind in kinds} == set(STUDY_KINDS)
    assert [kind["plot"] for kind in json.loads(bot("bot-table", "plot=", "format=json").out)] == ["curves"]
    assert "learning curves" in bot("bot-table", "plot=", "format=text").out


def test_the_rows_of_a_store_have_curves(bot, stored):
    done = bot("bot-table", "plot=curves", "file=c.svg", "where=tricks=mixup", "format=csv")
    assert [line.split(",")[::4] for line in done.out.splitlines()[1:]] == [
        ["mixup", "63.0"], ["mixup", "72.0"], ["mixup", "65.0"], ["mixup", "74.0"],
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("plot=forest study=pair", "plot=forest needs a file: add file=forest.svg"),
        ("plot=forest file=f.svg", "plot=forest is of a study: add study=NAME"),
        ("plot=forrest file=f.svg study=pair", "did you mean 'forest'"),
        ("plot=forest file=f.bmp study=pair", "the name must end in .svg"),
        ("plot=forest file=f.svg study=pair width=wide", "width=wide: must be a number of inches"),
        ("plot=forest file=f.svg study=pair width=0.1", "must be between 2.5 and 30 inches"),
        ("plot=forest file=f.svg study=pair where=n=1", "a picture of a study shows all its arms"),
        ("width=5", "width= is of a picture: add plot=forest"),
    ],
)
def test_what_cannot_be_drawn_is_one_line(bot, stored, arguments, message):
    done = bot("bot-table", *arguments.split())
    assert (done.status, done.err.count("\n")) == (2, 1)
    assert message in done.err


def test_each_kind_has_functions_and_the_help_names_it(bot):
    assert set(PICTURES) == set(STUDY_KINDS)
    text = " ".join(bot("bot-table", "--help").out.split())
    assert all(kind in text for kind in STUDY_KINDS)


def test_a_picture_of_settings_or_of_a_run_is_drawn_without_training(bot, tmp_path):
    done = bot("bot-report", "plot=network", "file=n.svg", "+tweak=resnet_d")
    assert (done.status, done.out.partition(":")[0]) == (0, "n.svg")
    assert "resnet_d" in (tmp_path / "n.svg").read_text()
    assert not (tmp_path / "results").exists()
    assert "plot=schedule: learning rate" in bot("bot-report", "plot=").out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("plot=network file=n.svg +tweak=resnet_q", "did you mean 'resnet_d'"),
        ("plot=netwrk file=n.svg", "did you mean 'network'"),
        ("plot=network", "plot=network needs a file"),
        ("plot=network file=n.svg run=last lr=1", "lr: with run=, the settings are the run's"),
        ("plot=network file=n.svg run=abc store=none", "no such folder"),
        ("run=last", "run= is of a picture"),
        ("width=5", "width= is of a picture"),
        ("plot=network file=n.svg study=s", "study= does not go with plot=: bot-table study=NAME plot=forest"),
        ("plot=network file=n.svg serve=true", "serve= does not go with plot="),
    ],
)
def test_what_cannot_be_drawn_of_a_run_is_one_line(bot, arguments, message):
    done = bot("bot-report", *arguments.split())
    assert (done.status, done.err.count("\n")) == (2, 1)
    assert message in done.err
