import numpy as np
import pytest
import torch

from bagoftricks.cli.compose import compose_settings
from bagoftricks.data.augment import Augment
from bagoftricks.data.transforms import mirror
from bagoftricks.errors import NoEffectError
from bagoftricks.rng import Key
from bagoftricks.run.check import check
from bagoftricks.settings import dataset_settings
from bagoftricks.tricks.catalogue import create
from tests.helpers import the_edit

ROWS = np.arange(200)


def flipped(epoch: int, pass_: int = 0, *, alternate: bool = True, rows: np.ndarray = ROWS) -> np.ndarray:
    """Return a mask of the rows that are flipped in an epoch, from marked images."""
    data = dataset_settings(crop="none", jitter="none")
    flips = the_edit("alternating_flip") if alternate else None
    augment = Augment.from_settings(data, 2, Key(3), flips=flips)
    images = torch.zeros(len(rows), 3, 2, 2, dtype=torch.uint8)
    images[..., 0] = 1
    return augment.batch(images, augment.draws(epoch, [(pass_, rows)]))[:, 0, 0, 1].numpy() == 1


def test_every_image_is_flipped_in_every_other_epoch():
    for epoch in range(5):
        assert (flipped(epoch) == flipped(0)).all() == (epoch % 2 == 0)
        assert (flipped(epoch) != flipped(epoch + 1)).all()


def test_the_first_epoch_is_that_of_the_baseline_and_the_later_ones_are_not():
    assert (flipped(0) == flipped(0, alternate=False)).all()
    assert 60 < flipped(0).sum() < 140
    repeated = (flipped(0, alternate=False) == flipped(1, alternate=False)).sum()
    assert 60 < repeated < 140  # coins show half of the images from the same side again


def test_the_passes_of_an_epoch_alternate():
    assert (flipped(0, 1) == flipped(1)).all()


def test_the_flip_of_an_image_does_not_depend_on_its_batch():
    assert (flipped(1, rows=ROWS[50:60]) == flipped(1)[50:60]).all()


def test_a_draw_on_the_edge_changes_sides_too():
    edge = np.array([[0.0], [0.5 - 2.0**-24], [0.5], [1 - 2.0**-24]])
    images = torch.tensor([1, 0], dtype=torch.uint8).expand(4, 3, 1, 2)
    sides = [
        mirror(images, torch.from_numpy(the_edit("alternating_flip").draw(edge, n)).float())[:, 0, 0, 0] for n in (0, 1)
    ]
    assert sides[0].tolist() == [0, 0, 1, 1]
    assert sides[1].tolist() == [1, 1, 0, 0]


def test_without_flips_there_is_nothing_to_alternate():
    settings = compose_settings(["data=digits", "+regularize=alternating_flip"])
    with pytest.raises(
        NoEffectError, match=r"'alternating_flip' changes nothing: no image is flipped with data\.flip="
    ):
        check(settings)


def test_it_has_no_hyper_parameters():
    assert create("alternating_flip") == create("alternating_flip")
