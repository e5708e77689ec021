"""The commands as a user runs them, on the digits."""

import csv
import json
import shlex
import subprocess
import sys

import pytest
from safetensors.torch import load_file

from bagoftricks.errors import UserError
from bagoftricks.store.record import RECORD_FORMAT
from bagoftricks.study.experiment import load_experiment
from bagoftricks.study.overrides import latest

FAST = ["epochs=1", "batch_size=128", "model.depths=[1]", "model.width=4", "runtime.device=cpu"]


def one_line(done, status=2):
    assert (done.status, done.out) == (status, "")
    assert "Traceback" not in done.err
    assert done.err.count("\n") == 1
    return done.err


def python(code, cwd):
    return subprocess.run([sys.executable, "-c", code], cwd=cwd, capture_output=True, text=True, check=True).stdout


def test_a_run_leaves_a_table_a_record_metrics_and_weights(bot, tmp_path):
    done = bot("bot-train", "+tweak=resnet_d", "+refine=mixup", "tricks.mixup.alpha=0.5", *FAST)
    assert done.status == 0
    assert "resnet_d + mixup(alpha=0.5)" in done.out
    (folder,) = (tmp_path / "results" / "runs").iterdir()
    files = ["correct.safetensors", "metrics.csv", "record.json", "weights.safetensors"]
    assert sorted(p.name for p in folder.iterdir()) == files
    record = json.loads((folder / "record.json").read_text())
    assert record["id"] == folder.name
    assert record["status"] == "done"
    assert record["tricks"] == {"mixup": {"alpha": 0.5, "partner": "batch", "unmixed_end": "0 epochs"}, "resnet_d": {}}
    assert record["data"]["train_images"] + record["data"]["val_images"] == 1797
    assert 0 <= record["metrics"]["last"]["top1"] <= record["metrics"]["last"]["top5"] <= 100
    assert record["command"].startswith("bot-train ")
    assert {"params", "macs", "train_images_per_s", "infer_images_per_s", "peak_memory_mib", "train_seconds"} <= set(
        record["cost"]
    )
    (row,) = csv.DictReader((folder / "metrics.csv").read_text().splitlines())
    assert float(row["top1"]) == record["metrics"]["last"]["top1"]
    assert sum(t.numel() for n, t in load_file(folder / "weights.safetensors").items() if "num_batches" not in n) > 0


def test_a_finished_run_is_shown_and_not_trained_again(bot):
    first = bot("bot-train", *FAST, "format=json")
    again = bot("bot-train", *FAST, "format=json", "runtime.eval_batch_size=64")
    assert json.loads(again.out) == json.loads(first.out)
    assert "is finished" in again.err
    anew = bot("bot-train", *FAST, "format=json", "rerun=true")
    assert json.loads(anew.out)["metrics"] == json.loads(first.out)["metrics"]
    assert json.loads(anew.out)["cost"] != json.loads(first.out)["cost"]


def test_a_recorded_command_makes_the_same_run(bot):
    first = json.loads(bot("bot-train", "+refine=[mixup,cosine]", *FAST, "format=json").out)
    assert "is finished" in bot(*shlex.split(first["command"])).err


def test_a_folder_with_blanks_and_brackets_needs_no_second_quoting(bot, tmp_path):
    done = bot("bot-train", *FAST, "store=my runs (it's ~1)", "format=json")
    assert done.status == 0
    assert (tmp_path / "my runs (it's ~1)" / json.loads(done.out)["id"]).is_dir()
    assert "is finished" in bot(*shlex.split(json.loads(done.out)["command"])).err


def test_every_setting_that_can_change_the_result_changes_the_id(bot):
    def run_id(*arguments):
        return json.loads(bot("bot-train", *latest([*FAST, "format=json", *arguments])).out)["id"]

    changed = ["seed=1", "lr=0.2", "weight_decay=0", "batch_size=64", "+refine=cosine", "data.pad=0", "model.width=8"]
    ids = [run_id(), *(run_id(change) for change in changed)]
    assert len(set(ids)) == len(ids)
    assert run_id("runtime.workers=0", "runtime.channels_last=false") == ids[0]


def test_multirun_trains_each_and_prints_one_table(bot):
    done = bot("bot-train", "-m", "+tweak=resnet_b,resnet_d", *latest([*FAST, "model.depths=[1,1]"]), "format=json")
    assert done.status == 0
    assert [list(record["tricks"]) for record in json.loads(done.out)] == [["resnet_b"], ["resnet_d"]]


