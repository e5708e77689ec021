"""The examples of plug-ins: each keeps its contract, and each runs through the real commands."""

import json
import shlex
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from bagoftricks.cli.sweep_arguments import parse
from bagoftricks.distributed import ALONE
from bagoftricks.errors import DataError, UserError
from bagoftricks.folders import add_user_folder, forget_user_folders
from bagoftricks.plugins import forget_plugins, load_plugins
from bagoftricks.recipe.edits import Batch
from bagoftricks.registry import find_card
from bagoftricks.rng import Key
from bagoftricks.settings import dataset_settings
from bagoftricks.testing import (
    check_dataset,
    check_engine,
    check_logger,
    check_network,
    check_protocol,
    check_task,
    check_trick,
)
from bagoftricks.tricks.catalogue import create
from tests.cli.conftest import bot as bot

EXAMPLES = Path(__file__).parents[2] / "examples"
TINY = ("data=digits", "image_size=8", "model.depths=[1]", "model.width=4", "epochs=1", "format=json")


@pytest.fixture(autouse=True)
def plugins():
    load_plugins([str(path) for path in sorted(EXAMPLES.glob("*.py")) if path.stem != "own_loop"])  # a program
    add_user_folder(str(EXAMPLES))
    yield
    forget_plugins()
    forget_user_folders()


def example(name: str) -> str:
    return f"plugins=[{EXAMPLES / name}.py]"


def test_the_task():
    check_task("balanced")
    logits = torch.eye(3)[[0, 0, 0, 1]]
    targets = torch.eye(3)[[0, 0, 1, 2]]
    measured = (
        find_card("task", "balanced")
        .load()()
        .measure(lambda images: logits, [(0, Batch(torch.zeros(4, 3, 2, 2), targets))], ALONE)
    )
    assert measured.scores == pytest.approx({"mean_recall": 100 / 3, "worst_recall": 0})  # of 1, 0 and 0
    assert measured.correct.tolist() == [True, True, False, False]


def test_the_task_is_trained_and_identified_by_its_source(bot):
    done = bot("bot-train", example("balanced"), "task=balanced", *TINY)
    record = json.loads(done.out)
    assert set(record["metrics"]["last"]["others"]) == {"mean_recall", "worst_recall"}
    assert "balanced" in record["plugins"]
    assert "balanced" in bot("bot-train", example("balanced"), "--help", "task").out


def test_the_trick():
    check_trick("focal_loss")
    logits, targets = torch.tensor([[2.0, 0.0]]), torch.tensor([[1.0, 0.0]])
    right = 1 / (1 + np.exp(-2.0))
    expected = -((1 - right) ** 3) * np.log(right)
    assert create("focal_loss", gamma=3.0).loss(logits, targets).item() == pytest.approx(expected, rel=1e-5)
    with pytest.raises(UserError, match=r"^tricks\.focal_loss\.gamma=0\.5: must be 1 or more"):
        create("focal_loss", gamma=0.5)


def test_the_trick_is_trained(bot):
    done = bot("bot-train", example("focal_loss"), "+refine=focal_loss", "tricks.focal_loss.gamma=1", *TINY)
    record = json.loads(done.out)
    assert record["tricks"] == {"focal_loss": {"gamma": 1.0}}
    assert "focal_loss" in bot("bot-train", example("focal_loss"), "--help", "refine").out
    wrong = bot("bot-train", example("focal_loss"), "+refine=focal_los", *TINY)
    assert "did you mean 'focal_loss'?" in wrong.err
    both = bot("bot-train", example("focal_loss"), "+refine=[focal_loss,focal_loss]", *TINY)
    assert "is finished" not in both.err or both.status == 0


def test_the_network(bot):
    check_network("vgg11", width=4)
    done = bot(
        "bot-bench", example("vgg11"), "--config-dir", str(EXAMPLES), "model=vgg11", "image_size=224",
        "measure=false", "format=json",
    )  # fmt: skip
    assert json.loads(done.out)["macs"] == pytest.approx(7.487e9, rel=2e-3)  # the convolutions of torchvision.s vgg11
    small = bot("bot-train", example("vgg11"), "--config-dir", str(EXAMPLES), "model=vgg11", "image_size=16")
    assert "image_size=16: vgg11 needs 32 pixels" in small.err


@pytest.mark.slow
@pytest.mark.serial
def test_the_engine():
    check_engine("command", prefix="nice -n {slot}", places=["0", "1"])


