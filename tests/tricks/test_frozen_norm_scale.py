import re

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bagoftricks.errors import ConflictError, UserError
from bagoftricks.measure.complexity import count_params
from bagoftricks.models import build_model
from tests.helpers import KEY, TINY, TINY9, batches, create_all, make_trainer, parts_of, the_edit, trained

CONFLICTS = ["zero_gamma"]
TINY_EPS = 1e-14  # the two networks are one but for the norms' eps
FROZEN = create_all(["frozen_norm_scale"])


def norms(model: nn.Module) -> list[nn.BatchNorm2d]:
    return [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]


@pytest.mark.parametrize("network", [(TINY, 16), (TINY9, 32)], ids=["resnet", "resnet9"])
def test_the_scales_are_one_after_any_training(network):
    model = trained(FROZEN, 20, network).model
    assert len(norms(model)) > 5
    for norm in norms(model):
        assert torch.equal(norm.weight, torch.ones_like(norm.weight))
        assert not norm.weight.requires_grad
        assert norm.bias.any()


def test_the_scales_of_ghost_norms_are_frozen_too():
    trainer = trained(create_all(["frozen_norm_scale", "ghost_norm"]), 2)
    assert all((norm.weight == 1).all() for norm in norms(trainer.model))


def test_the_optimiser_does_not_see_the_scales():
    trainer = make_trainer(FROZEN)
    held = {id(p) for group in trainer.optimizer.param_groups for p in group["params"]}
    assert not held & {id(norm.weight) for norm in norms(trainer.model)}
    assert held == {id(p) for p in trainer.model.parameters() if p.requires_grad}


def test_the_scales_count_as_parameters_no_more():
    plain, frozen = (make_trainer(tricks, network=(TINY9, 32)).model for tricks in ({}, FROZEN))
    # Channels of the stem, three layers and two residuals of two convolutions each.
    assert count_params(plain) - count_params(frozen) == 4 + 8 + 16 + 32 + 2 * 8 + 2 * 32


@pytest.mark.parametrize(("factor", "scale"), [({}, 1 / 16), ({"logit_scale": 0.25}, 1 / 32)])
def test_the_logits_are_scaled_by_half_as_much(factor, scale):
    parts = parts_of("frozen_norm_scale", **factor)
    assert build_model(TINY9, parts, num_classes=5, image_size=32).logit_scale == scale


def test_a_network_that_does_not_scale_its_logits_takes_the_trick_all_the_same():
    assert make_trainer(FROZEN, network=(TINY, 16)).network == (TINY, 16)


def test_a_scale_that_starts_at_zero_would_stay_there():
    message = re.escape(
        "tricks 'frozen_norm_scale' and 'zero_gamma' both set the same parameters (frozen_norm_scale freezes what "
        "zero_gamma starts from another value): run them in separate arms"
    )
    with pytest.raises(ConflictError, match=f"^{message}"):
        make_trainer(create_all(["frozen_norm_scale", "zero_gamma"]))


def test_a_logit_scale_of_zero_is_refused():
    with pytest.raises(UserError, match=r"^tricks\.frozen_norm_scale\.logit_scale=0\.0: must be positive$"):
        the_edit("frozen_norm_scale", logit_scale=0.0)


def quarter_and_one() -> tuple[nn.Module, nn.Module]:
    """ResNet-9 with CELU(0.075), every gamma 1/4 and any beta; and its twin with CELU(0.3), gamma 1 and 4 beta."""
    quarter = build_model(TINY9, parts_of("celu"), num_classes=5, image_size=32).double()
    parts = {**parts_of("celu", alpha=0.3), **parts_of("frozen_norm_scale", logit_scale=0.25)}
    one = build_model(TINY9, parts, num_classes=5, image_size=32).double()
    rng = KEY.generator()
    for norm in norms(quarter):
        norm.eps = TINY_EPS
        nn.init.constant_(norm.weight, 0.25)
        nn.init.uniform_(norm.bias, -0.2, 0.2, generator=rng)
    one.load_state_dict(quarter.state_dict())
    for norm in norms(one):
        norm.eps = TINY_EPS
        nn.init.ones_(norm.weight)
        norm.bias.data *= 4
    return quarter, one


def gradients(model: nn.Module) -> list[Tensor]:
    images = torch.randn(6, 3, 32, 32, generator=KEY.fold("images").generator()).double()
    loss = F.cross_entropy(model(images), torch.arange(6) % 5)
    return [loss, *torch.autograd.grad(loss, [p for name, p in model.named_parameters() if "head" not in name])]


def test_gamma_one_with_four_alpha_and_four_beta_is_gamma_a_quarter():
    quarter, one = quarter_and_one()
    images = torch.randn(6, 3, 32, 32, generator=KEY.fold("images").generator()).double()
    torch.testing.assert_close(one(images), quarter(images), rtol=1e-9, atol=1e-12)


def test_a_step_of_four_beta_needs_sixteen_times_the_learning_rate():
    quarter, one = quarter_and_one()
    names = ["loss", *(name for name, _ in one.named_parameters() if "head" not in name)]
    betas = {f"{name}.bias" for name, module in one.named_modules() if isinstance(module, nn.BatchNorm2d)}
    gammas = {name.replace("bias", "weight") for name in betas}
    for name, small, large in zip(names, gradients(quarter), gradients(one), strict=True):
        if name not in gammas:
            factor = 4 if name in betas else 1  # 4 beta moves by 4 times as much: 16 = 4 * 4
            torch.testing.assert_close(large * factor, small, rtol=1e-8, atol=1e-12)


def test_it_trains_beside_pages_other_tricks():
    names = ["frozen_norm_scale", "ghost_norm", "celu", "bias_scale", "patch_whitening", "early_pool", "tta_flip"]
    assert all(loss.isfinite() for loss in make_trainer(create_all(names), lr=0.01).epoch(batches(2, pixels=32)))
