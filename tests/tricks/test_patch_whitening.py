import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from bagoftricks.errors import UserError
from bagoftricks.measure.complexity import count_params
from bagoftricks.models import build_model
from bagoftricks.models.parts import Chosen
from bagoftricks.recipe.edits import InitFromImages, Part
from bagoftricks.settings import network_settings
from bagoftricks.training.trainer import Trainer
from bagoftricks.tricks.catalogue import create
from bagoftricks.tricks.tweak import patch_whitening
from tests.helpers import KEY, TINY, create_all, make_batch, make_task, make_trainer, parts_of, site, trained

CONFLICTS = ["big_little", "resnet_c", "resnet_d"]


def smooth_images(count: int = 20, pixels: int = 12) -> Tensor:
    """Images whose neighbouring pixels and channels go together, with a mean that is not 0; fp64."""
    noise = torch.randn(count, 3, pixels + 4, pixels + 4, generator=KEY.fold("images").generator()).double()
    grey = noise.mean(1, True)[..., 2:-2, 2:-2]
    return F.avg_pool2d(noise, 5, 1) * torch.tensor([1.0, 2.0, 3.0]).view(3, 1, 1) + grey + 0.3


def patches(images: Tensor) -> Tensor:
    """Return the patches, (n, 27)."""
    return F.unfold(images, 3).transpose(1, 2).reshape(-1, 27)


def the_init(**params: float) -> InitFromImages:
    made = create("patch_whitening", **params).edits(make_task())
    return next(edit for edit in made if isinstance(edit, InitFromImages))


def filters(images: Tensor, **params: float) -> Tensor:
    """Return the 27 filters as rows, (27, 27)."""
    edit = the_init(**params)
    side = int(params.get("kernel", 3))
    made = torch.zeros(3 * side**2 * (2 if params.get("mirrored") else 1), 3, side, side, dtype=images.dtype)
    edit.init(made, images)
    return made.flatten(1)


@pytest.mark.parametrize("eps", [1e-2, 1e-6, 1.0])
def test_the_filters_whiten_up_to_eps(eps):
    x = patches(smooth_images())
    covariance = x.T @ x / (len(x) - 1)
    values = torch.linalg.eigvalsh(covariance).flip(0)
    rows = filters(smooth_images(), eps=eps)
    expected = torch.diag(values / (values + eps))
    torch.testing.assert_close(rows @ covariance @ rows.T, expected, rtol=0, atol=1e-9)


def test_filters_of_2x2_whiten_patches_of_2x2():
    x = F.unfold(smooth_images(), 2).transpose(1, 2).reshape(-1, 12)
    covariance = x.T @ x / (len(x) - 1)
    rows = filters(smooth_images(), kernel=2, eps=1e-9)
    torch.testing.assert_close(rows @ covariance @ rows.T, torch.eye(12).double(), rtol=0, atol=1e-6)


def test_mirrored_filters_come_with_their_negatives():
    rows = filters(smooth_images(), mirrored=True)
    assert torch.equal(rows[:27], filters(smooth_images()))
    assert torch.equal(rows[27:], -rows[:27])


def test_without_the_1x1_the_filters_get_a_learned_bias_that_starts_at_zero():
    spec = network_settings(name="tiny", kind="cifarnet", widths=[24, 4, 4])
    params = {"kernel": 2, "mirrored": True, "project": False}
    trainer = make_trainer({"patch_whitening": create("patch_whitening", **params)}, network=(spec, 16))
    assert [type(module) for module in trainer.model.stem] == [patch_whitening.PatchConv, torch.nn.ReLU]
    conv = trainer.model.stem[0]
    assert not conv.bias.any()
    for _ in trainer.epoch([make_batch()]):
        pass
    assert conv.bias.any()
    assert trainer.model.stem(make_batch().images).shape == (8, 24, 15, 15)


def test_the_defaults_are_pages():
    made = create("patch_whitening")
    assert (made.images, made.eps, made.kernel) == (the_init().images, 0.01, 3) == (10_000, 0.01, 3)


