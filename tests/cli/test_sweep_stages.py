"""Rows that other rows of their study learn or start from: they are trained first."""

import json

import pytest
import torch
from safetensors.torch import load_file

from tests.cli.test_commands import FAST, one_line

HEAD = "title: Mine\nsource: me\ncolumns: [top1]\nscales: {laptop: [preset=digits]}\nrows:\n"
STUDENT = '  - {label: "S: taught", tricks: {distill: {teacher: "row:T", temperature: 2.0}}}\n'
TEACHER = '  - {label: "T: teacher", tricks: {ema: {}}}\n'
SWEEP = ["experiment=mine.yaml", "slots=0", *FAST]


@pytest.fixture
def mine(tmp_path):
    return lambda *rows: (tmp_path / "mine.yaml").write_text(HEAD + "".join(rows), encoding="utf-8")


def taught(tmp_path):
    """Teachers of the students' records, by seed, and the ids of the teacher's runs."""
    records = [json.loads(path.read_text()) for path in tmp_path.glob("results/runs/*/record.json")]
    found = {r["seed"]: r["data"]["teacher"] for r in records if "distill" in r["tricks"]}
    return found, {r["seed"]: r["id"] for r in records if "ema" in r["tricks"]}


def test_all_seeds_of_a_student_learn_from_the_first_run_of_its_teacher(bot, mine, tmp_path):
    mine(STUDENT, TEACHER)
    planned = bot("bot-sweep", *SWEEP, "seeds=[3,1]", "plan=true")
    assert planned.out.count("waits for T: teacher") == 2
    assert "4 runs, 4 to train" in planned.out
    assert "runs that wait for the weights of 'T: teacher', trained first: 2" in planned.out
    done = bot("bot-sweep", *SWEEP, "seeds=[3,1]")
    assert done.status == 0
    assert "1 of 2 arms wait for the weights of 'T: teacher', trained first" in done.err
    students, teachers = taught(tmp_path)
    assert {seed: teacher["run"] for seed, teacher in students.items()} == dict.fromkeys([3, 1], teachers[3])
    assert {teacher["source"] for teacher in students.values()} == {f"run:{teachers[3]}"}
    again = bot("bot-sweep", *SWEEP, "seeds=[3,1]")
    assert "4 runs: 4 finished before, 0 to train" in again.err
    assert again.out == done.out


def test_a_row_is_typed_as_teacher_with_the_weights_to_take(bot, mine, tmp_path):
    mine(STUDENT.replace('teacher: "row:T", ', ""), TEACHER)
    assert bot("bot-sweep", *SWEEP, "tricks.distill.teacher=row:2@ema").status == 0
    students, teachers = taught(tmp_path)
    assert students[0]["source"] == f"run:{teachers[0]}@ema"


def test_a_row_starts_from_the_weights_of_another(bot, mine, tmp_path):
    start = '  - {label: "F: on", tricks: {}, settings: {laptop: ["model.weights=row:T@ema", "lr=1e-30"]}}\n'
    mine(start, TEACHER)
    planned = bot("bot-sweep", *SWEEP, "plan=true")
    assert planned.out.count("waits for T: teacher") == 1
    done = bot("bot-sweep", *SWEEP)
    assert done.status == 0, done.err
    records = [json.loads(path.read_text()) for path in tmp_path.glob("results/runs/*/record.json")]
    of = {"ema" if record["tricks"] else "on": record for record in records}
    given, taken = (tmp_path / f"results/runs/{of[name]['id']}" for name in ("ema", "on"))
    theirs, ours = load_file(given / "ema.weights.safetensors"), load_file(taken / "weights.safetensors")
    assert all(torch.equal(theirs[name], tensor) for name, tensor in ours.items() if name.endswith("conv.weight"))
    assert "2 runs: 2 finished before" in bot("bot-sweep", *SWEEP).err


def test_a_teacher_that_fails_costs_its_students_alone(bot, mine, tmp_path):
    bad = TEACHER.replace("{ema: {}}", "{ema: {}}, settings: {laptop: [lr=1e30]}")
    mine(STUDENT, bad, "  - {label: other, tricks: {cosine: {}}, compare: none}\n")
    done = bot("bot-sweep", *SWEEP)
    assert done.status == 1
    assert "arm 'S: taught' is not trained: the first run of 'T: teacher', whose weights it needs, failed" in done.err
    rows = json.loads(bot("bot-table", "study=mine.yaml-laptop", "format=json").out)["rows"]
    assert [(row["label"], row["n"], row["missing"]) for row in rows] == [
        ("S: taught", 0, "not run"),
        ("T: teacher", 0, "1 diverged"),
        ("other", 1, ""),
    ]


def test_commands_leave_out_runs_that_wait(bot, mine):
    mine(STUDENT, TEACHER)
    done = bot("bot-sweep", *SWEEP, "format=commands")
    assert done.out.count("bot-train") == 1
    assert "runs that wait for the weights of 'T: teacher', trained first: 1; then type this again" in done.err


def test_a_study_of_looks_trains_its_teachers_before_the_first(bot, mine, tmp_path):
    mine(STUDENT, TEACHER)
    done = bot("bot-sweep", *SWEEP, "seeds=2..3", "resolve=50")
    assert done.status == 0, done.err
    assert done.err.index("1 runs: 0 finished before, 1 to train") < done.err.index("4 runs: 1 finished before")
    students, teachers = taught(tmp_path)
    assert {teacher["run"] for teacher in students.values()} == {teachers[0]}
    study = json.loads(bot("bot-table", "study=mine.yaml-laptop", "format=json").out)["study"]
    assert min(study["looks"]) == 2


@pytest.mark.parametrize(
    ("rows", "why"),
    [
        (
            (STUDENT.replace("row:T", "row:X"), TEACHER),
            "tricks.distill.teacher=row:X: there is no such row (1 S: taught;",
        ),
        ((STUDENT.replace("row:T", "row:S"), TEACHER), "rows need each other's weights ('S: taught' <- 'S: taught')"),
        (
            (STUDENT, STUDENT.replace("row:T", "row:S").replace("S: taught", "T: too")),
            "rows need each other's weights ('S: taught' <- 'T: too' <- 'S: taught')",
        ),
    ],
)
def test_rows_that_cannot_teach_are_refused_in_a_line(bot, mine, rows, why):
    mine(*rows)
    assert why in one_line(bot("bot-sweep", *SWEEP, "plan=true"))


def test_a_teacher_without_a_run_is_named(bot, mine):
    mine(STUDENT, TEACHER.replace("ema: {}", "stardust: {}"))
    done = bot("bot-sweep", *SWEEP)
    assert (done.status, "'S: taught' cannot run: its teacher is 'T: teacher', which has no run" in done.err) == (
        2,
        True,
    )


def test_rows_are_for_studies_whose_arms_are_known(bot):
    alone = bot("bot-train", "+refine=distill", "tricks.distill.teacher=row:T", *FAST)
    assert "names a row of a study, and only bot-sweep has rows" in one_line(alone)
    selecting = ["design=halving", "tricks=[distill,cosine]", "seeds=2", "tricks.distill.teacher=row:baseline", *FAST]
    assert "a teacher is no row of it" in bot("bot-sweep", *selecting).err
