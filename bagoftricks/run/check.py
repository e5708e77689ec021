"""Checks of the tricks, the network and the device, before any data is read."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import nn

from bagoftricks.cores import multiplies_bf16
from bagoftricks.errors import NoEffectError, NotHere, UserError
from bagoftricks.loggers.base import asked_loggers
from bagoftricks.models import build_model
from bagoftricks.models.weights import existing, file_digest, fitted, head_names, read_tensors, starts_backbone
from bagoftricks.recipe.compose import compose
from bagoftricks.recipe.edits import FreezeParams, FreezeStatistics, SetPart
from bagoftricks.recipe.recipe import Recipe
from bagoftricks.recipe.trick import Task, Trick
from bagoftricks.rng import Noise
from bagoftricks.run.classes import class_names_of, output_order
from bagoftricks.run.environment import find_device
from bagoftricks.run.teacher import require_named
from bagoftricks.settings import Settings
from bagoftricks.store.store import require_intact
from bagoftricks.system import physical_memory_bytes
from bagoftricks.training.parameters import check_selectors, freeze, owned_parameters, train_mode
from bagoftricks.training.trainer import gradient_scaler
from bagoftricks.tricks.catalogue import card, create

MOST_NETWORKS = 64  # kept for further checks: a ResNet-50 takes a megabyte


@dataclass(frozen=True)
class Checked:
    """Tricks that compose and fit the network and the device, with their recipe."""

    settings: Settings
    tricks: dict[str, Trick]
    device: torch.device
    task: Task
    recipe: Recipe

    @cached_property
    def network(self) -> nn.Module:
        """Return the network on the meta device (shapes without storage), built once."""
        spec, parts = self.settings.model, self.recipe.parts
        try:
            with torch.device("meta"):
                model = build_model(
                    spec,
                    parts,
                    num_classes=self.task.num_classes,
                    image_size=self.settings.pixels,
                    channels=self.settings.data.channels,
                    task=self.settings.task,
                )
        except RuntimeError as error:
            if "overflow" not in str(error):
                raise
            raise UserError(f"{spec.name}: has more weights than can be counted: make it smaller (model.*)") from error
        freeze(model, self.recipe)
        return model

    def with_data(self, num_classes: int, class_counts: tuple[int, ...] | None = None) -> "Checked":
        """Compose the tricks again, now that the classes of the data are known."""
        task = replace(self.task, num_classes=num_classes, class_counts=class_counts)
        checked = replace(self, task=task, recipe=compose(self.tricks, task))
        if num_classes == self.task.num_classes and "network" in vars(self):
            vars(checked)["network"] = self.network
        return checked


Networks = dict[str, nn.Module]  # on the meta device, by what they are built from


Lacking = list[str]  # what this machine lacks for a run, in a line each


@contextmanager
def elsewhere(lacking: Lacking | None) -> Iterator[None]:
    """Add to ``lacking`` what the block finds missing on this machine: the run may go to another. None: raise it."""
    try:
        yield
    except NotHere as error:
        if lacking is None:
            raise
        lacking.append(str(error))


def check(
    settings: Settings, *, train: bool = True, networks: Networks | None = None, lacking: Lacking | None = None
) -> Checked:
    """Return the tricks and the device of these settings, and their recipe.

    ``networks`` keeps networks for further checks; to build one takes longer than the rest of a check. ``lacking``
    takes what this machine lacks, such as a GPU, which is an error without it.

    Raises ConflictError, NoEffectError or another UserError. Without ``train``, a precision in which this device
    cannot train is accepted. The network is built on the meta device, which takes no memory and next to no time.
    """
    tricks = {name: create(name, **params) for name, params in sorted(settings.tricks.items())}
    noise, classes = Noise(), settings.num_classes or settings.data.num_classes
    loss = settings.task.loss(noise)
    inits = tuple(settings.task.inits())
    task = Task(classes, settings.batch_size, settings.pixels, noise=noise, loss=loss, inits=inits)
    device = torch.device("cpu")
    with elsewhere(lacking):
        device = find_device(settings.runtime.device)
    checked = Checked(settings, tricks, device, task, compose(tricks, task))
    if networks is not None:
        share_network(checked, networks)
    recipe = checked.recipe
    check_task_accepts(checked)
    with elsewhere(lacking):
        asked_loggers(settings)
    if recipe.flip and not settings.data.flip:
        raise NoEffectError(recipe.flip[0], "no image is flipped with data.flip=false", "type data.flip=true")
    if train:
        with elsewhere(lacking):
            gradient_scaler(recipe.precision, checked.device)
        check_start(settings)
        with elsewhere(lacking):
            if settings.model.weights is not None:
                existing(settings.model.weights)
            if recipe.teacher:
                require_named(recipe.teacher.source)
    check_selectors(checked.network, recipe)
    with elsewhere(lacking):
        check_memory(checked)
    if train:
        check_norms(checked)
    with elsewhere(lacking):
        check_decoding(settings, recipe, checked.device)
    return checked


def check_task_accepts(checked: Checked) -> None:
    """Raise UserError for a trick that makes no sense with the task, or an evaluation of another one."""
    settings = checked.settings
    for name, trick in checked.tricks.items():
        for edit in trick.edits(checked.task):
            if why := settings.task.refuses(edit):
                raise UserError(f"{name}: makes no sense with task={settings.task.name}: {why}; leave it out")
    if settings.corruptions.protocol != "none" and settings.task.name != "classification":
        raise UserError(
            f"corruptions={settings.corruptions.protocol}: its scores are of classes, not of task="
            f"{settings.task.name}; leave it out"
        )


def share_network(checked: Checked, networks: Networks) -> None:
    """Take the network from those that are built from the same settings and tricks, or add it to them."""
    settings, task = checked.settings, checked.task
    tricks = [
        (name, settings.tricks[name])
        for name, trick in checked.tricks.items()
        if any(isinstance(edit, SetPart | FreezeParams | FreezeStatistics) for edit in trick.edits(task))
    ]
    about = (settings.model, settings.task, settings.data.channels, settings.pixels, task.num_classes, tricks)
    if (key := repr(about)) not in networks:
        if len(networks) >= MOST_NETWORKS:
            networks.clear()
        networks[key] = checked.network
    vars(checked)["network"] = networks[key]


def check_start(settings: Settings) -> None:
    """Raise UserError if a new head is asked for without a file of weights for the rest of the network."""
    model = settings.model
    if model.new_head and not model.weights:
        raise UserError(
            f"model.new_head=true: needs a file of trained weights: {model.weights_help}; to train from random ones, "
            "type model.new_head=false"
        )


def check_memory(checked: Checked) -> None:
    """Raise UserError for a network or images that no memory of this machine holds, before anything is allocated."""
    memory = physical_memory_bytes()
    weights = 4 * sum(parameter.numel() for parameter in checked.network.parameters())
    if weights > memory:
        size = f"{weights / 2**30:,.0f} GiB of weights, and this machine has {memory / 2**30:,.0f} GiB of memory"
        raise NotHere(f"{checked.settings.model.name}: has {size}: make it smaller (model.*, num_classes)")
    settings = checked.settings
    at_a_time = min(checked.recipe.micro_batch or settings.batch_size, settings.batch_size)
    require_memory("image_size", settings.pixels, at_a_time, "batch_size")


def require_memory(name: str, pixels: int, images: int, batch: str) -> None:
    """Raise UserError if no memory of this machine holds this number of images of this side."""
    if 12 * pixels**2 * images > physical_memory_bytes():
        what = f"{images} images of {pixels} x {pixels} pixels at a time need more memory"
        raise NotHere(f"{name}={pixels}: {what} than this machine has; type a smaller one, or {batch}=")


def check_norms(checked: Checked) -> None:
    """Raise UserError if a batch norm would see a single value per channel: one image, pooled to one pixel."""
    settings, devices = checked.settings, checked.settings.runtime.devices
    batch = settings.batch_size if settings.runtime.sync_norm else settings.batch_size // max(1, devices)
    part = checked.recipe.micro_batch or batch
    if min(part, batch) > 1 and batch % part != 1:
        return
    pixels = settings.pixels
    try:
        with torch.device("meta"):
            train_mode(checked.network)
            checked.network(torch.empty(1, settings.data.channels, pixels, pixels))
    except ValueError as error:
        if "more than 1 value per channel" not in str(error):
            raise
        whole = part >= batch
        change, images = ("batch_size=", settings.batch_size) if whole else ("tricks.micro_batch.images=", part)
        raise UserError(
            f"{change}{images}: leaves one image for the statistics of batch norms whose map is "
            f"one pixel; type another {change}, or a larger image_size="
            + ("" if batch == settings.batch_size else ", or runtime.sync_norm=true")
        ) from error


def discouraged_pairs(names: Iterable[str]) -> list[str]:
    """Return a warning for each pair of tricks that compose but should not be combined, by their cards."""
    chosen = list(names)
    return [
        f"trick '{name}' with '{other}': {why}"
        for name in chosen
        for other, why in card(name).warns.items()
        if other in chosen
    ]


def frozen_at_random(checked: Checked) -> list[str]:
    """Return a warning for each trick that freezes random weights: none were loaded, or computed from images."""
    if checked.settings.model.weights:
        return []
    random = [
        (module, name)
        for module, name, _, _ in owned_parameters(checked.network)
        if name == "weight" and not any(edit.select(module, name) for _, edit in checked.recipe.image_inits)
    ]
    frozen = [(trick, edit.select) for trick, edit in checked.recipe.frozen if edit.any_start]
    tricks = dict.fromkeys(trick for trick, select in frozen if any(select(*weight) for weight in random))
    return [
        f"trick '{trick}' keeps random weights: type model.weights=FILE to start from trained ones" for trick in tricks
    ]


def slow_arithmetic(recipe: Recipe, device: torch.device) -> list[str]:
    """Return a warning if half precision costs time, as on processors without instructions for it."""
    if device.type != "cpu" or recipe.precision is None or has_bf16():
        return []
    return ["this processor has no 16-bit arithmetic: mixed precision is several times slower on it than fp32"]


def has_bf16() -> bool:
    """Return True if this processor multiplies in bf16, or if neither Linux nor PyTorch can tell."""
    if (known := multiplies_bf16()) is not None:
        return known
    try:
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    except (AttributeError, RuntimeError):
        return True


def check_decoding(settings: Settings, recipe: Recipe, device: torch.device) -> None:
    """Raise UserError if data.decode=gpu cannot work here."""
    if settings.data.decode != "gpu":
        return
    if recipe.map_images is not None:
        raise UserError(
            f"data.decode=gpu: {recipe.map_images[0]} works on images in the host's memory; type data.decode=scaled"
        )
    if settings.task.targets == "masks":
        raise UserError(
            f"data.decode=gpu: task={settings.task.name} needs masks, which are decoded with their images; leave it out"
        )
    if device.type != "cuda":
        raise NotHere(f"data.decode=gpu: the run is on {device}, which has no nvJPEG; type data.decode=scaled or full")


def weights_digest(checked: Checked) -> str | None:
    """Return the digest of the initial weights' file, None without one. Raises UserError if they do not fit."""
    model = checked.settings.model
    if model.weights is None:
        return None
    require_intact(existing(model.weights))
    fitted(checked.network, read_tensors(model.weights), model.weights, new_head=model.new_head)
    return file_digest(model.weights)


def start_order(checked: Checked, class_names: Sequence[str]) -> tuple[int, ...] | None:
    """Return the output of the initial weights for each class; None without weights, or if it is the same one.

    Raises UserError if the weights are of other classes, by their names.
    """
    model = checked.settings.model
    if model.weights is None or model.new_head or starts_backbone(checked.network, model.weights):
        return None
    theirs, outputs = class_names_of(model.weights), checked.task.num_classes
    what = f"model.weights={model.weights}: the network"
    change = "type model.new_head=true to initialise the head, or rename the folders of the data"
    order = output_order(class_names, theirs, outputs, what=what, change=change)
    if order is not None and not {outputs} == {
        len(checked.network.state_dict()[n]) for n in head_names(checked.network)
    }:
        raise UserError(
            f"{what} has the classes in another order, and no linear layer at its end; type model.new_head=true"
        )
    return order