def test_an_engine_of_ones_own_has_its_help_and_its_errors(bot):
    assert "engine.places=[0]" in bot("bot-sweep", example("command_engine"), "--help", "command").out
    study = ("design=stack", "tricks=[mixup]", "engine=command", "engine.place=x", *TINY)
    wrong = bot("bot-sweep", example("command_engine"), *study)
    assert "engine.place: is no setting of engine=command; did you mean 'places'?" in wrong.err
    assert wrong.status == 2


@pytest.fixture
def semeion(tmp_path):
    rng = Key(0).fold("semeion").numpy()
    rows = np.hstack([rng.integers(0, 2, (50, 256)), np.eye(10, dtype=int)[np.arange(50) % 10]])
    np.savetxt(tmp_path / "semeion.data", rows, fmt="%d")
    return tmp_path


def test_the_data_set(semeion, bot):
    check_dataset("semeion", root=str(semeion), holdout=0.2)
    data = dataset_settings("semeion", root=str(semeion), holdout=0.2).find()
    assert data.train.images.shape == (50, 3, 16, 16)
    assert data.train.images.unique().tolist() == [0, 255]
    assert data.train.labels[:12].tolist() == [*range(10), 0, 1]
    done = bot(
        "bot-train", example("semeion"), f"--config-dir={EXAMPLES}", "data=semeion", f"data.root={semeion}",
        "batch_size=8", *TINY[1:],
    )  # fmt: skip
    assert json.loads(done.out)["data"]["name"] == "semeion", done.err


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "cannot be read"), ("0 1 x", "cannot be read"), ("0 1\n1 0\n", "has 2 columns, not 256 pixels and 10")],
)
def test_a_damaged_file_of_the_data_set_is_named(semeion, content, message):
    file = semeion / "semeion.data"
    file.unlink() if content is None else file.write_text(content)
    with pytest.raises(DataError, match=message):
        dataset_settings("semeion", root=str(semeion), holdout=0.2).find()


def test_the_protocol(bot):
    check_protocol("noise_c")
    larger = [word.replace("image_size=8", "image_size=32") for word in TINY]
    done = bot("bot-train", example("noise_c"), "corruptions=noise_c", "corruptions.limit=20", *larger)
    (result,) = json.loads(done.out)["robustness"].values()
    assert result["corruptions"] == 3


def test_the_logger(bot, tmp_path):
    check_logger("json_lines", folder=str(tmp_path / "checked"))
    sweep = [example("json_lines"), "design=stack", "tricks=[cosine]", "slots=0", "name=mine", "logger=[json_lines]"]
    done = bot("bot-sweep", *sweep, "log_every=20", *TINY)
    assert done.status == 0, done.err
    path, _ = sorted((tmp_path / "lines").iterdir())
    first, *steps, scores, last = map(json.loads, path.read_text().splitlines())
    assert (first["group"], first["config"]["epochs"], last) == ("mine", 1, {"outcome": "done"})
    assert [line["step"] for line in steps] == [20, 40, 44]
    assert scores["val/last/top1"] > 0
    other = bot("bot-train", example("json_lines"), "loggers.json_lines.folder=x", *TINY)
    assert "loggers.json_lines.folder=x: this logger is not chosen: add logger=[json_lines]" in other.err


def test_the_experiment(bot):
    sweep = [example("focal_loss"), f"--config-dir={EXAMPLES}", "experiment=losses", "epochs=1", "slots=0"]
    rows = json.loads(bot("bot-sweep", *sweep, "format=json").out)["rows"]
    assert [row["label"] for row in rows] == ["cross entropy", "label smoothing", "focal loss"]
    assert rows[1]["published"] == {"top1": 78.31}


def test_the_class_of_a_plugin_is_imported_when_it_is_used_alone():
    assert find_card("network", "vgg11").load().__module__.startswith("bagoftricks_plugin_vgg11")


@pytest.mark.parametrize("file", ["kubernetes.yaml", "skypilot.yaml"])
def test_the_command_of_a_cluster_file_is_a_sweep(file):
    found = yaml.safe_load((EXAMPLES / "cluster" / file).read_text(encoding="utf-8"))
    if file == "kubernetes.yaml":
        (container,) = found["spec"]["template"]["spec"]["containers"]
        words = [*container["command"], *container["args"]]
    else:
        words = shlex.split(found["run"])
    assert words[0] == "bot-sweep"
    assert parse(words[1:]).worker


def test_the_manifest_is_one_of_kubernetes():
    validate = pytest.importorskip("kubernetes_validate")
    validate.validate(yaml.safe_load((EXAMPLES / "cluster/kubernetes.yaml").read_text()), "1.31", strict=True)
