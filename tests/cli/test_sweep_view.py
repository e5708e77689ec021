"""A study's live view: the grid on a terminal, lines elsewhere."""

import io
from dataclasses import replace
from types import SimpleNamespace

import pytest
from rich.console import Console

from bagoftricks.cli import sweep_view
from bagoftricks.cli.study_grid import grid_text
from bagoftricks.cli.study_progress import CellState, StudyProgress
from bagoftricks.cli.sweep_view import StudyView
from bagoftricks.report.study_parts import SavedArm, SavedStudy
from bagoftricks.report.text_table import text_width
from bagoftricks.store.store import RunState, Store
from tests.store.test_store import record


def study(*labels, seeds=2, against="baseline"):
    """A study of these arms, all but the first compared with ``against``; run ids are like ``mixup-1``."""
    arms = [
        SavedArm(
            label=label,
            compare_to=against if at else None,
            runs={str(seed): f"{label}-{seed}" for seed in range(seeds)},
        )
        for at, label in enumerate(labels)
    ]
    return SavedStudy(name="s", command="bot-sweep", seeds=tuple(range(seeds)), arms=tuple(arms), whole={})


def started(saved, slots=1, seconds=None):
    """Progress of a study, whose time stands still."""
    return StudyProgress(saved, slots, seconds)


def done(progress, run_id, top1, seconds=0.0):
    progress.finish(run_id, CellState.DONE, record(id=run_id, metrics={"top1": top1}), seconds)
    progress.update_effects([run_id])


def shown(progress, width=80, height=24, *, blocks=True):
    """The lines of the grid below the headline."""
    text = grid_text(progress, width, height, blocks=blocks)
    assert max(map(text_width, text.split("\n"))) <= width
    return text.split("\n\n", 1)[1].split("\n")


def test_a_grid_has_a_word_for_each_run_and_the_effect_so_far():
    progress = started(study("baseline", "mixup", "sam"))
    for run_id, top1 in {"baseline-0": 70.0, "baseline-1": 71.0, "mixup-0": 72.0, "mixup-1": 74.0}.items():
        done(progress, run_id, top1)
    progress.start("sam-0")
    progress.progress("sam-0", 0.25, 30)
    progress.finish("sam-1", CellState.FAILED)
    assert shown(progress) == [
        "arm       seed 0      1  against baseline [95 %]",
        "--------  -------------  ---------------------------",
        "baseline   70.00  71.00",
        "mixup      72.00  74.00  +2.50 [-3.85, +8.85], n = 2",
        "sam         e7.5 failed",
    ]


@pytest.mark.parametrize(
    ("seeds", "row"), [(3, "mixup                    72.00"), (12, "mixup                █  72.00")]
)
def test_an_arm_with_a_seed_of_its_own_has_it_below_the_others_of_that_seed(seeds, row):
    saved = study("baseline", "mixup", seeds=seeds)
    first, second = saved.arms
    last = str(seeds - 1)
    progress = started(replace(saved, arms=(first, replace(second, runs={last: f"mixup-{last}"}))))
    done(progress, f"mixup-{last}", 72.0)
    assert row in shown(progress)


def test_one_seed_has_no_interval_and_says_so():
    progress = started(study("baseline", "mixup"))
    done(progress, "baseline-1", 70.0)
    done(progress, "mixup-1", 71.5)
    assert shown(progress)[-1].endswith("+1.50, n = 1")


def test_the_effect_of_an_arm_follows_when_the_arm_it_is_compared_with_gains_a_seed():
    progress = started(study("baseline", "mixup", "sam"))
    done(progress, "mixup-0", 71.0)
    assert progress.effects == {}
    done(progress, "baseline-0", 70.0)
    assert {label: effect.difference for label, effect in progress.effects.items()} == {"mixup": 1.0}


def test_a_row_above_is_named_in_no_heading():
    saved = study("a", "b", "c", against="a")
    arms = [*saved.arms[:2], SavedArm(label="c", compare_to="b", runs=saved.arms[2].runs)]
    saved = SavedStudy(**{**vars(saved), "arms": tuple(arms)})
    assert shown(started(saved))[0].endswith("difference [95 %]")


