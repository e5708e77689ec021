"""bot-runs: what it lists, shows, compares, deletes and repeats."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from bagoftricks.cli import runs as cli_runs
from bagoftricks.cli.complete import candidates
from bagoftricks.cli.layout import has_blocks
from bagoftricks.report.runs import age_text
from bagoftricks.store.description import find_description
from bagoftricks.store.json_fields import sealed_text
from bagoftricks.store.store import Store
from tests.cli.test_commands import FAST, one_line
from tests.helpers import rewrite_record
from tests.store.test_record import CORRUPTED
from tests.store.test_store import record, robustness
from tests.store.test_survey import checkpointed, describe, failed, killed, lease, leftover, stopped

A, B, C, D, E = ("aa11" * 5, "bb22" * 5, "cc33" * 5, "dd44" * 5, "ee55" * 5)
HOSTILE = "\x1b[31mred\n=cmd|x"


def write(root, run_id, top1=50.0, **changes):
    Store(root).write_record(record(id=run_id, metrics={"top1": top1}, **changes))


@pytest.fixture
def store(tmp_path):
    """A store with a run in each state."""
    root = tmp_path / "results" / "runs"
    root.mkdir(parents=True)
    write(root, A, 71.25, tricks={"mixup": {"alpha": 0.4}}, environment={"date": "2026-01-01T00:00:00+00:00"})
    stopped(root / B)
    failed(root / C)
    lease(root / D, elsewhere=True)
    leftover(root / E)
    return root


# --- list ---


def test_every_run_is_listed_with_its_state(bot, store):
    rows = json.loads(bot("bot-runs", "format=json").out)
    assert {row["id"]: row["state"] for row in rows} == {
        A: "finished", B: "interrupted", C: "failed", D: "running", E: "leftover",
    }  # fmt: skip
    by_id = {row["id"]: row for row in rows}
    assert by_id[A]["top1"] == 71.25
    assert by_id[A]["changed"] == "2026-01-01T00:00:00+00:00"
    assert by_id[A]["label"] == "mixup(alpha=0.4)"
    assert by_id[B]["command"] == "bot-train"
    assert by_id[C]["why"] == "it broke"
    assert (by_id[D]["host"], by_id[D]["pid"]) == ("other", os.getpid())
    assert rows[-1]["id"] == A  # the oldest
    assert set(rows[0]) <= set(cli_runs_keys())


def cli_runs_keys():
    from bagoftricks.report.runs import ListedRun

    return ListedRun.__dataclass_fields__


def test_the_list_fits_a_terminal_and_counts_the_states(bot, store, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    shown = bot("bot-runs", "list").out
    assert "5 runs: 1 finished, 1 interrupted, 1 failed, 1 running, 1 leftover" in shown
    assert "aa11aa" in shown
    assert A not in shown


def test_a_list_is_filtered_sorted_and_cut(bot, store):
    def ids(*arguments):
        return [row["id"] for row in json.loads(bot("bot-runs", "list", "format=json", *arguments).out)]

    write(store, "f" * 20, 80.0)
    assert ids("state=failed") == [C]
    assert set(ids("state=failed,interrupted")) == {B, C}
    assert ids("sort=-top1")[:2] == ["f" * 20, A]
    assert ids("sort=top1", "limit=1") == [A]
    assert ids("where=top1>75 state=finished") == ["f" * 20]
    assert ids("state=damaged") == []
    assert "no run is like that" in bot("bot-runs", "state=damaged").out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["lst"], "'lst' is no word of bot-runs; did you mean 'list'?"),
        (["aa11"], "to see a run, type bot-runs show aa11"),
        (["state=fail"], "did you mean 'failed'?"),
        (["sort=tpo1"], "did you mean 'top1'?"),
        (["limit=0"], "limit=0: must be a whole number, 1 or more"),
        (["show"], "show takes one id: type bot-runs show 3f2a"),
        (["list", "aa"], "list takes no id"),
        (["delete"], "delete takes one id or more: type bot-runs delete 3f2a"),
        (["diff", "aa"], "diff takes two ids"),
        (["diff", "aa", "aa1"], f"both name run {A}"),
        (["show", "zz"], "has no run of this id; there are"),
        (["show", "aa", "limit=3"], "limit=3: belongs to list: leave it out"),
        (["show", "aa", "yes=true"], "yes=true: belongs to delete and prune"),
        (["stroe=x"], "'stroe=x' is not a setting; did you mean 'store'?"),
        (["store=nowhere"], "store=nowhere: no such folder"),
        (["format=latex"], "format=latex: must be one of text, markdown, csv, html, json"),
        (["prune", "state=finished"], "type bot-runs delete ID"),
        (["repeat", "bb"], f"run {B} is interrupted: only a finished run can be repeated"),
        (["repeat", "aa", "lr=3"], "'lr=3' is not a setting"),
        (["delete", "dd", "yes=true"], " on other: stop it"),
    ],
)
def test_a_mistake_is_one_line_with_what_to_type(bot, store, arguments, message):
    assert message in one_line(bot("bot-runs", *arguments))


def test_an_empty_store_names_the_command_that_fills_it(bot, tmp_path):
    (tmp_path / "empty").mkdir()
    assert "holds no run yet; bot-train makes one" in one_line(bot("bot-runs", "store=empty"))
    assert json.loads(bot("bot-runs", "store=empty", "format=json").out) == []


def test_a_run_that_a_sweep_could_not_start_is_named_by_its_study(bot, store):
    study = {"arms": [{"label": "+ sk", "runs": {"0": C}}], "commands": {C: "bot-train +tweak=sk"}}
    (store / "studies").mkdir()
    (store / "studies" / "stack.json").write_text(sealed_text(study))
    (row,) = json.loads(bot("bot-runs", "state=failed", "format=json").out)
    assert (row["label"], row["command"]) == ("+ sk (study stack)", "bot-train +tweak=sk")
    assert "again  bot-train +tweak=sk" in bot("bot-runs", "show", "cc").out


@pytest.mark.parametrize("style", ["text", "markdown"])
def test_hostile_text_is_escaped_wherever_it_is_shown(bot, store, style):
    describe(store / B, command=HOSTILE, data=HOSTILE, model={"name": HOSTILE})
    Store(store).mark_failed(C, HOSTILE, f'File "{HOSTILE}", line 3, in f')
    (store / C / "log.txt").write_text(HOSTILE)
    for arguments in (["list"], ["show", "bb"], ["show", "cc"], ["diff", "bb", "aa"], ["prune", "state=failed"]):
        done = bot("bot-runs", *arguments, f"format={style}", *["plan=true"] * (arguments[0] == "prune"))
        assert done.status == 0
        assert "\x1b" not in done.out + done.err
        assert "\n=cmd" not in done.out
    describe(store / B, model={"name": "=cmd|x"})
    assert ",'=cmd|x," in bot("bot-runs", "format=csv").out


def test_listing_loads_neither_torch_nor_hydra(store, tmp_path):
    code = (
        "import sys; from bagoftricks.cli.runs import main; "
        "[main(a.split()) for a in ('list', 'show aa', 'show bb', 'diff aa bb', 'delete bb yes=true', 'prune')]; "
        "assert not {'torch', 'hydra', 'pandas', 'scipy'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, check=True)


# --- show and diff ---


def test_an_unfinished_run_shows_its_progress_and_how_to_resume(bot, store):
    checkpointed(store / B)
    (store / B / "metrics.csv").write_text("epoch,weights,top1\n1,last,10\n1,ema,90\n2,last,30.5\n")
    shown = bot("bot-runs", "show", "bb").out
    for text in ("interrupted", "progress  step 4", "resume    bot-train", "10.00 to 30.50", "000000004.safetensors"):
        assert text in shown


def test_a_failed_run_shows_the_error_its_place_and_the_end_of_its_log(bot, store):
    trace = 'Traceback\n  File "/a.py", line 3, in f\n  File "/b.py", line 7, in g\nValueError: it broke'
    Store(store).mark_failed(C, "it broke", trace)
    (store / C / "log.txt").write_text("\n".join(f"line {at}" for at in range(20)))
    page = json.loads(bot("bot-runs", "show", "cc", "format=json").out)
    lines = [f"line {at}" for at in range(15, 20)]
    assert page["failure"] == {"error": "it broke", "where": "/b.py:7 in g", "log": lines}


def test_a_finished_run_shows_what_differs_from_the_default(bot, train_once, tmp_path):
    made = train_once(*FAST, "+refine=mixup", "lr=0.07", "data.pad=2")
    page = json.loads(bot("bot-runs", "show", "last", "format=json").out)
    assert page["settings"]["lr"] == 0.07
    assert page["settings"]["data.pad"] == 2
    assert not {"data.mean", "data.flip", "model.block", "weight_decay", "format"} & set(page["settings"])
    assert page["run"]["command"] == made["command"]
    names = {"correct.safetensors", "metrics.csv", "record.json", "weights.safetensors"}
    assert {file["name"] for file in page["files"]} == names
    assert page["results"]["last"]["top1"] == made["metrics"]["last"]["top1"]
    assert "data.pad" in bot("bot-runs", "show", "last").out


def test_two_runs_differ_in_settings_results_costs_and_versions(bot, store):
    changes = {"config": {"lr": 0.2}, "cost": {"train_seconds": 4.0}, "environment": {"torch": "9", "date": None}}
    write(store, "f" * 20, 73.0, **changes)
    found = json.loads(bot("bot-runs", "diff", "aa", "ff", "format=json").out)
    settings = {each["key"]: (each.get("a"), each.get("b")) for each in found["settings"]}
    assert settings == {"tricks.mixup": (True, None), "lr": (0.1, 0.2)}
    assert found["results"] == [{"key": "last.top1", "a": 71.25, "b": 73.0, "change": 1.75}]
    assert found["cost"] == [{"key": "train_seconds", "a": 1.0, "b": 4.0, "change": 4.0}]
    assert [each["key"] for each in found["environment"]] == ["torch"]
    shown = bot("bot-runs", "diff", "aa", "ff").out
    assert "+1.75" in shown
    assert "tricks.mixup  on" in shown


def test_a_hyper_parameter_alone_is_a_difference(bot, store):
    write(store, "f" * 20, 71.25, tricks={"mixup": {"alpha": 0.2}})
    shown = bot("bot-runs", "diff", "aa", "ff").out
    assert "tricks.mixup.alpha  0.4       0.2" in shown
    assert "results: nothing differs" in shown


def test_two_equal_runs_say_so(bot, store):
    write(store, "f" * 20, 71.25, tricks={"mixup": {"alpha": 0.4}})
    assert bot("bot-runs", "diff", "aa", "ff").out == f"{A} and {'f' * 20}: nothing differs\n"


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0 s"), (119, "119 s"), (120, "2 min"), (7200, "2 hours"), (172_800, "2 days")]
)
def test_an_age_is_in_the_largest_unit(seconds, text):
    assert age_text(seconds) == text


# --- delete and prune ---


class Terminal(io.StringIO):
    """Standard input of a person who types a line."""

    def isatty(self):
        return True


def test_delete_names_what_depends_on_a_run_and_asks(bot, store, monkeypatch):
    teacher = {"source": "run:aa", "digest": "d", "run": A}
    over = robustness(CORRUPTED, normaliser=f"run {A[:8]}")
    write(store, "f" * 20, data={"teacher": teacher}, robustness={"small_c": over})
    write(store, "f0" * 10, config={"model": {"weights": f"results/runs/{A}/weights.safetensors"}})
    (store / "studies").mkdir()
    study = {"arms": [{"label": "mixup", "runs": {"0": A}}], "commands": {}}
    (store / "studies" / "page--table.json").write_text(sealed_text(study))
    monkeypatch.setattr("sys.stdin", Terminal("n\n"))
    done = bot("bot-runs", "delete", "aa")
    for text in (
        f"needed: run {'f' * 20} was distilled from it",
        f"needed: run {'f' * 20} has an error on corrupted images that is normalised by it",
        f"needed: run {'f0' * 10} started from its weights",
        "needed: study page/table has it as an arm: mixup",
        "delete 1 run, 1 files",
        "nothing was removed",
    ):
        assert text in done.err
    assert (store / A).exists()
    monkeypatch.setattr("sys.stdin", Terminal("y\n"))
    assert f"deleted {A}" in bot("bot-runs", "delete", "aa").err
    assert not (store / A).exists()


def test_delete_without_a_terminal_needs_yes(bot, store, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    assert "nobody can be asked here: type yes=true" in bot("bot-runs", "delete", "aa").err
    assert bot("bot-runs", "delete", "aa", "bb", "plan=true").status == 0
    assert (store / A).exists()
    assert bot("bot-runs", "delete", "aa", "bb", "yes=true").status == 0
    assert sorted(path.name for path in store.iterdir()) == [C, D, E]


def test_a_run_in_use_among_others_stops_the_whole_delete(bot, store):
    assert bot("bot-runs", "delete", "aa", "dd", "yes=true").status == 2
    assert (store / A).exists()


def test_a_link_in_a_run_stops_its_delete(bot, store, tmp_path):
    (tmp_path / "photos").mkdir()
    (store / A / "photos").symlink_to(tmp_path / "photos")
    assert "is a link" in one_line(bot("bot-runs", "delete", "aa", "yes=true"))
    assert (tmp_path / "photos").exists()


def test_prune_removes_litter_and_failed_runs_by_wish(bot, store, monkeypatch):
    assert "nothing to remove" in bot("bot-runs", "prune").out  # all of it is new
    monkeypatch.setattr("bagoftricks.store.removal.QUIET_SECONDS", 0.0)
    (found,) = json.loads(bot("bot-runs", "prune", "plan=true", "format=json").out)
    assert (found["what"], found["run"], found["files"]) == ("leftover", E, 3)
    assert bot("bot-runs", "prune", "state=failed", "yes=true").status == 0
    assert sorted(path.name for path in store.iterdir()) == [A, B, D]


# --- repeat, and the description of a run ---


def test_a_repetition_on_the_same_machine_is_identical(bot, train_once, tmp_path):
    made = train_once(*FAST, "+refine=mixup", "lr=0.07", "data.pad=2")
    before = sorted(tmp_path.rglob("*"))
    done = bot("bot-runs", "repeat", "last")
    assert done.out == f"identical: the weights are those of run {made['id']}, bit for bit\n"
    assert done.status == 0
    assert sorted(tmp_path.rglob("*")) == before


def test_another_result_is_told_with_what_differs(bot, train_once, tmp_path):
    made = train_once(*FAST, "+refine=mixup", "lr=0.07", "data.pad=2")
    folder = tmp_path / "results" / "runs" / made["id"]
    (folder / "weights.safetensors").write_bytes(b"others")

    def change(values):
        values["metrics"]["last"]["top1"] -= 1.0
        values["environment"]["torch"] = "1.0"

    rewrite_record(folder, change)
    done = bot("bot-runs", "repeat", "last", "into=again", "runtime.workers=0")
    assert done.status == 1
    assert "not identical: top1 [last] +1" in done.out
    assert "torch 1.0 there" in done.out
    assert (tmp_path / "again" / made["id"] / "record.json").exists()
    assert f"into={folder.parent}: is the store of the run itself" in bot(
        "bot-runs", "repeat", "last", f"into={folder.parent}"
    ).err  # fmt: skip


def test_a_killed_run_can_be_resumed_by_the_command_that_is_shown(tmp_path):
    killed(tmp_path / A)
    assert find_description(tmp_path / A).command == "bot-train"


def test_a_run_is_described_while_it_is_trained(tmp_path, monkeypatch, bot):
    seen = []

    def look(self, micro_batch):
        seen.append(find_description(self.store.folder(self.id)))
        raise KeyboardInterrupt

    monkeypatch.setattr("bagoftricks.run.execute.Run.attempt", look)
    assert bot("bot-train", *FAST, "seed=4", "+refine=mixup").status == 75
    (about,) = seen
    assert about.command.startswith("bot-train epochs=1 ")
    assert "seed=4" in about.command
    assert (about.seed, about.data, list(about.tricks)) == (4, "digits", ["mixup"])
    (row,) = json.loads(bot("bot-runs", "format=json").out)
    assert (row["state"], row["label"], row["command"]) == ("interrupted", "mixup", about.command)


def test_words_ids_and_settings_are_completed(store, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert candidates("bot-runs", ["sh"]) == ["show"]
    assert candidates("bot-runs", ["show", "b"]) == [B]
    assert candidates("bot-runs", ["diff", A, "c"]) == [C]
    assert candidates("bot-runs", ["repeat", "b"]) == []
    assert candidates("bot-runs", ["repeat", "a"]) == [A]
    assert candidates("bot-runs", ["sta"]) == ["state="]
    assert candidates("bot-runs", ["state=failed,in"]) == ["state=failed,interrupted"]


def test_a_shell_without_blocks_gets_ascii():
    assert [has_blocks(encoding) for encoding in ("latin-1", "utf-8", None, "none")] == [False, True, False, False]


def test_the_page_names_the_words():
    from bagoftricks.cli.help import information

    assert "prune   remove litter" in information("bot-runs", ["--help"])
    assert "bot-runs repeat" in information("bot-runs", ["--help", "repeat"])
    assert Path(cli_runs.__file__).name == "runs.py"
