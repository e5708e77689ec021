import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bagoftricks.errors import NoEffectError, UserError
from bagoftricks.models import build_model
from bagoftricks.models.parts import Parts
from bagoftricks.recipe.edits import Part
from bagoftricks.settings import network_settings
from bagoftricks.tricks.catalogue import create
from tests.helpers import KEY, make_task, parts_of, site, the_edit

FORMS = ["split", "3x3+5x5"]

every_form = pytest.mark.parametrize("branches", FORMS)


def kernel(c_in: int = 6, channels: int = 6, stride: int = 1, groups: int = 1, **params) -> nn.Module:
    """Return a selective kernel whose norms matter, in eval mode."""
    where = site(**({"parts": params.pop("parts")} if "parts" in params else {}))
    module = the_edit("sk", **params).build(c_in, channels, stride, groups, where)
    rng = KEY.fold("kernel").generator()
    with torch.no_grad():
        for layer in module.modules():
            if isinstance(layer, nn.Conv2d):
                layer.weight.normal_(0, 0.5, generator=rng)
            elif isinstance(layer, nn.BatchNorm2d):
                for values in (layer.weight, layer.bias, layer.running_mean, layer.running_var):
                    values.uniform_(0.5, 1.5, generator=rng)
    return module.eval()


def maps(channels: int = 6, size: int = 7) -> Tensor:
    return torch.randn(2, channels, size, size, generator=KEY.generator())


@torch.no_grad()
def the_equation(module: nn.Module, x: Tensor, stride: int) -> Tensor:
    """Return the split form, written out with matrices."""

    def normed(y: Tensor, norm: nn.BatchNorm2d) -> Tensor:
        scale, shift, mean, var = (
            v.view(1, -1, *[1] * (y.ndim - 2)) for v in (norm.weight, norm.bias, norm.running_mean, norm.running_var)
        )
        return ((y - mean) / (var + norm.eps).sqrt() * scale + shift).clamp(min=0)

    conv, norm, _ = module.branches.both
    u = normed(F.conv2d(x, conv.weight, stride=stride, padding=1), norm)
    channels = u.shape[1] // 2
    first, second = u[:, :channels], u[:, channels:]
    squeeze, squeeze_norm, _ = module.attention.squeeze
    z = normed((first + second).mean((2, 3)) @ squeeze.weight.flatten(1).T, squeeze_norm)
    logits = z @ module.attention.excite.weight.flatten(1).T
    a, b = logits[:, :channels].exp(), logits[:, channels:].exp()
    return ((a / (a + b))[:, :, None, None] * first) + ((b / (a + b))[:, :, None, None] * second)


@pytest.mark.parametrize("stride", [1, 2])
def test_it_computes_the_equation(stride):
    module = kernel(c_in=4, stride=stride)
    torch.testing.assert_close(module(maps(4)), the_equation(module, maps(4), stride))


@every_form
def test_the_shares_of_the_two_branches_sum_to_1_for_each_image_and_channel(branches):
    module = kernel(branches=branches)
    shares = module.attention(*module.branches(maps()))
    assert shares.shape == (2, 2, 6, 1, 1)
    assert shares.min() > 0
    torch.testing.assert_close(shares.sum(1), torch.ones(2, 6, 1, 1))
    assert shares[:, 0].std() > 0.01


@every_form
def test_an_attention_of_zero_takes_the_mean_of_the_branches(branches):
    module = kernel(branches=branches)
    nn.init.zeros_(module.attention.excite.weight)
    torch.testing.assert_close(module(maps()), sum(module.branches(maps())) / 2)


def test_swapping_the_halves_changes_nothing():
    module, before = kernel(), kernel()(maps())
    conv, norm, _ = module.branches.both
    tensors = [conv.weight, module.attention.excite.weight]
    tensors += [norm.weight, norm.bias, norm.running_mean, norm.running_var]
    with torch.no_grad():
        for tensor in tensors:
            tensor.copy_(tensor.roll(6, 0))
    torch.testing.assert_close(module(maps()), before)


@pytest.mark.parametrize(
    ("channels", "reduction", "hidden"),
    [(64, 2, 32), (128, 2, 64), (512, 2, 256), (512, 16, 32), (8, 2, 32), (130, 4, 32), (134, 4, 33)],
)
def test_the_attention_has_at_least_32_hidden_channels(channels, reduction, hidden):
    attention = the_edit("sk", reduction=reduction).build(4, channels, 1, 1, site()).attention
    assert attention.squeeze[0].weight.shape == (hidden, channels, 1, 1)


