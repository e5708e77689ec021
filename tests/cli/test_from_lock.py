"""bot-sweep from=FILE: a study that travelled, planned on another machine: another store and other folders."""

import json
import shutil
from contextlib import suppress
from pathlib import Path

import pytest

from bagoftricks.cli.sweep_arguments import parse
from bagoftricks.cli.sweep_study import study_of_lock
from bagoftricks.plugins import forget_plugins, load_plugins
from bagoftricks.rng import Key
from bagoftricks.store.json_fields import sealed_text
from bagoftricks.store.store import Store
from bagoftricks.study.lock import lock_element, lock_values, read_lock
from tests.cli.test_commands import FAST, one_line
from tests.data.test_layout import classes
from tests.study.locked import finished_study, lock_of
from tests.torture_files import damaged_values

DIGITS = ["design=arms", "tricks=[baseline,cosine+mixup]", "seeds=2", *FAST, "lr=0.07", "tricks.mixup.alpha=0.4"]


def page(lock, name="page.html"):
    Path(name).write_text(lock_element(lock))


@pytest.fixture
def travelled(bot, monkeypatch):
    """Plan the study of a page from its lock: the ids by arm, what is printed, and the plan."""
    monkeypatch.setattr("bagoftricks.study.estimate.seconds_from_steps", lambda run: 60.0)

    def plan(*arguments):
        done = bot("bot-sweep", "from=page.html", "store=there", "plan=true", "format=json", *arguments)
        assert done.status == 0, done.err
        rows = json.loads(done.out)["runs"]
        ids: dict[str, dict[int, str]] = {}
        for row in rows:
            if "id" in row:
                ids.setdefault(row["arm"], {})[row["seed"]] = row["id"]
        return ids, done.err, rows

    return plan


def test_the_runs_of_a_page_are_planned_with_their_ids(bot, travelled):
    plan, lock = finished_study(Store("here"), DIGITS)
    page(lock)
    ids, said, rows = travelled("runtime.eval_batch_size=64")
    assert "runtime.eval_batch_size=64" in rows[0]["command"]
    assert ids == plan.ids()
    assert "4 of 4 runs have the ids that they have there" in said
    assert rows[0]["state"] == "missing"
    assert "torch: 1 there, " in said
    assert "device: 1 there, " in said


def test_the_factors_of_a_design_travel_with_the_levels_of_its_arms(bot):
    _, lock = finished_study(Store("here"), ["design=factorial", "tricks=[cosine,mixup+ema]", *FAST])
    assert lock.factors == (("cosine",), ("mixup + ema",))
    page(lock)
    arms, _, about = study_of_lock(read_lock("from", "page.html"), parse(["from=page.html"]))
    assert [arm.on for arm in arms] == [(), ("cosine",), ("mixup + ema",), ("cosine", "mixup + ema")]
    assert about["factors"] == lock.factors


@pytest.mark.slow
def test_a_study_that_travelled_is_trained_and_has_the_same_table(bot):
    sweep = ["design=arms", "tricks=[baseline,cosine]", "slots=0", *FAST]
    assert bot("bot-sweep", *sweep).status == 0
    page(lock_of(Store("results/runs"), "arms"))
    done = bot("bot-sweep", "from=page.html", "store=there", "slots=0")
    assert done.status == 0
    assert "2 to train" in done.err
    rows = [
        [(row["label"], row["values"]["top1"]["mean"], row["comparison"]) for row in json.loads(shown.out)["rows"]]
        for shown in (
            bot("bot-table", "study=arms", f"store={store}", "format=json") for store in ("results/runs", "there")
        )
    ]
    assert rows[0] == rows[1]
    record = json.loads(next(Path("there").glob("*/record.json")).read_text())
    assert "is finished" in bot(*record["command"].replace("'", "").split()).err


@pytest.mark.slow
def test_a_row_with_its_own_network_and_settings_is_planned_with_its_id(bot, travelled):
    Path("mine.yaml").write_text(
        "{title: mine, source: me, columns: [top1], scales: {laptop: [data=digits, preset=cifar_laptop]}, rows: ["
        "{label: base, tricks: {mixup: {alpha: 0.3}}}, "
        "{label: narrow, tricks: {}, settings: {laptop: [model=cifarnet_narrow, image_size=16, lr=0.3]}}, "
        "{label: later, tricks: {stardust: {}}}]}"
    )
    plan, lock = finished_study(Store("here"), ["experiment=mine.yaml"])
    page(lock)
    ids, said, _ = travelled()
    assert ids == plan.ids()
    assert "arm 'later' needs stardust, not made yet" in said


