import pytest

from bagoftricks.cli.compose import compose_settings
from bagoftricks.errors import UserError
from bagoftricks.run import check, precision
from bagoftricks.study.overrides import with_tricks

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


ARM = {"mixed_precision": {"dtype": "auto"}}


def test_an_arm_of_a_sweep_has_what_is_computed_too(monkeypatch):
    base = compose_settings(["runtime.device=cpu"])
    monkeypatch.setattr(precision, "multiplies_bf16", lambda: True)
    assert with_tricks(base, ARM).tricks == {"mixed_precision": {"dtype": "bf16"}}


def test_an_arm_that_would_be_the_one_without_it_is_refused(monkeypatch):
    base = compose_settings(["runtime.device=cpu"])
    for module in (precision, check):
        monkeypatch.setattr(module, "multiplies_bf16", lambda: False)
    with pytest.raises(UserError, match=r"^tricks\.mixed_precision\.dtype=auto: this processor has no .*type tricks"):
        with_tricks(base, ARM)
