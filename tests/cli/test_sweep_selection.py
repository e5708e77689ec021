"""Studies that choose: what goes on, what confirms it, what tables, pages and locks say. Nothing is trained."""

import csv
import io
import json
import re
import shlex
import zlib
from pathlib import Path

import numpy as np
import pytest

import bagoftricks as api
from bagoftricks.report.study_parts import load_study
from bagoftricks.store.store import RunState, Store
from tests.cli.test_commands import FAST, one_line
from tests.study.locked import record_of

GAINS = {"cosine": 6.0, "ema": 3.0, "mixup": -4.0}
GREEDY = ["design=greedy", "tricks=[mixup,cosine,label_smoothing,ema]", "seeds=4", "slots=0", "lr=0.05", *FAST]
HALVING = ["design=halving", "tricks=[mixup,cosine,label_smoothing,cosine+ema]", "seeds=4", "slots=0", *FAST]
TOO_HIGH = "selected by this number: too high"


def top1(run, gains=GAINS):
    """Accuracy with gains that add up, a shift for each seed, and noise of 0.3 points."""
    noise = np.random.default_rng([zlib.crc32(run.id.encode()), run.seed]).normal(scale=0.3)
    return 80 + sum(gains.get(trick, 0.0) for trick in run.settings.tricks) + run.seed / 4 + float(noise)


@pytest.fixture
def trained(monkeypatch):
    """Let every run of a sweep leave a record; returns the runs in their order. ``stop`` leaves the later ones out."""
    runs = []

    def run_here(todo, view, *, worker):
        for run in todo:
            if len(runs) < run_here.stop:
                runs.append(run)
                found = record_of(run, top1(run, run_here.gains), cost={**COST, "infer_images_per_s": speed(run)})
                view.store.write_record(found)
                view.finished(run, RunState.DONE, 0.1)

    run_here.stop, run_here.gains, run_here.runs = 10_000, GAINS, runs
    monkeypatch.setattr("bagoftricks.engines.here.run_here", run_here)
    return run_here


COST = {"params": 1, "macs": 1, "train_images_per_s": 1.0, "peak_memory_mib": 1, "train_seconds": 1.0}


def speed(run):
    return 50.0 if "cosine" in run.settings.tricks else 100.0


def saved(name):
    return load_study(Store("results/runs"), name)


def test_greedy_adds_what_helps_most_and_its_result_is_of_fresh_seeds(bot, trained):
    done = bot("bot-sweep", *GREEDY)
    assert done.status == 0
    assert (
        "step 1: 4 candidates tested together: 'cosine' is chosen, the largest gain of those that help (2)" in done.err
    )
    assert "step 3: 2 candidates tested together: none helps" in done.err
    lines = done.out.split("\n")
    assert lines[1].startswith("Result: 'cosine + ema' against baseline on 5 fresh seeds, which had no part in the ")
    assert lines[1].endswith("top-1 points, helps.")
    assert lines[5].startswith("cosine + ema, fresh seeds")  # the first row
    rows = {row["label"]: row for row in json.loads(bot("bot-table", "study=greedy", "format=json").out)["rows"]}
    fresh = [run for run in trained.runs if run.label.endswith("fresh seeds")]
    assert {run.seed for run in fresh} == {4, 5, 6, 7, 8}
    assert {run.seed for run in trained.runs if run not in fresh} == {0, 1, 2, 3}
    assert [rows[label]["comparison"]["verdict"] for label in ("cosine", "cosine + ema")] == [TOO_HIGH] * 2
    assert rows["cosine + ema, fresh seeds"]["comparison"]["against"] == "baseline, fresh seeds"
    assert rows["cosine + ema, fresh seeds"]["comparison"]["difference"] == pytest.approx(9, abs=0.6)
    study = saved("greedy").selection
    assert (study.result, study.confirm, study.over) == ("cosine + ema", 5, True)
    assert [done.chosen for done in study.rounds] == [("cosine",), ("cosine + ema",), ()]


