from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from bagoftricks.errors import UserError
from bagoftricks.recipe.compose import compose
from bagoftricks.recipe.edits import AddLossTerm, Batch, GradPhase, MapGrads, SetGradient, SetPrecision
from bagoftricks.recipe.trick import Trick
from bagoftricks.training.trainer import gradient_scaler, predictor
from bagoftricks.tricks.catalogue import create
from tests.helpers import Fake, create_all, flat, make_batch, make_task, make_trainer, the_edit

BF16 = create_all(["mixed_precision"])
SCALED = {"scaled": Fake([SetPrecision(dtype=torch.bfloat16, loss_scale=128.0)])}
INFINITE = {"infinite": Fake([AddLossTerm(term=lambda logits, batch: logits.sum() * torch.inf)])}


def dtypes(model: nn.Module, kind: type[nn.Module]) -> list[torch.dtype]:
    """Return the dtypes of the outputs of the modules of ``kind``, filled in as they are used."""
    seen: list[torch.dtype] = []
    for module in model.modules():
        if isinstance(module, kind):
            module.register_forward_hook(lambda m, inputs, output: seen.append(output.dtype))
    return seen


@pytest.mark.parametrize(("tricks", "expected"), [(BF16, torch.bfloat16), ({}, torch.float32)], ids=["on", "off"])
@pytest.mark.parametrize("kind", [nn.Conv2d, nn.Linear])
def test_convolutions_and_the_head_compute_in_bf16_when_training(tricks, expected, kind):
    trainer = make_trainer(tricks)
    seen = dtypes(trainer.model, kind)
    trainer.step(make_batch())
    assert set(seen) == {expected}


def test_convolutions_compute_in_bf16_when_predicting():
    trainer = make_trainer(BF16)
    seen = dtypes(trainer.model, nn.Conv2d)
    predictor(trainer.recipe, trainer.model)(make_batch().images)
    assert set(seen) == {torch.bfloat16}


def test_the_weights_and_their_gradients_stay_in_fp32():
    trainer = make_trainer(BF16)
    trainer.step(make_batch())
    assert {(p.dtype, p.grad.dtype) for p in trainer.model.parameters()} == {(torch.float32, torch.float32)}


def test_the_loss_is_computed_in_fp32_from_fp32_logits():
    seen: list[torch.dtype] = []

    def spy(logits: Tensor, batch: Batch) -> Tensor:
        seen.extend([logits.dtype, (logits @ logits.T).dtype])
        return logits.new_zeros(())

    loss = make_trainer({**BF16, "spy": Fake([AddLossTerm(term=spy)])}).step(make_batch())
    assert [*seen, loss.dtype] == [torch.float32] * 3


def test_predictions_are_fp32():
    trainer = make_trainer(BF16)
    assert predictor(trainer.recipe, trainer.model)(make_batch().images).dtype is torch.float32


def test_bf16_needs_no_loss_scale():
    assert not make_trainer(BF16).scaler.is_enabled()


@pytest.mark.parametrize("loss_scale", [0.0, 128.0])
def test_fp16_asks_for_its_loss_scale(loss_scale):
    edit = the_edit("mixed_precision", dtype="fp16", loss_scale=loss_scale)
    assert (edit.dtype, edit.loss_scale) == (torch.float16, loss_scale)


def test_fp16_on_a_cpu_is_refused_with_what_to_type_instead():
    precision = compose({"mixed_precision": create("mixed_precision", dtype="fp16")}, make_task()).precision
    with pytest.raises(UserError, match=r"^fp16 needs a GPU: on a CPU, use tricks\.mixed_precision\.dtype=bf16$"):
        gradient_scaler(precision, torch.device("cpu"))


def gradients(tricks: dict[str, Trick]) -> Tensor:
    """Return the gradients as the backward pass leaves them, before the optimiser unscales them."""
    seen: list[Tensor] = []

    def compute(model: nn.Module, backward: Callable[[], None]) -> None:
        backward()
        seen.extend(parameter.grad.flatten().clone() for parameter in model.parameters())

    make_trainer({**tricks, "spy": Fake([SetGradient(compute=compute)])}).step(make_batch())
    return torch.cat(seen)


def test_a_scaled_loss_has_gradients_128_times_as_large():
    assert torch.equal(gradients(SCALED), 128 * gradients(BF16))


def test_gradient_maps_see_the_gradients_unscaled():
    seen: list[Tensor] = []

    def spy(grads: list[Tensor]) -> None:
        seen.extend(grad.flatten().clone() for grad in grads)

    make_trainer({**SCALED, "spy": Fake([MapGrads(phase=GradPhase.CLIP, apply=spy)])}).step(make_batch())
    assert torch.equal(torch.cat(seen), gradients(BF16))


def test_a_power_of_two_as_loss_scale_changes_no_bit_of_the_weights():
    scaled, plain = make_trainer(SCALED), make_trainer(BF16)
    for trainer in (scaled, plain):
        trainer.step(make_batch())
    assert torch.equal(flat(scaled.model), flat(plain.model))


def test_the_loss_that_is_reported_is_not_scaled():
    assert make_trainer(SCALED).step(make_batch()) == make_trainer(BF16).step(make_batch())


def test_a_step_whose_gradients_overflow_is_skipped():
    trainer = make_trainer({**SCALED, **INFINITE})
    before = flat(trainer.model)
    trainer.step(make_batch())
    assert torch.equal(flat(trainer.model), before)


def test_a_fixed_loss_scale_stays_fixed_after_an_overflow():
    trainer = make_trainer({**SCALED, **INFINITE})
    trainer.step(make_batch())
    assert trainer.scaler.get_scale() == 128.0


def test_a_dynamic_loss_scale_shrinks_after_an_overflow():
    dynamic = {"scaled": Fake([SetPrecision(dtype=torch.bfloat16, loss_scale=0.0)])}
    trainer = make_trainer({**dynamic, **INFINITE})
    before = trainer.scaler.get_scale()
    trainer.step(make_batch())
    assert trainer.scaler.get_scale() == before / 2


def test_a_negative_loss_scale_is_refused():
    with pytest.raises(UserError, match=r"^tricks\.mixed_precision\.loss_scale=-1\.0: must be 0 or more$"):
        create("mixed_precision", loss_scale=-1.0)


@pytest.mark.usefixtures("unchecked")
def test_an_unknown_dtype_is_refused_with_a_suggestion():
    message = r"^tricks\.mixed_precision\.dtype=f16: must be one of bf16, fp16, auto; did you mean 'fp16'\?$"
    with pytest.raises(UserError, match=message):
        create("mixed_precision", dtype="f16")
