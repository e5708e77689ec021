"""Where a teacher comes from, what it is called, what it says, and whole runs that learn from it."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
import timm
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors.torch import load_file, save_file
from torchvision import models

from bagoftricks.data import find_dataset, keep_decoded
from bagoftricks.data.augment import Augment
from bagoftricks.data.memory import into_memory
from bagoftricks.errors import DamagedRecord, UserError
from bagoftricks.recipe.edits import SetPrecision
from bagoftricks.rng import Key
from bagoftricks.run import teacher as teachers
from bagoftricks.run.execute import execute
from bagoftricks.run.loading import class_notes, loaders, teacher_logits, teacher_online
from bagoftricks.run.prepare import prepare
from bagoftricks.run.teacher import Online, find_teacher
from bagoftricks.settings import Settings, dataset_settings, network_settings
from bagoftricks.store.record import TeacherFacts, read_record, record_text
from bagoftricks.store.store import RECORD, WEIGHTS, Store
from bagoftricks.study.estimate import seconds_from_steps
from bagoftricks.study.plan import PlannedRun
from tests.helpers import rewrite_record
from tests.run.test_execute import Quiet

CPU = torch.device("cpu")
SQUEEZE = "torchvision:squeezenet1_1:{library}"


def settings(store, *, size=8, **changes):
    made = Settings(
        model=network_settings(depths=[1], width=4), epochs=1, batch_size=128, lr=0.05, store=str(store), **changes
    )
    made.data.image_size, made.data.pad, made.runtime.workers, made.runtime.device = size, 1, 0, "cpu"
    return made


def student(store, teacher, *, size=8, tricks=None, **distill):
    return settings(store, size=size, tricks={"distill": {"teacher": teacher, **distill}, **(tricks or {})}, seed=1)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A store with one finished run, and its id; the run's network is another one than the students'."""
    store = tmp_path_factory.mktemp("teachers") / "store"
    own = settings(store, tricks={"mixup": {}, "resnet_d": {}})
    own.model = network_settings(name="teacher", depths=[1, 1], width=8)
    return store, execute(own, Quiet(), "").id


@pytest.fixture
def store(trained, tmp_path):
    """A store of the test's own with that run in it."""
    shutil.copytree(trained[0], tmp_path / "store")
    return tmp_path / "store"


@pytest.fixture
def run(trained):
    return f"run:{trained[1]}"


def change_weights(folder, change):
    tensors = load_file(folder / WEIGHTS)
    change(tensors)
    save_file(tensors, folder / WEIGHTS)
    rewrite_record(folder)


# --- whole runs ---


def test_a_student_of_an_online_teacher_keeps_who_taught_it_and_what_that_cost(store, run):
    record = execute(student(store, run, tricks={"mixup": {}}), Quiet(), "")
    digest = record.tricks["distill"]["teacher"]
    assert record.data.teacher == TeacherFacts(source=run, digest=digest, run=run.removeprefix("run:"))
    taught = Store(store).record(run.removeprefix("run:"))
    assert record.cost.teacher_params == taught.cost.params
    assert record.cost.teacher_macs == taught.cost.macs
    assert record.cost.teacher_seconds is None
    assert record.cost.params < taught.cost.params
    assert record.config["tricks"]["distill"]["teacher"] == run


def test_what_an_offline_teacher_said_is_kept_for_the_next_student_at_any_temperature(store, run, monkeypatch):
    first = execute(student(store, run, mode="offline", tricks={"mixup": {}}), Quiet(), "")
    assert len(list((store / "teachers").iterdir())) == 1
    monkeypatch.setattr(teachers, "images_in_order", lambda *args, **kwargs: pytest.fail("asked again"))
    second = execute(student(store, run, mode="offline", temperature=1.0), Quiet(), "")
    assert second.id != first.id
    assert second.cost.teacher_seconds == first.cost.teacher_seconds > 0
    assert len(list(Store(store).records())) == 3  # the folder of teachers is no run


def test_a_damaged_file_of_what_was_said_is_made_again(store, run):
    prepared = prepare(student(store, run, mode="offline"))
    first = teacher_logits(prepared)
    (file,) = (store / "teachers").iterdir()
    file.write_bytes(b"")
    assert torch.equal(teacher_logits(prepared).logits, first.logits)
    assert file.stat().st_size > 0


def test_a_student_can_be_a_teacher(store, run):
    middle = execute(student(store, run), Quiet(), "")
    assert prepare(student(store, f"run:{middle.id}", mode="offline")).teacher.run == middle.id