def test_a_job_that_fails_does_not_stop_the_others(bot):
    done = bot("bot-train", "-m", "+refine=mixup", "tricks.mixup.alpha=-1,0.5", *FAST, "format=json")
    assert done.status == 2
    assert json.loads(done.out)["tricks"]["mixup"]["alpha"] == 0.5
    assert "tricks.mixup.alpha=-1" in done.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["+twaek=resnet_d"], r"did you mean '+tweak=resnet_d'"),
        (["+refine=mixup", "tricks.mixup.alpha=abc"], "tricks.mixup.alpha=abc: must be a number"),
        (["+refine=mixup", "tricks.mixup.alpha=-1"], "tricks.mixup.alpha=-1.0: must be positive"),
        (["+refine=label_smoothing", "tricks.label_smoothing.form=x"], "must be one of uniform, others"),
        (["tricks.mixup.alpha=0.5"], "trick 'mixup' is not switched on: add +refine=mixup"),
        (["~tricks.mixup"], "trick 'mixup' is not switched on"),
        (["epochs=many"], "epochs=many: must be a whole number"),
        (["epochs=0"], "epochs=0: must be positive"),
        (["epochs=null"], "epochs=null: needs a value"),
        (["~data.limit"], "~data.limit: is at its default already; leave it out"),
        (["data.std=[1e-30,1,1]"], "data.std=[1e-30,1.0,1.0]: must be three numbers from 0.001 to 255"),
        (["runtime.threads=" + "9" * 5000], "must be auto, or a number from 1 to 1024"),
        (["--resolve"], "The --resolve flag can only be used in conjunction with --cfg"),
        (["-m", "seed=0,"], "seed=0,: cannot be read: a value is missing"),
        (["rerun=perhaps"], "rerun=perhaps: must be true or false"),
        (["format=txt"], "format=txt: must be one of text"),
        (["data.jitter=rgb"], "data.jitter=rgb: must be one of"),
        (["model.widths=[24,64]"], "model.widths=[24,64]: resnet has no 'widths'; did you mean 'width'?"),
        (["model.width=wide"], "model.width=wide: must be a whole number"),
        (["data.val_root=photos"], "it is a setting of imagefolder: add data=imagefolder"),
        (["data.root=photos"], "data sets (--help data), such as data=imagefolder"),
        (["+tweak=[resnet_b,resnet_d]"], "tricks 'resnet_b' and 'resnet_d' both set part"),
        (["+tweak=resnet_b", "model=resnet18"], "trick 'resnet_b' changes nothing: resnet18 builds no bottleneck"),
        (["data=imagefolder", "data.root=nowhere"], "data.root=nowhere: no such folder"),
        (["data=imagefolder"], "type data.root=FOLDER"),
        (["batch_size=5000"], "there are only 1438 training images"),
        (["num_classes=3"], "the data has 10 classes"),
        (["image_size=16384", "batch_size=2", "runtime.eval_batch_size=400"], "359 images of 16384 x 16384 pixels at"),
        (["runtime.device=tpu"], "runtime.device=tpu: must be auto, cpu, cuda"),
        (["+efficiency=mixed_precision", "tricks.mixed_precision.dtype=fp16", "runtime.device=cpu"], "dtype=bf16"),
        (["store=/proc/no"], "store=/proc/no: cannot be written to"),
        (["-m", "seed=0,1", "store=/proc/no"], "/proc/no: cannot be made or read (No such file or directory)"),
    ],
)
def test_wrong_input_is_one_line_and_status_2(bot, unchecked, arguments, message):
    assert message in one_line(bot("bot-train", *arguments))


def test_wrong_input_is_refused_before_any_data_is_looked_for(bot, monkeypatch):
    def fail(settings):
        raise AssertionError("data was looked for")

    monkeypatch.setattr("bagoftricks.run.prepare.find_dataset", fail)
    assert "both set" in one_line(bot("bot-train", "+tweak=[resnet_b,resnet_d]"))


def test_a_loss_that_is_not_finite_is_a_failure_with_advice(bot):
    done = bot("bot-train", *FAST, "lr=1e30")
    assert done.status == 1
    assert "type a lower lr=" in done.err
    assert "Traceback" not in done.err


