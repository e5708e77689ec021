import pytest
import torch
from torch import optim

from bagoftricks.errors import UserError
from bagoftricks.recipe.compose import compose
from bagoftricks.tricks.catalogue import create
from tests.helpers import create_all, descend, goes_on_after_loading, make_batch, make_task, make_trainer, optimizer_of

CONFLICTS = ["muon"]


def test_the_rate_and_the_decay_of_sgd_are_converted():
    trainer = make_trainer(create_all(["adamw"]), lr=0.1, weight_decay=1e-4)
    (group,) = trainer.optimizer.param_groups
    assert (group["peak_lr"], group["weight_decay"]) == pytest.approx((1e-3, 1e-2))
    assert (group["betas"], group["eps"]) == ((0.9, 0.999), 1e-8)


def test_the_schedule_scales_it():
    trainer = make_trainer(create_all(["adamw", "linear_decay"]), lr=0.1)
    for step in range(6):
        trainer.step(make_batch(step=step))
    assert trainer.optimizer.param_groups[0]["lr"] == pytest.approx(5e-4)


def test_the_first_step_is_the_rate_whatever_the_gradient_and_the_decay_is_decoupled():
    w = torch.tensor([2.0, -2.0], requires_grad=True)
    optimizer = optimizer_of("adamw", [{"params": [w], "lr": 0.1, "weight_decay": 0.5}])
    w.grad = torch.tensor([1e-3, 1e3])
    optimizer.step()
    assert w.tolist() == pytest.approx([2 * (1 - 0.05) - 0.1, -2 * (1 - 0.05) - 0.1], rel=1e-4)


def test_its_numbers_reach_the_optimiser():
    ours, theirs = (torch.ones(3, requires_grad=True) for _ in range(2))
    group = {"lr": 0.1, "weight_decay": 0.01}
    made = optimizer_of("adamw", [{"params": [ours], **group}], beta1=0.8, beta2=0.95, eps=1e-3)
    descend(made, [ours], range(5), lr=lambda step: 0.1)
    other = optim.AdamW([{"params": [theirs], **group}], betas=(0.8, 0.95), eps=1e-3)
    descend(other, [theirs], range(5), lr=lambda step: 0.1)
    torch.testing.assert_close(ours, theirs)


def test_it_composes_with_other_scales_of_parameters():
    recipe = compose(create_all(["adamw", "no_bias_decay", "linear_scaling"]), make_task())
    assert len(recipe.param_scales) == 3


def test_it_goes_on_after_loading():
    assert goes_on_after_loading("adamw")


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("beta1", 1.0, r"in \[0, 1\)"), ("beta2", -0.1, r"in \[0, 1\)"), ("eps", 0.0, "positive"),
        ("lr_factor", 0.0, "positive"), ("weight_decay_factor", -1.0, "0 or more"),
    ],
)  # fmt: skip
def test_values_out_of_range_are_refused(field, value, expected):
    with pytest.raises(UserError, match=rf"^tricks\.adamw\.{field}={value}: must be {expected}$"):
        create("adamw", **{field: value})
