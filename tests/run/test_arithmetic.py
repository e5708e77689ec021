import pytest
import torch

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