def test_a_bug_shows_its_traceback_and_is_status_1(bot, monkeypatch):
    def fail(settings):
        raise KeyError("bug")

    monkeypatch.setattr("bagoftricks.run.prepare.check", fail)
    done = bot("bot-train", *FAST)
    assert done.status == 1
    assert "Traceback" in done.err


def test_an_interrupt_is_status_75(bot, monkeypatch):
    def interrupt(settings, **given):
        raise KeyboardInterrupt

    monkeypatch.setattr("bagoftricks.run.prepare.check", interrupt)
    assert "interrupted: type the same command again to resume" in one_line(bot("bot-train", *FAST), status=75)


def test_a_preset_adds_its_tricks_and_the_command_line_has_the_last_word(bot):
    def tricks(*arguments):
        return bot("bot-train", "preset=cifar_laptop", *arguments, "--cfg", "job", "-p", "tricks").out

    assert "mixed_precision" in tricks()
    assert "mixed_precision" in tricks("+efficiency=warmup")
    assert "mixed_precision" not in tricks("efficiency=warmup")
    assert "mixed_precision" not in tricks("~tricks.mixed_precision")


def test_bench_counts_without_measuring(bot):
    done = bot("bot-bench", "model=resnet50", "+tweak=resnet_d", "format=json", "measure=false")
    assert json.loads(done.out) == {"params": 25_576_264, "macs": 4_328_824_832}


@pytest.mark.slow
def test_bench_counts_the_rows_of_a_table_beside_the_papers_numbers(bot):
    done = bot("bot-bench", "experiment=bag_of_tricks/table5", "measure=false", "format=json")
    rows = {row["label"]: row for row in json.loads(done.out)}
    assert rows["ResNet-50-B"]["macs"] == 4_089_184_256
    assert rows["ResNet-50-D"]["params"] == 25_576_264
    assert rows["ResNet-50-D"]["macs_published"] == 4.3e9
    assert all(row["image_size"] == 224 for row in rows.values())


@pytest.mark.slow
def test_bench_prints_the_notes_of_a_table_under_its_rows(bot):
    shown = bot("bot-bench", "experiment=assembled/table3", "measure=false").out
    assert "paper's numbers: Lee et al. 2020" in shown
    assert all(note in shown for note in load_experiment("assembled/table3", "paper").notes)


def test_bench_of_an_experiment_that_does_not_exist_is_one_line(bot):
    done = bot("bot-bench", "+experiment=bag_of_tricks/table55")
    assert done.status == 2
    assert "there is no experiment 'bag_of_tricks/table55'; did you mean" in done.err
    done = bot("bot-bench", "experiment=assembled/table12", "--cfg", "job")
    assert (done.status, done.err) == (2, "bot-bench: --cfg: has no meaning here: leave it out\n")


def test_bench_measures_a_small_network(bot):
    done = bot("bot-bench", "image_size=8", "num_classes=10", "format=json", "runtime.device=cpu")
    row = json.loads(done.out)
    assert row["infer_images_per_s"] > 0
    assert row["latency_ms"] > 0
    assert row["peak_memory_mib"] > 0


def test_bench_takes_size_and_classes_from_the_data_that_is_named(bot):
    done = bot("bot-bench", "data=cifar100", "format=json", "model=resnet18", "model.width=8")
    assert json.loads(done.out)["image_size"] == 32


def test_bench_warns_of_a_trick_without_effect_and_counts_all_the_same(bot):
    done = bot("bot-bench", "model=resnet18", "+tweak=resnet_b", "format=json", "measure=false")
    assert json.loads(done.out)["params"] == 11_689_512
    assert json.loads(done.out)["note"] == "resnet_b: no effect, not measured"
    assert "changes nothing" in done.err


@pytest.mark.parametrize("style", ["text", "markdown", "csv", "latex", "json"])
def test_bench_labels_a_row_by_what_was_measured(bot, style):
    done = bot("bot-bench", "-m", "model=mobilenet", "+tweak=[sk],[gelu]", f"format={style}", "measure=false")
    note = "sk: no effect, not measured".replace("_", r"\_")
    first, second = [line for line in done.out.splitlines() if "mobilenet" in line]
    assert "mobilenet + sk" not in first
    assert note in (done.out if style == "json" else first)
    assert "mobilenet + gelu" in second


