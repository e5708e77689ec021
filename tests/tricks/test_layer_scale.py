import pytest
import torch
from torch import Tensor

from bagoftricks.errors import UserError
from bagoftricks.models import build_model
from bagoftricks.models.weights import library_tensors
from bagoftricks.recipe.compose import compose
from bagoftricks.training.parameters import param_groups
from bagoftricks.tricks.catalogue import create
from tests.helpers import KEY, RESNET50, TINY, TINY9, create_all, make_task, make_trainer, parts_of, site, the_edit


def maps(channels: int = 4) -> Tensor:
    return torch.randn(3, channels, 5, 5, generator=KEY.generator())


def test_each_channel_has_a_factor_of_its_own():
    module = the_edit("layer_scale", start=0.5).build(2, site())
    with torch.no_grad():
        module.scale[1] = 3.0
    x = torch.tensor([[[[1.0, -2.0]], [[4.0, 5.0]]]])
    assert module(x).tolist() == [[[[0.5, -1.0]], [[12.0, 15.0]]]]


def test_it_is_the_layer_of_timm():
    from timm.layers import LayerScale2d

    module, theirs = the_edit("layer_scale").build(4, site()), LayerScale2d(4)
    assert torch.equal(module(maps()), theirs(maps()))


def test_it_stands_between_the_closing_norm_and_the_addition():
    block = build_model(TINY, parts_of("layer_scale", start=0.25), num_classes=5, image_size=16).stages[0][0].eval()
    with torch.no_grad():
        x = maps()
        branch = block.conv3(block.conv2(block.conv1(x)))
        torch.testing.assert_close(block(x), (block.norm(branch) / 4 + block.shortcut(x)).relu())


@pytest.mark.parametrize(("spec", "pixels", "factors"), [(RESNET50, 224, 15104), (TINY9, 32, 8 + 32)])
def test_every_residual_branch_has_one_factor_for_each_channel(spec, pixels, factors):
    # ResNet-50: 3 * 256 + 4 * 512 + 6 * 1024 + 3 * 2048 channels
    with torch.device("meta"):
        sizes = [
            sum(p.numel() for p in build_model(spec, parts_of(name), num_classes=5, image_size=pixels).parameters())
            for name in ("layer_scale", "")
        ]
    assert sizes[0] - sizes[1] == factors


def test_at_the_start_a_block_is_its_shortcut_and_every_weight_has_a_gradient():
    trainer = make_trainer(create_all(["layer_scale"]))
    block = trainer.model.stages[0][0].eval()
    x = maps().relu()
    torch.testing.assert_close(block(x), block.shortcut(x).relu(), rtol=0, atol=1e-4)
    block(x).sum().backward()
    assert all(p.grad.abs().sum() > 0 for name, p in block.named_parameters() if "scale" in name or "conv" in name)


@pytest.mark.parametrize(("names", "decay"), [(["layer_scale"], 0.1), (["layer_scale", "no_bias_decay"], 0.0)])
def test_the_factors_decay_as_the_weights_unless_vectors_do_not(names, decay):
    recipe = compose(create_all(names), make_task())
    model = build_model(TINY, recipe.parts, num_classes=5, image_size=16)
    groups = param_groups(model, recipe.param_scales, lr=1.0, weight_decay=0.1)
    factor = model.stages[0][0].gate.scale
    assert [g["weight_decay"] for g in groups if any(p is factor for p in g["params"])] == [decay]


@pytest.mark.parametrize("others", [[], ["eca"]])
def test_its_factors_have_no_name_in_the_libraries(others):
    model = build_model(TINY, parts_of("layer_scale", *others), num_classes=5, image_size=16)
    with pytest.raises(UserError, match=r"scale has no name there\); type naming=ours$"):
        library_tensors(model, "tiny")


@pytest.mark.parametrize("start", [0.0, -1.0])
def test_a_start_that_is_not_positive_is_refused(start):
    message = rf"^tricks\.layer_scale\.start={start}: must be positive \(zero_gamma starts branches at 0\)$"
    with pytest.raises(UserError, match=message):
        create("layer_scale", start=start)
