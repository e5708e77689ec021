"""A line whose run is finished is answered from the record alone, and only as long as the answer is the same."""

import json
import shutil
import subprocess
import sys

import pytest

from bagoftricks.cli import finished_lines, train

FAST = [
    "epochs=1",
    "batch_size=128",
    "model.depths=[1]",
    "model.width=4",
    "runtime.device=cpu",
    "runtime.progress=false",
]
SLOW = {"torch", "hydra", "omegaconf", "scipy", "pandas", "PIL", "rich"}


@pytest.fixture(autouse=True)
def own_cache(tmp_path, tmp_path_factory, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture
def launched(monkeypatch):
    """The lines that were composed by Hydra."""
    seen, launch = [], train.launch
    monkeypatch.setattr(train, "launch", lambda *given: (seen.append(given[-1]), launch(*given))[1])
    return seen


def test_the_same_line_again_is_answered_alike_without_torch_and_hydra(bot, tmp_path):
    line = ["+refine=[mixup,ema]", "store=my runs", "format=json", *FAST]
    first = bot("bot-train", *line)
    code = f"import sys; from bagoftricks.cli.train import main; assert main({line}) == 0\n"
    code += f"sys.exit(' '.join({SLOW} & set(sys.modules)) or 0)"
    again = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert (again.returncode, json.loads(again.stdout)) == (0, json.loads(first.out))
    whole = bot("bot-train", *line, "seed=0")  # the same run by another line
    assert again.stderr == whole.err
    assert "is finished" in whole.err


def test_the_table_is_the_same_with_the_measures_of_the_line(bot):
    line = [*FAST, "metric=time_to_accuracy", "target=0.01", "price_per_hour=3"]
    first, again = bot("bot-train", *line), bot("bot-train", *line)
    assert again.out == first.out
    assert "cost" in again.out


def test_what_may_have_changed_is_composed_again(bot, tmp_path, launched, monkeypatch):
    line = ["store=store", *FAST]
    bot("bot-train", *line)
    bot("bot-train", *line)
    assert len(launched) == 1
    (record,) = tmp_path.glob("store/*/record.json")
    text = record.read_text()

    (record.parent / "checkpoints").mkdir()  # of a process that was killed
    bot("bot-train", *line)
    assert len(launched) == 2
    assert not (record.parent / "checkpoints").exists()

    record.write_text("{")
    assert "is not a record" in bot("bot-train", *line).err
    record.write_text(text)

    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path / "other")  # where the store is another one
    assert finished_lines.find_line(line) is None
    monkeypatch.chdir(tmp_path)
    assert finished_lines.find_line(line) is not None

    shutil.rmtree(record.parent)
    assert "is finished" not in bot("bot-train", *line).err
    assert record.exists()


def test_a_line_of_other_code_or_a_damaged_one_is_not_known(bot, tmp_path, monkeypatch):
    line = ["store=store", *FAST]
    bot("bot-train", *line)
    assert finished_lines.find_line(line)
    (kept,) = (finished_lines.cache_folder() / "lines").iterdir()
    text = kept.read_text()
    for damaged in ("", "{", text.replace('"objective": "top1"', '"objective": "loss"'), "[]"):
        kept.write_text(damaged)
        assert finished_lines.find_line(line) is None
    kept.write_text(text)

    monkeypatch.setattr(finished_lines, "package_stamp", lambda: "of other code")
    assert finished_lines.find_line(line) is None


@pytest.mark.parametrize(
    "more",
    [
        ["rerun=true"],
        ["corruptions=small_c", "corruptions.limit=4"],
        ["plugins=[mine.py]"],
        ["--config-dir", "conf"],
        ["store=${oc.env:HOME}/never"],
    ],
)
def test_a_line_that_names_more_than_this_package_is_never_kept(more, bot, tmp_path, launched):
    (tmp_path / "mine.py").write_text(
        "from bagoftricks.plugins import logger, Logger\n@logger(name='mine')\nclass Mine(Logger):\n    'Mine.'\n"
    )
    (tmp_path / "conf").mkdir()
    if more[0].startswith("store"):
        assert finished_lines._place(more) is None
        return
    for number in (1, 2):
        assert bot("bot-train", *FAST, *more).status == 0
        assert len(launched) == number


def test_a_student_is_looked_up_with_its_teacher_each_time(bot, launched):
    record = json.loads(bot("bot-train", *FAST, "format=json").out)
    line = ["+refine=distill", f"tricks.distill.teacher=run:{record['id']}", *FAST]
    assert [bot("bot-train", *line).status for _ in range(2)] == [0, 0]
    assert len(launched) == 3


def test_a_line_of_another_machine_is_composed_again(bot, launched, monkeypatch):
    line = ["store=store", *FAST]
    bot("bot-train", *line)
    monkeypatch.setattr("platform.node", lambda: "another")
    bot("bot-train", *line)
    assert len(launched) == 2
