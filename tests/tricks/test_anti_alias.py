import numpy as np
import pytest
import torch
from scipy.ndimage import correlate1d
from torch import Tensor, nn

from bagoftricks.errors import ConflictError, NoEffectError, UserError
from bagoftricks.models import build_model
from bagoftricks.recipe.compose import compose
from bagoftricks.recipe.edits import Part
from bagoftricks.settings import network_settings
from bagoftricks.tricks.catalogue import create
from tests.helpers import KEY, TINY, create_all, make_task, parts_of, site

ROWS = {
    2: [1, 1],
    3: [1, 2, 1],
    4: [1, 3, 3, 1],
    5: [1, 4, 6, 4, 1],
    6: [1, 5, 10, 10, 5, 1],
    7: [1, 6, 15, 20, 15, 6, 1],
}

every_filter = pytest.mark.parametrize("k", ROWS)


def blur(k: int, channels: int = 1) -> nn.Module:
    (edit,) = create("anti_alias", filter_size=k).edits(make_task())
    return edit.build(channels, 2, site())


def network(*names: str, block: str = "bottleneck", image_size: int = 16, **params) -> nn.Module:
    spec = network_settings(name="tiny", block=block, depths=[1, 1], width=4)
    return build_model(spec, parts_of("anti_alias", *names, **params), num_classes=5, image_size=image_size)


def maps(height: int, width: int, channels: int = 1) -> Tensor:
    return torch.randn(2, channels, height, width, generator=KEY.generator())


@every_filter
def test_the_filter_is_a_row_of_pascals_triangle_times_itself(k):
    row = torch.tensor(ROWS[k], dtype=torch.float32)
    assert torch.equal(blur(k).kernel[0, 0], torch.outer(row, row) / row.sum() ** 2)


@every_filter
def test_the_filter_sums_to_1_and_is_exact_in_half_precision(k):
    kernel = blur(k).kernel
    assert kernel.sum() == 1
    assert all(torch.equal(kernel.to(dtype).float(), kernel) for dtype in (torch.float16, torch.bfloat16))


@every_filter
@pytest.mark.parametrize("size", [7, 8])
def test_a_constant_stays_itself(k, size):
    assert torch.equal(blur(k, 3)(torch.ones(1, 3, size, size)), torch.ones(1, 3, 4, 4))


@every_filter
@pytest.mark.parametrize("size", [7, 8])
def test_columns_of_alternating_sign_vanish(k, size):
    columns = (1.0 - 2 * (torch.arange(size) % 2)).expand(1, 1, size, size)
    assert torch.equal(blur(k)(columns), torch.zeros(1, 1, 4, 4))


@every_filter
@pytest.mark.parametrize("shape", [(7, 8), (8, 9), (16, 16)])
def test_it_computes_what_scipy_computes(k, shape):
    x = maps(*shape)
    row, expected = np.array(ROWS[k]) / sum(ROWS[k]), x.double().numpy()
    for axis in (2, 3):
        expected = correlate1d(expected, row, axis, mode="mirror", origin=-1 if k % 2 == 0 else 0)
    torch.testing.assert_close(blur(k)(x), torch.from_numpy(expected[:, :, ::2, ::2].copy()).float())