@pytest.mark.parametrize("width", [30, 50, 80, 120])
@pytest.mark.parametrize("seeds", [1, 3, 10, 100])
@pytest.mark.parametrize("blocks", [True, False])
def test_a_grid_fits_and_is_ascii_without_blocks(width, seeds, blocks):
    labels = ["baseline", *(f"+ trick{at} + label_smoothing(epsilon=0.1) + 写" for at in range(60))]
    progress = started(study(*labels, seeds=seeds))
    for seed in range(seeds):
        done(progress, f"baseline-{seed}", 70.0 + seed)
        done(progress, f"{labels[7]}-{seed}", 72.0 + seed % 3)
    progress.start(f"{labels[50]}-0")
    lines = shown(progress, width, 20, blocks=blocks)
    assert len(lines) <= 20
    assert blocks or all(line.replace("写", "").isascii() for line in lines)
    assert "trick49" in " ".join(lines)  # which runs
    assert " more: " in lines[-1] or " more: " in lines[-2]


def test_arms_that_run_or_changed_last_are_shown_and_the_others_counted():
    progress = started(study("baseline", *(f"arm{at}" for at in range(50)), seeds=1))
    for at in range(30):
        done(progress, f"arm{at}-0", 70.0)
    progress.start("arm40-0")
    lines = shown(progress, 80, 10)
    labels = [line.split()[0] for line in lines[2:-1]]
    assert labels == ["arm26", "arm27", "arm28", "arm29", "arm40"]
    assert lines[-1] == "... 46 more: 26 complete, 20 waiting"


def test_many_seeds_are_signs_and_more_are_numbers():
    progress = started(study("baseline", "mixup", seeds=10))
    done(progress, "baseline-0", 70.0)
    done(progress, "baseline-1", 72.0)
    progress.finish("baseline-2", CellState.FAILED)
    progress.start("baseline-3")
    progress.progress("baseline-3", 0.49, 3)
    progress.change("baseline-4", CellState.ELSEWHERE)
    lines = shown(progress)
    assert lines[2].split() == ["baseline", "██x4o.....", "71.00"]
    assert lines[-1] == "█ done, 0-9 tenths of a running one, x failed, o elsewhere, . waiting"
    many = started(study("baseline", seeds=100))
    done(many, "baseline-0", 70.0)
    many.start("baseline-3")
    assert shown(many)[2].split("  ")[1:] == ["1 of 100, 1 running", "70.00"]


def headline(progress):
    return grid_text(progress, 80, 24, blocks=True).split("\n")[0]


def test_the_time_that_is_left_counts_slots_and_shares(monkeypatch):
    now = [100.0]
    monkeypatch.setattr("bagoftricks.cli.study_progress.time.monotonic", lambda: now[0])
    progress = started(study("a", "b", "c", seeds=2), slots=2)
    assert progress.seconds_left() is None
    assert headline(progress) == "▁" * 16 + " 0 of 6 done after 0:00"
    progress.start("a-0")
    progress.progress("a-0", 0.5, 10)  # resumed half-way
    now[0] = 110.0
    progress.progress("a-0", 0.75, 10)
    assert progress.seconds_left() == 40 * 5.25 / 2  # a quarter in ten seconds
    done(progress, "a-0", 70.0, seconds=12.0)
    assert progress.seconds_left() == 12 * 5 / 2
    assert headline(progress) == "██" + "▁" * 14 + " 1 of 6 done after 0:10, about 30 s left"
    for run_id in ("a-1", "b-0", "b-1", "c-0"):
        done(progress, run_id, 70.0)
    assert progress.seconds_left() == 12  # one run keeps one slot busy
    progress.finish("c-1", CellState.FAILED)
    assert progress.seconds_left() is None
    assert headline(progress).endswith("5 of 6 done after 0:10, 1 failed")


def test_records_of_like_runs_tell_the_time_before_any_is_finished():
    assert started(study("a", seeds=4), slots=2, seconds=30.0).seconds_left() == 60.0


def planned(run_id, store, epochs=10):
    label, _, seed = run_id.rpartition("-")
    return SimpleNamespace(
        id=run_id, label=label, seed=int(seed), settings=SimpleNamespace(store=str(store), epochs=epochs)
    )


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path)


def test_a_line_has_the_time_and_the_accuracy_of_the_table_also_for_a_job_of_a_launcher(store, capsys):
    scores = {"last": {"top1": 70.0}, "ema": {"top1": 71.5}}
    store.write_record(record(id="ema-0", metrics=scores, cost={"wall_seconds": 12.0}))
    view = StudyView(study("ema", "sam"), store, 1).begin({})
    view.finished(planned("ema-0", store.root), RunState.DONE, 0.0)
    view.finished(planned("sam-1", store.root), RunState.FAILED, 3.0)
    first, second = capsys.readouterr().err.splitlines()
    assert first.endswith("[1/4] ema, seed 0: top-1 71.50 %, 12 s")
    assert second.endswith("[2/4] sam, seed 1: failed, 3 s")


