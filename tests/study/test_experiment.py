"""The shipped tables and their published values, and what is said about a mistake in a table."""

import csv
import re
import subprocess
import sys
from statistics import mean

import pytest
import yaml
from hydra.core.global_hydra import GlobalHydra

from bagoftricks.cli import bench
from bagoftricks.cli.arguments import normalise_arguments
from bagoftricks.cli.conf import options
from bagoftricks.errors import UserError
from bagoftricks.folders import shipped_folder
from bagoftricks.study.arms import Arm
from bagoftricks.study.experiment import column_keys, experiment_files, experiment_scales, load_experiment
from bagoftricks.study.overrides import latest
from bagoftricks.tricks import FAMILIES, FAMILY_OF
from bagoftricks.tricks.catalogue import card, create

SHIPPED = [(name, scale) for name in experiment_files() for scale in experiment_scales(name)]
OURS = (
    "demo",
    "laptop/retrieval",
    "laptop/robustness",
    "laptop/fixres",
    "laptop/finetune",
    "laptop/detection",
    "laptop/segmentation",
    "studies/budget",
    "studies/robustness",
    "studies/sixteen",
)  # whose numbers nobody has published
REFERENCES = sorted((shipped_folder("experiments").parent / "bagoftricks" / "report" / "references").glob("*.csv"))


def arms(name, scale="paper"):
    return {arm.label: arm for arm in load_experiment(name, scale).arms}


def command(experiment, arm: Arm):
    """The arm as it is typed."""
    chosen = [f"+{FAMILY_OF[trick]}={trick}" for trick in arm.tricks]
    given = [f"tricks.{trick}.{key}={value}" for trick, params in arm.tricks.items() for key, value in params.items()]
    return latest([*chosen, *given, *experiment.overrides, *arm.settings])


def test_the_tables_of_the_papers_are_there():
    assembled = [f"assembled/table{n}" for n in (1, 10, 11, 12, 2, 3, 4, 5, 6, 7, 8, 9, "_mobilenet")]
    tables = assembled + [f"bag_of_tricks/table{n}" for n in range(1, 10)]
    assert [*experiment_files()] == [
        *tables,
        "demo",
        "laptop/detection",
        "laptop/finetune",
        "laptop/fixres",
        "laptop/refinements",
        "laptop/retrieval",
        "laptop/robustness",
        "laptop/segmentation",
        "page/convergence",
        "page/ladder",
        "studies/budget",
        "studies/robustness",
        "studies/sixteen",
    ]


@pytest.mark.parametrize(("name", "scale"), SHIPPED)
def test_a_shipped_row_is_valid_or_says_what_it_needs(name, scale):
    experiment = load_experiment(name, scale)
    assert experiment.scale == scale
    assert set(experiment.columns) <= set(column_keys())
    for arm in experiment.arms:
        missing = {trick for trick in arm.tricks if trick not in FAMILY_OF}
        named = {need for need in arm.needs if "." not in need and "=" not in need}
        assert named == missing
        for trick in set(arm.tricks) - missing:
            if not any(need.startswith(f"{trick}.") for need in arm.needs):
                create(trick, **arm.tricks[trick])
        if not arm.needs:
            normalise_arguments(command(experiment, arm))


@pytest.mark.parametrize(("name", "scale"), SHIPPED)
def test_needs_name_only_what_does_not_exist(name, scale):
    for arm in load_experiment(name, scale).arms:
        for need in arm.needs:
            what, _, value = need.partition("=")
            trick, _, key = what.partition(".")
            if what == "model":
                assert value not in options("model")
            elif key:
                field = {about.name: about for about in card(trick).fields}.get(key)
                assert field is None or (field.annotation.startswith("Literal") and value not in field.annotation)
            else:
                assert trick not in FAMILY_OF


@pytest.mark.parametrize(("name", "scale"), SHIPPED)
def test_every_row_is_compared_with_another_row(name, scale):
    experiment = load_experiment(name, scale)
    labels = [arm.label for arm in experiment.arms]
    for arm in experiment.arms:
        assert arm.compare_to is None or (arm.compare_to in labels and arm.compare_to != arm.label)


@pytest.mark.parametrize(("name", "scale"), SHIPPED)
def test_every_row_quotes_the_paper(name, scale):
    experiment = load_experiment(name, scale)
    for arm in experiment.arms if name not in OURS else ():
        assert set(arm.published) & set(experiment.columns)


