"""Weights in and out: files, names, and what is said where they do not fit."""

import errno
import pickle
from pathlib import Path

import pytest
import timm
import torch
import torchvision
from safetensors.torch import save_file
from torch import nn

from bagoftricks.errors import UserError
from bagoftricks.models import build_model
from bagoftricks.models.weights import file_digest, fitted, library_tensors, load_weights, read_tensors
from bagoftricks.recipe.compose import compose
from bagoftricks.recipe.edits import AverageWeights
from bagoftricks.run.check import check, weights_digest
from bagoftricks.run.identity import run_identity
from bagoftricks.run.prepare import prepare
from bagoftricks.settings import Settings, dataset_settings, network_settings
from bagoftricks.training.trainer import Trainer, TrainerSetup
from bagoftricks.tricks.catalogue import create
from tests.helpers import CLASSES, KEY, PIXELS, RESNET50, TINY, Fake, make_task, parts_of
from tests.models.test_resnet import assert_same_logits, randomise, resnet


def tiny(*tricks: str, block: str = "bottleneck", num_classes: int = CLASSES, chosen=None) -> nn.Module:
    spec = network_settings(name="tiny", depths=[2, 1], width=4, block=block)
    parts = chosen or parts_of(*(tricks or ("",)))
    return build_model(spec, parts, num_classes=num_classes, image_size=PIXELS)


@pytest.mark.parametrize(
    ("layers", "form", "source"),
    [
        (50, "resnet_b", lambda: torchvision.models.resnet50(weights=None)),
        (18, "", lambda: torchvision.models.resnet18(weights=None)),
        (50, "resnet_d", lambda: timm.create_model("resnet50d")),
        (50, "resnet_c", lambda: timm.create_model("resnet50c")),
    ],
    ids=["torchvision resnet50", "torchvision resnet18", "timm resnet50d", "timm resnet50c"],
)
def test_a_librarys_file_gives_the_librarys_logits_and_goes_out_as_it_came(layers, form, source, tmp_path):
    theirs = randomise(source())
    file = tmp_path / "weights.pth"
    torch.save(theirs.state_dict(), file)
    ours = resnet(layers, form)
    load_weights(ours, file)
    assert_same_logits(theirs, ours.eval(), 96)
    exported = library_tensors(ours, "resnet")
    assert list(exported) == list(theirs.state_dict())
    assert all(torch.equal(exported[name], tensor) for name, tensor in theirs.state_dict().items())


@pytest.mark.parametrize(
    ("name", "tricks"),
    [
        ("seresnet50", {"resnet_b": {}, "se": {"bias": True}}),
        ("ecaresnet50d", {"resnet_d": {}, "eca": {"kernels": "formula"}}),
        ("resnetblur50", {"resnet_b": {}, "anti_alias": {"max_pool": True}}),
    ],
)
def test_timms_file_of_a_tweaked_network_gives_its_logits_and_goes_out_as_it_came(name, tricks, tmp_path):
    theirs = randomise(timm.create_model(name))
    save_file(theirs.state_dict(), tmp_path / "weights.safetensors")
    parts = compose({trick: create(trick, **params) for trick, params in tricks.items()}, make_task()).parts
    ours = build_model(RESNET50, parts, num_classes=1000, image_size=224)
    load_weights(ours, tmp_path / "weights.safetensors")
    assert_same_logits(theirs, ours.eval(), 96)
    theirs.load_state_dict(library_tensors(ours, "resnet50"))


@pytest.mark.parametrize(
    ("block", "form"),
    [("basic", ""), ("basic", "resnet_d"), *(("bottleneck", f"resnet_{form}") for form in "bcd")],
)
@pytest.mark.parametrize("naming", ["ours", "torchvision"])
def test_what_goes_out_comes_in_again(form, block, naming):
    model = randomise(tiny(form, block=block))
    tensors = model.state_dict() if naming == "ours" else library_tensors(model, "tiny")
    found = fitted(tiny(form, block=block), tensors, "file")
    assert found.keys() == model.state_dict().keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize("suffix", ["safetensors", "pth", "nested", "parallel"])
def test_every_kind_of_file_is_read(suffix, tmp_path):
    tensors = {"a.weight": torch.ones(2, 3), "b": torch.tensor(3)}
    file = tmp_path / f"weights.{suffix}"
    if suffix == "safetensors":
        save_file(tensors, file)
    else:
        made = {
            "nested": {"epoch": 3, "state_dict": tensors},
            "parallel": {f"module.{k}": v for k, v in tensors.items()},
        }
        torch.save(made.get(suffix, tensors), file)
    found = read_tensors(file)
    assert found.keys() == tensors.keys()
    assert all(torch.equal(found[name], tensors[name]) for name in tensors)


