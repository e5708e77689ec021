from copy import deepcopy

import pytest
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import update_bn

from bagoftricks.errors import UserError
from bagoftricks.recipe.edits import AverageWeights, Part, SplitBatch
from bagoftricks.training.trainer import predictor
from bagoftricks.tricks.catalogue import create
from tests.helpers import KEY, Fake, batches, create_all, make_batch, make_task, make_trainer, the_edit

IDENTITIES = [{"splits": 1}]
N, C, S = 8, 3, 4


def ghost(splits: int = S) -> nn.BatchNorm2d:
    edit = the_edit("ghost_norm", splits=splits, task=make_task(batch_size=N))
    assert edit.part is Part.NORM
    return with_weights(edit.build(C))


def with_weights(norm: nn.BatchNorm2d) -> nn.BatchNorm2d:
    nn.init.uniform_(norm.weight, -1, 1, generator=KEY.fold("weight").generator())
    nn.init.uniform_(norm.bias, -1, 1, generator=KEY.fold("bias").generator())
    return norm


def images(step: int = 0, count: int = N) -> Tensor:
    """Feature maps whose mean and spread differ from image to image."""
    rng = KEY.fold("images", step).generator()
    return torch.randn(count, C, 5, 4, generator=rng) * torch.arange(1, count + 1).view(-1, 1, 1, 1) + step


def separate(x: Tensor, norm: nn.BatchNorm2d) -> Tensor:
    """Group s, the images s, s + S, s + 2 S and so on, through a batch norm of its own."""
    out = torch.zeros_like(x)
    for s in range(S):
        out[s::S] = norm(x[s::S])
    return out


def gradients(out: Tensor, x: Tensor, norm: nn.Module) -> tuple[Tensor, ...]:
    weight = torch.randn(out.shape, generator=KEY.fold("out").generator())
    return torch.autograd.grad((out * weight).sum(), [x, *norm.parameters()])


LAYOUTS = {
    "contiguous": lambda x: x,
    "channels_last": lambda x: x.contiguous(memory_format=torch.channels_last),
    "strided": lambda x: torch.stack([x, x], 1)[:, 0],
    "transposed": lambda x: x.transpose(2, 3).contiguous().transpose(2, 3),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_it_is_a_batch_norm_for_each_interleaved_group_in_any_memory_format(layout):
    x = LAYOUTS[layout](images()).requires_grad_()
    norm, plain = ghost(), with_weights(nn.BatchNorm2d(C))
    out, expected = norm(x), separate(x, plain)
    torch.testing.assert_close(out, expected, rtol=1e-5, atol=1e-5)
    for mine, theirs in zip(gradients(out, x, norm), gradients(expected, x, plain), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-5)


def test_contiguous_groups_would_give_something_else():
    x, plain = images(), with_weights(nn.BatchNorm2d(C))
    assert not torch.allclose(ghost()(x), torch.cat([plain(rows) for rows in x.chunk(S)]), atol=0.1)


def test_one_group_is_batch_norm():
    norm, plain = ghost(1), with_weights(nn.BatchNorm2d(C))
    for step in range(3):
        torch.testing.assert_close(norm(images(step)), plain(images(step)))
    torch.testing.assert_close(norm.state_dict(), plain.state_dict())


def test_the_running_statistics_are_pages_collated_ones():
    wide, norm = nn.BatchNorm2d(C * S), ghost()
    for step in range(3):
        wide(images(step).view(N // S, C * S, 5, 4))
        norm(images(step))
    torch.testing.assert_close(norm.running_mean, wide.running_mean.view(S, C).mean(0))
    torch.testing.assert_close(norm.running_var, wide.running_var.view(S, C).mean(0))
    assert norm.num_batches_tracked == 3


def test_every_evaluation_uses_the_average_over_the_groups_in_a_copy_too():
    # Page's layer averages at its first evaluation only; a copy that stays in evaluation mode goes wrong at the next.
    trained, copy = ghost(), deepcopy(ghost()).eval()
    for step in range(3):
        trained.train()(images(step))
        copy.load_state_dict(trained.state_dict())
        x, plain = images(7, count=3), with_weights(nn.BatchNorm2d(C)).eval()
        plain.running_mean, plain.running_var = trained.running_mean.clone(), trained.running_var.clone()
        assert torch.equal(copy(x), plain(x))
        assert torch.equal(trained.eval()(x), plain(x))


def test_an_averaged_copy_predicts_what_the_network_predicts_when_it_follows_at_once():
    shadow = Fake([AverageWeights(weight=lambda n: 1.0)])
    trainer, seen = make_trainer({**create_all(["ghost_norm"]), "shadow": shadow}), make_batch(5, step=9).images
    for epoch in range(2):
        for _ in trainer.epoch([make_batch(step=epoch)]):
            pass
        last, copy = (predictor(trainer.recipe, model)(seen) for model in trainer.weight_sets().values())
        assert torch.equal(last, copy)


def test_without_momentum_the_statistics_are_means_over_the_updates():
    norm = ghost()
    update_bn([images(step) for step in range(3)], norm)
    means = torch.stack([images(step).mean((0, 2, 3)) for step in range(3)])
    torch.testing.assert_close(norm.running_mean, means.mean(0))


def test_a_micro_batch_is_cut_into_groups_of_the_same_size():
    norm, x = ghost(), images()
    plain = with_weights(nn.BatchNorm2d(C))
    torch.testing.assert_close(norm(x[:4]), torch.stack([plain(x[0:4:2]), plain(x[1:4:2])], 1).flatten(0, 1))


def test_a_run_in_micro_batches_trains():
    trainer = make_trainer({**create_all(["ghost_norm"]), "split": Fake([SplitBatch(images=4)])})
    assert all(loss.isfinite() for loss in trainer.epoch(batches(2)))


def test_images_that_make_no_whole_groups_are_refused_at_the_step():
    message = r"^tricks\.ghost_norm: 7 images at a time make no whole groups of 2 \(batch_size divided by splits\)"
    with pytest.raises(UserError, match=message):
        ghost()(images(count=7))


@pytest.mark.parametrize(("batch_size", "splits", "instead"), [(100, 16, 96), (16, 16, 32), (8, 16, 32), (511, 2, 510)])
def test_a_batch_size_that_the_groups_do_not_divide_is_refused_before_training(batch_size, splits, instead):
    message = (
        rf"^tricks\.ghost_norm\.splits={splits}: must cut batch_size={batch_size} into equal groups of 2 images or "
        rf"more; type another splits, or batch_size={instead}$"
    )
    with pytest.raises(UserError, match=message):
        the_edit("ghost_norm", splits=splits, task=make_task(batch_size=batch_size))


def test_without_groups_there_is_nothing_to_train():
    with pytest.raises(UserError, match=r"^tricks\.ghost_norm\.splits=0: must be 1 or more$"):
        create("ghost_norm", splits=0)


def test_low_precision_features_keep_statistics_in_fp32():
    norm, plain = ghost(), ghost()
    out = norm(images().bfloat16())
    torch.testing.assert_close(out.float(), plain(images()), rtol=0.02, atol=0.02)
    assert (out.dtype, norm.running_mean.dtype) == (torch.bfloat16, torch.float32)
    torch.testing.assert_close(norm.running_mean, plain.running_mean, rtol=0.01, atol=0.01)
