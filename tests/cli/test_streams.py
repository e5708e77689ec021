"""Closed standard streams, and streams whose readers leave, end nothing and print nothing."""

import io
import json
import os
import subprocess
import sys
from importlib.metadata import version

import pytest
from rich.console import Console

from bagoftricks.cli.progress import ConsoleReporter, can_redraw
from bagoftricks.cli.train import show_curve
from tests.cli.conftest import MAINS
from tests.cli.test_commands import FAST
from tests.store.test_store import record

COMMANDS = [main.__module__.rpartition(".")[2] for main in MAINS.values()]
OFTEN = ("train", "runs")  # all commands start in the same way: the others follow with the long tests
LONG_STREAMS = [pytest.param(streams, marks=pytest.mark.long) for streams in (">&- 2>&-", "2> /dev/full")]
LONG = [pytest.mark.slow, pytest.mark.long]
EACH_COMMAND = [name if name in OFTEN else pytest.param(name, marks=LONG) for name in COMMANDS]


def shell(line, cwd):
    """Run a line of bash in which ``bot`` stands for the Python that runs the tests."""
    line = f'bot() {{ {sys.executable} -m bagoftricks.cli."$@"; }}; set -o pipefail; {line}'
    return subprocess.run(["bash", "-c", line], cwd=cwd, capture_output=True, text=True, timeout=100, check=False)


@pytest.mark.parametrize("command", EACH_COMMAND)
@pytest.mark.parametrize(
    ("line", "status"),
    [
        ("--help | true", 0),
        ("--version | true", 0),
        ("--help >&-", 0),
        ("--no-such-thing 2>&-", 2),
        ("--no-such-thing <&- >&- 2>&-", 2),
        ("--no-such-thing 2>&1 | true", 2),
    ],
)
def test_a_stream_that_is_gone_is_no_error(tmp_path, command, line, status):
    done = shell(f"bot {command} {line}", tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (status, "", "")


@pytest.mark.parametrize("settings", ["--cfg job", "--info defaults", "--hydra-help"])
def test_what_hydra_prints_may_lose_its_reader_too(tmp_path, settings):
    done = shell(f"bot train {settings} | true", tmp_path)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_table_that_cannot_be_kept_is_an_error(tmp_path):
    done = shell("bot table --help > /dev/full", tmp_path)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "the disk is full" in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("streams", ["2>&1 | true", *LONG_STREAMS])
def test_a_training_outlives_its_streams(tmp_path, streams):
    done = shell(f"bot train data.limit=200 {' '.join(FAST)} {streams}", tmp_path)
    assert done.returncode == 0
    (record,) = tmp_path.glob("results/runs/*/record.json")
    assert json.loads(record.read_text(encoding="utf-8"))["status"] == "done"


def test_a_result_in_another_script_than_the_terminals_is_shown_by_its_codes(tmp_path):
    environment = {**os.environ, "PYTHONIOENCODING": "latin-1"}
    code = "from bagoftricks.cli.streams import *; guard_streams(); show_result('写 é')"
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, check=True)
    assert done.stdout == b"\\u5199 \xe9\n"


@pytest.mark.parametrize("command", MAINS)
def test_the_version_is_ours(bot, command):
    done = bot(command, "--version")
    assert (done.status, done.err) == (0, "")
    assert done.out.startswith(f"{command}: bagoftricks {version('bagoftricks')}, torch {version('torch')}, Python 3.")


def test_a_removed_working_folder_is_one_line(tmp_path, monkeypatch, bot):
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    done = bot("bot-train")
    assert (done.status, done.err) == (2, "bot-train: the working folder was removed: change to one that is there\n")


@pytest.mark.parametrize("columns", ["0", "x", "1"])
def test_notes_are_shown_at_any_width(capsys, monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", columns)
    ConsoleReporter(enabled=True).note("warning: slow")
    assert capsys.readouterr().err == "warning: slow\n"


def test_without_progress_notes_are_shown_all_the_same(capsys):
    reporter = ConsoleReporter(enabled=False)
    reporter.begin("id", 2, 0)
    reporter.step()
    reporter.epoch({"epoch": 1, "train_loss": 1.0, "loss": 1.0, "top1": 1.0, "train_seconds": 1.0})
    reporter.note("warning: it falls back")
    reporter.end()
    assert capsys.readouterr().err == "warning: it falls back\n"


@pytest.mark.parametrize(("encoding", "bar"), [("utf-8", "█"), ("ascii", "#")])
def test_a_run_ends_with_its_curve_on_a_terminal_alone(capsys, monkeypatch, encoding, bar):
    points = [{"epoch": at, "steps": at, "weights": "last", "train_seconds": 1.0, "score": 9.0 * at} for at in (1, 2)]
    finished = record(cost={"curve": points})
    show_curve(finished)
    assert capsys.readouterr().out == ""
    terminal = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    monkeypatch.setattr(terminal, "isatty", lambda: True, raising=False)
    monkeypatch.setattr("sys.stdout", terminal)
    show_curve(finished)
    terminal.flush()
    shown = terminal.buffer.getvalue().decode(encoding)
    assert f"18.00  {bar}\n" in shown
    assert "last and best 18.00 at 2" in shown


@pytest.mark.parametrize(("installed", "live"), [(None, False), ("ipywidgets", True)])
def test_a_notebook_has_a_live_display_where_its_widgets_are_installed(monkeypatch, installed, live):
    monkeypatch.setattr("bagoftricks.cli.progress.find_spec", lambda name: name if name == installed else None)
    assert can_redraw(Console(force_jupyter=True)) is live