@every_filter
@pytest.mark.parametrize("size", range(1, 10))
def test_the_map_is_halved_and_rounded_up(k, size):
    assert blur(k)(maps(size, size)).shape == (2, 1, (size + 1) // 2, (size + 1) // 2)


@every_filter
@pytest.mark.parametrize("size", [1, 2, 3])
def test_on_a_map_too_small_to_be_reflected_a_constant_stays_itself(k, size):
    assert (blur(k)(torch.full((1, 1, size, size), 2.0)) == 2).all()


def test_a_map_is_reflected_where_it_can_be():
    x = torch.tensor([[[[1.0, 5.0], [1.0, 5.0]]]])  # without repeating the border: (1 * 2 + 2 * 5) / 4
    assert blur(3)(x).item() == 3
    assert blur(5)(x).item() != (6 * 1 + 10 * 5) / 16


@every_filter
def test_a_shift_by_two_pixels_shifts_the_output_by_one(k):
    x = maps(24, 24)
    moved, still = blur(k)(x.roll(2, 3)), blur(k)(x)
    torch.testing.assert_close(moved[..., 4:-3], still[..., 3:-4])


def test_channels_do_not_mix():
    x = maps(8, 8, channels=3)
    expected = torch.cat([blur(3)(x[:, i : i + 1]) for i in range(3)], 1)
    torch.testing.assert_close(blur(3, 3)(x), expected)


def test_by_default_the_strided_convolution_alone_is_blurred():
    block = network("resnet_b").stages[1][0]
    assert block.conv2.conv.stride == (1, 1)
    assert type(block.conv2.down).__name__ == "BlurPool"
    assert block.shortcut.conv.stride == (2, 2)


def test_the_blur_comes_after_norm_and_activation():
    unit, x = network("resnet_b").stages[1][0].conv2.eval(), maps(8, 8, channels=8)
    with torch.no_grad():
        torch.testing.assert_close(unit(x), blur(3, 8)(unit.norm(unit.conv(x)).relu()))


def test_convolutions_without_stride_are_not_blurred():
    model = network("resnet_b")
    assert sum(type(m).__name__ == "BlurPool" for m in model.modules()) == 1


@pytest.mark.parametrize("block", ["bottleneck", "basic"])
def test_the_first_convolution_is_blurred_where_it_has_the_stride(block):
    unit = network(block=block).stages[1][0].conv1
    assert unit.conv.stride == (1, 1)
    assert type(unit.down).__name__ == "BlurPool"


def test_a_projection_is_blurred_before_its_1x1():
    shortcut, x = network(projection=True, filter_size=5).stages[1][0].shortcut.eval(), maps(8, 8, channels=16)
    assert shortcut.conv.stride == (1, 1)
    with torch.no_grad():
        torch.testing.assert_close(shortcut(x), shortcut.norm(shortcut.conv(blur(5, 16)(x))))


def test_a_projection_without_stride_is_not_blurred():
    assert type(network(projection=True).stages[0][0].shortcut.blur) is nn.Identity


def test_the_max_pool_reads_every_position_and_the_blur_subsamples():
    pool, x = network(max_pool=True, image_size=96).pool, maps(24, 24, channels=4)
    dense = nn.functional.max_pool2d(x, 3, stride=1, padding=1)
    torch.testing.assert_close(pool(x), blur(3, 4)(dense))


@pytest.mark.parametrize(
    ("params", "parts"),
    [
        ({}, {Part.DOWN}),
        ({"max_pool": True}, {Part.DOWN, Part.MAX_POOL}),
        ({"max_pool": True, "projection": True}, {Part.DOWN, Part.MAX_POOL, Part.SHORTCUT}),
        ({"convolution": False, "projection": True}, {Part.SHORTCUT}),
    ],
    ids=["A4", "A3", "A1 and A2", "projection"],
)
def test_the_positions_can_be_chosen(params, parts):
    assert set(parts_of("anti_alias", **params)) == parts


def test_it_adds_nothing_to_learn_and_nothing_to_save():
    names = list(build_model(TINY, {}, num_classes=5, image_size=16).state_dict())
    assert list(network(projection=True).state_dict()) == names


def test_blurring_a_projection_conflicts_with_averaging_there():
    tricks = create_all(["resnet_d"]) | {"anti_alias": create("anti_alias", projection=True)}
    message = (
        r"^tricks 'anti_alias' and 'resnet_d' both set part 'shortcut' \(blur or average, not both\): "
        r"run them in separate arms, or drop one with ~tricks\.anti_alias or ~tricks\.resnet_d$"
    )
    with pytest.raises(ConflictError, match=message):
        compose(tricks, make_task())


def test_a_max_pool_that_the_network_does_not_have_is_refused():
    message = r"^trick 'anti_alias' changes nothing: tiny builds no stem max-pool; drop it with ~tricks\.anti_alias"
    with pytest.raises(NoEffectError, match=message):
        network(convolution=False, max_pool=True)


@pytest.mark.parametrize("size", [0, 1, 8])
def test_a_filter_of_another_size_is_refused(size):
    with pytest.raises(UserError, match=rf"^tricks\.anti_alias\.filter_size={size}: must be in 2\.\.7$"):
        create("anti_alias", filter_size=size)


def test_blurring_nowhere_is_refused():
    message = r"^tricks\.anti_alias\.convolution=False: must be true unless projection or max_pool is$"
    with pytest.raises(UserError, match=message):
        create("anti_alias", convolution=False)
