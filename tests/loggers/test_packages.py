"""Real loggers: a run that was killed and goes on is one run in each, with every step once; their own readers tell."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from bagoftricks.loggers.wandb import log_records
from tests.loggers.killed import train

STEPS = [2, 4, 6, 8, 10, 11]
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]  # of the packages


def of_tensorboard(folder, record):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    (path,) = folder.glob("tensorboard/a study/*")
    assert path.name == f"mixup seed 0 {record.id}"
    events = EventAccumulator(str(path), size_guidance={"scalars": 0, "tensors": 0}).Reload()
    texts = [e.tensor_proto.string_val[0].decode() for e in events.Tensors("outcome/text_summary")]
    assert texts[-1] == "done"
    assert "_hparams_/session_start_info" in events.summary_metadata or events.summary_metadata
    return {tag: [(e.step, e.value) for e in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def of_wandb(folder, record):
    from wandb.proto.wandb_internal_pb2 import Record

    found, groups, codes = {}, set(), []
    for path in sorted(folder.glob(f"wandb/offline-run-*/run-{record.id}.wandb")):
        for line in log_records(path.read_bytes()):
            each = Record.FromString(line)
            if each.HasField("run"):
                groups.add((each.run.run_group, each.run.run_id))
            if each.HasField("exit"):
                codes.append(each.exit.exit_code)
            if each.HasField("history"):
                values = {i.key or "/".join(i.nested_key): json.loads(i.value_json) for i in each.history.item}
                for key, value in values.items():
                    found.setdefault(key, []).append((values["_step"], value))
    assert groups == {("a study", record.id)}
    assert codes[-1:] == [0]
    return found


def of_mlflow(folder, record):
    from mlflow.tracking import MlflowClient

    client = MlflowClient(f"sqlite:///{folder}/mlflow.db")
    (run,) = client.search_runs([client.get_experiment_by_name("bagoftricks").experiment_id])
    assert run.data.tags["bagoftricks.run"] == record.id
    assert run.data.tags["bagoftricks.study"] == "a study"
    assert run.info.status == "FINISHED"
    assert (run.data.params["tricks.mixup.alpha"], run.data.params["epochs"]) == ("0.2", "1")
    keys = run.data.metrics
    return {key: [(m.step, m.value) for m in client.get_metric_history(run.info.run_id, key)] for key in keys}


def of_trackio(folder, record):
    from trackio.sqlite_storage import SQLiteStorage

    found = {}
    for row in SQLiteStorage.get_logs("bagoftricks", record.id):
        for key, value in row.items():
            found.setdefault(key, []).append((row["step"], value))
    (run,) = SQLiteStorage.get_run_records("bagoftricks")
    assert run["name"] == record.id
    assert SQLiteStorage.get_run_config("bagoftricks", record.id)["_Group"] == "a study"
    return found


LOGGERS = {"tensorboard": (of_tensorboard, {"folder": "tensorboard"}), "wandb": (of_wandb, {"mode": "offline"})}
LOGGERS |= {"mlflow": (of_mlflow, {}), "trackio": (of_trackio, {})}


LONG = {"mlflow"}  # what starts slowest


@pytest.mark.parametrize("name", [pytest.param(n, marks=[pytest.mark.long] if n in LONG else []) for n in LOGGERS])
def test_a_run_that_was_killed_is_one_run_with_every_step_once(name, tmp_path, monkeypatch):
    if name == "trackio":
        pytest.importorskip("trackio", reason="pip install 'bagoftricks[trackio]', which needs pillow below 13")
    monkeypatch.chdir(tmp_path)
    read, values = LOGGERS[name]
    if name == "mlflow":
        values = {"tracking_uri": f"sqlite:///{tmp_path}/mlflow.db"}
    root = str(Path(__file__).parents[2])
    environment = {**os.environ, "PYTHONPATH": root, "TRACKIO_DIR": str(tmp_path / "trackio")}
    monkeypatch.setenv("TRACKIO_DIR", environment["TRACKIO_DIR"])
    command = [sys.executable, "-m", "tests.loggers.killed", str(tmp_path / "runs"), name, json.dumps(values), "9"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert not done.stdout
    if name == "trackio":
        from trackio import utils

        monkeypatch.setattr("trackio.sqlite_storage.TRACKIO_DIR", Path(environment["TRACKIO_DIR"]))
        monkeypatch.setattr(utils, "TRACKIO_DIR", Path(environment["TRACKIO_DIR"]))
    record, notes = train(str(tmp_path / "runs"), name, values)
    assert f"continuing run {record.id} at step 5 of 11" in notes
    assert not [note for note in notes if "dropped" in note]
    found = read(tmp_path, record)
    assert [step for step, _ in found["train/loss"]] == STEPS
    assert [step for step, _ in found["train/grad_norm"]] == STEPS
    assert found["val/last/top1"] == [(11, pytest.approx(record.metrics["last"].top1))]