@pytest.mark.parametrize(("name", "scale"), SHIPPED)
def test_every_hyper_parameter_of_a_scale_belongs_to_a_trick_of_the_row(name, scale):
    experiment = load_experiment(name, scale)
    families = [o.split("=")[1] for o in experiment.overrides if o.split("=")[0].lstrip("+") in FAMILIES]
    switched = re.findall(r"\w+", " ".join(families))  # by the scale itself, in every row
    if experiment.design:  # whose arms have some of its tricks each
        switched += {trick for arm in experiment.arms for trick in arm.tricks}
    for arm in [arm for arm in experiment.arms if not arm.quoted]:
        for override in (*experiment.overrides, *arm.settings):
            if override.startswith("tricks."):
                assert override.split(".")[1] in {*arm.tricks, *switched}, arm.label


@pytest.mark.parametrize("name", ["bag_of_tricks/table5", "bag_of_tricks/table4", "assembled/table4"])
def test_a_row_at_laptop_scale_composes_to_the_tricks_that_it_states(name, tmp_path, monkeypatch, capsys):
    experiment = load_experiment(name, "laptop")
    arm = experiment.arms[-1]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["bot-bench"])
    GlobalHydra.instance().clear()
    assert bench.main([*command(experiment, arm), "--cfg", "job"]) == 0
    assert set(yaml.safe_load(capsys.readouterr().out)["tricks"]) == set(arm.tricks)


def test_published_numbers_of_bag_of_tricks():
    tweaks = load_experiment("bag_of_tricks/table5", "paper").arms
    assert [arm.published["top1"] for arm in tweaks] == [76.21, 76.66, 76.87, 77.16]
    assert [arm.published["top5"] for arm in tweaks] == [92.97, 93.28, 93.48, 93.52]
    assert [arm.published["params"] for arm in tweaks] == [25_000_000] * 4
    assert [arm.published["macs"] for arm in tweaks] == [3.8e9, 4.1e9, 4.3e9, 4.3e9]
    assert [arm.published["top1"] for arm in load_experiment("bag_of_tricks/table2", "paper").arms] == [
        *(75.87, 77.32, 69.03)
    ]
    breakdown = arms("bag_of_tricks/table4")
    assert breakdown["+ Zero gamma, batch 256"].published["top1"] == 76.19
    assert breakdown["+ Zero gamma, batch 1024"].published["top1"] == 76.37
    networks = load_experiment("bag_of_tricks/table1", "paper").arms
    assert [arm.published["top1"] for arm in networks] == [75.3, 77.8, 76.71, 78.90, 77.42, 79.29]
    assert [arm.published.get("top5") for arm in networks] == [92.2, None, 93.38, 94.51, 93.66, 94.63]
    assert [arm.published["macs"] for arm in networks] == [3.9e9, 4.2e9, 3.9e9, 4.3e9, 4.3e9, 4.3e9]
    places = load_experiment("bag_of_tricks/table7", "paper").arms
    assert [arm.published for arm in places] == [{"top1": 56.34, "top5": 86.87}, {"top1": 56.70, "top5": 87.33}]
    refinements = arms("bag_of_tricks/table6")
    assert refinements["ResNet-50-D, + distill w/ mixup"].published == {"top1": 79.29, "top5": 94.63}
    assert refinements["MobileNet, + mixup w/o distill"].published == {"top1": 73.28, "top5": 91.30}


def test_published_numbers_of_what_starts_from_the_refined_networks():
    detection, segmentation = (load_experiment(f"bag_of_tricks/table{n}", "paper").arms for n in (8, 9))
    for rows in (detection, segmentation):
        assert [arm.published for arm in rows[:7]] == [
            {"top1": top1} for top1 in (76.14, 77.16, 77.91, 78.34, 78.67, 79.16, 79.29)
        ]
        assert [arm.settings[-1] for arm in rows[7:]] == [f"model.weights=row:P{n}" for n in range(7)]
    assert [arm.published["voc_map"] for arm in detection[7:]] == [77.54, 78.30, 79.23, 80.71, 80.96, 81.10, 81.33]
    assert [arm.published["mean_iou"] for arm in segmentation[7:]] == [
        *(37.05, 38.88, 39.33, 38.75, 38.90, 37.99, 38.40)
    ]
    assert [arm.published["pixel_accuracy"] for arm in segmentation[7:]] == [
        *(78.08, 78.88, 79.25, 78.64, 78.97, 78.47, 78.72)
    ]


