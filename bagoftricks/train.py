"""The training loop. It names no trick: everything that varies comes from the recipe."""

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from bagoftricks.edits import Batch, Images, Logits, Predict, SetPrecision, Targets
from bagoftricks.errors import UserError
from bagoftricks.parameters import check_selectors, initialise, param_groups
from bagoftricks.recipe import Recipe
from bagoftricks.rng import Key
from bagoftricks.trick import Task


class Trainer:
    """One run's model, optimiser and averaged copies, and the step that advances them."""

    def __init__(
        self, recipe: Recipe, model: nn.Module, task: Task, *, key: Key, lr: float, weight_decay: float
    ) -> None:
        """Initialise ``model`` in place. ``lr`` is the peak learning rate before the tricks scale it."""
        check_selectors(model, recipe.inits, recipe.param_scales)
        initialise(model, recipe.inits, key.fold("init"))
        self.recipe, self.model, self.task, self.key = recipe, model, task, key
        self.device = next(model.parameters()).device
        self.optimizer = recipe.optimizer(param_groups(model, recipe.param_scales, lr=lr, weight_decay=weight_decay))
        self.averages = {name: ema_copy(model, decay) for name, decay in recipe.averages}
        self.scaler = gradient_scaler(recipe.precision, self.device)
        self.fixed_scale = (recipe.precision.loss_scale if recipe.precision else None) or None
        self.steps_done = 0

    def epoch(self, batches: Iterable[Batch]) -> Iterator[Tensor]:
        """Train on ``batches`` (on the model's device); yield each step's loss, still on the device."""
        self.model.train()
        for batch in batches:
            yield self.step(batch)

    def step(self, batch: Batch) -> Tensor:
        """Update the weights once; return the loss that was minimised, still on the device."""
        recipe, step = self.recipe, self.steps_done
        self.task.clock.fill_(step / self.task.total_steps)
        factor = recipe.schedule(step)
        for group in self.optimizer.param_groups:
            group["lr"] = group["peak_lr"] * factor
        for name, apply in recipe.map_batch:
            batch = apply(batch, self.key.fold(name, step))
        targets = batch.targets
        for map_targets in recipe.map_targets:
            targets = map_targets(targets)

        values: list[Tensor] = []

        def loss() -> Tensor:
            value = self.objective(batch, targets)
            values.append(value.detach())
            return self.scaler.scale(value)

        self.optimizer.zero_grad()
        recipe.gradient(self.model, loss)
        if recipe.map_grads:
            self.scaler.unscale_(self.optimizer)
            grads = [p.grad for p in self.model.parameters() if p.grad is not None]
            for map_grads in recipe.map_grads:
                map_grads(grads)
        self.scaler.step(self.optimizer)
        self.scaler.update(self.fixed_scale)
        for average in self.averages.values():
            average.update_parameters(self.model)
        self.steps_done += 1
        return values[0]

    def objective(self, batch: Batch, targets: Targets) -> Tensor:
        """The loss and its added terms, in fp32 whatever the precision of the network."""
        with autocast(self.recipe.precision, self.device):
            logits = self.model(batch.images)
        logits = logits.float()
        return sum((term(logits, batch) for term in self.recipe.loss_terms), self.recipe.loss(logits, targets))

    def copies(self) -> dict[str, nn.Module]:
        """The evaluated copies of the weights by name: at least ``{"last": model}``."""
        return {"last": self.model, **self.averages}


def predictor(recipe: Recipe, model: nn.Module) -> Predict:
    """The prediction function every metric is computed with: inference mode, the recipe's precision, fp32 logits."""
    model.eval()
    device = next(model.parameters()).device

    def forward(images: Images) -> Logits:
        with torch.inference_mode(), autocast(recipe.precision, device):
            logits: Logits = model(images)
        return logits.float()

    predict: Predict = forward
    for wrap in recipe.wrap_predict:
        predict = wrap(predict)
    return predict


def ema_copy(model: nn.Module, decay: float) -> AveragedModel:
    update = get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]
    average = AveragedModel(model, multi_avg_fn=update, use_buffers=True)
    average.n_averaged.fill_(1)  # else the first update copies, and the initial weights are forgotten
    return average


def autocast(precision: SetPrecision | None, device: torch.device) -> AbstractContextManager[object]:
    return torch.autocast(device.type, precision.dtype) if precision else nullcontext()


def gradient_scaler(precision: SetPrecision | None, device: torch.device) -> torch.amp.GradScaler:
    """Loss scaling against the underflow of fp16 gradients; a step whose gradients overflow is skipped."""
    scale = precision.loss_scale if precision else None
    if precision and precision.dtype is torch.float16 and device.type == "cpu":
        raise UserError("fp16 needs a GPU: on a CPU, use tricks.mixed_precision.dtype=bf16")
    if scale is None:
        return torch.amp.GradScaler(device.type, enabled=False)
    if scale:
        return torch.amp.GradScaler(device.type, init_scale=scale)
    return torch.amp.GradScaler(device.type)
