"""Refuse a wrong choice of tricks, network or device before any data is looked at."""

from dataclasses import dataclass

import torch
from torch import nn

from bagoftricks.errors import NoEffectError, UserError
from bagoftricks.measure.complexity import count_macs, count_params
from bagoftricks.models import build_model
from bagoftricks.models.weights import file_digest, fitted, read_tensors
from bagoftricks.recipe.compose import compose
from bagoftricks.recipe.recipe import Recipe, test_pixels
from bagoftricks.recipe.trick import Task, Trick
from bagoftricks.run.environment import find_device
from bagoftricks.settings import Settings
from bagoftricks.training.parameters import check_selectors, freeze
from bagoftricks.training.trainer import gradient_scaler
from bagoftricks.tricks.catalogue import card, create


@dataclass(frozen=True)
class Checked:
    """Tricks that compose, fit the network and fit the device."""

    tricks: dict[str, Trick]
    device: torch.device

    def warnings(self) -> list[str]:
        """Pairs of tricks that go together but should not, by their cards."""
        return [
            f"trick '{name}' beside '{other}': {why}"
            for name in self.tricks
            for other, why in card(name).warns.items()
            if other in self.tricks
        ]

    def recipe(self, task: Task) -> Recipe:
        return compose(self.tricks, task)


def check(settings: Settings, *, train: bool = True) -> Checked:
    """The tricks and the device of these settings. Raises ConflictError, NoEffectError or another UserError.

    Without ``train``, a precision that this device cannot train in is let pass.

    The network is built on the meta device for it, which takes no memory and next to no time.
    """
    tricks = {name: create(name, **params) for name, params in sorted(settings.tricks.items())}
    checked = Checked(tricks, find_device(settings.runtime.device))
    num_classes = settings.num_classes or settings.data.num_classes
    recipe = checked.recipe(Task(num_classes, settings.batch_size, steps_per_epoch=100, total_steps=100))
    if recipe.flip and not settings.data.flip:
        raise NoEffectError(recipe.flip[0], "no image is flipped with data.flip=false")
    if train:
        gradient_scaler(recipe.precision, checked.device)
    check_selectors(meta_model(settings, recipe, num_classes), recipe)
    check_decoding(settings, recipe, checked.device)
    return checked


def slow_arithmetic(recipe: Recipe, device: torch.device) -> list[str]:
    """A warning where half precision costs time, as on processors that have no instructions for it."""
    if device.type != "cpu" or recipe.precision is None or has_bf16():
        return []
    return ["this processor has no 16-bit arithmetic: mixed precision is several times slower on it than fp32"]


def has_bf16() -> bool:
    """Whether this processor multiplies in bf16 (AVX-512 BF16, AMX, or Arm's); True where PyTorch does not tell."""
    try:
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    except (AttributeError, RuntimeError):
        return True


def check_decoding(settings: Settings, recipe: Recipe, device: torch.device) -> None:
    if settings.data.decode != "gpu":
        return
    if device.type != "cuda":
        raise UserError(
            f"data.decode=gpu: the run is on {device}, which has no nvJPEG; type data.decode=scaled or full"
        )
    if recipe.map_images is not None:
        raise UserError(
            f"data.decode=gpu: {recipe.map_images[0]} works on images in the host's memory; type data.decode=scaled"
        )


def meta_model(settings: Settings, recipe: Recipe, num_classes: int) -> nn.Module:
    """The network with shapes but without storage."""
    with torch.device("meta"):
        model = build_model(settings.model, recipe.parts, num_classes=num_classes, image_size=settings.pixels)
    freeze(model, recipe.frozen)
    return model


def weights_digest(settings: Settings, recipe: Recipe, num_classes: int) -> str | None:
    """The digest of the file of weights to start from, None without one. Raises UserError where it does not fit."""
    model = settings.model
    if model.weights is None:
        return None
    fitted(
        meta_model(settings, recipe, num_classes), read_tensors(model.weights), model.weights, new_head=model.new_head
    )
    return file_digest(model.weights)


def complexity(settings: Settings, recipe: Recipe, num_classes: int) -> dict[str, int]:
    """``params`` and ``macs`` of the network for one image, at the size of its evaluation."""
    model = meta_model(settings, recipe, num_classes)
    return {"params": count_params(model), "macs": count_macs(model, test_pixels(settings, recipe))}
