"""The training step: it runs a recipe and names no trick."""

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn, optim

from bagoftricks.distributed import ALONE, World
from bagoftricks.distributed.gradients import MeanGradients
from bagoftricks.distributed.norms import check_groups, own_statistics, synchronise_norms
from bagoftricks.distributed.world import mean
from bagoftricks.errors import NotHere
from bagoftricks.recipe.edits import Batch, Images, Predict, Select, SetPrecision
from bagoftricks.recipe.recipe import Recipe
from bagoftricks.recipe.trick import Length, Task
from bagoftricks.rng import Key
from bagoftricks.training.averages import Average, measure_norms
from bagoftricks.training.compiled import Forward
from bagoftricks.training.parameters import (
    check_selectors,
    freeze,
    initialise,
    initialise_from_images,
    owned_parameters,
    param_groups,
    set_norm_momentum,
    train_mode,
)
from bagoftricks.training.recorded import GraphRecorder, Rates, RecordedUpdates, Update
from bagoftricks.training.state import (
    TrainingState,
    below,
    load_module,
    load_optimizer,
    load_scaler,
    optimizer_state,
    scaler_tensors,
    with_prefix,
)


@dataclass(frozen=True, kw_only=True)
class TrainerSetup:
    """Start of a training, and the processes that share it."""

    key: Key
    lr: float  # peak learning rate before the tricks scale it
    weight_decay: float
    sample: Callable[[int], Images] | None = None  # returns the first n training images, normalised, not augmented
    teacher: Predict | None = None  # returns the logits of an online teacher
    start: Callable[[nn.Module], None] | None = None  # overwrites the initial weights
    world: World = ALONE
    whole: bool = False  # ranks receive whole batches and take their rows, instead of their rows only
    sync_norm: bool = True  # batch norms use the statistics of all ranks' images


