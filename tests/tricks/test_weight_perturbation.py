import pytest
import torch
from torch import nn

from bagoftricks.errors import UserError
from bagoftricks.recipe.edits import SplitBatch
from bagoftricks.tricks.catalogue import create
from bagoftricks.tricks.refine.weight_perturbation import normal_numbers
from tests.helpers import KEY, Fake, create_all, flat, make_batch, make_task, make_trainer

CONFLICTS = ["sam"]
IDENTITIES = [{"sigma": 0.0}]


def perturbed_gradient(sigma, weight, step=0):
    """The gradient of the sum of squares of a matrix, half of which is the matrix that the loss has seen."""
    task = make_task()
    task.noise.key = KEY.fold(step)
    model = nn.Linear(weight.shape[1], len(weight), bias=False)
    with torch.no_grad():
        model.weight.copy_(weight)
    (edit,) = create("weight_perturbation", sigma=sigma).edits(task)
    edit.compute(model, lambda: model.weight.square().sum().backward())
    assert torch.equal(model.weight, weight)
    return model.weight.grad


def test_the_gradient_is_that_of_weights_with_noise_of_the_size_of_their_unit():
    # Rows of norm 5, 0 and 13 times sigma = 0.1: the gradient is 2 (w + n) with n of deviation 0.5, 0 and 1.3.
    weight = torch.zeros(3, 20_000)
    weight[0, :2], weight[2, :2] = torch.tensor([3.0, 4.0]), torch.tensor([5.0, 12.0])
    noise = perturbed_gradient(0.1, weight) / 2 - weight
    assert noise.std(1).tolist() == pytest.approx([0.5, 0.0, 1.3], rel=0.02)
    assert noise.mean(1).tolist() == pytest.approx([0.0, 0.0, 0.0], abs=0.03)


def test_each_step_has_a_draw_of_its_own_and_the_same_one_again():
    weight = torch.ones(2, 3)
    one, again, other = (perturbed_gradient(0.1, weight, step) for step in (0, 0, 1))
    assert torch.equal(one, again)
    assert not torch.isclose(one, other).any()


def test_the_draws_are_normal_and_finite_at_the_edges():
    stats = pytest.importorskip("scipy.stats")
    draws = torch.rand(20_000, generator=KEY.generator())
    assert stats.kstest(normal_numbers(draws).numpy(), "norm").pvalue > 0.01
    edge = stats.norm.isf(2.0**-24)
    assert normal_numbers(torch.tensor([0.0, 0.5, 1 - 2.0**-24])).tolist() == pytest.approx(
        [-edge, 0.0, edge], rel=1e-3
    )


def test_micro_batches_see_the_same_perturbed_weights():
    seen = []
    trainer = make_trainer({**create_all(["weight_perturbation"]), "split": Fake([SplitBatch(images=4)])})
    trainer.model.register_forward_pre_hook(lambda model, images: seen.append(flat(model)))
    before = flat(trainer.model)
    trainer.step(make_batch(8))
    assert len(seen) == 2
    assert torch.equal(*seen)
    assert not torch.equal(seen[0], before)


def test_frozen_parameters_are_not_perturbed():
    trainer = make_trainer({"weight_perturbation": create("weight_perturbation"), **create_all(["freeze"])})
    frozen = {name for name, p in trainer.model.named_parameters() if not p.requires_grad}
    before = {name: p.detach().clone() for name, p in trainer.model.named_parameters()}
    moved = set()
    trainer.model.register_forward_pre_hook(
        lambda model, _: moved.update(n for n, p in model.named_parameters() if not torch.equal(p, before[n]))
    )
    trainer.step(make_batch())
    assert frozen
    assert moved
    assert not moved & frozen


def test_every_device_of_a_shared_batch_draws_the_same_noise():
    draws = []
    for share in (slice(0, None, 2), slice(1, None, 2)):
        noise = make_task().noise
        noise.key, noise.images, noise.share = KEY, 8, share
        draws.append(noise.common(6, 3, device=torch.device("cpu"), place="weights"))
        assert noise.images == 8
    assert torch.equal(*draws)
    assert draws[0].shape == (6, 3)


def test_a_negative_size_is_refused():
    with pytest.raises(UserError, match=r"^tricks\.weight_perturbation\.sigma=-0\.1: must be 0 or more$"):
        create("weight_perturbation", sigma=-0.1)
