"""Grey images as one channel: the luma of what is prepared."""

import numpy as np
import pytest
import torch

from bagoftricks.data.augment import Finish
from bagoftricks.errors import UserError
from bagoftricks.run.identity import run_id, run_identity
from bagoftricks.settings import LUMA, Settings, dataset_settings
from tests.helpers import photographs

CPU = torch.device("cpu")


def finish(channels_last=True, **values):
    return Finish(dataset_settings(**values), 5, CPU, channels_last=channels_last)


@pytest.mark.parametrize("channels_last", [True, False])
def test_a_grey_image_keeps_its_values_exactly(channels_last):
    greys = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16).expand(2, 3, -1, -1)
    norms, labels = {"mean": [33.32] * 3, "std": [78.57] * 3}, torch.zeros(2).long()
    one, three = (finish(channels_last, channels=c, **norms)(greys, labels).images for c in (1, 3))
    assert one.shape == (2, 1, 16, 16)
    assert torch.allclose(one, three[:, :1], atol=1e-6)
    unscaled = finish(channels_last, channels=1, mean=[0.0] * 3, std=[1.0] * 3)(greys, labels).images
    assert torch.equal(unscaled, greys[:, :1].float())
    assert one.is_contiguous(memory_format=torch.channels_last if channels_last else torch.contiguous_format)
    assert one.stride(1) == (1 if channels_last else 256)  # ambiguous strides would choose other kernels


def test_a_coloured_image_becomes_its_luma_and_so_do_mean_deviation_and_colour_noise():
    images, labels = photographs(3, 8), torch.zeros(3).long()
    mean, std = [10.0, 20.0, 40.0], [50.0, 60.0, 70.0]
    shift = torch.tensor([[1.0, 2.0, 3.0], [0.0, 0.0, 0.0], [-4.0, 0.0, 9.0]])
    made = finish(channels=1, mean=mean, std=std)(images, labels, shift).images
    luma = np.array([0.298995971, 0.587005615, 0.113998413])  # PIL's
    grey = np.einsum("nchw,c->nhw", images.numpy().astype(float) + shift.numpy()[..., None, None], luma)
    expected = (grey - luma @ mean) / (luma @ std)
    assert np.allclose(made[:, 0].numpy(), expected, atol=1e-5)
    assert sum(LUMA) == 1


def test_three_channels_are_in_no_id_and_one_is():
    def identity(**values):
        settings = Settings(data=dataset_settings(**values))
        return run_identity(settings, {}, "digest", 10)

    assert "channels" not in identity()["data"]
    assert run_id(identity(channels=1)) != run_id(identity())
    with pytest.raises(UserError, match=r"data\.channels=2: must be 3, or 1 for greys"):
        dataset_settings(channels=2)