@pytest.mark.parametrize("mode", ["online", "offline"])
def test_a_student_can_be_timed(store, run, mode):
    chosen = student(store, run, mode=mode)
    assert seconds_from_steps(PlannedRun("", 0, "", chosen, "")) > 0


# --- what a run is called ---


def test_the_id_depends_on_what_the_teacher_is_and_not_on_where_it_lies(store, run, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    shutil.copytree(store / run.removeprefix("run:"), elsewhere)
    ids = {
        prepare(student(where, source)).id
        for where, source in [
            (store, run),
            (store, run[:10]),
            (store, f"{run}@last"),
            (tmp_path / "empty", f"file:{elsewhere}"),
            (tmp_path / "empty", f"file:{elsewhere / WEIGHTS}"),
        ]
    }
    assert len(ids) == 1
    change_weights(elsewhere, lambda tensors: tensors["head.bias"].add_(1e-3))
    assert prepare(student(store, f"file:{elsewhere}")).id not in ids


def test_the_order_of_tensors_in_the_file_changes_nothing_and_the_normalisation_does(store, run):
    folder = store / run.removeprefix("run:")
    before = find_teacher(run, Store(store), 10).digest
    tensors = load_file(folder / WEIGHTS)
    assert teachers.digest_of(tensors) == teachers.digest_of(dict(reversed(tensors.items())))
    rewrite_record(folder, lambda record: record["config"]["data"].update(mean=[0.0, 0.0, 0.0]))
    assert find_teacher(run, Store(store), 10).digest != before


def test_an_averaged_copy_is_chosen_by_its_name(store, run):
    folder = store / run.removeprefix("run:")
    shutil.copy(folder / WEIGHTS, folder / f"ema.{WEIGHTS}")
    change_weights(folder, lambda tensors: tensors["head.bias"].add_(1))
    last, ema = (find_teacher(f"{run}{copy}", Store(store), 10) for copy in ("", "@ema"))
    assert last.digest != ema.digest
    assert load_file(last.weights)["head.bias"][0] == load_file(ema.weights)["head.bias"][0] + 1


# --- what it says ---


def test_an_online_teacher_says_what_its_network_predicts(store, run):
    prepared = prepare(student(store, run))
    images = torch.randn(4, 3, 8, 8, generator=Key(0).generator())
    network = prepared.teacher.network(CPU, channels_last=False)
    with torch.no_grad():
        expected = network(images)
    torch.testing.assert_close(teacher_online(prepared)(images), expected)
    assert not network.training


def test_a_teacher_is_asked_in_the_students_precision_else_in_its_own(store, run):
    folder = store / run.removeprefix("run:")
    in_fp32 = find_teacher(run, Store(store), 10)
    rewrite_record(folder, lambda record: record["tricks"].update(mixed_precision={}))
    teacher = find_teacher(run, Store(store), 10)
    assert teacher.digest != in_fp32.digest  # the same weights, used in another way
    fp16 = SetPrecision(dtype=torch.float16)
    assert teacher.precision_for(None, CPU).dtype is torch.bfloat16
    assert teacher.precision_for(fp16, torch.device("cuda")).dtype is torch.float16
    assert teacher.precision_for(fp16, CPU) is None
    images = torch.randn(4, 3, 8, 8, generator=Key(0).generator())
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        expected = teacher.network(CPU, channels_last=False)(images)
    said = teacher_online(prepare(student(store, run)))(images)
    assert said.dtype is torch.float32
    torch.testing.assert_close(said, expected.float())


def test_images_are_converted_to_what_the_teacher_is_used_to(store, run):
    teacher = find_teacher(run, Store(store), 10)
    pixels = 255 * torch.rand(4, 3, 8, 8, generator=Key(0).generator())
    other = dataset_settings(mean=[10.0, 20.0, 30.0], std=[50.0, 100.0, 200.0])

    def normalised(data):
        return (pixels - torch.tensor(data.mean).view(3, 1, 1)) / torch.tensor(data.std).view(3, 1, 1)

    said = [
        Online(teacher, data, CPU, None, channels_last=True)(normalised(data)) for data in (dataset_settings(), other)
    ]
    torch.testing.assert_close(said[0], said[1], rtol=1e-4, atol=1e-4)


def test_images_of_another_size_are_resized(store, run):
    online = Online(find_teacher(run, Store(store), 10), dataset_settings(), CPU, None, channels_last=True)
    images = torch.randn(2, 3, 16, 16, generator=Key(0).generator())
    smaller = F.interpolate(images, (8, 8), mode="bilinear", antialias=True)
    assert torch.equal(online(images), online(smaller))


@pytest.mark.parametrize("crop", ["pad", "area"], ids=["memory", "stream"])
@pytest.mark.parametrize("reads", [1, 2])
def test_each_image_comes_with_what_was_said_of_it_without_augmentation(store, run, crop, reads):
    tricks = {"mixup": {"partner": "second_batch"}} if reads == 2 else {}
    chosen = student(store, run, mode="offline", temperature=2.0, tricks=tricks)
    chosen.data.crop, chosen.batch_size = crop, 16
    prepared = prepare(chosen)
    said = teacher_logits(prepared)
    online = Online(prepared.teacher, chosen.data, CPU, prepared.teacher.precision, channels_last=True)
    train, val = loaders(prepared, said)
    images = train.sample(16)
    torch.testing.assert_close(said.logits[:16], online(images))
    batch, parts = next(iter(train.epoch(3))), next(train.plan.steps(3))
    rows = torch.from_numpy(np.concatenate([rows for _, rows in parts]))
    assert len(rows) == len(batch) == 16 * reads
    assert torch.equal(batch.teacher, (said.logits[rows] / 2).softmax(1))
    assert torch.equal(batch.targets.argmax(1), torch.from_numpy(prepared.data.train.labels)[rows])
    assert next(iter(val.epoch(0))).teacher is None


@pytest.mark.parametrize("crop", ["pad", "area"], ids=["memory", "stream"])
def test_a_broken_file_moves_nobody_elses_row(store, run, tmp_path, crop):
    root = tmp_path / "photos"
    for label in range(10):
        (root / f"{label}").mkdir(parents=True)
        for i in range(4):
            colour = np.full((8, 8, 3), 25 * label + 5 * i, np.uint8)
            Image.fromarray(colour).save(root / f"{label}" / f"{i}.png")
    (root / "0" / "0.png").write_bytes(b"no image")
    chosen = student(store, run, mode="offline")
    chosen.batch_size = 8
    chosen.data = dataset_settings(
        name="imagefolder", root=str(root), holdout=0.25, image_size=8, crop=crop, pad=0, flip=False, jitter="none",
        pca=0.0, on_error="skip",
    )  # fmt: skip
    prepared = prepare(chosen)
    broken = [i for i, path in enumerate(prepared.data.train.paths) if path.endswith("/0/0.png")]
    assert broken, "the broken file is in the training part"
    said = teacher_logits(prepared)
    assert said.logits.isnan().any(1).nonzero().flatten().tolist() == broken
    online = Online(prepared.teacher, chosen.data, CPU, prepared.teacher.precision, channels_last=True)
    batches = list(loaders(prepared, said)[0].epoch(0))
    assert len(batches) == 3
    for batch in batches:  # of one colour, so a crop is what the whole image is
        torch.testing.assert_close(batch.teacher, (online(batch.images) / 20).softmax(1), rtol=1e-3, atol=1e-3)
    table = torch.cat([batch.teacher for batch in batches])
    assert table.unique(dim=0).shape[0] > 15  # the rows differ, so a shift would show


def test_decoded_images_of_the_students_size_are_not_what_a_larger_teacher_sees(store, run):
    prepared = prepare(student(store, run, mode="offline", size=4))
    data = keep_decoded(prepared.data)
    plain = Augment(4, None)
    assert into_memory(data.train, plain, dataset_settings(), 0)[0].images.shape[2:] == (4, 4)
    said = teacher_logits(prepare(prepared.settings, data=data))
    shutil.rmtree(store / "teachers")
    assert torch.equal(said.logits, teacher_logits(prepared).logits)


# --- networks of other libraries ---


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    """Weights of small networks, for ten classes unless they say otherwise."""
    folder = tmp_path_factory.mktemp("weights")
    squeeze = models.squeezenet1_1(weights=None, num_classes=10).state_dict()
    torch.save(squeeze, folder / "ten.pth")
    save_file(squeeze, folder / "ten.safetensors")
    torch.save(models.squeezenet1_1(weights=None, num_classes=11).state_dict(), folder / "eleven.pth")
    torch.save({"state_dict": timm.create_model("test_resnet", num_classes=10).state_dict()}, folder / "timm.pth")
    torch.save(Quiet(), folder / "code.pth")
    (folder / "text.safetensors").write_text("no weights")
    return folder


def test_a_network_of_torchvision_is_a_teacher_with_its_own_size_and_normalisation(library, store):
    teacher = find_teacher(f"torchvision:squeezenet1_1:{library / 'ten.pth'}", Store(store), 10)
    assert teacher.pixels == 224
    assert teacher.mean == pytest.approx([123.675, 116.28, 103.53])
    assert teacher.std == pytest.approx([58.395, 57.12, 57.375])
    network = models.squeezenet1_1(weights=None, num_classes=10)
    network.load_state_dict(load_file(library / "ten.safetensors"))
    images = torch.randn(1, 3, 224, 224, generator=Key(0).generator())
    same = dataset_settings(mean=[*teacher.mean], std=[*teacher.std])
    with torch.no_grad():
        expected = network.eval()(images)
    torch.testing.assert_close(Online(teacher, same, CPU, None, channels_last=False)(images), expected)
    again = find_teacher(f"torchvision:squeezenet1_1:{library / 'ten.safetensors'}", Store(store), 10)
    assert again.digest == teacher.digest
    assert again.cost()["teacher_params"] == sum(p.numel() for p in network.parameters())


def test_the_record_of_another_run_makes_no_teacher(store, run):
    path = store / run.removeprefix("run:") / RECORD
    path.write_text(record_text(replace(read_record(path), id="other")), encoding="utf-8")
    with pytest.raises(DamagedRecord, match="is the record of run other"):
        find_teacher(run, Store(store), 10)


def test_a_link_to_a_file_of_another_name_is_read_by_its_own(library, store, tmp_path):
    shutil.copy(library / "ten.safetensors", tmp_path / "blob")  # as in the cache of a hub
    (tmp_path / "model.safetensors").symlink_to("blob")
    assert find_teacher(f"torchvision:squeezenet1_1:{tmp_path / 'model.safetensors'}", Store(store), 10).pixels == 224


def test_a_network_of_timm_is_a_teacher(library, store):
    teacher = find_teacher(f"timm:test_resnet:{library / 'timm.pth'}", Store(store), 10)
    assert teacher.pixels == 160
    said = Online(teacher, dataset_settings(), CPU, None, channels_last=True)(torch.zeros(1, 3, 32, 32))
    assert said.shape == (1, 10)


# --- what is refused ---


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("", r"tricks.distill.teacher is not set: name the network to learn from with tricks.distill.teacher=run:ID "
             r"\(a finished run, or run:last\), file:PATH, torchvision:NAME:PATH or timm:NAME:PATH"),
        ("resnet50", r"tricks.distill.teacher=resnet50: names no teacher; type tricks.distill.teacher=run:ID .*"),
        ("run:zzz", r".*=run:zzz: there is no such finished run in store=.*; bot-table lists the ids"),
        ("run:@ema", r".*: there is no such finished run .*"),
        ("{run}@ema", r".*@ema: the run has no weights 'ema' \(it has last\)"),
        ("file:{library}/nothing", r".*: there is no file .*/nothing"),
        ("file:{library}/ten.pth", r".*: its folder has no record.json to name its network; type .*"),
        ("torchvision:resnet18", r".*: there is no file ''; type torchvision:NAME:PATH with weights .*"),
        ("torchvision:resnet999:{library}/ten.pth", r".*: torchvision has no classifier 'resnet999'"),
        ("torchvision:fcn_resnet50:{library}/ten.pth", r".*: torchvision has no classifier 'fcn_resnet50'"),
        ("timm:resnet999:{library}/ten.pth", r".*: timm has no network 'resnet999'"),
        (f"{SQUEEZE}/eleven.pth", ".*: the teacher has 11 classes, this run 10; a background class is not supported"),
        (f"{SQUEEZE}/timm.pth", ".*: its weights do not fit its network: .* tensors differ, such as .*"),
        (f"{SQUEEZE}/code.pth", r".*code.pth: refused, .* holds more than tensors, which could run code; .*"),
        (f"{SQUEEZE}/text.safetensors", r".*text.safetensors: is damaged, or no file of safetensors .*"),
    ],
)  # fmt: skip
def test_a_teacher_that_cannot_teach_is_refused_in_one_line(store, library, run, source, message):
    with pytest.raises(UserError, match=rf"^{message}$"):
        prepare(student(store, source.format(run=run, library=library)))


