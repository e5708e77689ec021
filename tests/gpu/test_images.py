"""Images on the device: batches, decoding and corruptions are those of the host."""

import numpy as np
import pytest
import torch

from bagoftricks.data.augment import Augment, Finish
from bagoftricks.data.memory import MemoryLoader
from bagoftricks.data.plan import StepPlan
from bagoftricks.data.preparation import Preparation, Reading
from bagoftricks.data.sources import FileSplit, MemorySplit
from bagoftricks.data.stream import StreamLoader
from bagoftricks.robustness.corruptions import CorruptionOptions, corrupt
from bagoftricks.robustness.corruptions.table import CORRUPTION_TABLE
from bagoftricks.settings import dataset_settings
from tests.data.test_decode import photograph
from tests.gpu.devices import CPU
from tests.helpers import KEY, photographs

COUNT = 24
GREYS = {"mean": [0.0] * 3, "std": [1.0] * 3}
PREPARATIONS = {
    "bytes": {"crop": "pad", "pad": 2, **GREYS},
    "reflected": {"crop": "pad", "pad": 2, "pad_mode": "reflect", **GREYS},
    "normalised": {"crop": "pad", "pad": 2},
    "coloured": {"crop": "pad", "pad": 2, "pca": 0.1},
    "jittered": {"crop": "pad", "pad": 2, "jitter": "hsv"},
    "grey": {"crop": "pad", "pad": 2, "channels": 1},
}
ONLY_ROUNDED = {"coloured", "jittered"}  # the order of sums and a library's functions are the device's


def loader_on(device, data, *, on_device=True):
    labels = np.arange(COUNT) % 5
    split = MemorySplit(photographs(COUNT, 12), labels)
    augment = Augment.from_settings(data, 12, KEY)
    finish = Finish(data, 5, device, channels_last=True)
    return MemoryLoader(split, Preparation(StepPlan(COUNT, 6, KEY), augment, finish), [], Reading(on_device=on_device))


@pytest.mark.parametrize("how", PREPARATIONS)
@pytest.mark.parametrize("on_device", [True, False])
def test_batches_on_the_device_are_those_of_the_host_bit_for_bit(how, on_device, device):
    """Crops, flips, normalisation and targets."""
    data = dataset_settings(**PREPARATIONS[how])
    there, here = loader_on(device, data, on_device=on_device), loader_on(CPU, data, on_device=False)
    assert there.place.type == (device.type if on_device else "cpu")
    for epoch in range(2):
        for one, other in zip(there.epoch(epoch), here.epoch(epoch), strict=True):
            assert one.images.device.type == device.type
            assert torch.equal(one.targets.cpu(), other.targets)
            if how in ONLY_ROUNDED:
                torch.testing.assert_close(one.images.cpu(), other.images, rtol=0, atol=1e-4)
            else:
                assert torch.equal(one.images.cpu(), other.images)
            assert one.images.is_contiguous(memory_format=torch.channels_last) or data.channels == 1


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photographs")
    return [photograph(folder / f"{i}.jpg", 300 + 37 * i, 400 - 31 * i, i) for i in range(6)]


@pytest.mark.parametrize("on_gpu", [True, False], ids=["nvjpeg", "workers"])
def test_photographs_decoded_and_jittered_on_the_device_are_those_of_the_host_within_grey_levels(on_gpu, files, device):
    data = dataset_settings(crop="area", jitter="hsv", pca=0.1, **GREYS)
    augment, plan = Augment.from_settings(data, 72, KEY), StepPlan(6, 3, KEY)
    there, here = (
        StreamLoader(
            FileSplit(np.array(files), np.arange(6)),
            Preparation(plan, augment, Finish(data, 6, on, channels_last=True)),
            Reading(workers=0, on_error="fail", on_gpu=on_gpu and on is device),
        )
        for on in (device, CPU)
    )
    for one, other in zip(there.epoch(0), here.epoch(0), strict=True):
        assert one.images.device.type == device.type
        assert torch.equal(one.targets.cpu(), other.targets)
        off = (one.images.cpu() - other.images).abs()
        assert off.mean() < (3 if on_gpu else 0.1)
        shifted = (one.images.cpu()[..., 1:] - other.images[..., :-1]).abs()
        assert off.mean() < shifted.mean() / 2  # nothing has moved


@pytest.mark.parametrize("name", CORRUPTION_TABLE)
def test_corruptions_on_the_device_are_those_of_the_host_within_one_level(name, device):
    images, options = photographs(4, 32), CorruptionOptions(constants="cifar")
    for severity in (1, 5):
        there = corrupt(images.to(device), name, severity, range(4), options)
        assert there.device.type == device.type
        here = torch.cat([corrupt(images[i : i + 1], name, severity, [i], options) for i in range(4)])
        beyond = (there.cpu().int() - here.int()).abs() > 1
        assert beyond.float().mean() <= (1e-3 if device.type == "cuda" else 0)  # a threshold (spatter, snow) may be met