def test_the_filters_come_in_the_order_of_falling_variance():
    rows, x = filters(smooth_images(), eps=1e-9), patches(smooth_images())
    directions = rows / rows.norm(dim=1, keepdim=True)
    variances = (x @ directions.T).square().mean(0)
    assert (variances.diff() < 0).all()
    assert variances[0] > 10 * variances[-1]


def test_the_sign_of_a_filter_does_not_depend_on_the_solver(monkeypatch):
    expected, solve = filters(smooth_images()), torch.linalg.eigh
    flips = torch.tensor([1.0, -1.0]).repeat(14)[:27].double()

    def flipped(matrix: Tensor) -> tuple[Tensor, Tensor]:
        values, vectors = solve(matrix)
        return values, vectors * flips

    monkeypatch.setattr(torch.linalg, "eigh", flipped)
    assert torch.equal(filters(smooth_images()), expected)
    assert (expected.gather(1, expected.abs().argmax(1, keepdim=True)) > 0).all()


def test_the_images_may_be_looked_at_in_pieces(monkeypatch):
    whole = patch_whitening.patch_covariance(smooth_images())
    monkeypatch.setattr(patch_whitening, "POSITIONS", 3 * 12 * 12)
    torch.testing.assert_close(patch_whitening.patch_covariance(smooth_images()), whole)


def test_images_without_any_detail_give_finite_filters():
    assert filters(torch.ones(3, 3, 8, 8)).isfinite().all()


def test_inside_the_convolution_is_the_product_of_patch_and_filter():
    stem = dict(make_trainer(create_all(["patch_whitening"])).model.named_modules())["stem"]
    images = make_batch().images
    rows = stem[0].weight.flatten(1)
    expected = (patches(images) @ rows.T).unflatten(0, (8, 14, 14)).permute(0, 3, 1, 2)
    assert stem[0](images).shape == (8, 27, 16, 16)
    torch.testing.assert_close(stem[0](images)[..., 1:-1, 1:-1], expected, rtol=1e-4, atol=1e-5)


def test_the_filters_are_made_of_the_sample_that_the_trainer_is_given():
    made = make_trainer(create_all(["patch_whitening"])).model.stem[0].weight
    expected = filters(make_batch(64, step=1000).images)
    torch.testing.assert_close(made.flatten(1), expected)


def test_training_leaves_the_filters_and_moves_the_1x1():
    trainers: list[Trainer] = [trained(create_all(["patch_whitening"]), steps) for steps in (0, 3)]
    before, after = (trainer.model.stem for trainer in trainers)
    assert torch.equal(before[0].weight, after[0].weight)
    assert not after[0].weight.requires_grad
    assert not torch.equal(before[1].weight, after[1].weight)


def test_resnet9_has_729_fixed_numbers_more():
    spec = network_settings(name="resnet9", kind="resnet9", width=64)
    parts: Chosen = parts_of("patch_whitening")
    with torch.device("meta"):
        model = build_model(spec, parts, num_classes=10, image_size=32)
    assert sum(p.numel() for p in model.parameters()) == 6_573_849
    model.stem[0].weight.requires_grad_(False)
    assert count_params(model) == 6_573_120


def test_a_stem_with_a_stride_computes_every_second_position():
    ((_, build),) = parts_of("patch_whitening")[Part.STEM]
    plain, strided = (build(4, stride, site()).eval() for stride in (1, 2))
    strided.load_state_dict(plain.state_dict())
    images = make_batch().images
    torch.testing.assert_close(strided(images), plain(images)[..., ::2, ::2])


def test_large_images_keep_the_resolution_of_the_plain_stem():
    with torch.device("meta"):
        model = build_model(TINY, parts_of("patch_whitening"), num_classes=5, image_size=224)
    assert model.stem(torch.zeros(1, 3, 224, 224, device="meta")).shape == (1, 4, 112, 112)


@pytest.mark.parametrize(
    ("field", "value", "expected"), [("images", 0, "1 or more"), ("eps", 0.0, "positive"), ("kernel", 0, "in 1..32")]
)
def test_hyper_parameters_out_of_range_are_refused(field, value, expected):
    with pytest.raises(UserError, match=rf"^tricks\.patch_whitening\.{field}={value}: must be {expected}$"):
        create("patch_whitening", **{field: value})
