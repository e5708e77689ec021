import pytest
import torch

from bagoftricks.cli.compose import compose_settings
from bagoftricks.recipe.compose import compose
from bagoftricks.run import check
from tests.helpers import create_all, make_task


def warned(tricks, device):
    return check.slow_arithmetic(compose(create_all(tricks), make_task()), torch.device(device))


@pytest.mark.parametrize(
    ("tricks", "device", "supported", "expected"),
    [
        (["mixed_precision"], "cpu", False, 1),
        (["mixed_precision"], "cpu", True, 0),
        (["mixed_precision"], "cuda", False, 0),
        ([], "cpu", False, 0),
    ],
)
def test_mixed_precision_is_warned_of_where_it_costs_time(monkeypatch, tricks, device, supported, expected):
    monkeypatch.setattr(check, "has_bf16", lambda: supported)
    assert len(warned(tricks, device)) == expected


def test_the_processor_is_asked_for_its_arithmetic():
    flags = {"avx512_bf16", "amx_bf16", "bf16"}
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            known = flags & set(file.read().split())
    except OSError:
        pytest.skip("no list of the processor's instructions")
    assert check.has_bf16() or not known


FROZEN_STEM = ["model=cifarnet_narrow", "image_size=32", "+refine=freeze", "tricks.freeze.until=stem"]


@pytest.mark.parametrize(("tweak", "expected"), [([], 1), (["+tweak=patch_whitening"], 0)])
def test_a_frozen_stem_is_warned_of_unless_it_is_computed_from_images(tweak, expected):
    filters = ["tricks.patch_whitening.project=false", "tricks.patch_whitening.kernel=2"] if tweak else []
    filters += ["tricks.patch_whitening.mirrored=true"] if tweak else []
    checked = check.check(compose_settings([*FROZEN_STEM, *tweak, *filters]))
    assert len(check.frozen_at_random(checked)) == expected
