"""Strided 1x1 convolutions, which a CPU computes out of bounds in channels_last, are trained in another way."""

import os
import subprocess
import sys
from copy import deepcopy

import pytest
import timm
import torch
import torch.nn.functional as F
from torch import nn

from bagoftricks.errors import UserError
from bagoftricks.models import build_model
from bagoftricks.models.strided import make_safe, strided_pointwise, subsample_first
from bagoftricks.recipe.compose import compose
from bagoftricks.recipe.trick import Task
from bagoftricks.registry import all_cards
from bagoftricks.run.start import memory_format_warnings
from bagoftricks.settings import Settings, network_settings
from bagoftricks.tricks.catalogue import create, families
from tests.helpers import KEY

LAST = torch.channels_last
PIXELS = 96

# Images of few channels that end where the memory of the process ends: a read past them is a SIGSEGV.
AT_THE_END_OF_MEMORY = """
import ctypes, math, mmap, sys
import torch
from bagoftricks.models.strided import subsample_first

def at_the_end(*shape):
    n, c, h, w = shape
    size = 4 * math.prod(shape)
    pages = -(-size // mmap.PAGESIZE) * mmap.PAGESIZE
    memory = mmap.mmap(-1, pages + mmap.PAGESIZE)
    start = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    assert ctypes.CDLL(None).mprotect(ctypes.c_void_p(start + pages), mmap.PAGESIZE, 0) == 0
    numbers = torch.frombuffer(memory, dtype=torch.float32, offset=pages - size, count=math.prod(shape))
    return numbers.view(n, h, w, c).permute(0, 3, 1, 2)

for batch, c_in, c_out, side, stride in eval(sys.argv[1]):
    model = torch.nn.Sequential(torch.nn.Conv2d(c_in, c_out, 1, stride, bias=False))
    model.to(memory_format=torch.channels_last)
    subsample_first(model)
    images = at_the_end(batch, c_in, side, side).uniform_()
    for _ in range(5 if side < 100 else 1):
        model(images).square().mean().backward()
"""
SHAPES = [
    *((2, c_in, 16, 64, 2) for c_in in (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 16)),
    *((2, 8, c_out, 64, 2) for c_out in (4, 8, 15, 16, 17)),
    *((2, 8, 16, side, 2) for side in (56, 60, 96, 128, 224)),
    *((batch, 3, 64, 32, 2) for batch in (1, 16, 64)),
    *((2, 3, 8, 33, 3), (2, 7, 8, 16, (2, 1)), (2, 7, 8, 16, (1, 2)), (1, 3, 64, 224, 2)),
]


@pytest.mark.skipif(sys.platform != "linux", reason="guards memory by mprotect")
def test_no_strided_1x1_reads_or_writes_out_of_its_memory():
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", AT_THE_END_OF_MEMORY, repr(SHAPES)], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("stride", [2, 3, (2, 1)])
@pytest.mark.parametrize("side", [8, 9])
@pytest.mark.parametrize("groups", [1, 2])
def test_it_computes_what_the_strided_convolution_does(stride, side, groups):
    images = torch.randn(3, 4, side, side, generator=KEY.generator()).contiguous(memory_format=LAST)
    conv = nn.Conv2d(4, 6, 1, stride, groups=groups).to(memory_format=LAST)
    exact, theirs = deepcopy(conv).double(), images.double().requires_grad_()  # in fp64 oneDNN has no part
    expected = exact(theirs)
    gradients = torch.autograd.grad(expected.square().sum(), [theirs, *exact.parameters()])
    names, ours = list(conv.state_dict()), images.clone().requires_grad_()
    subsample_first(conv)
    subsample_first(conv)  # once more does nothing
    found = conv(ours)
    torch.testing.assert_close(found, expected, check_dtype=False)
    made = torch.autograd.grad(found.square().sum(), [ours, *conv.parameters()])
    torch.testing.assert_close(made, gradients, check_dtype=False, rtol=1e-4, atol=1e-4)
    assert list(conv.state_dict()) == names


def test_bf16_keeps_its_type():
    conv = nn.Conv2d(4, 6, 1, 2)
    subsample_first(conv)
    with torch.autocast("cpu", torch.bfloat16):
        assert conv(torch.ones(2, 4, 8, 8)).dtype is torch.bfloat16


def our_networks():
    """Yield each kind of network, and a ResNet with each trick that changes it, on the meta device."""
    kinds = [(kind, {}, None) for kind in all_cards("network")]
    tweaks = [("resnet", {"depths": [2, 2, 2, 2]}, name) for name, family in families().items() if family == "tweak"]
    for kind, values, name in [*kinds, ("resnet", {"block": "basic"}, None), *tweaks]:
        try:
            parts = compose({name: create(name)} if name else {}, Task(10, 8, PIXELS)).parts
            with torch.device("meta"):
                spec = network_settings(kind, **values)
                yield f"{kind} {name}", build_model(spec, parts, num_classes=10, image_size=PIXELS)
        except UserError:
            continue  # the trick has no place in this network, or the kind needs a name


@pytest.mark.slow
def test_no_network_of_ours_trains_through_one():
    models = dict(our_networks())
    assert "ResNet.stages.1.0.shortcut.conv" in strided_pointwise(models["resnet None"], PIXELS)
    for model in models.values():
        subsample_first(model)
    assert len(models) > 15
    assert {name: places for name, model in models.items() if (places := strided_pointwise(model, PIXELS))} == {}


@pytest.mark.parametrize("name", ["resnet18", "resnetv2_50x1_bit", "regnetx_002"])
def test_no_network_of_timm_trains_through_one(name):
    with torch.device("meta"):
        model = timm.create_model(name)
    assert strided_pointwise(model, PIXELS)
    subsample_first(model)
    assert strided_pointwise(model, PIXELS) == []


class ByHand(nn.Module):
    """A network that calls the convolutions of which no layer tells."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(4, 3, 1, 1))
        self.padded = nn.Conv2d(4, 4, 1, 2, padding=1)

    def forward(self, x):
        self.seen = F.conv2d(x, self.weight, stride=2)
        return self.padded(self.seen).mean((2, 3))


def test_a_network_that_calls_one_by_itself_trains_channels_first():
    model = ByHand().to(memory_format=LAST)
    images = torch.ones(2, 3, 8, 8).contiguous(memory_format=LAST)
    expected = model(images)
    make_safe(model, 8)
    torch.testing.assert_close(model(images), expected)
    assert model.seen.is_contiguous()
    assert model.weight.stride() == (3, 1, 1, 1)
    assert strided_pointwise(model, 8) == ["ByHand", "ByHand.padded"]
    settings = Settings(image_size=8)
    (warning,) = memory_format_warnings(settings, model)
    assert warning.startswith("ByHand, ByHand.padded: a 1x1 convolution with a stride")
    settings.runtime.channels_last = False
    assert memory_format_warnings(settings, model) == []
