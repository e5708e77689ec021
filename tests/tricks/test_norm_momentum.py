import pytest
import torch
from torch import nn

from bagoftricks.errors import NoEffectError, UserError
from bagoftricks.recipe.compose import compose
from bagoftricks.training.parameters import check_selectors
from bagoftricks.tricks.catalogue import create
from tests.helpers import create_all, make_batch, make_task, make_trainer, run

IDENTITIES = [{}, {"momentum": "auto"}]  # an epoch of the tiny task has 5 steps: the rule's 0.9 is PyTorch's 0.1


def norms(model):
    return [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]


def shares(steps_per_epoch, **params):
    task = make_task(steps_per_epoch=steps_per_epoch, total_steps=3 * steps_per_epoch)
    trainer = make_trainer({"norm_momentum": create("norm_momentum", **params)}, task=task)
    return {norm.momentum for norm in norms(trainer.model)}


@pytest.mark.parametrize(
    ("steps", "momentum"),
    [(8, 0.9), (5, 0.9), (100, 0.9), (183, 0.9454), (251, 0.96016), (295, 0.9661), (465, 0.9785), (100_000, 0.9999)],
)
def test_the_rule_of_the_paper(steps, momentum):
    (share,) = shares(steps)
    assert 1 - share == pytest.approx(momentum, abs=1e-4)


@pytest.mark.parametrize(("written", "share"), [("0.997", 0.003), ("0.966", 0.034), ("0", 1.0)])
def test_a_number_is_meant_as_in_tensorflow(written, share):
    assert shares(5, momentum=written) == {share}


def test_the_statistics_follow_by_hand():
    # r = 0.25 * 0 + 0.75 * mean, from the first batch.
    trainer = make_trainer({"norm_momentum": create("norm_momentum", momentum="0.25")})
    seen = {}
    norm = norms(trainer.model)[0]
    norm.register_forward_pre_hook(lambda module, args: seen.update(mean=args[0].mean((0, 2, 3))))
    trainer.step(make_batch())
    torch.testing.assert_close(norm.running_mean, 0.75 * seen["mean"])


def test_the_weights_do_not_depend_on_it():
    assert torch.equal(run({"norm_momentum": create("norm_momentum", momentum="0.5")}, 3), run({}, 3))


def test_averages_and_ghost_norms_have_it_too():
    tricks = {
        **create_all(["ghost_norm", "ema", "zero_gamma"]),
        "norm_momentum": create("norm_momentum", momentum="0.5"),
    }
    for model in make_trainer(tricks).weight_sets().values():
        assert {norm.momentum for norm in norms(model)} == {0.5}


def test_the_momentum_that_norms_have_is_refused_as_a_number():
    with pytest.raises(NoEffectError, match="the norms of ResNet have this momentum without it"):
        make_trainer({"norm_momentum": create("norm_momentum", momentum="0.9")})


def test_a_network_without_norms_has_no_use_for_it():
    recipe = compose(create_all(["norm_momentum"]), make_task())
    with pytest.raises(NoEffectError, match="Linear has no norm with running statistics"):
        check_selectors(nn.Linear(2, 2), recipe)


@pytest.mark.parametrize("written", ["1", "-0.1", "often", "nan", "inf", ""])
def test_what_is_no_share_is_refused(written):
    with pytest.raises(UserError, match=rf"^tricks\.norm_momentum\.momentum={written}: must be auto, or a number in "):
        create("norm_momentum", momentum=written)
