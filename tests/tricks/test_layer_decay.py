import pytest

from bagoftricks.errors import UserError
from bagoftricks.settings import network_settings
from bagoftricks.tricks.catalogue import create
from tests.helpers import make_trainer

NETWORK = (network_settings(name="tiny", depths=[2, 1], width=4), 16)


def rates(tricks: dict, **settings: float) -> dict[str, float]:
    """Return the peak learning rate of each parameter."""
    trainer = make_trainer(tricks, network=NETWORK, **settings)
    by_parameter = {p: group["peak_lr"] for group in trainer.optimizer.param_groups for p in group["params"]}
    return {name: by_parameter[parameter] for name, parameter in trainer.model.named_parameters()}


@pytest.mark.parametrize(
    ("per", "expected"),
    [
        ("block", {"head": 1.0, "stages.1.0": 0.5, "stages.0.1": 0.25, "stages.0.0": 0.125, "stem": 0.0625}),
        ("stage", {"head": 1.0, "stages.1.0": 0.5, "stages.0.1": 0.25, "stages.0.0": 0.25, "stem": 0.125}),
    ],
)
def test_the_rate_halves_with_each_block_or_stage_before_the_head(per, expected):
    found = rates({"layer_decay": create("layer_decay", decay=0.5, per=per)}, lr=1.0)
    for name, rate in found.items():
        assert rate == pytest.approx(next(value for part, value in expected.items() if name.startswith(part))), name


def test_it_multiplies_with_the_factors_of_other_tricks():
    names = {"layer_decay": {"decay": 0.5}, "head_lr": {"factor": 10.0}, "linear_scaling": {"base_batch": 4}}
    tricks = {name: create(name, **params) for name, params in {**names, "no_bias_decay": {}}.items()}
    found = rates(tricks, lr=1.0)
    assert found["head.weight"] == pytest.approx(2 * 10)
    assert found["stages.1.0.conv1.conv.weight"] == pytest.approx(2 * 0.5)
    trainer = make_trainer(tricks, network=NETWORK, weight_decay=0.1)
    decays = {p: group["weight_decay"] for group in trainer.optimizer.param_groups for p in group["params"]}
    assert decays[trainer.model.head.bias] == decays[trainer.model.stem[1].bias] == 0
    assert decays[trainer.model.stem[0].weight] == 0.1


@pytest.mark.parametrize("decay", [0.0, 1.0])
def test_a_decay_that_is_none_is_refused(decay):
    with pytest.raises(UserError, match=rf"^tricks\.layer_decay\.decay={decay}: must be in \(0, 1\)"):
        create("layer_decay", decay=decay)