@pytest.mark.parametrize("number", [8, 9])
def test_detection_and_segmentation_start_from_the_networks_of_table_6(number):
    refined, before = (load_experiment(f"bag_of_tricks/table{n}", "paper") for n in (6, number))
    composed = [
        {text.replace("tweak=[", "+tweak=").replace("ghost_norm]", "ghost_norm") for text in command(refined, arm)}
        for arm in refined.arms[:6]
    ]
    assert [set(command(before, arm)) for arm in before.arms[1:7]] == composed


def test_published_numbers_of_assembled_cnn():
    stack = arms("assembled/table7")
    assert stack["E0: R50"].published == {"top1": 76.87, "mce": 75.55, "infer_images_per_s": 536}
    assert stack["E11: + AutoAugment"].published == {"top1": 82.78, "mce": 48.89, "infer_images_per_s": 312}
    assert stack["E12: R152"].published["top1"] == 84.19
    assert arms("assembled/table4")["R50D, LS"].published["top1"] == 78.35  # not the misprinted 77.37
    assert arms("assembled/table2")["C0: R50"].published["top1"] == 76.30  # step decay
    assert arms("assembled/table12")["R50D+SK+BL"].published == {"macs": 5.4e9, "infer_images_per_s": 359}


def test_published_numbers_of_the_assembled_networks_and_of_their_transfer():
    summary = load_experiment("assembled/table1", "paper").arms
    assert [tuple(arm.published.values()) for arm in summary] == [
        *((83.0, 60.7, 95), (84.2, 60.6, 28), (84.5, 59.4, 16)),
        *((76.3, 76.0, 536), (82.8, 48.9, 312), (84.2, 43.3, 143)),
    ]
    before, food = (
        load_experiment("assembled/table8", "paper").arms[:6],
        load_experiment("assembled/table8", "paper").arms[6:],
    )
    assert [arm.published["top1"] for arm in before] == [76.87, 77.37, 78.83, 79.27, 79.39, 82.78]
    assert [arm.published["top1"] for arm in food] == [
        *(86.99, 87.63, 89.77, 90.15, 90.37, 91.25, 91.64, 91.85, 91.76, 90.63, 91.62, 92.11, 92.21, 92.47)
    ]
    assert [arm.published["mce"] for arm in food] == [
        *(61.50, 62.12, 57.20, 57.16, 56.66, 53.13, 48.53, 41.73, 41.40, 53.98, 51.01, 45.73, 41.69, 41.99)
    ]
    five = [arm.published["top1"] for arm in load_experiment("assembled/table9", "paper").arms]
    assert five[0] == 76.87
    assert [five[at : at + 4] for at in range(2, len(five), 4)] == [
        *([93.0, 87.8, 87.0, 92.5], [94.7, 91.7, 89.1, 94.4], [98.8, 97.5, 96.1, 98.9]),
        *([92.9, 86.6, 78.8, 92.4], [95.9, 91.5, 92.5, 94.3]),
    ]


def test_published_numbers_of_retrieval():
    rows = load_experiment("assembled/table10", "paper").arms
    assert [arm.published for arm in rows[:6]] == [
        {"top1": top1} for top1 in (76.87, 77.37, 78.83, 79.27, 79.39, 82.10)
    ]  # on ImageNet
    assert [arm.published["recall_at_1"] for arm in rows[6:]] == [
        *(82.9, 84.2, 85.4, 85.2, 85.1, 85.9, 83.7, 85.2, 85.9, 84.0)
    ]
    three = load_experiment("assembled/table11", "paper").arms
    assert [arm.published["recall_at_1"] for arm in three[2:]] == [82.9, 85.9, 75.9, 80.3, 92.9, 96.1]


