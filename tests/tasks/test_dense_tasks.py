"""What segmentation and detection share: runs on scenes, resuming, ranks, tricks, starting weights."""

import math

import pytest
import timm
import torch
import torchvision
from safetensors.torch import load_file

from bagoftricks.cli.compose import compose_settings
from bagoftricks.data.finding import find_dataset
from bagoftricks.distributed import ALONE
from bagoftricks.errors import UserError
from bagoftricks.measure.speed import Timing
from bagoftricks.models import build_model
from bagoftricks.models.backbone import feature_maps
from bagoftricks.models.weights import load_weights
from bagoftricks.recipe.edits import Batch
from bagoftricks.run.carry_out import carry_out
from bagoftricks.run.check import check
from bagoftricks.run.execute import execute
from bagoftricks.run.inspection import inspect_data, look
from bagoftricks.run.prepare import prepare
from bagoftricks.run.reporter import SilentReporter
from bagoftricks.settings import network_settings
from bagoftricks.store.record import read_record
from tests.models.test_resnet import randomise
from tests.run.interrupted import Stopping, stopped_and_continued
from tests.tasks.scenes import SMALL, TASKS, TINY, OneOfTwo, scene_settings

both = pytest.mark.parametrize("task", ["segmentation", "detection"])
SCORES = {"segmentation": ("mean_iou", "pixel_accuracy"), "detection": ("voc_map", "voc_map_2010", "coco_map")}


@pytest.fixture(autouse=True)
def _cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "cache"))
    monkeypatch.setattr("bagoftricks.run.costs.time_inference", lambda *args, **kwargs: Timing(64, 1.0, 1.0, 1.0, 5))


@both
def test_a_record_has_the_scores_of_the_task(task, tmp_path):
    record = carry_out(scene_settings(task, tmp_path), SilentReporter(), "bot-train")
    last = record.metrics["last"]
    assert record.first == SCORES[task][0]
    assert tuple(last.others) == SCORES[task]
    assert all(math.isfinite(value) and 0 <= value <= 100 for value in last.others.values())
    assert record.score() == last.others[record.first] == record.cost.curve[-1].score
    assert last.top1 is None
    assert read_record(tmp_path / record.id / "record.json") == record


@both
def test_a_run_that_was_interrupted_goes_on_bit_for_bit(task, tmp_path):
    more = ["+refine=[cosine,ema]", "data.crop=pad", "data.pad=2"]
    whole = execute(scene_settings(task, tmp_path / "one", *more), Stopping(), "bot-train")
    record, last = stopped_and_continued(scene_settings(task, tmp_path / "two", *more), 5)
    assert last.began == [5]
    assert record.metrics == whole.metrics
    one, two = (load_all(tmp_path / name / record.id) for name in ("one", "two"))
    assert len(one) > 10
    assert one.keys() == two.keys()
    assert all(torch.equal(tensor, two[name]) for name, tensor in one.items())


def load_all(folder):
    """Tensors of all weight sets of a run."""
    files = sorted(folder.glob("*weights.safetensors"))
    return {f"{file.name} {name}": tensor for file in files for name, tensor in load_file(file).items()}


@both
def test_the_task_is_part_of_the_identity(task, tmp_path):
    one = prepare(scene_settings(task, tmp_path))
    setting = {"segmentation": "task.aux_weight=0", "detection": "task.channels=4"}[task]
    other = prepare(scene_settings(task, tmp_path, setting))
    assert one.identity["task"]["name"] == task
    assert one.id != other.id


@both
def test_ranks_measure_what_one_process_measures(task):
    measured = compose_settings([*TINY, *TASKS[task]]).task
    draw = torch.Generator().manual_seed(0)
    batches = [(at, _drawn(task, draw)) for at in (0, 4, 8)]
    predicted = {id(batch.images): out for _, (batch, out) in batches}

    def predict(images):
        return predicted[id(images)]

    class Probe(OneOfTwo):
        def all_gather_object(self, mine):
            self.theirs = mine
            return [mine]

    rows = [(at, batch) for at, (batch, _) in batches]
    measured.measure(predict, rows[1:2], probe := Probe(None))
    two = measured.measure(predict, [rows[0], rows[2]], OneOfTwo(probe.theirs))
    one = measured.measure(predict, rows, ALONE)
    assert one.scores == two.scores
    assert one.scores[SCORES[task][0]] > 0


