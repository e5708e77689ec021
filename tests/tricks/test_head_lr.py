import pytest

from bagoftricks.errors import UserError
from bagoftricks.tricks.catalogue import create
from tests.helpers import TINY, make_trainer


def test_the_head_alone_has_a_multiple_of_the_rate():
    trainer = make_trainer({"head_lr": create("head_lr", factor=10.0)}, network=(TINY, 16), lr=0.01)
    rates = {p: group["peak_lr"] for group in trainer.optimizer.param_groups for p in group["params"]}
    found = {name: rates[parameter] for name, parameter in trainer.model.named_parameters()}
    assert {name for name, rate in found.items() if rate == pytest.approx(0.1)} == {"head.weight", "head.bias"}
    assert set(found.values()) == {0.01, 0.1}


def test_a_factor_of_zero_is_refused():
    with pytest.raises(UserError, match=r"^tricks\.head_lr\.factor=0\.0: must be positive"):
        create("head_lr", factor=0.0)