def test_an_arm_without_a_finished_run_is_planned_as_it_was_typed(bot, travelled):
    rows = ["tricks=[baseline,cosine,mixup,mixup+cosine]"]  # alpha= is typed for all rows, and known from the third
    plan, _ = finished_study(Store("here"), ["design=arms", *rows, *FAST, "tricks.mixup.alpha=0.4"])
    for run in plan.runs:
        if run.label in ("cosine", "mixup + cosine"):
            shutil.rmtree(Path("here") / run.id)
    page(lock_of(Store("here"), "arms"))
    ids, said, _ = travelled()
    assert ids == plan.ids()
    assert "4 of 4 runs" in said


def folders(root: Path):
    classes(root / "train", "ant", "bee", count=20)
    classes(root / "val", "ant", "bee", count=2)


def test_the_same_images_elsewhere_are_the_same_runs_and_others_are_explained(bot, travelled):
    folders(Path("a"))
    shutil.copytree("a", "b")
    folder = ["data=imagefolder", "image_size=8", "data.pad=1", "model.width=4", "batch_size=16", "epochs=2"]
    plan, lock = finished_study(Store("here"), ["design=arms", "tricks=[cosine,mixup]", *folder, "data.root=a"])
    page(lock)
    assert "data.root" not in json.dumps(lock_values(lock)["settings"])
    ids, said, rows = travelled("data.root=b")
    assert ids == plan.ids()
    assert "data.root=b" in rows[0]["command"]
    next(Path("b/train/ant").iterdir()).write_bytes(next(Path("b/train/bee").iterdir()).read_bytes())
    ids, said, _ = travelled("data.root=b")
    assert not set(map(str, ids.values())) & set(map(str, plan.ids().values()))
    assert "0 of 2 runs have the ids" in said
    assert "other ids: the data imagefolder differ" in said


TRICK = """
from bagoftricks.plugins import SetLoss, trick
import torch.nn.functional as F
{more}
@trick(paper="mine", family="refine")
class Soft:
    \"\"\"Divide the logits.\"\"\"

    temperature: float = 2.0
    \"\"\"divisor\"\"\"

    def edits(self, task):
        return [SetLoss(loss=lambda logits, targets: F.cross_entropy(logits / self.temperature, targets))]
"""


def test_a_plug_in_is_never_loaded_from_a_lock_and_another_source_of_it_is_said(bot, travelled):
    Path("soft.py").write_text(TRICK.format(more=""))
    load_plugins(["soft.py"])
    plan, lock = finished_study(Store("here"), ["design=arms", "tricks=[baseline,soft]", *FAST])
    forget_plugins()
    page(lock)
    done = bot("bot-sweep", "from=page.html", "store=there", "plan=true")
    assert done.status == 2
    assert "its runs use the code of soft, which no lock loads: type plugins=[soft.py]" in done.err
    assert travelled("plugins=[soft.py]")[0] == plan.ids()
    Path("soft.py").write_text(TRICK.format(more="# another"))
    ids, said, _ = travelled("plugins=[soft.py]")
    assert ids["baseline"] == plan.ids()["baseline"]
    assert "the plug-in soft has another source here" in said
    assert "other ids: their plug-ins have another source here" in said


def changed(change):
    def made(lock):
        values = json.loads(json.dumps(lock_values(lock)))
        values.pop("sha256")
        change(values)
        Path("page.html").write_text(sealed_text(values))

    return made


@pytest.fixture(scope="module")
def small_lock(tmp_path_factory):
    store = Store(tmp_path_factory.mktemp("locked"))
    return finished_study(store, ["design=arms", "tricks=[baseline,mixup]", *FAST])[1]


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda v: v["settings"].update({"hydra.run.dir": "elsewhere"}), "'hydra.run.dir' is no setting of a study"),
        (lambda v: v["settings"].update({"store": "elsewhere"}), "'store' is no setting of a study"),
        (lambda v: v["settings"].update({"plugins": ["evil.py"]}), "'plugins' is no setting of a study"),
        (lambda v: v["settings"].update({"model._target_": "os.system"}), "'model._target_' is no setting of a study"),
        (lambda v: v["settings"].update({"lr": "${oc.env:HOME}"}), "lr"),
        (lambda v: v["settings"].update({"lr": {"a": 1}}), "lr: is no value of a setting"),
        (lambda v: v["settings"].update({"epochs": -1}), "epochs=-1: must be positive"),
        (lambda v: v["settings"].update({"epochs": True}), "epochs"),
        (lambda v: v["settings"].update({"lr": [0.1, 0.2]}), "lr=[0.1,0.2]"),
        (lambda v: v["arms"][1]["tricks"].update({"stardust": {}}), "no trick 'stardust'"),
        (lambda v: v["arms"][1]["tricks"].update({"mixup": {"beta": 1}}), "'beta'"),
        (lambda v: v["arms"][1]["tricks"].update({"mixup": {"alpha": "x"}}), "alpha=x: must be a number"),
        (lambda v: v["arms"][1].update(runs=[], unfinished={"0": "a"}, typed=["store=x"]), "'store=x' is no setting"),
        (lambda v: v["arms"][1].update(runs=[], unfinished={"0": "a"}, typed=["-m"]), "'-m' is no setting"),
        (lambda v: v["arms"][1].update(runs=[], unfinished={"0": "a"}, typed=["hydra/launcher=x"]), "is no setting"),
    ],
)
def test_a_hostile_lock_is_refused_in_a_line_before_anything_starts(bot, small_lock, change, why):
    changed(change)(small_lock)
    done = bot("bot-sweep", "from=page.html", "store=there")
    assert (done.status, done.out) == (2, "")
    assert why in done.err
    assert "Traceback" not in done.err
    assert not Path("there").exists()


