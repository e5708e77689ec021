import pytest
import torch

from bagoftricks.errors import UserError
from bagoftricks.tricks.catalogue import create
from bagoftricks.tricks.refine.soap import eigenbasis, rotate, turn
from tests.helpers import KEY, create_all, descend, goes_on_after_loading, make_trainer, optimizer_of

CONFLICTS = ["sgd", "velocity_nag", "adamw", "muon", "schedule_free", "schedule_free_adamw"]
GROUP = {"lr": 0.01, "weight_decay": 0.1}


def weights():
    rng = KEY.fold("weights").generator()
    return [torch.randn(shape, generator=rng).requires_grad_() for shape in [(4, 3), (5,), (2, 3, 3, 3), (5, 4)]]


def test_the_second_step_of_a_matrix_of_rank_one_goes_along_it():
    # G = 2 u v^T: both bases begin with u and v, where the gradient is one number. Adam's first update is its sign,
    # so the step is lr u v^T, whatever the length of G.
    u, v = torch.tensor([0.6, 0.8]).double(), torch.tensor([0.0, 0.6, 0.8]).double()
    w = torch.zeros(2, 3, dtype=torch.float64, requires_grad=True)
    optimizer = optimizer_of("soap", [{"params": [w], "lr": 0.1, "weight_decay": 0.0}])
    for expected in (torch.zeros(2, 3).double(), -0.1 * torch.outer(u, v)):
        w.grad = 2 * torch.outer(u, v)
        optimizer.step()
        torch.testing.assert_close(w.detach(), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("every", "largest"), [(1, 10_000), (3, 10_000), (2, 4)])
def test_it_is_a_published_implementation(every, largest):
    published = pytest.importorskip("pytorch_optimizer.optimizer.soap")
    ours, theirs = weights(), weights()
    mine = optimizer_of("soap", [{"params": ours, **GROUP}], every=every, largest=largest)
    other = published.SOAP(theirs, precondition_frequency=every, max_precondition_dim=largest, **GROUP)
    for optimizer, parameters in ((mine, ours), (other, theirs)):
        descend(optimizer, parameters, range(8), lr=lambda step: 0.01 / (step + 1))
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_without_bases_it_is_adam_one_step_later():
    ours, theirs = ([torch.ones(6, requires_grad=True)] for _ in range(2))
    mine = optimizer_of("soap", [{"params": ours, **GROUP}], beta1=0.9, beta2=0.99)
    other = torch.optim.AdamW([{"params": theirs, "lr": 0.01, "weight_decay": 0.0}], betas=(0.9, 0.99))
    mine.param_groups[0]["weight_decay"] = 0.0
    for step in range(4):
        for optimizer, (parameter,) in ((mine, ours), (other, theirs)):
            parameter.grad = torch.linspace(-1, 1, 6) * (step + 1)
            if optimizer is mine or step > 0:
                optimizer.step()
    torch.testing.assert_close(ours, theirs)


def test_rotating_and_back_is_the_identity_in_any_memory_format():
    rng = KEY.generator()
    kernel = torch.randn(4, 3, 3, 2, generator=rng)
    bases = [torch.linalg.qr(torch.randn(n, n, generator=rng))[0] for n in kernel.shape]
    for layout in (kernel, kernel.contiguous(memory_format=torch.channels_last)):
        for chosen in (bases, [None, bases[1], None, bases[3]]):
            torch.testing.assert_close(rotate(rotate(layout, chosen), chosen, back=True), kernel)


def test_orthogonal_iterations_find_the_eigenvectors_and_sort_the_squares_with_them():
    rng = KEY.generator()
    root = torch.randn(5, 5, generator=rng, dtype=torch.float64)
    covariance, squares = root @ root.T, torch.arange(5.0, dtype=torch.float64)
    state = {"covariance0": covariance, "basis0": eigenbasis(covariance).flip(1), "mean_square": squares}
    turn(state, 0)
    assert state["mean_square"].tolist() == [4, 3, 2, 1, 0]
    torch.testing.assert_close(state["basis0"].abs(), eigenbasis(covariance).abs())


def test_rate_and_decay_are_multiples_of_sgds():
    (group,) = make_trainer(create_all(["soap"])).optimizer.param_groups
    assert (group["peak_lr"], group["weight_decay"]) == pytest.approx((0.003, 0.033))


def test_it_goes_on_after_loading():
    assert goes_on_after_loading("soap")


@pytest.mark.parametrize(
    ("field", "value"), [("beta1", 1.0), ("beta2", 1.0), ("eps", 0.0), ("every", 0), ("largest", 0)]
)
def test_values_out_of_range_are_refused(field, value):
    with pytest.raises(UserError, match=rf"^tricks\.soap\.{field}={value}: must be "):
        create("soap", **{field: value})