def _drawn(task, draw):
    images = torch.zeros(4, 3, 16, 16)
    if task == "segmentation":
        logits = torch.randn(4, 5, 16, 16, generator=draw)
        return Batch(images, torch.randint(5, (4, 16, 16), generator=draw)), logits
    corners = torch.randint(0, 8, (4, 3, 2), generator=draw).float()
    boxes = torch.cat([corners, corners + 6, torch.randint(3, (4, 3, 1), generator=draw).float()], 2)
    found = torch.cat([boxes, torch.rand(4, 3, 1, generator=draw)], 2)
    found[:, 2, 4] = 1  # some of another class
    return Batch(images, boxes), found


@both
@pytest.mark.parametrize(
    "name",
    ["mixup", "cutmix", "label_smoothing", "autoaugment", "progressive_size", "tta_flip", "distill", "test_size"],
)
def test_tricks_without_sense_are_refused_by_name(task, name, tmp_path):
    from bagoftricks.tricks import FAMILY_OF

    more = ["tricks.distill.teacher=x"] if name == "distill" else []
    more += ["tricks.test_size.size=40"] if name == "test_size" else []
    with pytest.raises(UserError, match=f"^{name}: makes no sense with task={task}"):
        check(scene_settings(task, tmp_path, f"+{FAMILY_OF[name]}=[{name}]", *more))


@both
def test_tricks_of_the_network_and_of_the_training_are_accepted(task, tmp_path):
    more = [
        "+refine=[cosine,ema]",
        "+regularize=[cutout]",
        "+tweak=[resnet_d,sk,ghost_norm]",
        "tricks.ghost_norm.splits=2",
    ]
    checked = check(scene_settings(task, tmp_path, *more, "tricks.cutout.size=8"))
    assert set(checked.tricks) == {"cosine", "ema", "cutout", "sk", "resnet_d", "ghost_norm"}


@both
def test_data_of_another_task_are_refused(task, tmp_path):
    needs = {"segmentation": "a class for each pixel", "detection": "boxes of objects"}[task]
    with pytest.raises(UserError, match=f"task={task}: needs {needs}"):
        prepare(compose_settings(["preset=digits", *TASKS[task][:1], f"store={tmp_path}"]))


