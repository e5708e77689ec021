"""What other operating systems lack is imported and called in system.py alone, and there is something in its place."""

import ast
import json
import multiprocessing
import os
import subprocess
import sys
from pathlib import Path

import pytest

from bagoftricks import system
from bagoftricks.engines.local import start_context
from bagoftricks.store import lease
from bagoftricks.store.files import write_whole
from tests.test_architecture import FILES, imports

ONLY_POSIX = {"fcntl", "grp", "pty", "pwd", "resource", "syslog", "termios", "tty"}
NOT_ON_WINDOWS = {"O_NOFOLLOW", "O_NONBLOCK", "O_CLOEXEC", "fork", "getuid", "pread", "SIGHUP", "SIGUSR2", "SIGKILL"}
ROOT = Path(__file__).parents[1]
ELSEWHERE = {"engines/slurm_job.py", "engines/slurm_local.py", "engines/local.py", "engines/ray.py"}


def test_modules_of_one_system_are_imported_in_one_place():
    assert {file for file in FILES if imports(FILES[file]) & ONLY_POSIX} == {"system.py"}


def test_names_that_windows_lacks_are_used_in_one_place_and_by_the_engines_of_linux():
    def used(source: str) -> set[str]:
        return {node.attr for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Attribute)} & NOT_ON_WINDOWS

    assert {file for file in FILES if used(FILES[file])} - ELSEWHERE == {"system.py"}


@pytest.mark.slow
@pytest.mark.parametrize("platform", ["win32", pytest.param("darwin", marks=pytest.mark.long)])
def test_every_module_and_a_run_do_without_what_a_system_lacks(tmp_path, platform):
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "tests.without_posix", platform]
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (record,) = (tmp_path / "results/runs").glob("*/record.json")
    assert json.loads(record.read_text(encoding="utf-8"))["epochs"] == 1


def test_a_sweep_starts_plain_processes_where_there_is_no_forkserver(monkeypatch):
    monkeypatch.setattr(multiprocessing, "get_all_start_methods", lambda: ["spawn"])
    assert start_context().get_start_method() == "spawn"


@pytest.fixture
def no_locks(monkeypatch):
    monkeypatch.setattr(system, "HAS_LOCKS", False)


def test_a_file_is_written_whole_without_locks(no_locks, tmp_path):
    write_whole(tmp_path / "a.txt", lambda path: path.write_text("whole", encoding="utf-8"))
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


def test_a_process_is_not_asked_where_that_would_end_it(monkeypatch, tmp_path):
    monkeypatch.setattr(lease, "PROC", tmp_path)
    assert lease.born(os.getpid()) == "alive"
    monkeypatch.setattr(sys, "platform", "win32")
    assert lease.born(os.getpid()) == lease.UNKNOWN
    monkeypatch.setattr(os, "kill", None)
    owner = json.dumps(lease.this_process()).encode()
    assert lease.is_alive(owner, "lease", lambda: 1.0)
    assert not lease.is_alive(owner, "lease", lambda: 100.0)