def test_off_a_terminal_a_line_has_the_effect_of_an_arm_that_gains_a_seed(store, capsys):
    for run_id, top1 in {"baseline-0": 70.0, "mixup-0": 71.0, "baseline-1": 70.0, "mixup-1": 73.0}.items():
        store.write_record(record(id=run_id, metrics={"top1": top1}))
    view = StudyView(study("baseline", "mixup"), store, 1)
    with view.begin({"baseline-0": RunState.DONE, "mixup-0": RunState.MISSING}):
        for run_id in ("mixup-0", "baseline-1", "mixup-1"):
            view.started(planned(run_id, store.root))
            view.finished(planned(run_id, store.root), RunState.DONE, 1.0)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "4 runs: 1 finished before, 3 to train"
    assert [line for line in lines if "against" in line] == [
        "  so far, mixup against baseline: +1.00, n = 1",
        "  so far, mixup against baseline: +2.00 [-10.71, +14.71], n = 2",
    ]


def test_a_seed_of_the_arm_that_all_are_compared_with_is_not_a_line_for_each(store, capsys):
    labels = ["baseline", *(f"arm{at}" for at in range(9))]
    for label in labels:
        store.write_record(record(id=f"{label}-0"))
    view = StudyView(study(*labels), store, 1).begin({f"{label}-0": RunState.DONE for label in labels[1:]})
    view.finished(planned("baseline-0", store.root), RunState.DONE, 1.0)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 5
    assert lines[-1] == "  ... and 6 more arms against it"


def test_a_run_whose_process_was_killed_waits_again(store):
    view = StudyView(study("a"), store, 1).begin({"a-1": RunState.RUNNING, "a-0": RunState.FAILED})
    assert [cell.state for cell in view.study.runs.values()] == [CellState.FAILED, CellState.ELSEWHERE]
    view.started(planned("a-1", store.root))
    view.postponed(planned("a-1", store.root), elsewhere=False)
    assert view.study.runs["a-1"].state is CellState.WAITING
    view.postponed(planned("a-1", store.root), elsewhere=True)
    assert view.study.runs["a-1"].state is CellState.ELSEWHERE


@pytest.fixture
def terminal(monkeypatch):
    """What is written to a terminal of 80 columns, and nothing by the clock."""
    written = io.StringIO()
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(
        sweep_view,
        "plain_console",
        lambda: Console(file=written, force_terminal=True, width=80, height=24, highlight=False),
    )
    monkeypatch.setattr(sweep_view, "REFRESH", 1e-6)
    return written


def test_a_terminal_has_the_grid_and_no_lines_about_effects(store, terminal):
    for run_id in ("baseline-0", "mixup-0"):
        store.write_record(record(id=run_id, metrics={"top1": 70.0}))
    with StudyView(study("baseline", "mixup"), store, 1).begin({"baseline-0": RunState.DONE}) as view:
        view.started(planned("mixup-0", store.root))
        view.progress(planned("mixup-0", store.root), 3, 4, None)
        view.live.refresh()
        assert "baseline   70.00      ." in terminal.getvalue()
        assert "mixup       e7.5      ." in terminal.getvalue()
        view.finished(planned("mixup-0", store.root), RunState.DONE, 1.0)
    assert "mixup, seed 0: top-1 70.00 %, 1 s" in terminal.getvalue()
    assert "mixup against" not in terminal.getvalue()
    assert terminal.getvalue().endswith("\x1b[2K")  # the grid is gone


def test_nothing_is_drawn_where_nothing_is_left_to_train(store, terminal):
    states = {f"a-{seed}": RunState.DONE for seed in range(2)}
    with StudyView(study("a"), store, 1).begin(states) as view:
        assert view.live is None


def test_a_dumb_terminal_has_plain_lines(store, terminal, monkeypatch):
    monkeypatch.setenv("TERM", "dumb")
    with StudyView(study("a"), store, 1).begin({}) as view:
        assert view.live is None


def test_arms_of_a_factorial_are_compared_with_nothing_while_they_run():
    progress = started(replace(study("baseline", "mixup"), design="factorial"))
    for run_id in ("baseline-0", "mixup-0", "baseline-1", "mixup-1"):
        done(progress, run_id, 70.0)
    assert progress.effects == {}