def test_a_beginning_that_several_runs_share_is_refused(store, run):
    folder = store / run.removeprefix("run:")
    shutil.copytree(folder, folder.with_name(f"{folder.name}1"))
    with pytest.raises(
        UserError, match=rf": 2 runs begin with it \({folder.name}, {folder.name}1\.\.\.\): type more of the id$"
    ):
        prepare(student(store, run))


def test_a_run_that_is_not_finished_is_no_teacher(store, run):
    (store / run.removeprefix("run:") / RECORD).unlink()
    with pytest.raises(UserError, match="there is no such finished run"):
        prepare(student(store, run))


def test_a_teacher_of_other_classes_is_refused_with_both_numbers(store, run):
    with pytest.raises(UserError, match=r": the teacher has 10 classes, this run 12$"):
        prepare(replace(student(store, run), num_classes=12))


def test_weights_that_are_not_of_the_recorded_network_are_refused(store, run):
    change_weights(store / run.removeprefix("run:"), lambda tensors: tensors.pop("head.bias"))
    with pytest.raises(UserError, match=r"its weights do not fit its network: 1 tensors differ, such as head\.bias$"):
        prepare(student(store, run))


def test_a_record_of_another_version_is_refused(store, run):
    folder = store / run.removeprefix("run:")
    whole = (folder / RECORD).read_text()
    for place, message in [("config", "another version of bagoftricks"), ("tricks", "cannot be built again")]:
        (folder / RECORD).write_text(whole)
        rewrite_record(folder, lambda record, place=place: record[place].update(warp={"speed": 9}))
        with pytest.raises(UserError, match=message):
            prepare(student(store, run))


