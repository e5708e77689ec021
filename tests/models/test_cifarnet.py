"""CifarNet against the network of airbench94, written from its description."""

import pytest
import torch
import torch.nn.functional as F
import yaml
from torch import Tensor, nn

from bagoftricks.cli.conf import conf_dir
from bagoftricks.errors import TooSmall, UserError
from bagoftricks.measure.complexity import count_macs, count_params
from bagoftricks.models import build_model
from bagoftricks.recipe.compose import compose
from bagoftricks.recipe.recipe import Recipe
from bagoftricks.settings import ModelSettings, network_settings
from bagoftricks.training.parameters import freeze
from bagoftricks.tricks.catalogue import create
from tests.helpers import KEY, batches, make_task, make_trainer

SPEC = network_settings(**yaml.safe_load((conf_dir() / "model" / "cifarnet.yaml").read_text(encoding="utf-8")))
SMALL = network_settings(name="small", kind="cifarnet", widths=[24, 4, 6, 8])
AIRBENCH = {
    "patch_whitening": {"kernel": 2, "mirrored": True, "project": False},
    "early_pool": {},
    "gelu": {},
    "frozen_norm_scale": {"logit_scale": 1.0},
}


def recipe(tricks: dict[str, dict]) -> Recipe:
    return compose({name: create(name, **params) for name, params in tricks.items()}, make_task())


def network(spec: ModelSettings, tricks: dict[str, dict], image_size: int = 32) -> nn.Module:
    made = recipe(tricks)
    model = build_model(spec, made.parts, num_classes=10, image_size=image_size)
    freeze(model, made)
    return model


class Airbench(nn.Module):
    """Whitening, three blocks (convolution, pool, norm, GELU, convolution, norm, GELU), max-pool of 3, head over 9."""

    def __init__(self, stem: int, widths: list[int]) -> None:
        super().__init__()
        self.whiten = nn.Conv2d(3, stem, 2)
        self.convs, self.norms, channels = nn.ModuleList(), nn.ModuleList(), stem
        for width in widths:
            for c_in in (channels, width):
                self.convs.append(nn.Conv2d(c_in, width, 3, padding=1, bias=False))
                self.norms.append(nn.BatchNorm2d(width))
            channels = width
        self.head = nn.Linear(channels, 10, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x = F.gelu(self.whiten(x))
        for i, (conv, norm) in enumerate(zip(self.convs, self.norms, strict=True)):
            x = conv(x)
            if i % 2 == 0:
                x = F.max_pool2d(x, 2)
            x = F.gelu(norm(x))
        return self.head(F.max_pool2d(x, 3).flatten(1)) / 9


def test_with_the_tricks_of_airbench_it_computes_what_airbenchs_network_computes():
    ours, theirs, rng = network(SMALL, AIRBENCH).eval(), Airbench(24, [4, 6, 8]).eval(), KEY.generator()
    mine = {"whiten.weight": ours.stem[0].weight, "whiten.bias": ours.stem[0].bias, "head.weight": ours.head.weight}
    modules = [m for m in ours.blocks.modules() if isinstance(m, nn.Conv2d | nn.BatchNorm2d)]
    others = [m for pair in zip(theirs.convs, theirs.norms, strict=True) for m in pair]
    pairs = [(mine[name], dict(theirs.named_parameters())[name]) for name in mine]
    for one, other in zip(modules, others, strict=True):
        assert type(one) is type(other)
        values = zip(one.state_dict().values(), other.state_dict().values(), strict=True)
        pairs += [(a, b) for a, b in values if a.is_floating_point()]
    with torch.no_grad():
        for a, b in pairs:
            a.copy_(b.copy_(torch.rand(b.shape, generator=rng) - (0.5 if b.ndim > 1 else 0)))
    images = torch.randn(5, 3, 32, 32, generator=KEY.fold("images").generator())
    torch.testing.assert_close(ours(images), theirs(images))


def test_it_has_the_parameters_counted_by_hand():
    # 24 biases; kernels 9 (24*64 + 64^2 + 64*256 + 3*256^2); norm biases 2 (64 + 256 + 256); head 2,560.
    with torch.device("meta"):
        model = network(SPEC, AIRBENCH)
    kernels = 9 * (24 * 64 + 64**2 + 64 * 256 + 3 * 256**2)
    assert count_params(model) == 24 + kernels + 2 * (64 + 256 + 256) + 2560 == 1_971_352


def test_it_has_the_multiplications_counted_by_hand():
    # Maps of 31, 15, 7 and 3 pixels; a pooled convolution works before its pool.
    with torch.device("meta"):
        model = network(SPEC, AIRBENCH)
    blocks = [31**2 * 24 * 64 + 15**2 * 64**2, 15**2 * 64 * 256 + 7**2 * 256**2, 7**2 * 256**2 + 3**2 * 256**2]
    assert count_macs(model, 32) == 31**2 * 12 * 24 + 9 * sum(blocks) + 2560


def test_the_baseline_has_a_plain_stem_and_the_pool_last():
    model = network(SMALL, {})
    assert [type(m) for m in model.stem] == [nn.Conv2d, nn.BatchNorm2d, nn.ReLU]
    assert [type(m) for m in model.blocks[0][0]] == [nn.Conv2d, nn.BatchNorm2d, nn.ReLU, nn.MaxPool2d]
    assert model.logit_scale == pytest.approx(1 / 9)


def test_images_too_small_for_its_halvings_are_refused():
    with pytest.raises(TooSmall, match="image_size=15: small needs 16 pixels, as it halves the map 3 times"):
        network(SMALL, {}, image_size=15)
    assert network(SMALL, AIRBENCH, image_size=16)(torch.zeros(2, 3, 16, 16)).shape == (2, 10)


def test_a_stem_of_another_width_than_the_filters_is_refused():
    spec = network_settings(name="small", kind="cifarnet", widths=[32, 4])
    with pytest.raises(UserError, match=r"gives 24 channels to a stem of 32; type .* 24 as the first of model\.widths"):
        network(spec, AIRBENCH)


@pytest.mark.parametrize("widths", [[], [24]])
def test_too_few_widths_are_refused(widths):
    with pytest.raises(UserError, match=r"^model\.widths=.*: must be two or more"):
        network_settings(name="x", kind="cifarnet", widths=widths)


def test_it_trains_with_everything_airbench_has():
    more = {"dirac_init": {}, "muon": {}, "lookahead": {}, "tta_shift": {}, "tta_flip": {}, "bias_scale": {}}
    tricks = {name: create(name, **params) for name, params in {**AIRBENCH, **more}.items()}
    trainer = make_trainer(tricks, network=(SMALL, 32))
    assert all(loss.isfinite() for loss in trainer.epoch(batches(6, pixels=32)))
