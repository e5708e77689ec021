import torch
from torch import Tensor

from bagoftricks.training.trainer import predictor
from tests.helpers import create_all, make_batch, make_trainer, run, the_edit


def linear(images: Tensor) -> Tensor:
    """Logits that depend on left and right: the sums of the columns of the first channel."""
    return images[:, 0].sum(1)


def test_the_prediction_is_the_mean_of_the_logits_of_image_and_mirror_image():
    images = torch.zeros(1, 3, 2, 2)
    images[0, 0] = torch.tensor([[1.0, 6.0], [3.0, 0.0]])
    assert the_edit("tta_flip").wrap(linear)(images).tolist() == [[5.0, 5.0]]


def test_the_mean_is_of_logits_and_not_of_probabilities():
    def confident(images: Tensor) -> Tensor:
        return images[:, 0, 0] * 10

    images = torch.zeros(1, 3, 1, 2)
    images[0, 0, 0] = torch.tensor([1.0, 0.0])
    assert the_edit("tta_flip").wrap(confident)(images).tolist() == [[5.0, 5.0]]


def test_an_image_and_its_mirror_image_are_predicted_alike_bit_for_bit():
    trainer, images = make_trainer(create_all(["tta_flip"])), make_batch().images
    predict = predictor(trainer.recipe, trainer.model)
    assert torch.equal(predict(images.flip(3)), predict(images))
    plain = predictor(make_trainer({}).recipe, trainer.model)
    assert torch.equal(predict(images), (plain(images) + plain(images.flip(3))) / 2)
    assert not torch.equal(plain(images.flip(3)), plain(images))


def test_training_is_left_alone():
    assert torch.equal(run(create_all(["tta_flip"]), 2), run({}, 2))
