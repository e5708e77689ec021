"""What our loggers ask of their packages, with stand-ins for those: the packages themselves take seconds to load."""

import sys
from types import ModuleType, SimpleNamespace
from unittest.mock import MagicMock

import pytest

from bagoftricks.loggers.base import RunFacts, make_logger

ID = "0123456789abcdef0123"


def facts(**changes):
    config = {"tricks": {"mixup": {"alpha": 0.2}}, "epochs": 3}
    return RunFacts(**{"id": ID, "label": "mixup seed 0", "group": "study", "config": config, "steps": 9, **changes})


@pytest.fixture
def package(monkeypatch):
    """Put a stand-in for a package and its modules in its place."""

    def put(name, *modules):
        made = MagicMock(spec=None)
        made.__spec__ = SimpleNamespace(name=name)
        monkeypatch.setitem(sys.modules, name, made)
        for module in modules:
            monkeypatch.setitem(sys.modules, f"{name}.{module}", getattr(made, module))
        return made

    return put


@pytest.fixture
def wandb(package, monkeypatch, tmp_path):
    monkeypatch.delenv("WANDB_MODE", raising=False)
    monkeypatch.chdir(tmp_path)
    made = package("wandb", "proto", "proto.wandb_internal_pb2")
    made.init.return_value.step = 0
    made.login.return_value = False
    return made


def test_wandb_has_our_id_its_group_and_no_command_line(wandb):
    logger = make_logger("wandb", {"project": "mine"})
    assert logger.start(facts()).startswith("offline: wandb sync ")
    given = wandb.init.call_args.kwargs
    assert (given["id"], given["group"], given["resume"], given["mode"]) == (ID, "study", "allow", "offline")
    assert (given["project"], given["config"]) == ("mine", dict(facts().config))
    assert wandb.Settings.call_args.kwargs["x_disable_meta"] is True
    logger.log(2, {"train/loss": 1.0})
    wandb.init.return_value.log.assert_called_once_with({"train/loss": 1.0}, step=2)
    logger.finish("interrupted")
    wandb.init.return_value.finish.assert_called_once_with(exit_code=75)


@pytest.mark.parametrize(
    ("logged_in", "variable", "mode", "used"),
    [(True, None, "auto", "online"), (True, "offline", "auto", "offline"), (False, None, "online", "online")],
)
def test_wandb_is_online_only_where_the_user_is(wandb, monkeypatch, logged_in, variable, mode, used):
    wandb.login.return_value = logged_in
    if variable:
        monkeypatch.setenv("WANDB_MODE", variable)
    make_logger("wandb", {"mode": mode}).start(facts())
    assert wandb.init.call_args.kwargs["mode"] == used


def test_wandb_is_not_sent_what_it_has_and_a_run_that_is_trained_again_takes_the_place_of_the_first(wandb):
    wandb.init.return_value.step = 7  # the next one
    logger = make_logger("wandb", {})
    logger.start(facts(done=4))
    for step in (4, 6, 8):
        logger.log(step, {"train/loss": 1.0})
    assert [call.kwargs["step"] for call in wandb.init.return_value.log.call_args_list] == [8]
    make_logger("wandb", {}).start(facts(again=True))
    assert wandb.init.call_args.kwargs["resume"] is None


@pytest.fixture
def mlflow(package):
    made = package("mlflow", "entities", "tracking")
    made.entities.Metric, made.entities.Param = tuple_of, tuple_of
    made.client = made.tracking.MlflowClient.return_value
    made.client.search_runs.return_value = []
    return made


def tuple_of(*values):
    return values


def test_mlflow_has_a_run_with_our_id_as_a_tag(mlflow):
    logger = make_logger("mlflow", {"tracking_uri": "http://here"})
    logger.start(facts())
    mlflow.tracking.MlflowClient.assert_called_once_with("http://here")
    assert mlflow.client.create_run.call_args.kwargs["tags"] == {"bagoftricks.run": ID, "bagoftricks.study": "study"}
    params = mlflow.client.log_batch.call_args.kwargs["params"]
    assert params == [("tricks.mixup.alpha", "0.2"), ("epochs", "3")]
    logger.log(2, {"train/loss": 1.0})
    ((name, value, _, step),) = mlflow.client.log_batch.call_args.kwargs["metrics"]
    assert (name, value, step) == ("train/loss", 1.0, 2)
    logger.finish("failed")
    assert mlflow.client.set_terminated.call_args.args[1] == "FAILED"


def test_mlflow_goes_on_with_the_run_of_the_tag_unless_it_is_trained_again(mlflow):
    mlflow.client.search_runs.return_value = [SimpleNamespace(info=SimpleNamespace(run_id="theirs"))]
    logger = make_logger("mlflow", {})
    logger.start(facts(done=4))
    assert f"'{ID}'" in mlflow.client.search_runs.call_args.args[1]
    mlflow.client.update_run.assert_called_once_with("theirs", status="RUNNING")
    assert not mlflow.client.create_run.called
    make_logger("mlflow", {}).start(facts(again=True))
    assert mlflow.client.create_run.called


def test_trackio_has_our_id_as_its_name_and_prints_nothing(package, capsys):
    trackio = package("trackio")
    real = ModuleType("trackio.run")
    exec("def shout():\n    print('* Trackio')", vars(real))
    sys.modules["trackio.run"] = real
    trackio.init.side_effect = lambda *args, **kwargs: real.shout() or MagicMock()
    logger = make_logger("trackio", {"space": "me/space"})
    logger.start(facts())
    del sys.modules["trackio.run"]
    given = trackio.init.call_args.kwargs
    assert (given["name"], given["group"], given["resume"], given["space_id"]) == (ID, "study", "allow", "me/space")
    logger.log(2, {"train/loss": 1.0})
    logger.run.log.assert_called_once_with({"train/loss": 1.0}, step=2)
    logger.finish("failed")
    assert logger.run.alert.call_args.args == ("run failed",)
    make_logger("trackio", {}).start(facts(again=True))
    assert trackio.init.call_args.kwargs["resume"] == "never"
    assert capsys.readouterr().out == ""


def test_tensorboard_finds_the_folder_of_the_run_whatever_its_study(monkeypatch, tmp_path):
    writer = MagicMock()
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", writer)
    logger = make_logger("tensorboard", {"folder": str(tmp_path)})
    logger.start(facts(group="a/b", label="mixup+sk seed 0"))
    folder = tmp_path / "a-b" / f"mixup+sk seed 0 {ID}"
    writer.SummaryWriter.assert_called_with(str(folder), purge_step=1)
    folder.mkdir(parents=True)
    logger.start(facts(group=None, done=4))
    writer.SummaryWriter.assert_called_with(str(folder), purge_step=5)
    logger.log(6, {"val/last/top1": 50.0})
    logger.finish("done")
    made = writer.SummaryWriter.return_value
    made.add_scalar.assert_called_once_with("val/last/top1", 50.0, 6)
    assert made.add_hparams.call_args.args == (facts().flat, {"final/last/top1": 50.0})
    logger.start(facts())
    logger.finish("interrupted")
    assert made.add_hparams.call_count == 1