def test_the_attention_has_a_norm_and_no_bias():
    attention = kernel().attention
    assert [type(layer) for layer in attention.squeeze] == [nn.Conv2d, nn.BatchNorm2d, nn.ReLU]
    assert attention.squeeze[0].bias is attention.excite.bias is None


@pytest.mark.parametrize(("branches", "sizes"), [("split", [3]), ("3x3+5x5", [3, 5])])
def test_the_sizes_of_the_branches(branches, sizes):
    convs = [m for m in kernel(branches=branches).branches.modules() if isinstance(m, nn.Conv2d)]
    assert [conv.kernel_size[0] for conv in convs] == sizes


@every_form
@pytest.mark.parametrize(("size", "stride", "expected"), [(7, 1, 7), (7, 2, 4), (8, 2, 4)])
def test_the_map_is_divided_by_the_stride_and_rounded_up(branches, size, stride, expected):
    module = kernel(channels=10, stride=stride, branches=branches)
    assert module(maps(size=size)).shape == (2, 10, expected, expected)


@every_form
@pytest.mark.parametrize("groups", [1, 3])
def test_every_input_channel_reaches_both_branches(branches, groups):
    module = kernel(groups=groups, branches=branches)
    for branch in range(2):
        x = maps().requires_grad_()
        module.branches(x)[branch].sum().backward()
        assert (x.grad.abs().sum((0, 2, 3)) > 0).all()


def test_halves_of_groups_keep_to_their_group():
    x = maps().requires_grad_()
    kernel(groups=3).branches(x)[1][:, 2:4].sum().backward()
    assert (x.grad.abs().sum((0, 2, 3)) > 0).tolist() == [False, False, True, True, False, False]


@every_form
def test_it_drops_after_the_sum_and_downsamples_last(branches):
    class Spy(nn.Module):
        def __init__(self, name: str) -> None:
            super().__init__()
            self.name = name

        def forward(self, x: Tensor) -> Tensor:
            seen.append((self.name, x.shape[1:]))
            return x[..., ::2, ::2] if self.name == "down" else x

    seen: list[tuple[str, torch.Size]] = []
    spies = {
        Part.DROP: [("drop", lambda channels, site: Spy("drop"))],
        Part.DOWN: [("down", lambda channels, stride, site: Spy("down"))],
    }
    module = kernel(channels=10, stride=2, branches=branches, parts=Parts(spies))
    assert module(maps()).shape == (2, 10, 4, 4)
    assert seen == [("drop", (10, 7, 7)), ("down", (10, 7, 7))]
    assert all(m.stride == (1, 1) for m in module.modules() if isinstance(m, nn.Conv2d))


def test_the_softmax_is_taken_in_fp32():
    module = kernel().bfloat16()
    x = maps().bfloat16()
    assert module.attention(*module.branches(x)).dtype == torch.float32
    assert module(x).dtype == torch.bfloat16


def test_channels_last_maps_stay_so():
    module = kernel().to(memory_format=torch.channels_last)
    y = module(maps().to(memory_format=torch.channels_last))
    assert y.is_contiguous(memory_format=torch.channels_last)


def test_it_replaces_the_3x3_of_a_bottleneck_and_nothing_follows_it():
    spec = network_settings(depths=[1, 1], width=4)
    block = build_model(spec, parts_of("sk"), num_classes=5, image_size=16).stages[1][0].eval()
    with torch.no_grad():
        x = torch.randn(2, 16, 8, 8, generator=KEY.generator())
        branch = block.norm(block.conv3(block.conv2(block.conv1(x))))
        torch.testing.assert_close(block(x), (branch + block.shortcut(x)).relu())
    assert type(block.conv2).__name__ == "SelectiveKernel"


def test_a_network_of_basic_blocks_is_refused():
    spec = network_settings(name="plain18", block="basic", depths=[1], width=4)
    message = r"^trick 'sk' changes nothing: plain18 builds no bottleneck 3x3; drop it with ~tricks\.sk"
    with pytest.raises(NoEffectError, match=message):
        build_model(spec, parts_of("sk"), num_classes=5, image_size=16)


def test_a_batch_of_one_image_is_refused():
    with pytest.raises(UserError, match=r"^batch_size=1: sk needs 2 or more, for the norm of its attention$"):
        create("sk").edits(make_task(batch_size=1))


def test_a_reduction_below_1_is_refused():
    with pytest.raises(UserError, match=r"^tricks\.sk\.reduction=0: must be 1 or more$"):
        create("sk", reduction=0)