@both
@pytest.mark.parametrize(
    ("form", "source"),
    [
        ("", lambda: torchvision.models.resnet18(weights=None)),
        ("resnet_d", lambda: timm.create_model("resnet26d")),
    ],
    ids=["torchvision resnet18", "timm resnet26d"],
)
@torch.inference_mode()
def test_a_librarys_classifier_gives_the_backbone_its_maps(task, form, source, tmp_path):
    theirs = randomise(source()).eval()
    torch.save(theirs.state_dict(), tmp_path / "weights.pth")
    line = ["model=resnet50", "+tweak=resnet_d"] if form else ["model=resnet18"]
    line += ["model.depths=[2,2,2,2]", "model.width=64", "image_size=96"]
    settings = compose_settings([*TINY, *TASKS[task], *line])
    recipe = check(settings).recipe
    model = build_model(settings.model, recipe.parts, num_classes=11, image_size=96, task=settings.task)
    load_weights(model, tmp_path / "weights.pth")
    images = torch.randn(2, 3, 96, 96, generator=torch.Generator().manual_seed(1))
    expected, found = feature_maps(theirs).eval()(images), model.backbone.eval()(images)
    torch.testing.assert_close(found[0], expected[0], rtol=1e-4, atol=1e-5)
    if task == "detection":  # its strides are those of the classifier
        for one, other in zip(found, expected, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


@both
def test_a_run_starts_from_a_classifier_of_ours_without_new_head(task, tmp_path):
    classifier = ["preset=digits", *SMALL, "data.limit=64", "epochs=1", f"store={tmp_path}"]
    first = carry_out(compose_settings(classifier), SilentReporter(), "bot-train")
    weights = f"model.weights={tmp_path / first.id / 'weights.safetensors'}"
    prepared = prepare(scene_settings(task, tmp_path, weights))
    assert prepared.start_order is None
    assert prepared.id != prepare(scene_settings(task, tmp_path)).id
    record = carry_out(scene_settings(task, tmp_path, weights, "epochs=1"), SilentReporter(), "bot-train")
    assert record.score() is not None
    assert prepare(scene_settings(task, tmp_path, weights, "model.new_head=true")).start_order is None


@both
def test_a_network_goes_on_from_weights_of_its_own_task(task, tmp_path):
    spec = network_settings(name="small", depths=[1, 1], width=4)
    settings = compose_settings([*TINY, *TASKS[task]])
    make = lambda classes: build_model(spec, {}, num_classes=classes, image_size=32, task=settings.task)  # noqa: E731
    source, target = randomise(make(11)), make(11)
    torch.save(source.state_dict(), tmp_path / "weights.pth")
    load_weights(target, tmp_path / "weights.pth")
    assert all(torch.equal(tensor, source.state_dict()[name]) for name, tensor in target.state_dict().items())
    other = make(7)
    with pytest.raises(UserError, match="of another shape"):
        load_weights(other, tmp_path / "weights.pth")
    load_weights(other, tmp_path / "weights.pth", new_head=True)
    assert torch.equal(other.backbone.stem[0].weight, source.backbone.stem[0].weight)


@both
def test_a_look_at_the_data_finds_nothing_wrong_with_scenes(task, tmp_path):
    found = inspect_data(look(scene_settings(task, tmp_path)), SilentReporter())
    assert found.wrong == ()
    assert len(found.mean) == 3


@pytest.mark.parametrize(
    ("task", "more"),
    [("detection", ["+efficiency=[mixed_precision]"]), ("segmentation", ["data.channels=1"])],
    ids=["detection in bf16", "segmentation of greys"],
)
def test_runs_of_other_numbers_and_channels_have_scores(task, more, tmp_path):
    settings = scene_settings(task, tmp_path, "data.scenes=8", "data.val_scenes=8", "epochs=1", *more)
    assert carry_out(settings, SilentReporter(), "bot-train").score() >= 0


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ("runtime.compile=true", "^runtime.compile=true: a detector's loss"),
        ("data.crop=area", "^data.crop=area: boxes need their whole image: type data.crop=none"),
        ("data.crop=stretch", "^data.crop=stretch: boxes need their whole image"),
    ],
)
def test_a_detector_refuses_what_has_no_meaning_for_boxes(more, message, tmp_path):
    with pytest.raises(UserError, match=message):
        carry_out(scene_settings("detection", tmp_path, more), SilentReporter(), "bot-train")


def test_pooling_to_one_position_needs_a_batch_of_two(tmp_path):
    for head in ("psp", "deeplab"):
        with pytest.raises(UserError, match=r"batch_size=1: leaves one image for the statistics"):
            check(scene_settings("segmentation", tmp_path, f"task.head={head}", "batch_size=1"))
    assert check(scene_settings("segmentation", tmp_path, "batch_size=1"))
    frozen = ["task.head=psp", "batch_size=8", "+refine=[frozen_norm]"]
    assert check(scene_settings("segmentation", tmp_path, *frozen))


def test_scenes_have_the_background_as_a_class_of_pixels_alone():
    masks = find_dataset(compose_settings([*TINY, *TASKS["segmentation"]]).data)
    boxes = find_dataset(compose_settings([*TINY, *TASKS["detection"]]).data)
    assert masks.classes == ("background", *boxes.classes)
