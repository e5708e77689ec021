"""Every benchmark runs, in miniature; what they share measures in turn and keeps what it printed."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def scripts(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))


def test_ways_are_measured_in_turn_and_the_first_round_is_left_out():
    from shared import in_turn

    order = []

    def way(name):
        return lambda number: order.append((name, number)) or number

    found = in_turn({"a": way("a"), "b": way("b")}, 2)
    assert found == {"a": [1, 2], "b": [1, 2]}
    assert order == [("b", 0), ("a", 0), ("a", 1), ("b", 1), ("b", 2), ("a", 2)]


def test_a_ratio_is_that_of_the_same_round():
    from shared import ratios, spread

    assert ratios([1, 10, 100, 1000], [2, 20, 200, 500]).median == 0.5  # the ratio of the medians is another
    assert spread([1.0, 2.0, 3.0, 4.0, 5.0]) == (1.5, 3.0, 4.5, 5)
    assert spread([7.0]).text() == "7.00"
    assert spread([1.0, 2.0, 3.0]).text(1, scale=10) == "20.0 [10.0, 30.0]"


def test_a_report_is_printed_and_kept_row_by_row(tmp_path, monkeypatch, capsys):
    from shared import RESULT, Report, spread

    path = tmp_path / "a.json"
    monkeypatch.setenv(RESULT, str(path))
    report = Report("two rows")

    def rows():
        yield ["a", 1]
        assert json.loads(path.read_text())["tables"][0]["rows"] == [["a", "1"]]  # an end here loses nothing
        yield ["b", 2]

    report.table(["what", "how many"], rows())
    report.ratio("ours", "theirs", spread([2.0]))
    kept = json.loads(path.read_text())
    assert kept["ratios"] == [{"what": "ours", "against": "theirs", "low": 2.0, "median": 2.0, "high": 2.0, "n": 1}]
    assert kept["machine"]["cores"] >= 1
    assert kept["machine"]["torch"]
    assert "| what | how many |\n|---|---|\n| a | 1 |\n| b | 2 |" in capsys.readouterr().out


def run(out, *words):
    command = [sys.executable, str(ROOT / "benchmarks/every.py"), "--out", str(out), "--dry", *words]
    surroundings = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, capture_output=True, text=True, env=surroundings, check=False)


def test_what_was_measured_at_this_revision_is_not_measured_again_and_a_failure_is_a_line(tmp_path, monkeypatch):
    import every

    monkeypatch.setattr(every, "BENCHMARKS", (
        every.Benchmark("works", "", "-c print(6*7)"), every.Benchmark("fails", "", "-c 1/0"),
        every.Benchmark("absent", "", "-c 1", needs="no_such_program"),
    ))  # fmt: skip
    monkeypatch.setattr(every, "program", lambda one: [sys.executable])
    monkeypatch.setattr(sys, "argv", ["every.py", "--dry", "--out", str(tmp_path)])
    assert every.main() == 1
    states = json.loads((tmp_path / "states.json").read_text())
    assert [state["state"] for state in states.values()] == [
        "done", "failed: ZeroDivisionError: division by zero", "not here: no_such_program"
    ]  # fmt: skip
    assert "42" in (tmp_path / "README.md").read_text()
    begun = []

    def carry_out(one, *_):
        begun.append(one.name)
        (tmp_path / f"{one.name}.md").touch()
        return "done"

    monkeypatch.setattr(every, "carry_out", carry_out)
    every.main()
    assert begun == ["fails"]
    monkeypatch.setattr(every, "revision", lambda: "another")
    every.main()
    assert begun == ["fails", "works", "fails"]


def test_a_benchmark_that_takes_too_long_is_stopped_with_what_it_started(tmp_path, monkeypatch):
    import every

    monkeypatch.setattr(every, "program", lambda one: [sys.executable])
    code = "import subprocess; subprocess.run(['sleep', '60'])"
    began = time.monotonic()
    assert every.carry_out(every.Benchmark("long", "", ""), ["-c", code], tmp_path, 1) == "stopped after 1 s"
    assert time.monotonic() - began < 20


def test_pictures_are_drawn_from_results(tmp_path):
    from pictures import main

    machine = {"processor": "a processor, avx2", "cores": 2, "date": "2026-12-01", "revision": "abc"}
    row = {"low": 1.0, "median": 2.0, "high": 3.0, "n": 5}
    bars = [
        {"chart": "times", "unit": "s", "what": what, "floor": what == "least", **row} for what in ("ours", "least")
    ]
    facts = {"machine": machine, "ratios": [{"what": "ours", "against": "theirs", **row}], "bars": bars}
    (tmp_path / "one.json").write_text(json.dumps(facts))
    (tmp_path / "states.json").write_text("{}")
    for _ in range(2):
        main(str(tmp_path), str(tmp_path / "figures"))
        drawn = {path.name: path.read_bytes() for path in (tmp_path / "figures").iterdir()}
        assert drawn.keys() == {"speed-ratios.svg", "speed-one.svg"}
    assert b"ours  /  theirs" in drawn["speed-ratios.svg"]
    assert b"a processor, 2 cores, 2026-12-01, abc" in drawn["speed-one.svg"]


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.parametrize("share", range(4))
def test_every_benchmark_runs_in_miniature(share, tmp_path):
    import every

    done = run(tmp_path, "--only", *[one.name for one in every.BENCHMARKS][share::4])
    states = json.loads((tmp_path / "states.json").read_text())
    assert not [state for state in states.values() if state["state"].startswith(("failed", "stopped"))], done.stdout
    assert sum(state["state"] == "done" for state in states.values()) >= 3
    for name, state in states.items():
        assert state["state"].startswith("not here") or (tmp_path / f"{name}.md").read_text().strip(), name
        if (tmp_path / f"{name}.json").exists():
            facts = json.loads((tmp_path / f"{name}.json").read_text())
            assert facts["tables"], name
            assert facts["tables"][0]["rows"], name