# --- its classes ---


def with_classes(data, names):
    """The same images, whose class ``i`` stands where ``names`` has its name."""
    return data.renumbered(names, [names.index(name) for name in data.classes])


@pytest.mark.parametrize("mode", ["online", "offline"])
def test_a_teacher_whose_classes_have_another_order_is_matched_by_name(store, run, mode):
    change_weights(store / run.removeprefix("run:"), lambda tensors: tensors["head.weight"].zero_())
    bias = torch.arange(10.0)
    change_weights(store / run.removeprefix("run:"), lambda tensors: tensors["head.bias"].copy_(bias))
    chosen = student(store, run, mode=mode, temperature=2.0)
    digits = find_dataset(chosen.data)
    names = ("3", "0", "1", "2", *"987654")
    prepared = prepare(chosen, data=with_classes(digits, names))
    expected = torch.tensor([3.0, 0, 1, 2, 9, 8, 7, 6, 5, 4])  # the logit of "3" first, ...
    if mode == "online":
        logits = teacher_online(prepared)(torch.zeros(1, 3, 8, 8))[0]
    else:
        logits = teacher_logits(prepared).logits[7]
    torch.testing.assert_close(logits, expected)
    assert class_notes(prepared) == [f"the teacher {run} has the classes in another order: they are matched by name"]
    same = prepare(chosen, data=digits)
    assert class_notes(same) == []
    assert same.teacher.digest != prepared.teacher.digest
    if mode == "offline":
        torch.testing.assert_close(teacher_logits(same).logits[7], bias)  # not the file of the other order


