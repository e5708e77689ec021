from types import SimpleNamespace

import pytest
from hydra.core.global_hydra import GlobalHydra

from bagoftricks.cli import bench, eval, sweep, table, train

MAINS = {
    "bot-train": train.main,
    "bot-sweep": sweep.main,
    "bot-bench": bench.main,
    "bot-eval": eval.main,
    "bot-table": table.main,
}


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