class Malicious:
    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return open, (str(self.marker), "w")


@pytest.mark.parametrize("write", [torch.save, lambda made, file: file.write_bytes(pickle.dumps(made))])
@pytest.mark.parametrize("name", ["weights.pth", "weights.bin", "weights.safetensors"])
def test_a_file_that_would_run_code_is_refused_and_does_not_run(write, name, tmp_path):
    file, marker = tmp_path / name, tmp_path / "ran"
    write({"weight": torch.ones(1), "evil": Malicious(marker)}, file)
    with pytest.raises(UserError, match=r"weights\.\w+: (refused, for it is damaged or holds more than|is damaged)"):
        read_tensors(file)
    assert not marker.exists()


def test_a_file_that_is_closed_to_us_is_named_with_the_reason(tmp_path, monkeypatch):
    (tmp_path / "w.safetensors").touch()

    def closed(path, *args):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(Path, "open", closed)
    with pytest.raises(UserError, match=r"w.safetensors: cannot be read \(Permission denied\)"):
        read_tensors(tmp_path / "w.safetensors")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "refused, for it is damaged"),
        (b"garbage", "refused, for it is damaged"),
        (None, "no such file of weights"),
    ],
)
def test_a_file_that_is_none_is_refused(content, message, tmp_path):
    (tmp_path / "resnet51.pth").touch()
    file = tmp_path / "resnet50.pth"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(UserError, match=message) as error:
        read_tensors(file)
    assert "\n" not in str(error.value)
    assert content is not None or str(error.value).endswith("; did you mean 'resnet51.pth'?")


@pytest.mark.parametrize("made", [{}, {"epoch": 3}, [torch.ones(1)], {"state_dict": {"a": 1}}])
def test_a_file_without_a_state_dict_is_refused(made, tmp_path):
    torch.save(made, tmp_path / "weights.pth")
    with pytest.raises(UserError, match="holds no state dict"):
        read_tensors(tmp_path / "weights.pth")


def test_what_is_missing_unexpected_or_misshapen_is_counted_and_listed():
    tensors = dict(library_tensors(tiny("resnet_b"), "tiny"))
    del tensors["layer1.0.bn1.weight"]
    tensors |= {f"extra.{i}": torch.ones(1) for i in range(7)} | {"conv1.weight": torch.ones(4, 3, 7, 7)}
    with pytest.raises(UserError) as error:
        fitted(tiny("resnet_b"), tensors, "my.pth")
    assert str(error.value) == (
        "my.pth is not of this network with these tricks: of its tensors, 1 missing (layer1.0.bn1.weight), "
        "7 unexpected (extra.0, extra.1, extra.2, extra.3, extra.4, ...), "
        "1 of another shape (conv1.weight (4, 3, 7, 7), not (4, 3, 3, 3)); "
        "choose model= and the tweaks that the weights were trained with (images of up to 64 pixels get a small stem: "
        "type model.stem=imagenet, or a larger image_size)"
    )


def test_weights_of_another_form_do_not_fit():
    """A deep stem has three convolutions and norms where a plain one has one of each."""
    with pytest.raises(UserError, match=r"11 missing \(conv1\.0\.weight, .*1 unexpected \(conv1\.weight\)"):
        fitted(tiny("resnet_d"), library_tensors(tiny("resnet_b"), "tiny"), "file")


def test_a_head_of_another_size_is_named_and_can_start_anew(tmp_path):
    save_file(tiny(num_classes=7).state_dict(), tmp_path / "seven.safetensors")
    message = (
        r"its head has 7 outputs and this network's 5: "
        r"type model\.new_head=true to initialise the head, or num_classes=7 to keep it$"
    )
    with pytest.raises(UserError, match=message):
        load_weights(tiny(), tmp_path / "seven.safetensors")
    model = tiny()
    head = model.head.weight.clone()
    load_weights(model, tmp_path / "seven.safetensors", new_head=True)
    assert torch.equal(model.head.weight, head)


def test_a_new_head_is_new_where_the_old_one_would_fit():
    found = fitted(tiny(), tiny().state_dict(), "file", new_head=True)
    assert set(tiny().state_dict()) - set(found) == {"head.weight", "head.bias"}