def test_the_number_that_chose_is_crossed_out_in_every_table(bot, trained):
    bot("bot-sweep", *GREEDY)

    def row(style, label="cosine"):
        shown = bot("bot-table", "study=greedy", f"format={style}").out.split("\n")
        return next(line for line in shown if label in line and "step 1: chosen" in line)

    assert "  (+5.9" in row("text")
    assert TOO_HIGH in row("text")
    assert "| ~~+5.9" in row("markdown")
    assert "<s>+5.9" in row("html")
    assert re.search(r"& +\(\+5\.9", row("latex"))
    flat = list(csv.DictReader(io.StringIO(bot("bot-table", "study=greedy", "format=csv").out)))
    assert [(r["label"], r["selection"]) for r in flat if r["compared_verdict"] == TOO_HIGH] == [
        ("cosine", "step 1: chosen"),
        ("cosine + ema", "step 2: chosen"),
    ]
    assert bot("bot-report", "study=greedy", "file=p.html").status == 0
    page = Path("p.html").read_text(encoding="utf-8")
    assert "<s>+5.9" in page
    assert page.index("Result: ") < page.index("arms, ")  # the first sentence
    assert "Selected by numbers that are too high to be a result" in page


def test_a_selection_resumes_where_it_was_interrupted_and_trains_nothing_twice(bot, trained):
    trained.stop = 12  # in the first step
    stopped = bot("bot-sweep", *GREEDY)
    assert stopped.status == 75
    assert "chosen" not in stopped.err
    assert "The selection is not finished: type the same command again." in stopped.out
    trained.stop = 42  # of the 40 of the selection and the 10 fresh ones
    assert bot("bot-sweep", *GREEDY).status == 75
    assert "Not confirmed yet: 0 of 5 fresh seeds of 'cosine + ema'" in bot("bot-table", "study=greedy").out
    trained.stop = 10_000
    whole = bot("bot-sweep", *GREEDY)
    assert whole.status == 0
    assert len(trained.runs) == len({run.id for run in trained.runs}) == 4 * (1 + 4 + 3 + 2) + 10
    again = bot("bot-sweep", *GREEDY)
    assert again.out == whole.out == bot("bot-table", "study=greedy", "format=text").out
    assert len(trained.runs) == 50


def test_greedy_stops_at_once_where_nothing_helps(bot, trained):
    trained.gains = {"mixup": -4.0}
    out = bot("bot-sweep", *GREEDY).out
    assert "No trick stands: none of 4 candidates helps; with 4 seeds the study sees gains of 0." in out
    assert len(trained.runs) == 20
    assert "fresh" not in out.partition("No trick")[2].partition("made by")[0].replace("fresh seeds\n", "")


def test_greedy_chooses_nothing_below_the_floor(bot, trained):
    done = bot("bot-sweep", *GREEDY, "floor=60")
    assert "'ema' is chosen, the largest gain of those that help (2)" in done.err
    assert "none helps, or is slower than floor=60" in done.err
    assert "Result: 'ema'" in done.out


def test_without_confirmation_the_table_warns(bot, trained):
    out = bot("bot-sweep", *GREEDY, "confirm=0").out
    assert "Not confirmed: 'cosine + ema' was chosen; what it gains is not known" in out
    assert len(trained.runs) == 40
    assert "confirmed" not in bot("bot-sweep", *GREEDY, "confirm=0").err


def test_one_fresh_seed_confirms_nothing_and_the_table_says_what_does(bot, trained):
    done = bot("bot-sweep", *GREEDY, "confirm=1")
    assert "'cosine + ema' and baseline are trained with 1 fresh seed, which show whether it gains" in done.err
    assert "Not confirmed: one fresh seed of 'cosine + ema' gives no interval. Type confirm=2 or more." in done.out


