import pytest

from bagoftricks.cli import precision
from bagoftricks.cli.compose import compose_settings
from bagoftricks.run import check

AUTO = ["+efficiency=mixed_precision", "tricks.mixed_precision.dtype=auto"]


@pytest.mark.parametrize("device", ["cpu", "auto"])
def test_auto_is_bf16_on_a_processor_that_multiplies_in_it(monkeypatch, device):
    monkeypatch.setattr(precision, "multiplies_bf16", lambda: True)
    settings = compose_settings([*AUTO, f"runtime.device={device}"])
    assert settings.tricks == compose_settings(["+efficiency=mixed_precision"]).tricks
    assert settings.tricks["mixed_precision"]["dtype"] == "bf16"


def test_auto_is_no_trick_on_a_processor_that_does_not(monkeypatch):
    monkeypatch.setattr(precision, "multiplies_bf16", lambda: False)
    monkeypatch.setattr(check, "multiplies_bf16", lambda: False)
    assert compose_settings([*AUTO, "runtime.device=cpu"]).tricks == {}


def test_auto_is_bf16_on_a_gpu_whatever_the_processor(monkeypatch):
    monkeypatch.setattr(precision, "multiplies_bf16", lambda: False)
    monkeypatch.setattr(check, "multiplies_bf16", lambda: False)
    assert "mixed_precision" in compose_settings([*AUTO, "runtime.device=cuda"]).tricks
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    assert "mixed_precision" in compose_settings([*AUTO, "runtime.device=auto"]).tricks


def test_a_typed_precision_is_kept(monkeypatch):
    monkeypatch.setattr(precision, "multiplies_bf16", lambda: False)
    monkeypatch.setattr(check, "multiplies_bf16", lambda: False)
    typed = compose_settings(["+efficiency=mixed_precision", "runtime.device=cpu"])
    assert typed.tricks["mixed_precision"]["dtype"] == "bf16"
