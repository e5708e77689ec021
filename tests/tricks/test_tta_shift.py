import pytest
import torch
from torch import Tensor

from bagoftricks.errors import UserError
from bagoftricks.training.trainer import predictor
from bagoftricks.tricks.catalogue import create
from tests.helpers import create_all, make_batch, make_task, make_trainer, run, the_edit


def centre(images: Tensor) -> Tensor:
    """Logits that are the pixel in the middle of the first channel."""
    return images[:, 0, 1, 1].unsqueeze(1)


IMAGE = torch.arange(9.0).view(1, 1, 3, 3).expand(1, 3, 3, 3)  # rows 0 1 2, 3 4 5, 6 7 8


def test_the_views_are_the_image_and_its_diagonal_neighbours():
    # The view that begins at the padding's corner shows 0 in the middle, the one that ends at its other corner 8.
    assert the_edit("tta_shift", weight=0.0).wrap(centre)(IMAGE).item() == (0 + 8) / 2
    image = IMAGE.clone()
    image[:, 0, 1, 1] = 100
    assert the_edit("tta_shift", weight=0.75).wrap(centre)(image).item() == 0.75 * 100 + 0.25 * (0 + 8) / 2


def test_the_border_is_mirrored():
    seen: list[Tensor] = []

    def spy(images: Tensor) -> Tensor:
        seen.append(images[0, 0])
        return images[:, 0, 0]

    the_edit("tta_shift").wrap(spy)(IMAGE)
    first, last, plain = seen
    assert first.tolist() == [[4, 3, 4], [1, 0, 1], [4, 3, 4]]
    assert last.tolist() == [[4, 5, 4], [7, 8, 7], [4, 5, 4]]
    assert torch.equal(plain, IMAGE[0, 0])


def test_with_tta_flip_every_view_is_mirrored_too_as_in_airbench():
    trainer = make_trainer(create_all(["tta_flip", "tta_shift"]))
    images = make_batch().images
    plain = predictor(make_trainer({}).recipe, trainer.model)
    padded = torch.nn.functional.pad(images, (1,) * 4, "reflect")
    size = images.shape[-1]

    def both(view: Tensor) -> Tensor:
        return (plain(view) + plain(view.flip(3))) / 2

    expected = both(images) / 2 + (both(padded[..., :size, :size]) + both(padded[..., 2:, 2:])) / 4
    torch.testing.assert_close(predictor(trainer.recipe, trainer.model)(images), expected)


def test_training_is_left_alone():
    assert torch.equal(run(create_all(["tta_shift"]), 2), run({}, 2))


@pytest.mark.parametrize(("field", "value", "expected"), [("pixels", 0, "positive"), ("weight", 1.0, r"in \[0, 1\)")])
def test_values_out_of_range_are_refused(field, value, expected):
    with pytest.raises(UserError, match=rf"^tricks\.tta_shift\.{field}={value}: must be {expected}"):
        create("tta_shift", **{field: value})


def test_a_shift_of_a_whole_image_is_refused():
    with pytest.raises(UserError, match=r"^tricks\.tta_shift\.pixels=8: must be less than the 8 pixels of an image$"):
        create("tta_shift", pixels=8).edits(make_task(image_size=8))
