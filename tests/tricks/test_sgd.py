import pytest
import torch
from torch import optim

from bagoftricks.errors import UserError
from bagoftricks.tricks.catalogue import create
from tests.helpers import descend, goes_on_after_loading, optimizer_of

CONFLICTS = ["velocity_nag", "adamw", "muon"]
IDENTITIES = [{"nesterov": True}]


def test_plain_momentum_on_a_parabola():
    # w^2/2 from 1: v = 1, w = 0.9; v = 0.9 + 0.9, w = 0.9 - 0.18. Nesterov's first step would be 0.81.
    w = torch.ones((), requires_grad=True)
    optimizer = optimizer_of("sgd", [{"params": [w], "lr": 0.1, "weight_decay": 0.0}])
    found = []
    for _ in range(2):
        w.grad = w.detach().clone()
        optimizer.step()
        found.append(w.item())
    assert found == pytest.approx([0.9, 0.72])


def test_the_momentum_is_a_hyper_parameter():
    ours, theirs = (torch.ones(3, requires_grad=True) for _ in range(2))
    group = {"lr": 0.1, "weight_decay": 0.01}
    descend(optimizer_of("sgd", [{"params": [ours], **group}], momentum=0.5), [ours], range(5), lr=lambda step: 0.1)
    descend(optim.SGD([{"params": [theirs], **group}], momentum=0.5), [theirs], range(5), lr=lambda step: 0.1)
    torch.testing.assert_close(ours, theirs)


def test_it_goes_on_after_loading():
    assert goes_on_after_loading("sgd")


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"momentum": 1.0}, r"momentum=1\.0: must be in \[0, 1\)"),
        ({"momentum": 0.0, "nesterov": True}, "nesterov=True: must be false where momentum=0"),
    ],
)
def test_values_out_of_range_are_refused(params, message):
    with pytest.raises(UserError, match=rf"^tricks\.sgd\.{message}$"):
        create("sgd", **params)