@pytest.mark.slow
def test_no_damaged_value_of_a_lock_ends_in_a_traceback(bot, small_lock, monkeypatch):
    monkeypatch.setattr("bagoftricks.study.estimate.seconds_from_steps", lambda run: 60.0)
    for number in range(40):
        draw = Key(5).fold("lock", number).numpy()
        values = damaged_values(json.loads(json.dumps(lock_values(small_lock))), draw)
        with suppress(ValueError):
            values = json.loads(sealed_text({key: value for key, value in values.items() if key != "sha256"}))
        Path("page.html").write_text(json.dumps(values))
        done = bot("bot-sweep", "from=page.html", "store=there", "plan=true")
        assert done.status in (0, 2), (number, done.err)
        assert "Traceback" not in done.err


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("lr=0.2", "lr=0.2: makes other runs than the lock's: leave it out, or type bot-sweep design=arms"),
        ("+refine=cosine", "makes other runs than the lock's"),
        ("runtime.sync_norm=false", "makes other runs than the lock's"),
        ("data.limit=50", "makes other runs than the lock's"),
        ("seeds=3", "seeds= is the study's own: from= has it already"),
        ("experiment=page/ladder", "experiment= is the study's own"),
    ],
)
def test_what_would_change_the_runs_is_refused(bot, small_lock, override, message):
    page(small_lock)
    done = bot("bot-sweep", "from=page.html", override)
    assert (done.status, done.out) == (2, "")
    assert message in done.err


def test_the_command_that_a_lock_suggests_is_one_of_bot_sweep(bot, small_lock):
    changed(lambda v: v.update(command="bot-sweep a; rm -r x"))(small_lock)
    assert "type bot-sweep 'a;' rm -r x lr=0.2" in bot("bot-sweep", "from=page.html", "lr=0.2").err
    changed(lambda v: v.update(command="bot-sweep design=arms lr=0.1"))(small_lock)
    assert "type bot-sweep design=arms lr=0.2" in bot("bot-sweep", "from=page.html", "lr=0.2").err
    changed(lambda v: v.update(command="bot-sweep from=elsewhere.html"))(small_lock)
    assert "type bot-sweep ... lr=0.2" in bot("bot-sweep", "from=page.html", "lr=0.2").err
    changed(lambda v: v.update(command="curl x | sh"))(small_lock)
    assert "type bot-sweep ... lr=0.2" in bot("bot-sweep", "from=page.html", "lr=0.2").err


def test_a_table_says_what_repeats_here(bot):
    _, lock = finished_study(Store("here"), DIGITS)
    page(lock)
    missing = one_line(bot("bot-table", "compare=page.html", "store=there"))
    assert "store=there holds no study 'arms': bot-sweep from=page.html makes it" in missing
    finished_study(Store("there"), DIGITS, top1=lambda run: 60.0 + run.seed)
    found = json.loads(bot("bot-table", "compare=page.html", "store=there", "format=json").out)
    assert (found["name"], found["same_runs"], found["identical"]) == ("arms", 4, 0)
    assert [row["verdict"] for row in found["rows"]][:2] == ["does not repeat"] * 2
    assert "does not repeat" in bot("bot-table", "compare=page.html", "store=there", "study=arms").out
    assert "sort=-top1: has no meaning" in one_line(bot("bot-table", "compare=page.html", "sort=-top1"))
    assert "file=x.parquet: a comparison is" in one_line(bot("bot-table", "compare=page.html", "file=x.parquet"))
