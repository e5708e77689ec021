"""Loggers on the command line: help, completion, and one line for what is wrong."""

import pytest

from bagoftricks.cli.complete import candidates
from bagoftricks.cli.help import information
from bagoftricks.registry import all_cards, find_card
from bagoftricks.testing import check_card

OURS = ["mlflow", "tensorboard", "trackio", "wandb"]


@pytest.mark.parametrize("name", OURS)
def test_a_logger_agrees_with_its_card_and_has_help(name):
    found = find_card("logger", name)
    check_card(found)
    shown = " ".join(information("bot-train", ["--help", name]).split())
    assert f"logger=[{name}]: {found.summary}" in shown
    assert all(f"loggers.{name}.{field.name}=" in shown for field in found.fields)
    assert f"logger=[{name}]" in information("bot-train", ["--help", "loggers"])


def test_loggers_and_their_settings_are_completed():
    assert set(OURS) <= set(all_cards("logger"))
    assert candidates("bot-train", ["logger=[wandb,tens"]) == [
        "logger=[wandb,tensorboard]",
        "logger=[wandb,tensorboard,",
    ]
    assert candidates("bot-train", ["loggers.wandb.mo"]) == ["loggers.wandb.mode="]
    assert candidates("bot-train", ["loggers.wandb.mode=o"]) == [
        "loggers.wandb.mode=online",
        "loggers.wandb.mode=offline",
    ]
    assert "log_every=" in candidates("bot-sweep", ["log_"])


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (["logger=[wandb,tensorbord]"], "there is no logger 'tensorbord'; did you mean 'tensorboard'?"),
        (["logger=wandb", "loggers.wandb.mode=of"], "loggers.wandb.mode=of: must be one of auto, online, offline"),
        (["loggers.wandb.project=x"], "loggers.wandb.project=x: this logger is not chosen: add logger=[wandb]"),
        (["logger=[wandb]", "loggers.wandb.projct=x"], "did you mean 'loggers.wandb.project=x'?"),
        (["log_every=0"], "log_every=0: must be positive"),
    ],
)
def test_a_wrong_setting_is_one_line(bot, typed, said):
    done = bot("bot-train", *typed, "image_size=8", "epochs=1")
    assert done.status == 2
    assert said in done.err
    assert len(done.err.splitlines()) == 1


def test_the_file_of_steps_is_shown_and_removed_with_the_run(bot, train_once, tmp_path):
    record = train_once("image_size=8", "epochs=1", "log_every=20", "model.depths=[1]", "model.width=4")
    folder = tmp_path / "results" / "runs" / record["id"]
    assert "steps.csv" in bot("bot-runs", "show", record["id"]).out
    assert "logger" not in record["config"]
    done = bot("bot-runs", "delete", record["id"], "yes=true")
    assert not folder.exists(), done.err