def test_a_student_learns_the_right_classes_from_a_teacher_of_another_order(store):
    chosen = replace(settings(store), model=network_settings(depths=[1, 1], width=8), epochs=3, batch_size=32)
    backwards = with_classes(find_dataset(chosen.data), tuple("9876543210"))
    record = execute(chosen, Quiet(), "", backwards)
    assert record.data.class_names == backwards.classes
    assert record.data.class_counts == tuple(np.bincount(backwards.train.labels).tolist())
    prepared = prepare(student(store, f"run:{record.id}", mode="offline"))
    right = (teacher_logits(prepared).logits.argmax(1).numpy() == prepared.data.train.labels).mean()
    assert right > 0.4  # 0.1 by chance


def test_a_teacher_of_other_classes_is_refused_by_their_names(store, run):
    digits = find_dataset(student(store, run).data)
    other = replace(digits, classes=("cat", *digits.classes[1:8], "dog", "9"))
    message = (
        r"tricks.distill.teacher=run:\w+: the teacher has no class 'cat', 'dog' \(of its own: '0', '8'\); "
        "rename the folders of one of the two data sets$"
    )
    with pytest.raises(UserError, match=f"^{message}"):
        prepare(student(store, run), data=other)


def test_a_teacher_without_class_names_is_noted(store, run):
    folder = store / run.removeprefix("run:")
    rewrite_record(folder, lambda record: record["data"].pop("class_names"))
    (note,) = class_notes(prepare(student(store, run)))
    assert note.startswith(f"the teacher {run} does not name its classes")


def test_a_teacher_of_other_images_of_the_same_classes_needs_no_note(store, run):
    other = student(store, run)
    other.data.holdout = 0.2
    assert class_notes(prepare(other)) == []