def test_retrieval_has_the_hyper_parameters_of_the_paper():
    three = load_experiment("assembled/table11", "paper").arms
    hyper = [[text for text in arm.settings if text.startswith(("lr", "batch", "epochs", "task.margin"))]
             for arm in three[2:]]  # fmt: skip
    assert hyper[0] == hyper[1] == ["task.margin=0.3", "batch_size=128", "lr=0.008", "epochs=60"]
    assert hyper[2] == hyper[3] == ["batch_size=32", "lr=0.001", "epochs=100"]
    assert hyper[4] == hyper[5] == ["batch_size=32", "lr=0.01", "epochs=100"]
    sop, cub, cars = (set(three[row].tricks) - set(three[row - 1].tricks) for row in (3, 5, 7))
    assert sop == cub == {"resnet_d", "sk", "dropblock"}
    assert cars == {*sop, "label_smoothing", "autoaugment"}
    rows = {arm.label.partition(":")[0]: arm for arm in load_experiment("assembled/table10", "paper").arms}
    assert "weight_decay=5e-4" in load_experiment("assembled/table10", "paper").overrides
    assert [arm.compare_to for arm in rows.values()][6:] == [
        *(None, "S0: R50", "S1: R50D", "S2: R50D+SK", "S3: R50D+SK+BL"),
        *("S2: R50D+SK", "S5: R50D+SK, DropBlock", "S2: R50D+SK", "S7: R50D+SK+REG", "S8: + DropBlock"),
    ]


def test_published_numbers_of_mobilenet():
    published = [arm.published for arm in load_experiment("assembled/table_mobilenet", "paper").arms]
    assert [row["top1"] for row in published] == [72.59, 74.28, 72.66, 73.54, 74.18, 74.37, 76.42, 76.82, 77.30]
    assert [row["mce"] for row in published] == [83.85, 78.86, 83.05, 78.56, 77.51, 76.39, 71.67, 70.67, 68.12]
    assert [row["mfr"] for row in published] == [74.29, 69.98, 71.89, 65.78, 64.41, 65.02, 56.73, 55.76, 49.99]
    speeds = [(row["infer_images_per_s"], row["infer_images_per_s_int8"]) for row in published]
    assert speeds[0] == speeds[5] == (12.98, 22.49)
    assert speeds[1] == speeds[6] == (10.33, 19.71)
    assert speeds[7] == speeds[8] == (9.9, 19.32)


def test_fine_tuning_has_the_epochs_of_the_paper_and_starts_from_the_rows_above():
    fine = [arm for arm in load_experiment("assembled/table9", "paper").arms if arm.label.endswith("ResNet-50")]
    epochs = [text.removeprefix("epochs=") for arm in fine for text in arm.settings if text.startswith("epochs=")]
    assert epochs == ["100", "1000", "1000", "800", "1300"]
    assert all("model.weights=row:P0" in arm.settings for arm in fine)
    food = {arm.label.partition(":")[0]: arm for arm in load_experiment("assembled/table8", "paper").arms}
    assert [food[row].settings for row in ("F0", "F4", "F8", "F13")] == [
        (f"model.weights=row:{before}",) for before in ("P0", "P4", "P4", "P11")
    ]


def test_published_numbers_of_the_ladder():
    ladder = load_experiment("page/ladder", "paper").arms
    assert [arm.published["train_seconds"] for arm in ladder] == [75, 70, 64, 59, 52, 46, 43, 36, 33.5, 26]
    assert [arm.published.get("top1") for arm in ladder] == [94.1, None, *[94.1] * 8]
    epochs = [next(text for text in arm.settings if text.startswith("epochs=")) for arm in ladder]
    assert epochs == [f"epochs={n}" for n in (24, 24, 25, 23, 20, 18, 17, 14, 13, 10)]


def test_published_numbers_of_the_convergence_are_means_of_five_runs():
    published = arms("page/convergence")
    assert published["baseline, 24 epochs"].published == {"top1": 93.924, "train_seconds": 69.61}
    assert mean((94.01, 93.97, 93.84, 93.96, 93.84)) == pytest.approx(93.924)
    assert published["final, 80 epochs"].published == {"top1": 95.716, "train_seconds": 205.83}
    assert mean((95.68, 95.66, 95.66, 95.78, 95.80)) == pytest.approx(95.716)
    assert [arm.published["top1"] for arm in published.values()] == [
        *(93.924, 94.708, 95.148, 95.204, 95.302, 94.676, 95.386, 95.526, 95.716, 95.784)
    ]


def test_rows_differ_by_what_the_paper_says():
    tweaks = arms("bag_of_tricks/table5")
    assert set(tweaks["ResNet-50-D"].tricks) - set(tweaks["ResNet-50"].tricks) == {"resnet_d"}
    assert tweaks["ResNet-50-D"].compare_to == "ResNet-50-C"
    refinements = arms("bag_of_tricks/table6")
    assert refinements["ResNet-50-D, + mixup w/o distill"].settings == ("epochs=200",)
    assert refinements["ResNet-50-D, + mixup w/o distill"].compare_to == "ResNet-50-D, + label smoothing"
    assert refinements["MobileNet, Efficient"].needs == ()
    assert "zero_gamma" not in refinements["MobileNet, Efficient"].tricks
    stack = arms("assembled/table7")
    assert "resnet_d" not in stack["E9: + BL"].tricks
    assert stack["E12: R152"].compare_to == "E11: + AutoAugment"


