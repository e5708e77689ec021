import numpy as np
import pytest
import torch
from torch import optim

from bagoftricks.errors import UserError
from bagoftricks.tricks.catalogue import create
from tests.helpers import descend, goes_on_after_loading, optimizer_of

CONFLICTS = ["adamw", "muon"]
GROUP = {"lr": 0.1, "weight_decay": 0.01}


def both(lr, steps):
    """Return the same descent with the velocity's form and with PyTorch's."""
    ours, theirs = (torch.linspace(-1, 1, 12).view(3, 4).requires_grad_() for _ in range(2))
    descend(optimizer_of("velocity_nag", [{"params": [ours], **GROUP}]), [ours], range(steps), lr=lr)
    pytorch = optim.SGD([{"params": [theirs], **GROUP}], momentum=0.9, nesterov=True)
    descend(pytorch, [theirs], range(steps), lr=lr)
    return ours.detach(), theirs.detach()


def test_the_first_step_on_a_parabola():
    w = torch.ones((), requires_grad=True)
    optimizer = optimizer_of("velocity_nag", [{"params": [w], "lr": 0.1, "weight_decay": 0.0}])
    w.grad = w.detach().clone()
    optimizer.step()
    assert w.item() == pytest.approx(0.81)


def test_with_a_constant_rate_it_is_the_baseline():
    torch.testing.assert_close(*both(lambda step: 0.1, 20))


def test_after_a_drop_of_the_rate_the_velocity_keeps_its_length():
    ours, theirs = both(lambda step: 0.1 if step < 5 else 0.01, 5)
    torch.testing.assert_close(ours, theirs)
    ours, theirs = both(lambda step: 0.1 if step < 5 else 0.01, 6)
    assert (ours - theirs).abs().max() > 0.01


def test_the_equations_by_hand_with_a_changing_rate_and_decay():
    w = torch.tensor([1.0, -2.0], requires_grad=True)
    optimizer = optimizer_of("velocity_nag", [{"params": [w], **GROUP}], momentum=0.8)
    x, v = w.detach().double().numpy().copy(), np.zeros(2)
    for lr, g in [(0.1, [1.0, 2.0]), (0.05, [-1.0, 0.5]), (0.2, [0.3, 0.3])]:
        optimizer.param_groups[0]["lr"] = lr
        w.grad = torch.tensor(g)
        optimizer.step()
        pull = lr * (np.array(g) + 0.01 * x)
        v = 0.8 * v - pull
        x = x + 0.8 * v - pull
        np.testing.assert_allclose(w.detach().numpy(), x, rtol=1e-5)


def test_a_parameter_without_a_gradient_stays():
    w = torch.ones(2, requires_grad=True)
    optimizer_of("velocity_nag", [{"params": [w], **GROUP}]).step()
    assert w.tolist() == [1, 1]


def test_it_goes_on_after_loading():
    assert goes_on_after_loading("velocity_nag")


def test_a_momentum_out_of_range_is_refused():
    with pytest.raises(UserError, match=r"^tricks\.velocity_nag\.momentum=-0\.1: must be in \[0, 1\)$"):
        create("velocity_nag", momentum=-0.1)
