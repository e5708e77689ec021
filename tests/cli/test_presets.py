"""The presets of the fast recipes: their numbers, and that they train."""

from dataclasses import asdict

import pytest

from bagoftricks.cli.compose import compose_settings
from bagoftricks.study.experiment import load_experiment
from bagoftricks.study.plan import arm_settings
from tests.helpers import make_task

FAST = ["page", "fast", "fast_gpu"]


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


@pytest.mark.parametrize("preset", FAST)
@pytest.mark.slow
def test_a_fast_preset_trains_on_the_digits(bot, preset):
    small = ["data=digits", "data.flip=true", "image_size=32", "batch_size=512", "epochs=3"]
    small += ["tricks.mixed_precision.dtype=bf16"] if preset != "fast" else []
    small += ["model.width=4"] if preset == "page" else ["model.widths=[24,8,8,8]"]
    done = bot("bot-train", f"preset={preset}", *small, "format=csv")
    assert done.status == 0, done.err
    assert done.out.count("\n") >= 2


@pytest.mark.parametrize("preset", FAST)
def test_a_fast_preset_composes_and_fits_its_network(preset):
    from bagoftricks.run.check import discouraged_pairs

    assert not discouraged_pairs(compose_settings([f"preset={preset}"]).tricks)


@pytest.mark.parametrize(
    "trick", ["patch_whitening", "early_pool", "frozen_norm_scale", "dirac_init", "bias_scale", "muon",
              "linear_decay", "label_smoothing", "tta_flip", "tta_shift", "alternating_flip"],
)  # fmt: skip
def test_each_part_of_fast_can_be_taken_away(trick):
    from bagoftricks.run.check import check

    settings = compose_settings(["preset=fast", f"~tricks.{trick}"])
    assert trick not in settings.tricks
    check(settings)