def test_what_older_files_lack_and_the_auxiliary_head_do_not_matter():
    counters = {name: tensor for name, tensor in tiny().state_dict().items() if not name.endswith("tracked")}
    assert fitted(tiny(), counters, "file").keys() == counters.keys()
    spec = network_settings(name="inception_v3", kind="torchvision", network="inception_v3")
    with torch.device("meta"):
        theirs = torchvision.models.inception_v3(weights=None, init_weights=False).state_dict()
        ours = build_model(spec, {}, num_classes=1000, image_size=75)
    assert any(name.startswith("AuxLogits.") for name in theirs)
    assert fitted(ours, theirs, "file").keys() == ours.state_dict().keys()


def test_a_network_that_the_libraries_do_not_have_has_no_names_there():
    spec = network_settings(name="mobilenet", kind="mobilenet_v1", width=8)
    model = build_model(spec, {}, num_classes=5, image_size=32)
    with pytest.raises(
        UserError, match=r"^naming=torchvision: mobilenet with these tricks is no network of torchvision"
    ):
        library_tensors(model, "mobilenet")


def trainer_from(file, tricks=None) -> Trainer:
    task = make_task()
    recipe = compose(tricks or {}, task)
    model = build_model(TINY, recipe.parts, num_classes=CLASSES, image_size=PIXELS)
    return Trainer(
        recipe,
        model,
        task,
        task.clock.length,
        TrainerSetup(key=KEY, lr=0.1, weight_decay=0.0, start=lambda model: load_weights(model, file)),
    )


def test_a_run_and_its_averages_start_from_the_file(tmp_path):
    source = randomise(build_model(TINY, {}, num_classes=CLASSES, image_size=PIXELS)).state_dict()
    save_file(source, tmp_path / "start.safetensors")
    average = Fake([AverageWeights(weight=lambda updates: 0.5)])
    for model in trainer_from(tmp_path / "start.safetensors", {"average": average}).weight_sets().values():
        assert all(torch.equal(tensor, source[name]) for name, tensor in model.state_dict().items())


def settings_from(file, **changes) -> Settings:
    model = network_settings(depths=[1, 1], width=4, weights=str(file), **changes)
    return Settings(model=model, data=dataset_settings(image_size=8, pad=1), batch_size=64, epochs=1)


def test_a_run_is_named_by_what_the_file_holds_not_by_where_it_lies(tmp_path):
    model = build_model(network_settings(depths=[1, 1], width=4), {}, num_classes=10, image_size=8)
    for name in ("a", "b", "c"):
        save_file(model.state_dict(), tmp_path / f"{name}.safetensors")
        if name == "b":
            randomise(model)
    ids = [prepare(settings_from(tmp_path / f"{name}.safetensors")).id for name in ("a", "b", "c")]
    without = settings_from("")
    without.model.weights = None
    anew = prepare(settings_from(tmp_path / "a.safetensors", new_head=True)).id
    assert ids[0] == ids[1]
    assert len({ids[0], ids[2], anew, prepare(without).id}) == 4
    assert file_digest(tmp_path / "a.safetensors") == file_digest(tmp_path / "b.safetensors")


def test_a_network_without_a_file_has_the_identity_of_earlier_versions():
    identity = run_identity(Settings(), {}, "data", 10)
    assert set(identity["model"]) == {"name", "kind", "block", "depths", "width", "groups", "group_width", "stem"}


def test_a_file_that_does_not_fit_is_found_before_the_run(tmp_path):
    save_file(tiny().state_dict(), tmp_path / "tiny.safetensors")
    settings = settings_from(tmp_path / "tiny.safetensors")
    checked = check(settings)
    with pytest.raises(UserError, match=r"tiny\.safetensors: its head has 5 outputs and this network's 10"):
        weights_digest(checked)


@pytest.mark.parametrize(
    ("network", "how"),
    [
        ({}, r"type model\.weights=FILE \(docs/finetune\.md\)"),
        (
            {"kind": "torchvision", "network": "resnet18"},
            r"make one with python -c \"import torch, torchvision; torch\.save\(torchvision\.models\.get_model\("
            r"'resnet18', weights='DEFAULT'\)\.state_dict\(\), 'resnet18\.pth'\)\" and type "
            r"model\.weights=resnet18\.pth",
        ),
        (
            {"kind": "timm", "network": "resnet18"},
            r"make one with .*timm\.create_model\('resnet18', pretrained=True\).* type model\.weights=resnet18\.pth",
        ),
    ],
)
def test_a_new_head_without_weights_says_how_to_get_them(network, how):
    settings = Settings(model=network_settings(new_head=True, **network), image_size=64)
    with pytest.raises(UserError, match=rf"^model\.new_head=true: needs a file of trained weights: {how}; to train "):
        check(settings)
    check(settings, train=False)  # to look at the data or at the costs
