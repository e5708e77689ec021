import pytest
import torch

from bagoftricks.errors import UserError
from bagoftricks.tricks.catalogue import create
from tests.helpers import create_all, descend, goes_on_after_loading, make_trainer, optimizer_of
from tests.tricks.test_schedule_free import DECAYS, evaluated, weights

CONFLICTS = [*DECAYS, "sgd", "velocity_nag", "adamw", "muon", "schedule_free"]


def test_the_first_step_has_the_length_of_the_rate():
    # The root of the mean square of one gradient is its size: z = 1 - 0.1, and c = 1 makes x and y the same.
    w = torch.ones((), requires_grad=True)
    optimizer = optimizer_of("schedule_free_adamw", [{"params": [w], "lr": 0.1, "weight_decay": 0.0}])
    w.grad = torch.tensor(123.0)
    optimizer.step()
    assert [w.item(), optimizer.state[w]["z"].item()] == pytest.approx([0.9, 0.9])


def test_it_is_the_authors_optimiser_with_a_rate_that_rises_and_falls():
    package = pytest.importorskip("schedulefree")
    ours, theirs = weights(), weights()
    group = {"lr": 0.01, "weight_decay": 0.1}
    mine = optimizer_of("schedule_free_adamw", [{"params": ours, **group}], beta2=0.99)
    other = package.AdamWScheduleFree(theirs, betas=(0.9, 0.99), warmup_steps=0, **group)
    other.train()
    for step in range(6):
        rate = [0.0, 0.005, 0.01, 0.02, 0.01, 0.002][step]
        descend(mine, ours, [step], lr=lambda _, rate=rate: rate)
        descend(other, theirs, [step], lr=lambda _, rate=rate: rate)
        torch.testing.assert_close(ours, theirs)
    other.eval()
    torch.testing.assert_close(evaluated(mine, ours), [p.detach() for p in theirs])


def test_rate_and_decay_are_multiples_of_sgds():
    (group,) = make_trainer(create_all(["schedule_free_adamw"])).optimizer.param_groups
    assert (group["peak_lr"], group["weight_decay"]) == pytest.approx((0.1 * 0.025, 1e-3 * 40))


def test_it_goes_on_after_loading():
    assert goes_on_after_loading("schedule_free_adamw")


@pytest.mark.parametrize(("field", "value"), [("beta1", 0.0), ("beta2", 1.0), ("eps", 0.0), ("lr_factor", 0.0)])
def test_values_out_of_range_are_refused(field, value):
    with pytest.raises(UserError, match=rf"^tricks\.schedule_free_adamw\.{field}={value}: must be "):
        create("schedule_free_adamw", **{field: value})