def test_the_table_shows_the_records_of_a_store(bot):
    bot("bot-train", *FAST, "store=here")
    markdown = bot("bot-table", "store=here").out.splitlines()
    assert markdown[0].startswith("| run ")
    assert markdown[2].startswith("| baseline ")
    rows = json.loads(bot("bot-table", "store=here", "format=json").out)
    assert [row["label"] for row in rows] == ["baseline"]
    assert bot("bot-table", "store=here", "format=csv").out.startswith("label,model,data")
    assert "toprule" in bot("bot-table", "store=here", "format=latex").out


def test_the_table_shows_the_rows_and_columns_that_are_asked_for(bot, monkeypatch):
    bot("bot-train", "-m", *FAST, "store=here", "lr=0.1,0.01")
    both = json.loads(bot("bot-table", "store=here", "format=json", "sort=-lr").out)
    assert [row["settings"]["lr"] for row in both] == [0.1, 0.01]
    (one,) = json.loads(bot("bot-table", "store=here", "format=json", "where=lr<0.05 model~resnet").out)
    assert one == both[1]
    monkeypatch.setenv("COLUMNS", "60")
    lines = bot("bot-table", "store=here", "format=text", "columns=[loss,batch_size]", "limit=1").out.splitlines()
    assert lines[0].split() == ["run", "loss", "batch_size", "id"]
    assert max(map(len, lines)) <= 60
    assert "1 of 2 rows" in lines
    assert "none of the 2 rows" in one_line(bot("bot-table", "store=here", "where=lr>5"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["store=nowhere"], "store=nowhere: no such folder"),
        (["stroe=x"], "did you mean 'store'"),
        (["store=.", "format=pdf"], "format=pdf: must be one of"),
        (["store=."], "holds no finished run yet"),
        (["store=hdfs://node/runs"], "store=hdfs://node/runs: is none of s3://, gs://, az://"),
        (["scale=paper"], "scale=paper: belongs to experiment=: leave it out"),
        (["study=a", "experiment=b"], "experiment= and study= are two tables"),
    ],
)
def test_the_table_refuses_wrong_input(bot, arguments, message):
    assert message in one_line(bot("bot-table", *arguments))


def test_a_damaged_record_is_named_left_out_and_kept(bot, tmp_path):
    bot("bot-train", *FAST, "store=store")
    damaged = tmp_path / "store" / "abc" / "record.json"
    damaged.parent.mkdir()
    damaged.write_text("{")
    done = bot("bot-table", "store=store", "format=json")
    assert len(json.loads(done.out)) == 1
    assert "left out: store/abc/record.json is not a record" in done.err
    assert damaged.read_text() == "{"


def test_a_record_of_a_newer_version_is_not_misread(bot, tmp_path):
    (tmp_path / "store" / "abc").mkdir(parents=True)
    (tmp_path / "store" / "abc" / "record.json").write_text(f'{{"format": {RECORD_FORMAT + 1}}}')
    assert "was written by a newer version" in bot("bot-table", "store=store").err
    assert "was written by a newer version" in one_line(bot("bot-eval", "store=store", "run=abc"))


def test_composing_the_settings_needs_no_torch(tmp_path):
    code = "import sys; from bagoftricks.cli.train import main; main(['+refine=mixup', '--cfg', 'job'])"
    out = python(f"{code}; assert 'torch' not in sys.modules", tmp_path)
    assert "alpha: 0.2" in out
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", ["eval", "predict"])
def test_a_run_that_is_not_there_is_named_before_torch_is_loaded(command, tmp_path):
    (tmp_path / "store").mkdir()
    line = ["run=zzz", "store=store", *["images=x"] * (command == "predict")]
    code = f"import sys; from bagoftricks.cli.{command} import main; print(main({line})); print('torch' in sys.modules)"
    assert python(code, tmp_path).split() == ["2", "False"]


def test_tables_need_no_torch(bot, tmp_path):
    bot("bot-sweep", "design=one_at_a_time", "tricks=[mixup]", "slots=0", *FAST)
    code = "import sys; from bagoftricks.cli.table import main; main([]); main(['study=one_at_a_time'])"
    assert "mixup" in python(f"{code}; assert 'torch' not in sys.modules", tmp_path)


def test_errors_of_the_package_are_user_errors():
    from bagoftricks.errors import ConflictError, DataError, NoEffectError

    assert all(issubclass(error, UserError) for error in (ConflictError, DataError, NoEffectError))
