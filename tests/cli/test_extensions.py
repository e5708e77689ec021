"""The user's own parts on the command line: plug-ins, --config-dir and bagoftricks.yaml."""

import json
import os
from pathlib import Path

import pytest

from bagoftricks import plugins
from bagoftricks.cli.compose import compose_settings
from bagoftricks.cli.conf import options
from bagoftricks.errors import UserError
from bagoftricks.folders import forget_user_folders
from tests.cli.test_commands import one_line

TRICK = '''
from bagoftricks.plugins import Part, SetPart, trick

@trick(paper="nobody", family="tweak")
class SoftSign:
    """A smooth activation."""

    beta: float = 1.0
    """factor of the input"""

    def edits(self, task):
        from torch import nn
        yield SetPart(part=Part.ACT, build=nn.Softsign)
'''
EXAMPLES = Path(__file__).parents[2] / "examples"
SMALL = ("data.limit=300", "epochs=1", "batch_size=64", "model.depths=[1]", "model.width=4", "runtime.progress=false")


@pytest.fixture(autouse=True)
def no_extensions():
    yield
    plugins.forget_plugins()
    forget_user_folders()


@pytest.fixture
def plugin(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(TRICK, encoding="utf-8")
    return file


def test_a_plugins_trick_is_trained_and_its_source_is_in_the_id(bot, plugin):
    command = ("bot-train", f"plugins={plugin}", "+tweak=soft_sign", "format=json", *SMALL)
    first = json.loads(bot(*command).out)
    assert first["tricks"] == {"soft_sign": {"beta": 1.0}}
    assert f"plugins=[{plugin}]" in first["command"]
    assert json.loads(bot(*command).out)["id"] == first["id"]
    plugin.write_text(TRICK + "# changed\n", encoding="utf-8")
    assert json.loads(bot(*command).out)["id"] != first["id"]


def test_a_setting_of_a_plugins_network_is_known_after_lines_without_plugins_were_composed(tmp_path):
    file = tmp_path / "mine.py"
    source = (EXAMPLES / "vgg11.py").read_text(encoding="utf-8")
    file.write_text(source.replace("vgg11", "mine").replace("width", "girth"), encoding="utf-8")
    compose_settings(["preset=digits"])
    plugins.load_plugins([str(file)])
    assert compose_settings([f"plugins=[{file}]", "model=mine", "model.girth=8"]).model.girth == 8


def test_a_plugin_that_a_run_does_not_use_is_not_in_its_id(bot, plugin):
    plain, beside = (
        json.loads(bot("bot-train", *given, "format=json", *SMALL).out) for given in ([], [f"plugins={plugin}"])
    )
    assert plain["id"] == beside["id"]


@pytest.mark.slow
def test_a_sweeps_workers_know_the_plugin(bot, plugin):
    done = bot("bot-sweep", "design=stack", "tricks=[soft_sign]", f"plugins={plugin}", "slots=1", "format=json", *SMALL)
    assert done.status == 0, done.err
    assert [row["n"] for row in json.loads(done.out)["rows"]] == [1, 1]


@pytest.mark.parametrize("command", ["bot-train", "bot-sweep", "bot-table", "bot-eval", "bot-bench"])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot be read (No such file or directory)"),
        ("def (:", "is not a plug-in, line 1: invalid syntax"),
        (TRICK.replace("class SoftSign", "class Mixup"), "the trick 'mixup' stands in"),
        (
            TRICK.replace(', family="tweak"', ""),
            "SoftSign needs @trick(family=...), one of tweak, ",
        ),
    ],
)
def test_a_wrong_plugin_is_one_line(bot, tmp_path, command, content, message):
    file = tmp_path / "wrong.py"
    if content is not None:
        file.write_text(content, encoding="utf-8")
    done = bot(command, f"plugins=[{file}]")
    assert message in one_line(done)
    assert done.status == 2


def test_an_import_error_is_one_line(bot, plugin):
    plugin.write_text("import no_such_module\n" + TRICK, encoding="utf-8")
    done = bot("bot-train", f"plugins={plugin}", "+tweak=soft_sign", *SMALL)
    assert "cannot be imported (ModuleNotFoundError: No module named 'no_such_module')" in one_line(done)
    assert done.status == 2


def test_a_name_of_two_plugins_is_one_line(plugin, tmp_path):
    other = tmp_path / "other.py"
    other.write_text(TRICK, encoding="utf-8")
    with pytest.raises(UserError, match=r"other\.py: the trick 'soft_sign' stands in .*mine\.py already; rename yours"):
        plugins.load_plugins([str(plugin), str(other)])


