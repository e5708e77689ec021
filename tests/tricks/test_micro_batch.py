import pytest
import torch
from torch import nn

from bagoftricks.errors import UserError
from bagoftricks.tricks.catalogue import create
from tests.helpers import BATCH, KEY, flat, make_batch, make_trainer

IDENTITIES = [{}, {"images": BATCH}]


def without_norms(**tricks):
    trainer = make_trainer(tricks)
    for module in trainer.model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()
    return trainer


@pytest.mark.parametrize("images", [1, 2, 3, 8])
def test_without_batch_norm_the_gradient_is_that_of_the_whole_batch(images):
    whole, split = without_norms(), without_norms(micro_batch=create("micro_batch", images=images))
    losses = [trainer.backward(make_batch(), KEY) for trainer in (whole, split)]
    torch.testing.assert_close(*losses)
    for one, other in zip(whole.model.parameters(), split.model.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad, atol=1e-6, rtol=1e-5)


def test_the_network_sees_so_many_images_at_a_time():
    seen = []
    trainer = make_trainer({"micro_batch": create("micro_batch", images=3)})
    trainer.model.register_forward_pre_hook(lambda model, args: seen.append(len(args[0])))
    trainer.step(make_batch())
    assert seen == [3, 3, 2]


def test_batch_norm_sees_the_micro_batches():
    trainer, plain = make_trainer({"micro_batch": create("micro_batch", images=4)}), make_trainer({})
    for one in (trainer, plain):
        one.step(make_batch())
    assert not torch.allclose(flat(trainer.model), flat(plain.model))


def test_a_micro_batch_of_nothing_is_refused():
    with pytest.raises(UserError, match=r"^tricks\.micro_batch\.images=0: must be positive$"):
        create("micro_batch", images=0)
