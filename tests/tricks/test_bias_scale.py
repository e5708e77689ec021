import pytest
import torch
from torch import nn

from bagoftricks.errors import UserError
from bagoftricks.settings import network_settings
from bagoftricks.tricks.catalogue import create
from tests.helpers import TINY, TINY9, batches, create_all, make_trainer

IDENTITIES = [{"lr": 1.0, "decay": 1.0}]
NETWORKS = [(TINY, 16), (TINY9, 32)]


@pytest.mark.parametrize("network", NETWORKS, ids=["resnet", "resnet9"])
@pytest.mark.parametrize("others", [[], ["ghost_norm"]], ids=["batch norm", "ghost norm"])
def test_the_biases_of_norms_and_nothing_else_are_in_the_second_group(network, others):
    trainer = make_trainer(create_all(["bias_scale", *others]), network=network)
    rest, biases = trainer.optimizer.param_groups
    norms = [module for module in trainer.model.modules() if isinstance(module, nn.BatchNorm2d)]
    assert {id(p) for p in biases["params"]} == {id(norm.bias) for norm in norms}
    assert len(rest["params"]) + len(biases["params"]) == len(list(trainer.model.parameters()))


def test_the_rate_is_64_times_and_the_decay_a_64th_at_every_step():
    trainer = make_trainer(create_all(["bias_scale", "warmup", "cosine"]), lr=0.3, weight_decay=5e-4)
    rest, biases = trainer.optimizer.param_groups
    rates = []
    for _ in trainer.epoch(batches(9)):
        assert biases["lr"] == 64 * rest["lr"]
        assert biases["weight_decay"] == 5e-4 / 64
        rates.append(rest["lr"])
    assert len(set(rates)) > 5


def test_a_step_moves_a_bias_64_times_as_far():
    moved = []
    for tricks in ({}, create_all(["bias_scale"])):
        trainer = make_trainer(tricks, weight_decay=0.0)
        list(trainer.epoch(batches(1)))
        moved.append(torch.cat([m.bias.detach() for m in trainer.model.modules() if isinstance(m, nn.BatchNorm2d)]))
    torch.testing.assert_close(moved[1], 64 * moved[0])


def test_it_multiplies_with_no_bias_decay():
    groups = make_trainer(create_all(["bias_scale", "no_bias_decay"])).optimizer.param_groups
    assert sorted((group["lr"], group["weight_decay"]) for group in groups) == [(0.1, 0.0), (0.1, 1e-3), (6.4, 0.0)]


@pytest.mark.parametrize(("field", "value", "expected"), [("lr", 0.0, "positive"), ("decay", -1.0, "0 or more")])
def test_hyper_parameters_out_of_range_are_refused(field, value, expected):
    with pytest.raises(UserError, match=rf"^tricks\.bias_scale\.{field}={value}: must be {expected}$"):
        create("bias_scale", **{field: value})


def test_the_biases_of_convolutions_may_be_scaled_too():
    spec = network_settings(name="small", kind="cifarnet", widths=[24, 4])
    whitening = create("patch_whitening", kernel=2, mirrored=True, project=False)
    for chosen in (False, True):
        tricks = {"bias_scale": create("bias_scale", convolutions=chosen), "patch_whitening": whitening}
        trainer = make_trainer(tricks, network=(spec, 16))
        scaled = {id(p) for g in trainer.optimizer.param_groups if g["lr"] > 1 for p in g["params"]}
        assert (id(trainer.model.stem[0].bias) in scaled) == chosen
        assert len(scaled) == 2 + chosen
