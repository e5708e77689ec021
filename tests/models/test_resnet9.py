import re

import pytest
import torch
import torch.nn.functional as F
import yaml
from torch import Tensor, nn

from bagoftricks.cli.conf import conf_dir
from bagoftricks.errors import NoEffectError, TooSmall
from bagoftricks.measure.complexity import count_macs
from bagoftricks.models import build_model
from bagoftricks.settings import network_settings
from tests.helpers import KEY, TINY9, batches, create_all, make_trainer, parts_of

SPEC = network_settings(**yaml.safe_load((conf_dir() / "model" / "resnet9.yaml").read_text(encoding="utf-8")))


def tiny(*tricks: str, image_size: int = 32) -> nn.Module:
    return build_model(TINY9, parts_of(*tricks), num_classes=5, image_size=image_size)


class Conv(nn.Sequential):
    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__(nn.Conv2d(c_in, c_out, 3, padding=1, bias=False), nn.BatchNorm2d(c_out), nn.ReLU())


class Page(nn.Module):
    """The baseline of Page's post, written from its description and with nothing of ours."""

    def __init__(self, w: int, classes: int) -> None:
        super().__init__()
        self.prep = Conv(3, w)
        self.layer1, self.res1a, self.res1b = Conv(w, 2 * w), Conv(2 * w, 2 * w), Conv(2 * w, 2 * w)
        self.layer2 = Conv(2 * w, 4 * w)
        self.layer3, self.res3a, self.res3b = Conv(4 * w, 8 * w), Conv(8 * w, 8 * w), Conv(8 * w, 8 * w)
        self.linear = nn.Linear(8 * w, classes, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(self.layer1(self.prep(x)), 2)
        x = x + self.res1b(self.res1a(x))
        x = F.max_pool2d(self.layer2(x), 2)
        x = F.max_pool2d(self.layer3(x), 2)
        x = x + self.res3b(self.res3a(x))
        return self.linear(F.max_pool2d(x, 4).flatten(1)) * 0.125


def page_and_ours() -> tuple[Page, nn.Module]:
    """The two networks with the same random weights and statistics."""
    page, ours, rng = Page(4, 5), tiny(), KEY.generator()
    pairs = list(zip(page.state_dict().values(), ours.state_dict().values(), strict=True))
    assert all(theirs.shape == mine.shape for theirs, mine in pairs)
    for theirs, mine in pairs:
        if theirs.is_floating_point():
            mine.copy_(theirs.copy_(torch.rand(theirs.shape, generator=rng) - (0.5 if theirs.ndim > 1 else 0)))
    return page, ours


def test_it_has_the_parameters_of_pages_network():
    with torch.device("meta"):
        model = build_model(SPEC, {}, num_classes=10, image_size=32)
    assert sum(parameter.numel() for parameter in model.parameters()) == 6_573_120


def test_it_has_the_multiplications_counted_by_hand():
    # Stem 1024 * 27 * 64; three layers and two residuals of 2^23 * 9 each; head 512 * 10.
    with torch.device("meta"):
        model = build_model(SPEC, {}, num_classes=10, image_size=32)
    assert count_macs(model, 32) == 1024 * 27 * 64 + 5 * 9 * 2**23 + 5120
    assert model.training  # as before


@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
def test_it_computes_what_pages_network_computes(training):
    page, ours = page_and_ours()
    images = torch.randn(6, 3, 32, 32, generator=KEY.fold("images").generator())
    torch.testing.assert_close(ours.train(training)(images), page.train(training)(images))


def test_its_gradients_are_those_of_pages_network():
    page, ours = page_and_ours()
    images = torch.randn(6, 3, 32, 32, generator=KEY.fold("images").generator())
    for model in (page, ours):
        F.cross_entropy(model.train()(images), torch.arange(6) % 5).backward()
    for theirs, mine in zip(page.parameters(), ours.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, theirs.grad, rtol=1e-4, atol=1e-6)


def test_the_layers_halve_the_map_and_double_the_width():
    model, x, shapes = tiny(), torch.zeros(2, 3, 32, 32), []
    for layer in (model.stem, *model.layers):
        x = layer(x)
        shapes.append(tuple(x.shape[1:]))
    assert shapes == [(4, 32, 32), (8, 16, 16), (8, 16, 16), (16, 8, 8), (32, 4, 4), (32, 4, 4)]


def test_the_sum_of_a_residual_has_no_activation():
    residual = tiny().layers[1].eval()
    x = torch.randn(2, 8, 4, 4, generator=KEY.generator())
    torch.testing.assert_close(residual(x), x + residual.branch(x))
    assert (residual(x) < 0).any()


@pytest.mark.parametrize("pixels", [8, 15, 40, 64])
def test_the_head_sees_the_maximum_of_whatever_map_remains(pixels):
    model = tiny(image_size=pixels).eval()
    images = torch.randn(2, 3, pixels, pixels, generator=KEY.generator())
    expected = model.layers(model.stem(images)).amax((2, 3)) @ model.head.weight.T / 8
    torch.testing.assert_close(model(images), expected)


def test_images_too_small_for_three_halvings_are_refused():
    with pytest.raises(TooSmall, match=r"^image_size=7: tiny9 needs 8 pixels, as it halves the map thrice$"):
        tiny(image_size=7)


def test_there_is_no_closing_norm_for_zero_gamma():
    message = re.escape("trick 'zero_gamma' changes nothing: ResNet9 has no parameter for it to initialise")
    with pytest.raises(NoEffectError, match=f"^{message}"):
        make_trainer(create_all(["zero_gamma"]), network=(TINY9, 32))


def test_tricks_of_bottlenecks_have_nothing_to_change():
    with pytest.raises(NoEffectError, match="tiny9 builds no bottleneck stride"):
        tiny("resnet_b")


@pytest.mark.parametrize("name", ["dropblock", "dropout", "eca", "se", "stochastic_depth"])
def test_tricks_of_residual_branches_and_of_the_head_have_their_place(name):
    trainer = make_trainer(create_all([name]), network=(TINY9, 32))
    assert all(loss.isfinite() for loss in trainer.epoch(batches(2, pixels=32)))