def test_the_variable_and_the_file_of_the_working_folder_name_plugins(bot, plugin, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BAGOFTRICKS_PLUGINS", str(plugin))
    assert "tricks.soft_sign.beta=1.0" in bot("bot-train", "--help", "soft_sign").out
    monkeypatch.delenv("BAGOFTRICKS_PLUGINS")
    (tmp_path / "bagoftricks.yaml").write_text("plugins: [mine.py]\n", encoding="utf-8")
    assert "tricks.soft_sign.beta=1.0" in bot("bot-train", "--help", "soft_sign").out
    (tmp_path / "bagoftricks.yaml").write_text("plugin: [mine.py]\n", encoding="utf-8")
    assert "there is no key 'plugin'; did you mean 'plugins'?" in one_line(bot("bot-train", "--help", "tricks"))


def test_a_folder_of_ones_own_is_searched(bot, tmp_path):
    for path, text in {
        "model/mine.yaml": "# my network\nname: mine\nkind: resnet\ndepths: [1]\nwidth: 4\n",
        "preset/quick.yaml": "# @package _global_\ndefaults:\n  - override /model: mine\nepochs: 1\nbatch_size: 64\n",
    }.items():
        (tmp_path / path).parent.mkdir()
        (tmp_path / path).write_text(text, encoding="utf-8")
    done = bot("bot-train", "--config-dir", str(tmp_path), "preset=quick", "data.limit=300", "format=json")
    assert json.loads(done.out)["model"]["name"] == "mine", done.err
    assert "--config-dir" in json.loads(done.out)["command"]
    assert "my network" in bot("bot-train", f"--config-dir={tmp_path}", "--help", "model").out
    forget_user_folders()
    assert "mine" not in options("model")


def test_a_wrong_key_in_a_networks_yaml_is_one_line(bot, tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "mine.yaml").write_text("kind: resnet9\ndepths: [1]\n", encoding="utf-8")
    done = bot("bot-train", "--config-dir", str(tmp_path), "model=mine")
    assert "model.depths=[1]: resnet9 has no 'depths'" in one_line(done)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("5", "mine.yaml: must be a mapping, as epochs: 30"),
        ("epochs: 010", "mine.yaml, line 2: is not YAML: 010 has two readings"),
        ("epochs: 1:30", "1:30 has two readings, as text and as a number: write plain digits, or put it in quotes"),
        ("lr: =", "= has two readings"),
        ("epoch: 1", "preset/mine: Key 'epoch' not in 'Settings'"),
        ("lr: ~", "lr: preset/mine: Incompatible value 'None'"),
        ("defaults: 5", "Invalid defaults list in 'preset/mine', defaults must be a list"),
        ("defaults: [mine]", "names itself in its defaults"),
        ("\n".join(" " * depth + f"k{depth}:" for depth in range(400)), "or is nested too deeply"),
        ("tricks: {mixup: 5}", "tricks.mixup=5: must be hyper-parameters by name"),
    ],
)
def test_what_hydra_cannot_read_in_ones_own_yaml_is_one_line(bot, tmp_path, text, why):
    (tmp_path / "preset").mkdir()
    (tmp_path / "preset" / "mine.yaml").write_text(f"# @package _global_\n{text}\n", encoding="utf-8")
    assert why in one_line(bot("bot-train", "--config-dir", str(tmp_path), "preset=mine"))


def test_a_yaml_with_the_name_of_ours_is_refused(bot, tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "digits.yaml").write_text("name: digits\n", encoding="utf-8")
    assert "digits.yaml: bagoftricks has an option of this name" in one_line(
        bot("bot-train", "--config-dir", str(tmp_path))
    )
    assert "no such folder" in one_line(bot("bot-train", "--config-dir", os.fspath(tmp_path / "no")))


def test_a_setting_of_another_kind_is_one_line(bot):
    done = bot("bot-train", "model=resnet9", "model.depths=[1]")
    assert "model.depths=[1]: resnet9 has no 'depths' (its own settings: width)" in one_line(done)


def test_a_table_shows_runs_of_a_plugin_that_is_not_there(bot, plugin):
    assert bot("bot-train", f"plugins={plugin}", "+tweak=soft_sign", *SMALL).status == 0
    plugin.unlink()
    done = bot("bot-table", "format=csv")
    assert done.status == 0, done.err
    assert "soft_sign(beta=1.0)" in done.out


def test_a_record_names_no_code_to_run(bot, plugin):
    run = json.loads(bot("bot-train", f"plugins={plugin}", "+tweak=soft_sign", "format=json", *SMALL).out)
    command = ("bot-eval", f"run={run['id']}", "format=json")
    assert "needs the code of the plug-in mine: name its file with plugins=[...]" in one_line(bot(*command))
    moved = plugin.rename(plugin.parent.parent / plugin.name)
    done = bot(*command, f"plugins={moved}")
    assert json.loads(done.out)["top1"] == run["metrics"]["last"]["top1"]
    assert "another version" not in done.err
    moved.write_text(TRICK.replace("Softsign", "Tanh"), encoding="utf-8")
    assert "was trained with another version of the plug-in mine" in bot(*command, f"plugins={moved}").err
