import pytest
import torch
from torch import nn, optim
from torch.optim import _muon

from bagoftricks.errors import UserError
from bagoftricks.tricks.catalogue import create
from bagoftricks.tricks.refine.muon import QUINTIC, iterated, orthogonalise, polynomial_of_gram
from tests.helpers import KEY, create_all, descend, goes_on_after_loading, make_trainer, optimizer_of

GROUP = {"lr": 0.02, "weight_decay": 0.1}
SHAPES = [(8, 3, 3, 3), (4, 8, 1, 1), (8, 3, 3, 3), (16, 4, 1, 1)]


def kernels(memory_format=torch.contiguous_format):
    rng = KEY.fold("kernels").generator()
    made = [torch.randn(shape, generator=rng).to(memory_format=memory_format) for shape in SHAPES]
    return [kernel.requires_grad_() for kernel in made]


@pytest.mark.parametrize("shape", [(1, 5, 5), (2, 4, 9), (3, 9, 4)])
def test_newton_and_schulz_map_each_singular_value_by_the_polynomial(shape):
    matrices = torch.randn(shape, generator=KEY.fold("matrices").generator())
    u, s, v = torch.linalg.svd(matrices.double(), full_matrices=False)
    s = s / torch.linalg.vector_norm(s, dim=1, keepdim=True)
    for _ in range(5):
        s = QUINTIC[0] * s + QUINTIC[1] * s**3 + QUINTIC[2] * s**5
    torch.testing.assert_close(orthogonalise(matrices, 5).double(), u * s[:, None] @ v, atol=1e-4, rtol=1e-3)


def test_wide_matrices_of_a_bad_condition_are_mapped_as_by_multiplying_them_each_time():
    matrices = torch.randn(2, 16, 144, generator=KEY.fold("matrices").generator(), dtype=torch.float64)
    u, _, v = torch.linalg.svd(matrices, full_matrices=False)
    matrices = u * torch.logspace(0, -8, 16, dtype=torch.float64) @ v
    matrices = matrices / torch.linalg.matrix_norm(matrices, keepdim=True)
    made = polynomial_of_gram(matrices.float(), 5) @ matrices.float()
    torch.testing.assert_close(made.double(), iterated(matrices, 5), atol=1e-3, rtol=0)


def test_the_singular_values_come_near_one():
    matrices = torch.randn(4, 16, 27, generator=KEY.fold("matrices").generator())
    values = torch.linalg.svdvals(orthogonalise(matrices, 5))
    assert values.min() > 0.6
    assert values.max() < 1.25


def test_a_matrix_of_zeros_stays():
    assert not orthogonalise(torch.zeros(1, 3, 4), 5).any()


def test_on_flattened_kernels_it_is_pytorchs_muon(monkeypatch):
    def one(matrix, coefficients, steps, eps):
        return orthogonalise(matrix[None], steps)[0]  # theirs is in bf16 on a CPU too

    monkeypatch.setattr(_muon, "_zeropower_via_newtonschulz", one)
    ours, theirs = kernels(), [kernel.detach().flatten(1).requires_grad_() for kernel in kernels()]
    descend(optimizer_of("muon", [{"params": ours, **GROUP}]), ours, range(4), lr=lambda step: 0.02 / (step + 1))
    reference = optim.Muon(theirs, **GROUP)
    for step in range(4):
        reference.param_groups[0]["lr"] = 0.02 / (step + 1)
        for i, parameter in enumerate(theirs):
            rng = KEY.fold("gradient", step, i).generator()
            parameter.grad = parameter.detach() + torch.randn(SHAPES[i], generator=rng).flatten(1)
        reference.step()
    for one_, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one_.detach().flatten(1), other.detach(), atol=1e-5, rtol=1e-4)


def test_pytorchs_muon_in_bf16_is_near():
    ours, theirs = kernels()[0], kernels()[0].detach().flatten(1).requires_grad_()
    grad = torch.randn(SHAPES[0], generator=KEY.generator())
    ours.grad, theirs.grad = grad, grad.flatten(1)
    before = ours.detach().clone()
    optimizer_of("muon", [{"params": [ours], **GROUP}]).step()
    optim.Muon([theirs], **GROUP).step()
    moved, reference = (ours - before).flatten(), theirs.flatten() - before.flatten()
    assert torch.cosine_similarity(moved, reference, 0) > 0.999


def test_the_memory_format_of_kernels_changes_nothing():
    plain, last = kernels(), kernels(torch.channels_last)
    for made in (plain, last):
        descend(optimizer_of("muon", [{"params": made, **GROUP}]), made, range(3), lr=lambda step: 0.02)
    for one, other in zip(plain, last, strict=True):
        torch.testing.assert_close(one, other)
    assert last[0].is_contiguous(memory_format=torch.channels_last)


def test_all_but_kernels_are_trained_as_in_the_baseline():
    ours, theirs = ([torch.ones(4, 3, requires_grad=True), torch.ones(3, requires_grad=True)] for _ in range(2))
    descend(optimizer_of("muon", [{"params": ours, **GROUP}]), ours, range(5), lr=lambda step: 0.1 / (step + 1))
    baseline = optim.SGD([{"params": theirs, **GROUP}], momentum=0.9, nesterov=True)
    descend(baseline, theirs, range(5), lr=lambda step: 0.1 / (step + 1))
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other)


def test_a_group_may_hold_both():
    both = [*kernels(), torch.ones(3, requires_grad=True)]
    descend(optimizer_of("muon", [{"params": both, **GROUP}]), both, range(3), lr=lambda step: 0.02)
    alone = kernels()
    descend(optimizer_of("muon", [{"params": alone, **GROUP}]), alone, range(3), lr=lambda step: 0.02)
    for one, other in zip(both, alone, strict=False):
        torch.testing.assert_close(one, other)


def test_the_rate_of_the_kernels_is_a_fifth_and_their_decay_five_times_the_runs():
    trainer = make_trainer(create_all(["muon"]), lr=0.1, weight_decay=1e-4)
    found = {p.ndim: (g["peak_lr"], g["weight_decay"]) for g in trainer.optimizer.param_groups for p in g["params"]}
    assert found[4] == pytest.approx((0.02, 5e-4))
    assert found[2] == found[1] == (0.1, 1e-4)
    assert sum(isinstance(m, nn.Conv2d) for m in trainer.model.modules()) == sum(
        p.ndim == 4 for g in trainer.optimizer.param_groups for p in g["params"]
    )


def test_normalised_kernels_have_the_norm_of_orthogonal_rows():
    made = kernels()
    descend(optimizer_of("muon", [{"params": made, **GROUP}], normalise=True), made, [0], lr=lambda step: 0.0)
    assert [kernel.norm().item() for kernel in made] == pytest.approx([len(kernel) ** 0.5 for kernel in made])


def test_it_goes_on_after_loading():
    assert goes_on_after_loading("muon")


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("momentum", 1.0, r"in \[0, 1\)"), ("steps", 0, "in 1..100"), ("lr_factor", 0.0, "positive"),
        ("weight_decay_factor", -1.0, "0 or more"),
    ],
)  # fmt: skip
def test_values_out_of_range_are_refused(field, value, expected):
    with pytest.raises(UserError, match=rf"^tricks\.muon\.{field}={value}: must be {expected}$"):
        create("muon", **{field: value})