def test_halving_gives_seeds_to_the_better_half_and_compares_fresh_ones_alone(bot, trained):
    done = bot("bot-sweep", *HALVING)
    assert done.status == 0
    assert "rung 1 of 2, 2 seeds: the best of 4 by their mean: cosine + ema, cosine" in done.err
    assert "Result: 'cosine + ema' against baseline on 5 fresh seeds" in done.out
    seeds = {}
    for run in trained.runs:
        seeds.setdefault(run.label, []).append(run.seed)
    assert seeds == {
        "baseline": [0, 1, 2, 3],
        "mixup": [0, 1],
        "cosine": [0, 1, 2, 3],
        "label_smoothing": [0, 1],
        "cosine + ema": [0, 1, 2, 3],
        "cosine + ema, fresh seeds": [4, 5, 6, 7, 8],
        "baseline, fresh seeds": [4, 5, 6, 7, 8],
    }
    rows = json.loads(bot("bot-table", "study=halving", "format=json").out)["rows"]
    assert [row["label"] for row in rows if row["comparison"]] == ["cosine + ema, fresh seeds"]
    assert {row["label"]: row["selection"] for row in rows if "rung" in row["selection"]} == {
        "mixup": "rung 1",
        "cosine": "rung 2",
        "label_smoothing": "rung 1",
        "cosine + ema": "rung 2: chosen",
    }
    crossed = [line for line in bot("bot-table", "study=halving", "format=html").out.split("\n") if "<s>" in line]
    assert len(crossed) == 1
    assert "rung 2: chosen" in crossed[0]
    before = len(trained.runs)
    assert bot("bot-sweep", *HALVING).out == done.out
    assert len(trained.runs) == before


def test_halving_chooses_no_arm_that_is_worse_than_the_baseline(bot, trained):
    trained.gains = dict.fromkeys(["mixup", "cosine", "label_smoothing"], -4.0)
    done = bot("bot-sweep", *HALVING)
    assert "rung 2 of 2, 4 seeds: the best of 3 by their mean: baseline" in done.err
    assert "No arm is better than the baseline in the last rung" in done.out
    assert not any("fresh" in run.label for run in trained.runs)


def test_a_selection_travels_with_its_own_seeds_and_marks(bot, trained):
    here = bot("bot-sweep", *HALVING)
    Path("table.json").write_text(bot("bot-table", "study=halving", "format=json").out, encoding="utf-8")
    there = bot("bot-sweep", "from=table.json", "store=there", "slots=0", "runtime.device=cpu")
    assert "26 of 26 runs have the ids that they have there" in there.err
    assert there.out.partition("data:")[0] == here.out.partition("data:")[0]


def test_a_plan_has_the_first_round_and_says_what_comes_after_it(bot, monkeypatch):
    monkeypatch.setattr("bagoftricks.study.estimate.seconds_from_steps", lambda run: 60.0)
    greedy = bot("bot-sweep", *GREEDY, "plan=true")
    assert "20 runs, 20 to train" in greedy.out
    assert "the later steps depend on what the first one measures" in greedy.err
    assert "then 10 runs with fresh seeds" in greedy.err
    halving = bot("bot-sweep", *HALVING, "plan=true")
    assert "10 runs, 10 to train" in halving.out
    assert "4 arms with 2 seeds, 2 arms with 4 seeds: 16 runs with those of baseline" in halving.err


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["design=greedy", "tricks=[mixup]"], "design=greedy: tests gains, and one seed has no spread: type seeds=3"),
        (["design=halving", "tricks=[mixup,ema]"], "design=halving: gives good arms more seeds: type seeds=8"),
        (["design=halving", "tricks=[mixup]", "seeds=4"], "the design 'halving' chooses among arms: list two or more"),
        (["design=stack", "tricks=[mixup]", "confirm=5"], "confirm= belongs to design=greedy or design=halving"),
        (["design=greedy", "tricks=[mixup]", "seeds=3", "eta=3"], "eta= belongs to design=halving: leave it out"),
        (["design=greedy", "tricks=[mixup]", "seeds=3", "confirm=-1"], "confirm=-1: "),
        (["design=greedy", "tricks=[mixup]", f"seeds=[0,{2**63 - 3}]"], "seeds="),
    ],
)
def test_what_cannot_be_selected_is_refused_before_anything_is_trained(bot, arguments, why):
    assert why in one_line(bot("bot-sweep", *arguments, *FAST))


def test_python_selects_as_the_command_does(bot, trained, monkeypatch):
    words = {"epochs": 1, "batch_size": 128, "model.depths": [1], "model.width": 4, "runtime.device": "cpu"}
    tricks = ["mixup", "cosine", "label_smoothing", "ema"]
    study = api.sweep(design="greedy", tricks=tricks, seeds=4, slots=0, **words)
    assert next(iter(study.arms["arm"])) == "cosine + ema, fresh seeds"
    assert len(api.sweep(design="greedy", tricks=tricks, seeds=4, plan=True, **words)) == 20
    assert shlex.split(study.results.study.command)[1] == "design=greedy"
