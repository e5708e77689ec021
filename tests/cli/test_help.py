"""Help: a page that fits a screen, and topics from the cards and dataclasses."""

import re
import subprocess
import sys
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bagoftricks.cli.commands import COMMANDS
from bagoftricks.cli.help import information
from bagoftricks.cli.topics import all_settings, topic_names
from bagoftricks.errors import UserError
from bagoftricks.tricks.catalogue import cards
from tests.cli.test_commands import one_line
from tests.cli.test_extensions import TRICK


@pytest.mark.parametrize("program", [*COMMANDS, "bagoftricks"])
@pytest.mark.parametrize("ask", ["--help", "-h", "help"])
def test_a_page_fits_a_screen_and_names_its_topics(program, ask, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    lines = information(program, [ask]).split("\n")
    assert lines[0].startswith(f"{program}: ")
    assert len(lines) <= 40
    assert max(map(len, lines)) <= 80
    assert any("--help TOPIC" in line for line in lines)


@pytest.mark.parametrize("columns", [40, 60, 100])
def test_pages_and_topics_are_wrapped_to_the_terminal(columns, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(columns))
    for topic in ("tricks", "mixup", "settings", "data", "runtime"):
        lines = information("bot-train", ["--help", topic]).split("\n")
        too_long = [line for line in lines if len(line) > columns and len(line.split()) > 1]
        assert too_long == [], topic


def test_a_trick_has_its_summary_paper_and_hyper_parameters_with_ranges():
    shown = " ".join(information("bot-train", ["--help", "mixup"]).split())
    (card,) = [card for card in cards() if card.name == "mixup"]
    assert card.summary in shown
    assert card.paper in shown
    assert "+refine=mixup" in shown
    assert "~tricks.mixup" in shown
    assert (
        "tricks.mixup.alpha=0.2 shape of the Beta distribution; towards 0, nothing is mixed; must be positive" in shown
    )
    assert "tricks.mixup.partner=batch" in shown


def test_a_discouraged_pair_and_an_overlap_are_in_the_help_of_the_trick():
    assert "Discouraged with sk: " in information("bot-train", ["--help", "se"])
    assert "Trains for corruptions" in information("bot-train", ["--help", "augmix"])


@pytest.mark.parametrize(
    ("topic", "shown"),
    [
        ("tricks", "big_little"),
        ("data", "imagefolder"),
        ("data", "data.holdout=0.0"),
        ("model", "resnet50"),
        ("preset", "cifar_laptop"),
        ("corruptions", "imagenet_c"),
        ("refine", "mixup"),
        ("settings", "batch_size=32"),
        ("runtime", "runtime.device=auto"),
        ("imagefolder", "data.root="),
        ("resnet50", "model.width="),
        ("fast", "preset=fast"),
        ("digits", "data=digits"),
        ("digits", "preset=digits"),
        ("data=imagefolder", "a folder per class"),
        ("+refine=mixup", "tricks.mixup.alpha"),
        ("experiments", "page/ladder"),
        ("ladder", "bot-sweep experiment=page/ladder"),
        ("table12", "assembled/table12"),
        ("table5", "bag_of_tricks/table5"),
        ("table5", "assembled/table5"),
        ("lr", "peak learning rate"),
        ("lr=0.1", "peak learning rate"),
        ("runtime.workers", "processes that decode images"),
        ("workers", "runtime.workers=-1"),
        ("limit", "corruptions.limit"),
        ("tricks.mixup.alpha", "shape of the Beta"),
        ("mixup.alpha", "shape of the Beta"),
        ("alpha", "tricks.mixup.alpha"),
        ("completion", "bagoftricks completion fish"),
        ("sweep", "bot-sweep: train the runs"),
        ("bot-sweep", "bot-sweep: train the runs"),
    ],
)
def test_a_topic_is_found_by_its_name_or_the_end_of_it(topic, shown):
    assert shown in information("bot-train", ["--help", topic])
    assert information("bot-train", [f"--help={topic}"]) == information("bot-train", ["help", topic])


def test_a_commands_own_arguments_are_topics():
    assert "least images per second" in information("bot-sweep", ["--help", "floor"])
    with pytest.raises(UserError, match="no help on 'floor'"):
        information("bot-train", ["--help", "floor"])


@pytest.mark.parametrize(
    ("topic", "meant"),
    [("mixpu", "mixup"), ("imagefoldr", "imagefolder"), ("setings", "settings"), ("runtime.thread", "runtime."),
     ("page/lader", "page/ladder")],
)  # fmt: skip
def test_an_unknown_topic_names_the_nearest_one(bot, topic, meant):
    done = bot("bot-train", "--help", topic)
    assert f"there is no help on '{topic}'; did you mean '{meant}" in one_line(done)


def test_every_topic_that_completion_offers_has_help():
    names = list(topic_names("bot-train"))
    assert {"mixup", "imagefolder", "page/ladder", "lr", "runtime"} <= set(names)
    assert all(information("bot-train", ["--help", name]) for name in names[::7])


def test_every_setting_has_help_with_its_default():
    for setting in all_settings():
        assert f"{setting.name}=" in information("bot-train", ["--help", setting.name])


@settings(max_examples=25)
@given(st.text(max_size=20))
def test_any_topic_has_help_or_is_a_users_error(topic):
    with suppress(UserError):
        assert information("bot-train", ["--help", topic])


def test_a_plugins_trick_is_a_topic(bot, tmp_path):
    (tmp_path / "mine.py").write_text(TRICK, encoding="utf-8")
    for line in (["plugins=[mine.py]", "--help", "soft_sign"], ["--help", "soft_sign", "plugins=[mine.py]"]):
        assert "tricks.soft_sign.beta=1.0" in bot("bot-train", *line).out


def test_a_page_is_shown_in_spite_of_a_plugin_that_cannot_be_read(bot):
    done = bot("bot-train", "plugins=[nowhere.py]", "--help")
    assert (done.status, done.err) == (0, "")


@pytest.mark.parametrize("topic", ["", "mixup", "data", "tricks", "lr", "table5"])
def test_help_imports_neither_hydra_nor_torch(topic, tmp_path):
    code = f"import sys; from bagoftricks.cli.train import main; main(['--help', *{topic!r}.split()])"
    code += "; assert not {'hydra', 'omegaconf', 'torch', 'numpy'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, check=True)


@pytest.mark.parametrize("flag", ["-sc", "--shell-completion"])
def test_hydras_completion_names_ours(bot, flag):
    assert 'type eval "$(bagoftricks completion bash)"' in one_line(bot("bot-train", flag, "install=bash"))


def test_the_list_of_commands_and_the_words_of_bagoftricks(tmp_path):
    def run(*words):
        line = [sys.executable, "-m", "bagoftricks", *words]
        return subprocess.run(line, cwd=tmp_path, capture_output=True, text=True, check=False)

    assert all(re.search(rf"^  {name} ", run().stdout, re.MULTILINE) for name in COMMANDS)
    assert run("--version").stdout.startswith("bagoftricks: bagoftricks ")
    assert "complete -o nosort -F _bagoftricks bot-train" in run("completion", "bash").stdout
    for words, message in {
        ("tarin",): "did you mean 'train'",
        ("train",): "type bot-train",
        ("completion",): "name the shell",
    }.items():
        assert message in run(*words).stderr
        assert run(*words).returncode == 2