@pytest.mark.parametrize("path", REFERENCES, ids=lambda path: path.name)
def test_a_reference_names_its_source_and_every_row_is_used(path):
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert all(row["source"] for row in rows)
    (name,) = [name for name in experiment_files() if name.replace("/", "_") == path.stem]
    assert len(load_experiment(name, "paper").arms) == len(rows)


def test_reading_an_experiment_imports_neither_torch_nor_hydra():
    code = (
        "import sys; from bagoftricks.study.experiment import load_experiment as load\n"
        "load('assembled/table7', 'paper'); print({'torch', 'hydra', 'omegaconf'} & set(sys.modules))"
    )
    root = shipped_folder("experiments").parent
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


GOOD = """\
title: Mine
source: me
reference: mine.csv
columns: [top1, params]
scales: {laptop: [preset=cifar_laptop], paper: []}
tricks: {warmup: {}}
rows:
  - {label: base, tricks: {}, answers: base}
  - {label: mixed, tricks: {mixup: {alpha: 0.4}}, settings: {laptop: [epochs=4]}, note: longer}
"""
CSV = "row,top1,params,source,note\nbase,75.5,25e6,my lab,\nother,,,my lab,\n"


@pytest.fixture
def mine(tmp_path):
    def load(scale="laptop", table=GOOD, reference=CSV):
        (tmp_path / "mine.yaml").write_text(table, encoding="utf-8")
        (tmp_path / "mine.csv").write_text(reference, encoding="utf-8")
        return load_experiment(str(tmp_path / "mine.yaml"), scale)

    return load


def test_a_file_of_ones_own(mine):
    experiment = mine()
    assert (experiment.title, experiment.scale, experiment.overrides) == ("Mine", "laptop", ("preset=cifar_laptop",))
    base, mixed = experiment.arms
    assert base == Arm(label="base", tricks={"warmup": {}}, published={"top1": 75.5, "params": 25e6})
    assert mixed == Arm(
        label="mixed", tricks={"warmup": {}, "mixup": {"alpha": 0.4}}, settings=("epochs=4",), compare_to="base"
    )
    assert experiment.notes == ("mixed: longer",)
    assert mine(scale="paper").arms[1].settings == ()


def test_a_file_may_say_what_its_arms_are_compared_in(mine):
    table = GOOD.replace("reference:", "score: soft_top1\nresolve: 1\nreference:", 1)
    assert (mine(table=table).score, mine(table=table).resolve) == ("soft_top1", 1.0)
    assert (mine().score, mine().resolve) == (None, None)


@pytest.mark.parametrize(
    ("compare", "expected"),
    [("previous", "mixed"), ("first", "base"), ("none", None), ("base", "base"), ("mixed", "mixed")],
)
def test_what_a_row_is_compared_with(mine, compare, expected):
    table = GOOD.replace("tricks: {warmup: {}}", f"compare: {compare}", 1) + "  - {label: third, tricks: {}}\n"
    experiment = mine(table=table)
    assert experiment.arms[2].compare_to == expected


def test_what_does_not_exist_yet_is_needed(mine):
    tricks = "{stardust: {size: 3}, mixup: {partner: type2, quux: 1}}"
    table = GOOD.replace("{mixup: {alpha: 0.4}}", tricks).replace("[epochs=4]", "[model=hal9000]")
    assert mine(table=table).arms[1].needs == ("model=hal9000", "stardust", "mixup.partner=type2", "mixup.quux=1")
    assert mine(table=table).arms[0].needs == ()