class Trainer:
    """One run's model, optimiser and averaged weights, and the step that advances them."""

    def __init__(self, recipe: Recipe, model: nn.Module, task: Task, length: Length, setup: TrainerSetup) -> None:
        """Initialise ``model`` in place, and set the length of the clock of ``task``."""
        self.recipe, self.model, self.task, self.length = recipe, model, task, length
        self.key, self.teacher, self.world, self.whole = setup.key, setup.teacher, setup.world, setup.whole
        task.clock.begin(length)
        self.setup_seconds = start_parameters(model, recipe, setup)
        world = setup.world
        if world.size > 1:
            world.check_batch(task.batch_size, recipe.micro_batch)
            check_groups(model, world, task.batch_size, recipe.micro_batch)
            world.broadcast_(model.state_dict().values())
            if setup.sync_norm:
                synchronise_norms(model, world)
        self.gradients = MeanGradients(world, model.parameters()) if world.size > 1 else None
        self.device = next(model.parameters()).device
        self.forward: Forward = model  # or the compiled network, which shares its parameters
        groups = param_groups(model, recipe.param_scales, lr=setup.lr, weight_decay=setup.weight_decay)
        self.optimizer = recipe.optimizer(groups)
        self.map_grads = [(edit.apply, selected(model, edit.select)) for _, edit in recipe.map_grads]
        self.averages = {name: Average(model, edit, self.optimizer) for name, edit in recipe.averages}
        self.scaler = gradient_scaler(recipe.precision, self.device)
        self.fixed_scale = (recipe.precision.loss_scale if recipe.precision else None) or None
        self.set_rates: Callable[[float], None] = partial(set_rates, self.optimizer)
        self.recorded: Update | None = None
        self.steps_done = 0

    def epoch(self, batches: Iterable[Batch]) -> Iterator[Tensor]:
        """Train on ``batches`` (on the model's device); yield each step's loss, still on the device."""
        train_mode(self.model)
        for batch in batches:
            yield self.step(batch)

    def step(self, batch: Batch) -> Tensor:
        """Update the weights once; return the loss that was minimised, still on the device."""
        batch, images = self.begin_step(batch)
        update = self.recorded or self.update_weights
        loss = update(batch, self.key.fold("network", self.steps_done), images)
        mean(self.world, [loss, *own_statistics(self.model, self.world)])
        self.end_step()
        return loss

    def update_weights(self, batch: Batch, key: Key, images: int) -> Tensor:
        """Compute the gradient of a mapped batch and take the optimiser's step; return the loss."""
        losses: list[Tensor] = []

        def backward() -> None:
            losses.append(self.backward(batch, key, images))

        self.optimizer.zero_grad()
        self.task.noise.key = key.fold(0)  # for what a gradient draws before its first evaluation
        self.recipe.gradient(self.model, backward)
        self.edit_gradients()
        self.scaler.step(self.optimizer)
        self.scaler.update(self.fixed_scale)
        return losses[0]

    def record_updates(self, recorder: GraphRecorder, note: Callable[[str], object]) -> None:
        """Let ``update_weights`` be recorded, and replayed from then on."""
        self.set_rates = Rates(self.optimizer, self.device).set
        self.recorded = RecordedUpdates(self.update_weights, self.task, self.optimizer, recorder, note)

    def begin_step(self, batch: Batch) -> tuple[Batch, int]:
        """Set the clock and the learning rates of the next step; return its batch, mapped, and its global size."""
        step = self.steps_done
        self.task.clock.set(step)
        self.set_rates(self.recipe.schedule(step))
        return self.prepare_batch(batch, step)

    def edit_gradients(self) -> None:
        """Apply the tricks that change gradients, after the backward pass."""
        if self.recipe.map_grads:
            self.scaler.unscale_(self.optimizer)
            grads = [p.grad for p in self.model.parameters() if p.grad is not None]
            for map_grads, chosen in self.map_grads:
                if chosen is None:
                    map_grads(grads)
                else:
                    params = [p for p in chosen if p.grad is not None]
                    map_grads([p.grad for p in params], params)

    def end_step(self) -> None:
        """Count the step and update the averaged weights."""
        self.steps_done += 1
        for average in self.averages.values():
            average.update(self.steps_done)

    def prepare_batch(self, batch: Batch, step: int) -> tuple[Batch, int]:
        """Map the batch, take this rank's rows and attach teacher probabilities; return (batch, global size)."""
        for name, apply in self.recipe.map_batch:
            batch = apply(batch, self.key.fold(name, step))
        batch, images = self.own_rows(batch, self.recipe.micro_batch)
        if self.teacher is not None and self.recipe.teacher is not None and self.recipe.teacher.online:
            logits = self.teacher(batch.images[: len(batch)])
            batch = Batch(batch.images, batch.targets, (logits / self.recipe.teacher.temperature).softmax(1))
        return batch, images

    def own_rows(self, batch: Batch, micro: int | None = None) -> tuple[Batch, int]:
        """Return this rank's rows of a batch, and the number of images on all ranks."""
        if self.world.size == 1:
            return batch, len(batch)
        if not self.whole:
            return batch, self.task.batch_size
        self.world.check_batch(len(batch), micro)
        rows = torch.from_numpy(self.world.rows(len(batch), micro)).to(batch.images.device, non_blocking=True)
        return batch[rows], len(batch)

    def backward(self, batch: Batch, key: Key, images: int | None = None) -> Tensor:
        """Add the gradient of the loss to ``.grad``, one micro-batch at a time; return the loss.

        ``images``: the number of images on all ranks. The loss of the batch is the mean of the ranks' losses.
        """
        images = images or len(batch)
        parts, total, noise = self.world.parts(images, self.recipe.micro_batch), None, self.task.noise
        for part, (together, here) in enumerate(parts):
            rows = batch if len(parts) == 1 else batch[here]
            noise.key = key.fold(part)
            if self.gradients is not None:
                noise.images, noise.share = together, slice(self.world.rank, None, self.world.size)
                noise.over_devices = self.world.all_reduce
            loss = self.objective(rows) * (len(rows) * self.world.size / images)
            self.add_gradient(self.scaler.scale(loss), last=part + 1 == len(parts))
            total = loss.detach() if total is None else total + loss.detach()
        if self.gradients is not None:
            self.gradients.finish()
        assert total is not None
        return total

    def add_gradient(self, loss: Tensor, *, last: bool) -> None:
        """Add the gradient of a micro-batch's loss; after the ``last`` one, the ranks average their gradients."""
        if self.gradients is not None:
            self.gradients.backward(loss, last=last)
        else:
            loss.backward()  # type: ignore[no-untyped-call]

    def objective(self, batch: Batch) -> Tensor:
        """Return the loss with its added terms, in fp32 at any precision of the network."""
        with autocast(self.recipe.precision, self.device):
            outputs = self.forward(batch.images)
        return self.loss(outputs, batch)

    def loss(self, outputs: Any, batch: Batch) -> Tensor:
        """Return the loss of a batch, with its added terms, from the outputs for all its views.

        They are the logits, or what another task's network returns in training.
        """
        targets = batch.targets
        for map_targets in self.recipe.map_targets:
            targets = map_targets(targets)
        logits = outputs.float() if isinstance(outputs, Tensor) else outputs
        loss = self.recipe.loss(logits[: len(batch)] if batch.views > 1 else logits, targets)
        if self.recipe.loss_weight != 1:
            loss = loss * self.recipe.loss_weight
        return sum((term(logits, batch) for term in self.recipe.loss_terms), loss)

    def weight_sets(self) -> dict[str, nn.Module]:
        """Return the networks to evaluate by name: ``last``, and each average that has begun."""
        return {"last": self.model, **{name: a.model for name, a in self.averages.items() if a.updates >= 0}}

    def state(self) -> TrainingState:
        """Return everything the next step reads, except the batch and the recipe. The tensors are not copied."""
        tensors = with_prefix("model.", self.model.state_dict())
        for name, average in self.averages.items():
            tensors |= with_prefix(f"average.{name}.", average.model.state_dict())
            tensors |= with_prefix(f"samples.{name}.", average.sampled())
        moments, entries = optimizer_state(self.optimizer)
        values = {
            "steps": self.steps_done,
            "updates": {name: average.updates for name, average in self.averages.items()},
            "optimizer": entries,
            "read_clock": self.task.clock.was_read,
        }
        return TrainingState(
            tensors | with_prefix("optimizer.", moments) | with_prefix("scaler.", scaler_tensors(self.scaler)), values
        )

    def load(self, state: TrainingState) -> None:
        """Resume from ``state``, bit for bit. Raises ValueError if it is of another network or recipe."""
        load_module(self.model, below("model.", state.tensors))
        for name, average in self.averages.items():
            load_module(average.model, below(f"average.{name}.", state.tensors))
            average.load_samples(below(f"samples.{name}.", state.tensors))
            average.updates = state.values["updates"][name]
        load_optimizer(self.optimizer, below("optimizer.", state.tensors), state.values["optimizer"])
        load_scaler(self.scaler, below("scaler.", state.tensors))
        self.steps_done = state.values["steps"]
        self.task.clock.was_read |= state.values.get("read_clock", True)  # unknown in earlier checkpoints

    def refresh_norms(self, batches: Iterable[Batch]) -> None:
        """Measure batch norms' statistics on ``batches`` for the averages with ``refresh_norms``; read none without."""
        stale = [a.model for a in self.averages.values() if a.edit.refresh_norms and a.updates >= 0]
        if stale:
            with autocast(self.recipe.precision, self.device):
                measure_norms(stale, (self.own_rows(batch)[0].images for batch in batches))
            for model in stale:
                mean(self.world, own_statistics(model, self.world))


