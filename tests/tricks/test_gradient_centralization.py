import pytest
import torch

from bagoftricks.recipe.edits import GradPhase
from bagoftricks.tricks.refine.gradient_centralization import centralise
from tests.helpers import KEY, create_all, make_batch, make_trainer, the_edit


def gradients():
    rng = KEY.fold("gradients").generator()
    return [1 + torch.randn(shape, generator=rng) for shape in [(4, 3), (7,), (2, 2, 3, 3), (3, 1, 3, 3)]]


def test_each_row_loses_its_mean_and_vectors_stay():
    grads = [torch.tensor([[1.0, 3.0], [5.0, 5.0]]), torch.tensor([2.0, 4.0])]
    centralise(grads)
    assert grads[0].tolist() == [[-1, 1], [0, 0]]
    assert grads[1].tolist() == [2, 4]


def test_it_is_what_a_published_implementation_does():
    published = pytest.importorskip("pytorch_optimizer.optimizer.gradient_centralization")
    ours, theirs = gradients(), gradients()
    centralise(ours)
    for grad in theirs:
        published.centralize_gradient(grad)
    assert all(map(torch.equal, ours, theirs))


def test_without_matrices_nothing_changes():
    grads = [torch.tensor([2.0, 4.0])]
    centralise(grads)
    assert grads[0].tolist() == [2, 4]


def test_the_optimiser_gets_centred_gradients():
    trainer = make_trainer(create_all(["gradient_centralization"]))
    trainer.step(make_batch())
    means = [p.grad.mean(tuple(range(1, p.ndim))) for p in trainer.model.parameters() if p.ndim > 1]
    assert max(float(mean.abs().max()) for mean in means) < 1e-6
    assert any(float(p.grad.mean().abs()) > 1e-6 for p in trainer.model.parameters() if p.ndim == 1)


def test_it_comes_before_clipping():
    assert the_edit("gradient_centralization").phase is GradPhase.CENTRE