HEAD = "title: Mine\nsource: me\ncolumns: [top1]\nscales: {laptop: []}\n"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("title:", "titel:", r"there is no key 'titel'; did you mean 'title'\?"),
        ("source: me\n", "", "needs the key 'source'"),
        ("label: base, tricks: {}", "label: base", "row 'base': needs the key 'tricks'; a row of published numbers"),
        ("label: base, tricks", "label: base, quoted: true, tricks", "row 'base': quoted: has no run, so leave tricks"),
        ("tricks: {}, answers: base", "quoted: true", "row 'base': quoted: needs answers"),
        ("tricks: {}, answers", "quoted: maybe, answers", r"rows\[0\]: quoted: must be true or false, not 'maybe'"),
        ("title: Mine", "title: 3", "title: must be text, not 3"),
        ("source: me\n", "source: me\nresolve: 0\n", "resolve: must be a number above 0, as 0.5, not 0"),
        ("source: me\n", "source: me\nseeds: 0\n", "seeds: must be a whole number above 0, not 0"),
        ("source: me\n", "source: me\nseeds: [0]\n", "seeds: must be a whole number above 0"),
        ("source: me\n", "source: me\npage: a.html\n", "page: must be true or false, not 'a.html'"),
        ("source: me\n", "source: me\nresolve: true\n", "resolve: must be a number above 0"),
        ("source: me\n", "source: me\nscore: loss\ntargets: {laptop: 0.5}\n", "two ways to compare"),
        ("[top1, params]", "top1", r"columns: must be a list, as \[a, b\], not 'top1'"),
        ("[top1, params]", "[top1, parms]", r"no column 'parms'; did you mean 'params'\?"),
        ("[top1, params]", "[]", "columns: must name one column or more"),
        ("label: mixed", "label: base", "two rows are called 'base'"),
        ("label: mixed,", "labl: mixed,", r"rows\[1\]: there is no key 'labl'; did you mean 'label'\?"),
        ("answers: base", "answers: bass", r"mine.csv has no row 'bass'; did you mean 'base'\? \(base; other\)"),
        ("reference: mine.csv\n", "", "the file names no reference; add reference:"),
        ("reference: mine.csv", "reference: mien.csv", "there is no 'mien.csv' next to the file"),
        ("note: longer", "compare: bas", r"there is no row 'bas'; did you mean 'base'\?; or type previous"),
        ("note: longer", "compare: mixed", "cannot be compared with itself; type none"),
        ("settings: {laptop:", "settings: {labtop:", r"there is no scale 'labtop'; did you mean 'laptop'\?"),
        ("[epochs=4]", "[store=elsewhere]", "'store=elsewhere': store is for the command line alone"),
        ("[epochs=4]", "[epochs]", "'epochs' is not key=value"),
        ("[epochs=4]", "epochs=4", r"settings.laptop: must be a list"),
        ("preset=cifar_laptop", "preset=cifar_labtop", r"no option 'cifar_labtop'; did you mean 'cifar_laptop'\?"),
        ("alpha: 0.4", "alhpa: 0.4", r"has no hyper-parameter 'alhpa'; did you mean 'alpha'\?"),
        ("alpha: 0.4", "alpha: strong", "mixup.alpha=strong: must be float"),
        ("alpha: 0.4", "alpha: true", "mixup.alpha=True: must be float"),
        ("alpha: 0.4", "partner: bach", r"must be one of batch, second_batch, halves; did you mean 'batch'\?"),
        ("{mixup: {alpha: 0.4}}", "{mixup: }", "tricks.mixup: must be a mapping"),
        ("{mixup: {alpha: 0.4}}", "[mixup]", "tricks: must be a mapping"),
        ("scales: {laptop: [preset=cifar_laptop], paper: []}", "scales: {}", "scales: must name one scale"),
        ("rows:", "rows: [", "is not YAML"),
    ],
)
def test_a_mistake_in_a_table_is_one_line_that_names_the_file(mine, old, new, message):
    assert old in GOOD
    with pytest.raises(UserError, match=message) as error:
        mine(table=GOOD.replace(old, new, 1))
    assert str(error.value).startswith("mine.yaml")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("75.5", "good", "line 2: top1: 'good' is not a number"),
        ("25e6,my lab", "25e6,", "line 2: must name the source"),
        ("other", "base", "line 3: must have 5 cells and a row name of its own"),
        ("25e6,", "", "line 2: must have 5 cells"),
        ("top1", "top-1", "its columns must be row, source, note and any of"),
    ],
)
def test_a_mistake_in_a_reference_is_one_line_that_names_the_file(mine, old, new, message):
    with pytest.raises(UserError, match=message) as error:
        mine(reference=CSV.replace(old, new, 1))
    assert str(error.value).startswith("mine.csv")