def set_rates(optimizer: optim.Optimizer, factor: float) -> None:
    """Set the learning rate of each group to its peak times ``factor``."""
    for group in optimizer.param_groups:
        group["lr"] = group["peak_lr"] * factor


def start_parameters(model: nn.Module, recipe: Recipe, setup: TrainerSetup) -> float:
    """Set the initial values; return the seconds spent on those computed from images, part of the training time."""
    check_selectors(model, recipe)
    initialise(model, recipe.inits, setup.key.fold("init"))
    began = time.perf_counter()
    if recipe.image_inits:
        assert setup.sample is not None, "this network computes initial values from training images"
        initialise_from_images(model, recipe.image_inits, setup.sample)
    seconds = time.perf_counter() - began
    if setup.start is not None:
        setup.start(model)
    freeze(model, recipe)
    if recipe.norm_momentum is not None:
        set_norm_momentum(model, recipe.norm_momentum[1])
    return seconds


def selected(model: nn.Module, select: Select | None) -> list[nn.Parameter] | None:
    """Return the parameters that ``select`` chooses, None without a choice."""
    if select is None:
        return None
    return [parameter for module, name, _, parameter in owned_parameters(model) if select(module, name)]


def predictor(recipe: Recipe, model: nn.Module) -> Predict:
    """Return the function from images to logits behind every metric: inference mode, fp32 logits."""
    model.eval()
    device = next(model.parameters()).device

    def forward(images: Images) -> Tensor:
        with torch.inference_mode(), autocast(recipe.precision, device):
            outputs: Tensor = model(images)
        return outputs.float()

    predict: Predict = forward
    for wrap in recipe.wrap_predict:
        predict = wrap(predict)
    return predict


def autocast(precision: SetPrecision | None, device: torch.device) -> AbstractContextManager[object]:
    """Return the context of mixed precision, one that does nothing without it."""
    return torch.autocast(device.type, precision.dtype) if precision else nullcontext()


def gradient_scaler(precision: SetPrecision | None, device: torch.device) -> torch.amp.GradScaler:
    """Return the scaler that keeps fp16 gradients from underflow; it skips a step whose gradients overflow."""
    scale = precision.loss_scale if precision else None
    if precision and precision.dtype is torch.float16 and device.type == "cpu":
        raise NotHere("fp16 needs a GPU: on a CPU, use tricks.mixed_precision.dtype=bf16")
    if scale is None:
        return torch.amp.GradScaler(device.type, enabled=False)
    if scale:
        return torch.amp.GradScaler(device.type, init_scale=scale)
    return torch.amp.GradScaler(device.type)
