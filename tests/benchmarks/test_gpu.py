"""The benchmark for GPUs: its limits of time, its notes and its report, and every step in miniature."""

import json
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def bench(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    from on_gpu import ledger

    return ledger


@pytest.fixture
def driver(bench, monkeypatch):
    import gpu

    return gpu


def step(bench, letter="x", **changes):
    return bench.Step(letter, f"step {letter}", f"step_{letter}", **{"least": 0, "weight": 1, **changes})


def called(driver, monkeypatch, tmp_path, *steps, minutes=1.0):
    """Call the driver with steps whose code is given by their modules' names in ``tmp_path``."""
    monkeypatch.setattr(driver, "STEPS", list(steps))
    monkeypatch.setattr(driver, "GRACE", 1.0)
    names = ",".join(one.letter for one in steps)
    given = SimpleNamespace(out=tmp_path, data=tmp_path, steps=names, minutes=minutes, dry=False)
    driver.call(given)
    return driver.Ledger(tmp_path, steps)


@pytest.fixture
def children(driver, monkeypatch):
    """Steps are small programs instead of processes of the benchmark."""
    programs: dict[str, str] = {}
    start = subprocess.Popen

    def started(words, **how):
        return start([sys.executable, "-c", programs[words[words.index("--child") + 1]]], **how)

    monkeypatch.setattr(driver.subprocess, "Popen", started)
    return programs


def test_a_step_that_hangs_is_ended_with_what_it_started_and_the_next_one_runs(
    bench, driver, children, monkeypatch, tmp_path
):
    children["x"] = "import os, subprocess, sys; " + (
        f"p = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']); "
        f"open({str(tmp_path / 'pid')!r}, 'w').write(str(p.pid)); p.wait()"
    )
    children["y"] = "print('fine')"
    (tmp_path / "last.weights.safetensors").write_text("")
    ledger = called(driver, monkeypatch, tmp_path, step(bench, "x"), step(bench, "y"), minutes=8 / 60)
    assert [ledger.state(one) for one in ledger.steps] == ["goes on", "done"]
    assert not list(tmp_path.glob("*.safetensors"))
    pid = int((tmp_path / "pid").read_text())
    for _ in range(50):
        if not alive(pid):
            break
        time.sleep(0.1)
    assert not alive(pid)


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_a_step_that_fails_is_a_line_of_the_report_and_is_tried_again_after_the_others(
    bench, driver, children, monkeypatch, tmp_path
):
    children["x"] = "raise SystemExit('no such kernel')"
    children["y"] = "raise SystemExit(75)"
    steps = [step(bench, "x"), step(bench, "y")]
    ledger = called(driver, monkeypatch, tmp_path, *steps)
    assert [ledger.state(one) for one in steps] == ["failed (exit status 1)", "goes on"]
    assert "no such kernel" in (tmp_path / "report.md").read_text()
    children["x"] = children["y"] = "print('fine')"
    called(driver, monkeypatch, tmp_path, *steps)
    assert [row["step"] for row in ledger.rows("calls")] == ["x", "y", "y", "x"]
    called(driver, monkeypatch, tmp_path, *steps)
    assert len(ledger.rows("calls")) == 4  # all are done


def test_a_step_without_enough_time_is_left_for_the_next_call(bench, driver, children, monkeypatch, tmp_path):
    children["x"] = children["y"] = "print('fine')"
    steps = [step(bench, "x", least=100), step(bench, "y")]
    ledger = called(driver, monkeypatch, tmp_path, *steps)
    assert [ledger.state(one) for one in steps] == ["not started", "done"]


def test_a_line_that_was_not_written_whole_is_no_piece_and_harms_no_other(bench, tmp_path):
    ledger = bench.Ledger(tmp_path, [step(bench)])
    ledger.add("x", {"way": "ours", "ms": 3.0})
    with (tmp_path / "x.jsonl").open("a") as file:
        file.write('{"way": "ou')
    assert ledger.rows("x") == [{"way": "ours", "ms": 3.0}]
    ledger.add("x", {"way": "ours", "ms": 1.0}, {"way": "ours", "ms": 2.0})
    assert [row["ms"] for row in ledger.rows("x")] == [3.0, 1.0, 2.0]
    assert "| ours | 2 | 3 |" in (tmp_path / "report.md").read_text()


def test_the_report_counts_tests_and_names_those_that_fail(bench, tmp_path):
    ledger = bench.Ledger(tmp_path, [step(bench)])
    for outcome, why in (("failed", "assert 1 == 2"), ("passed", "")):
        ledger.add(
            "x", {"test": "a", "outcome": outcome, "why": why}, {"test": "b", "outcome": "failed", "why": "boom"}
        )
    text = (tmp_path / "report.md").read_text()
    assert "1 passed, 1 failed" in text
    assert "- failed: b: boom" in text
    assert "1 == 2" not in text


def test_airbench_is_timed_before_its_evaluation_and_its_first_run_warms_up(bench):
    from on_gpu import to_94

    printed = subprocess.run([sys.executable, "-c", to_94.STUB, "2"], capture_output=True, text=True, check=True).stdout
    assert list(to_94.finished_runs(iter(printed.splitlines()))) == [(2.5, pytest.approx(94.01))] * 3


def test_another_revision_of_the_peer_is_left_out(bench, tmp_path):
    from on_gpu import to_94

    one = step(bench)
    work = bench.Work(bench.Ledger(tmp_path, [one]), one, tmp_path, dry=False, seconds=1)
    (tmp_path / to_94.SCRIPT).write_text("import torch\n")
    assert not to_94.as_named(work, tmp_path / to_94.SCRIPT)
    assert "airbench is left out" in (tmp_path / "report.md").read_text()


@pytest.mark.slow
@pytest.mark.long
def test_every_step_in_miniature(tmp_path):
    command = [sys.executable, "benchmarks/gpu.py", "--dry", "--minutes", "20", "--out", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True)
    report = json.loads((tmp_path / "report.json").read_text())
    states = {letter: report[letter]["state"] for letter in "abcdefg"}
    assert states == dict.fromkeys("abcdefg", "done"), (tmp_path / "report.md").read_text()
    assert all(row["outcome"] == "passed" for letter in "ab" for row in report[letter]["rows"])
    assert len({row["recipe"] for row in report["c"]["rows"] if "recipe" in row}) == 6
    assert len({row["trained_by"] for row in report["d"]["rows"] if "trained_by" in row}) == 3
    assert {row["precision"] for row in report["e"]["rows"]} == {"fp32", "TF32", "bf16"}
    assert [len({row["arm"] for row in report[letter]["rows"] if "arm" in row}) for letter in "fg"] == [10, 32]
    again = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    assert again.stdout.strip() == f"{tmp_path}/report.md"  # nothing is left to do
