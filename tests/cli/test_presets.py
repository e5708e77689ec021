"""The presets of the fast recipes and of photographs: their numbers, and that they train."""

from dataclasses import asdict

import pytest
import torch
import torchvision
from PIL import Image
from safetensors.torch import load_file

from bagoftricks.cli.compose import compose_settings
from bagoftricks.study.experiment import load_experiment
from bagoftricks.study.overrides import arm_settings
from tests.helpers import make_task, photographs

FAST = ["page", "fast_small", "fast_gpu"]  # fast, fast_85 and fast_90 build on fast_small


def test_page_is_the_last_row_of_the_ladder():
    found = load_experiment("page/ladder", "paper")
    row = arm_settings(found.arms[-1], found.overrides, compose_settings)
    preset = compose_settings(["preset=page", "tricks.mixed_precision.dtype=fp16"])
    row.tricks["warmup"]["epochs"] = preset.tricks["warmup"]["epochs"]
    assert asdict(preset) == asdict(row)


def test_pages_schedule_has_his_knots():
    from bagoftricks.recipe.compose import compose
    from bagoftricks.tricks.catalogue import create

    tricks = {name: create(name, **params) for name, params in compose_settings(["preset=page"]).tricks.items()}
    schedule = compose(tricks, make_task(batch_size=512, steps_per_epoch=97, total_steps=970)).schedule
    assert schedule(2 * 97 - 1) == 1.0  # the peak after two epochs
    assert schedule(5 * 97) == pytest.approx(0.55, abs=1e-3)  # half way from 1 at 2 to 0.1 at 8
    assert [schedule(step) for step in (8 * 97, 969)] == pytest.approx([0.1, 0.1])


@pytest.mark.parametrize("preset", ["page", "fast_small", pytest.param("fast_gpu", marks=pytest.mark.long)])
@pytest.mark.slow
def test_a_fast_preset_trains_on_the_digits(bot, preset):
    small = ["data=digits", "data.flip=true", "image_size=32", "batch_size=512", "epochs=3"]
    small += ["tricks.mixed_precision.dtype=bf16"]
    small += ["model.width=4"] if preset == "page" else ["model.widths=[24,8,8,8]"]
    done = bot("bot-train", f"preset={preset}", *small, "format=csv")
    assert done.status == 0, done.err
    assert done.out.count("\n") >= 2


@pytest.mark.parametrize("preset", [*FAST, "fast", "fast_85", "fast_90"])
def test_a_fast_preset_composes_and_fits_its_network(preset):
    from bagoftricks.run.check import discouraged_pairs

    assert not discouraged_pairs(compose_settings([f"preset={preset}"]).tricks)


@pytest.mark.parametrize(
    "trick", ["patch_whitening", "early_pool", "frozen_norm_scale", "dirac_init", "bias_scale", "muon",
              "linear_decay", "label_smoothing", "tta_flip", "tta_shift", "alternating_flip", "freeze",
              "progressive_size", "mixed_precision"],
)  # fmt: skip
def test_each_part_of_fast_can_be_taken_away(trick):
    from bagoftricks.run.check import check

    settings = compose_settings(["preset=fast", f"~tricks.{trick}"])
    assert trick not in settings.tricks
    check(settings)


@pytest.fixture
def folder(tmp_path):
    """Photographs of two classes, four of one and eight of the other."""
    images = iter(photographs(16, 40))
    for split, counts in (("train", (4, 8)), ("val", (2, 2))):
        for name, count in zip(("cat", "dog"), counts, strict=True):
            (tmp_path / "photos" / split / name).mkdir(parents=True)
            for number in range(count):
                pixels = next(images).permute(1, 2, 0).numpy()
                Image.fromarray(pixels).save(tmp_path / f"photos/{split}/{name}/{number}.png")
    return "data.root=photos"


def test_finetune_trains_a_new_head_on_a_librarys_weights_and_freezes_the_rest(bot, folder, tmp_path):
    model = torchvision.models.get_model("shufflenet_v2_x0_5")
    torch.save(model.state_dict(), tmp_path / "weights.pth")
    small = [folder, "image_size=32", "batch_size=4", "epochs=1", "runtime.workers=0", "runtime.device=cpu"]
    start = ["model=torchvision/shufflenet_v2_x0_5", "model.weights=weights.pth"]
    done = bot("bot-train", "preset=finetune", "+refine=[freeze,balanced_sampling]", *start, *small)
    assert done.status == 0, done.err
    assert "warning" not in done.err
    (file,) = tmp_path.glob("results/runs/*/weights.safetensors")
    found, given = load_file(file), model.state_dict()
    assert found["fc.weight"].shape == (2, 1024)
    assert all(torch.equal(tensor, given[name]) for name, tensor in found.items() if not name.startswith("fc."))


def test_finetune_without_weights_says_how_to_get_them_and_still_shows_the_data(bot, folder):
    done = bot("bot-train", "preset=finetune", folder)
    assert done.status == 2
    assert "torchvision.models.get_model('resnet50', weights='DEFAULT')" in done.err
    assert done.err.count("\n") == 1
    assert bot("bot-data", "preset=finetune", folder).status == 0


@pytest.mark.parametrize(
    "arguments",
    [["finetune", "model.weights=w.pth"], ["finetune", "model=timm/resnet18", "model.weights=w"], ["photos"]],
)
def test_a_preset_for_photographs_composes_and_fits_its_network(arguments):
    from bagoftricks.run.check import check

    settings = compose_settings([f"preset={arguments[0]}", "num_classes=3", *arguments[1:]])
    checked = check(settings, lacking=[])  # the file of weights is not here
    assert settings.pixels == {"finetune": 224, "photos": 128}[arguments[0]]
    assert settings.model.new_head == (arguments[0] == "finetune")
    assert settings.data.name == "imagefolder"
    assert checked.network.training


def test_the_network_of_the_digits_on_photographs_is_a_note_that_names_the_presets(bot, folder):
    arguments = ["data=imagefolder", folder, "batch_size=4", "epochs=1", "runtime.workers=0", "runtime.device=cpu"]
    small = bot("bot-train", *arguments, "image_size=64", "+refine=freeze")
    assert "preset=" not in small.err
    assert "warning: trick 'freeze' keeps random weights: type model.weights=FILE" in small.err
    done = bot("bot-train", *arguments, "image_size=65")
    assert "lr=0.02 are made for the digits, not for images of 65 pixels: type preset=finetune" in done.err