def test_a_design_makes_the_arms_over_the_tricks_of_the_table(mine):
    found = mine(
        table=f"{HEAD}tricks: {{cosine: {{}}}}\ndesign: {{name: fractional, tricks: [mixup, ema, cutout], runs: 4}}\n"
    )
    assert [set(arm.tricks) for arm in found.arms] == [
        *({"cosine"}, {"cosine", "ema", "cutout"}, {"cosine", "mixup", "cutout"}, {"cosine", "mixup", "ema"}),
    ]
    assert [arm.on for arm in found.arms] == [(), ("ema", "cutout"), ("mixup", "cutout"), ("mixup", "ema")]
    assert [
        arm.tricks for arm in mine(table=f"{HEAD}design: {{name: stack, tricks: ['mixup(alpha=0.4)']}}\n").arms
    ] == [
        *({}, {"mixup": {"alpha": 0.4}}),
    ]


@pytest.mark.parametrize(
    ("design", "message"),
    [
        ("", "needs rows, or a design that makes them, and not both"),
        ("design: {name: stack, tricks: [mixup]}\nrows: [{label: base, tricks: {}}]", "and not both"),
        ("design: {name: stak, tricks: [mixup]}", r"there is no design 'stak'; did you mean 'stack'\?"),
        ("design: {name: stack, tricks: [mixpu]}", "mixup"),
        ("design: {name: stack, tricks: mixup}", r"design: tricks: must be a list, as \[a, b\], not 'mixup'"),
        ("design: {name: stack}", "design: needs the key 'tricks'"),
        ("design: {name: greedy, tricks: [mixup]}", "greedy chooses arms while it runs: type it on the command line"),
        ("design: {name: stack, tricks: [mixup], runs: 4}", "runs=4 is for the design 'fractional', not for 'stack'"),
        ("design: {name: fractional, tricks: [mixup], runs: many}", "runs: must be a whole number above 0, not 'many'"),
    ],
)
def test_a_mistake_in_a_design_is_one_line_that_names_the_file(mine, design, message):
    with pytest.raises(UserError, match=message) as error:
        mine(table=HEAD + design)
    assert str(error.value).startswith("mine.yaml")
    assert "\n" not in str(error.value)


def test_an_unknown_experiment_or_scale_is_named(mine):
    with pytest.raises(UserError, match=r"no experiment 'bag_of_trick/table5'; did you mean 'bag_of_tricks/table5'\?"):
        load_experiment("bag_of_trick/table5", "paper")
    with pytest.raises(UserError, match=r"experiment=nowhere/mine\.yaml: there is no such file"):
        load_experiment("nowhere/mine.yaml", "paper")
    with pytest.raises(UserError, match=r"no scale 'papper'; did you mean 'paper'\?; type scale=laptop or scale=paper"):
        mine(scale="papper")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("[epochs=4]", "['data.root=${oc.env:HOME}/x']", r"'data.root=\$\{oc.env:HOME\}/x' depends on the machine"),
        ("preset=cifar_laptop", "'lr=${oc.decode:3}'", "depends on the machine or on other settings: type the value"),
        ("alpha: 0.4", "partner: '${oc.env:TOKEN}'", r"tricks.mixup.partner: '\$\{oc.env:TOKEN\}' depends on"),
        ("[epochs=4]", "['plugins=[evil.py]']", "plugins is for the command line alone; leave it out"),
        ("[epochs=4]", "[store=/elsewhere]", "store is for the command line alone"),
        ("[epochs=4]", "[hydra.run.dir=/elsewhere]", "hydra.run.dir is for the command line alone"),
        ("[epochs=4]", "['hydra/launcher=joblib']", "hydra/launcher is for the command line alone"),
    ],
)
def test_a_table_depends_on_no_environment_and_chooses_neither_code_nor_places(mine, monkeypatch, old, new, message):
    monkeypatch.setenv("TOKEN", "s3cret")
    assert old in GOOD
    with pytest.raises(UserError, match=message) as error:
        mine(table=GOOD.replace(old, new, 1))
    assert str(error.value).startswith("mine.yaml")
    assert "s3cret" not in str(error.value)


@pytest.mark.parametrize("cell", ["nan", "inf", "1e999", "many"])
def test_a_published_value_is_a_number(mine, cell):
    with pytest.raises(UserError, match=f"top1: '{cell}' is not a number; leave the cell empty"):
        mine(reference=CSV.replace("75.5", cell))
