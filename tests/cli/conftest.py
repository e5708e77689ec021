import json
import shutil
from types import SimpleNamespace

import pytest
from hydra.core.global_hydra import GlobalHydra

from bagoftricks.cli import bench, data, eval, overview, predict, report, runs, sweep, table, train
from bagoftricks.measure.speed import Timing
from bagoftricks.plugins import forget_plugins

MAINS = {
    "bagoftricks": overview.main,
    "bot-train": train.main,
    "bot-sweep": sweep.main,
    "bot-bench": bench.main,
    "bot-eval": eval.main,
    "bot-predict": predict.main,
    "bot-table": table.main,
    "bot-report": report.main,
    "bot-data": data.main,
    "bot-runs": runs.main,
}


@pytest.fixture(autouse=True)
def untimed(monkeypatch):
    """Runs do not measure the speed of their network: it takes as long as they do. bot-bench measures."""
    monkeypatch.delenv("COLUMNS", raising=False)  # of the shell that runs the tests
    monkeypatch.setattr("bagoftricks.run.costs.time_inference", lambda *args, **kwargs: Timing(64, 1.0, 1.0, 1.0, 5))
    yield
    forget_plugins()


@pytest.fixture(scope="session")
def first_runs():
    """Folders that runs have left, by their arguments."""
    return {}


@pytest.fixture
def train_once(bot, first_runs, tmp_path, tmp_path_factory):
    """Train a run that many tests begin with once, and put what it leaves into the test's folder; return its record."""

    def train(*arguments):
        if arguments not in first_runs:
            done = bot("bot-train", *arguments, "runtime.progress=false")
            assert done.status == 0, done.err
            first_runs[arguments] = shutil.copytree(tmp_path, tmp_path_factory.mktemp("trained"), dirs_exist_ok=True)
        shutil.copytree(first_runs[arguments], tmp_path, dirs_exist_ok=True)
        (record,) = tmp_path.glob("results/runs/*/record.json")
        return json.loads(record.read_text(encoding="utf-8"))

    return train


@pytest.fixture
def bot(tmp_path, monkeypatch, capsys):
    """Run a command in an empty folder: its exit status, standard output and standard error."""
    monkeypatch.chdir(tmp_path)

    def run(program, *arguments):
        monkeypatch.setattr("sys.argv", [program])
        GlobalHydra.instance().clear()
        capsys.readouterr()
        status = MAINS[program](list(arguments))
        out, err = capsys.readouterr()
        return SimpleNamespace(status=status, out=out, err=err)

    return run
