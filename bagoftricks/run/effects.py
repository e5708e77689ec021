"""Check that each trick of a run does something, by the size of the effect of its edits on a small probe."""

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bagoftricks.errors import NoEffectError
from bagoftricks.models.layers import GlobalAverage, Site
from bagoftricks.models.parts import Parts
from bagoftricks.recipe import edits as e
from bagoftricks.recipe.compose import BASELINE_OPTIMIZER
from bagoftricks.recipe.trick import Clock, Length, Task, Trick
from bagoftricks.rng import Key, Noise

SMALLEST_EFFECT = 1e-6  # a smaller relative difference is no effect
PROBE_KEY = Key(0).fold("probe of effects")
PROBES = 512  # batches, or images, after which a map that changed none is refused
IMAGES = 4
FEATURES = 8

MOST_JUDGED = 4096
_JUDGED: dict[tuple[object, ...], "list[Why]"] = {}  # facts that decide on a trick -> why its edits change nothing

Why = str | None  # why an edit changes nothing; None for an edit that does, or that only training could judge


@dataclasses.dataclass(frozen=True)
class Probe:
    """Facts of a run that decide whether an edit changes it."""

    task: Task  # of its own, whose clock has begun
    weight_decay: float = 1.0
    reads: int = 1  # batches that are read for each step


def check_effects(
    tricks: Mapping[str, Trick], task: Task, length: Length, weight_decay: float = 1.0, reads: int = 1
) -> None:
    """Raise NoEffectError for a trick none of whose edits changes a run of this length. The task stays as it is."""
    for name, trick in tricks.items():
        judged = (type(trick), repr(trick), task.num_classes, task.batch_size, task.image_size, task.class_counts)
        key = (*judged, length, weight_decay, reads)
        if key not in _JUDGED:  # by an earlier arm of the study
            if len(_JUDGED) >= MOST_JUDGED:
                _JUDGED.clear()
            _JUDGED[key] = _reasons(trick, task, length, weight_decay, reads)
        reasons = _JUDGED[key]
        if reasons and None not in reasons:
            values = ", ".join(f"{f.name}={getattr(trick, f.name)}" for f in hyper_parameter_fields(trick))
            why = "; ".join(dict.fromkeys(filter(None, reasons)))
            change = f"change one of its values ({values})" if values else "change the run (epochs, weight_decay)"
            raise NoEffectError(name, why, change)


def _reasons(trick: Trick, task: Task, length: Length, weight_decay: float, reads: int) -> list[Why]:
    task = dataclasses.replace(task, clock=Clock(), noise=Noise(key=PROBE_KEY))
    task.clock.begin(length)
    probe = Probe(task, weight_decay, reads)
    return [why_idle(edit, trick, probe) for edit in trick.edits(task)]


def why_idle(edit: e.Edit, trick: Trick, probe: Probe) -> Why:
    """Return why ``edit`` changes nothing in the run, None if it does or if nothing cheap can judge it."""
    judge = JUDGES.get(type(edit))
    return judge(edit, trick, probe) if judge else None


def hyper_parameter_fields(trick: Trick) -> list[Any]:
    return list(dataclasses.fields(trick)) if dataclasses.is_dataclass(trick) else []


def has_defaults(trick: Trick) -> bool:
    """Return True for hyper-parameters that nobody changed."""
    return all(getattr(trick, f.name) == f.default for f in hyper_parameter_fields(trick))


def alike(one: Tensor, other: Tensor) -> bool:
    """Return True if two tensors differ by less than the smallest effect."""
    if one.shape != other.shape:
        return False
    one, other = one.detach().double(), other.detach().double()
    return bool((one - other).norm() <= SMALLEST_EFFECT * other.norm())


def sampled_steps(count: int) -> list[int]:
    """Return the numbers below ``count``, of a long run some 10,000 of them, the last one always."""
    return [*range(0, count, max(1, count // 10_000)), *range(max(0, count - 1), count)]


def normal(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(*shape, generator=PROBE_KEY.generator(), dtype=dtype)


def distributions(classes: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Return targets: one-hot ones, then the uniform one."""
    rows = min(classes, 2 * IMAGES - 1)
    one_hot = F.one_hot(torch.arange(rows), classes).to(dtype)
    return torch.cat([one_hot, torch.full((1, classes), 1 / classes, dtype=dtype)])


def idle_decay(edit: e.SetDecay, trick: Trick, probe: Probe) -> Why:
    """Let a trick without hyper-parameters pass: constant_lr keeps the rate on purpose."""
    steps = probe.task.clock.length.total_steps
    if steps == 1:
        return "a run of one step has no time for a decay"
    if not hyper_parameter_fields(trick) or any(
        abs(edit.decay(step, steps) - 1) > SMALLEST_EFFECT for step in sampled_steps(steps)
    ):
        return None
    return f"the learning rate keeps its peak in all {steps} steps of this run (for that, type +refine=constant_lr)"


def idle_warmup(edit: e.SetWarmup, trick: Trick, probe: Probe) -> Why:
    steps = edit.steps()
    if probe.task.clock.length.total_steps == 1:
        return "a run of one step has no time for a warm-up"
    if steps and (
        has_defaults(trick) or any(abs(edit.factor(step, steps) - 1) > SMALLEST_EFFECT for step in sampled_steps(steps))
    ):
        return None
    return f"its {steps} steps of warm-up have the peak learning rate"


def idle_targets(edit: e.MapTargets, trick: Trick, probe: Probe) -> Why:
    targets = distributions(probe.task.num_classes, torch.float64)
    return f"no target of {probe.task.num_classes} classes changes" if alike(edit.apply(targets), targets) else None


def idle_batches(edit: e.MapBatch, trick: Trick, probe: Probe) -> Why:
    """Compare batches as sets of images: their order is no effect. A map that reads more than it returns has one."""
    if edit.reads > 1:
        return None
    targets = distributions(max(2, probe.task.num_classes))[: min(IMAGES, probe.task.batch_size)]
    images = normal(IMAGES, 3, probe.task.image_size, probe.task.image_size)[: len(targets)]
    targets = targets if probe.task.num_classes > 1 else torch.ones(len(targets), 1)
    batch, steps = e.Batch(images, targets), probe.task.clock.length.total_steps
    for number in range(PROBES):
        probe.task.clock.set(number * 7919 % steps)
        if not alike(fingerprint(edit.apply(batch, PROBE_KEY.fold(number))), fingerprint(batch)):
            return None
    return f"it left {PROBES:,} batches as they were"


def fingerprint(batch: e.Batch) -> Tensor:
    """Return two numbers of each image and its target, sorted."""
    pixels, targets = batch.images.flatten(1).double(), batch.targets.double().pow(2).sum(1)
    ramp = torch.linspace(1, 2, pixels.shape[1], dtype=torch.float64)
    return torch.stack([pixels.pow(2).mean(1) + targets, pixels @ ramp + targets]).sort(1).values


def idle_images(edit: e.MapImages, trick: Trick, probe: Probe) -> Why:
    if edit.views > 1:
        return None
    size = probe.task.image_size
    images = (100 + 40 * normal(IMAGES, 3, size, size)).clamp(0, 255).byte()
    for number in range(PROBES // IMAGES):
        draws = torch.from_numpy(PROBE_KEY.fold(number).uniform(np.arange(IMAGES), edit.draws)).float()
        if not torch.equal(edit.apply(images.clone(), draws), images):
            return None
    return f"it left {PROBES:,} images as they were"


def idle_flip(edit: e.SetFlip, trick: Trick, probe: Probe) -> Why:
    length = probe.task.clock.length
    passes = math.ceil(length.total_steps * probe.reads / length.steps_per_epoch)
    first = PROBE_KEY.uniform(np.arange(PROBES), 1)[:, 0]
    if any(((edit.draw(first, before) < 0.5) != (first < 0.5)).any() for before in range(passes)):
        return None
    return f"images are flipped as without it in the first {passes} passes of the data, and this run has no more"


def idle_sampling(edit: e.SetSampling, trick: Trick, probe: Probe) -> Why:
    counts = probe.task.class_counts
    labels = np.repeat(np.arange(len(counts or ())), counts or ())
    if counts is None or np.abs(edit.copies(labels) - 1).max() > SMALLEST_EFFECT:
        return None
    return f"every class has as many training images ({max(counts):,}), and so each image comes once"


def idle_loss(edit: e.SetLoss, trick: Trick, probe: Probe) -> Why:
    targets = distributions(probe.task.num_classes)
    logits = normal(*targets.shape).requires_grad_()
    (mine,) = torch.autograd.grad(edit.loss(logits, targets), logits)
    (plain,) = torch.autograd.grad(F.cross_entropy(logits, targets), logits)
    counts = set(probe.task.class_counts or ())
    equal = f" (every class has as many training images, {max(counts):,})" if len(counts) == 1 else ""
    return f"its gradient is that of the cross entropy{equal}" if alike(mine, plain) else None


def idle_scale(edit: e.ScaleLoss, trick: Trick, probe: Probe) -> Why:
    return f"the loss is multiplied by {edit.factor:g}" if abs(edit.factor - 1) <= SMALLEST_EFFECT else None


def idle_term(edit: e.AddLossTerm, trick: Trick, probe: Probe) -> Why:
    views = max([other.views for other in trick.edits(probe.task) if isinstance(other, e.MapImages)], default=1)
    targets = distributions(probe.task.num_classes)
    logits, images = normal(views * len(targets), probe.task.num_classes), torch.zeros(views * len(targets), 3, 1, 1)
    teacher = normal(*targets.shape).softmax(1)
    term = float(edit.term(logits, e.Batch(images, targets, teacher)))
    return f"the term that it adds to the loss is {term:.3g}" if abs(term) <= SMALLEST_EFFECT else None


def idle_teacher(edit: e.SetTeacher, trick: Trick, probe: Probe) -> Why:
    return "nothing uses its teacher"


def idle_split(edit: e.SplitBatch, trick: Trick, probe: Probe) -> Why:
    if edit.images < probe.task.batch_size:
        return None
    return f"one part of {edit.images} images holds the whole batch (batch_size={probe.task.batch_size})"


def idle_factors(edit: e.ScaleParams, trick: Trick, probe: Probe) -> Why:
    """Let a factor of all parameters pass: linear scaling is 1 at its base batch, as in rows of the papers."""
    every = all(edit.select(nn.BatchNorm2d(1), name) for name in ("weight", "bias"))
    every = every and all(edit.select(nn.Conv2d(1, 1, 1), name) for name in ("weight", "bias"))
    if every or callable(edit.lr) or abs(edit.lr - 1) > SMALLEST_EFFECT:
        return None
    if abs(edit.weight_decay - 1) <= SMALLEST_EFFECT:
        return "learning rate and weight decay are multiplied by 1"
    return None if probe.weight_decay else "there is no weight decay to multiply (weight_decay=0)"


def idle_average(edit: e.AverageWeights, trick: Trick, probe: Probe) -> Why:
    (start, every), steps = edit.times(), probe.task.clock.length.total_steps
    updates = (steps - start) // every if steps >= start else -1
    if updates < 0 or (updates == 0 and start == 0):
        return f"its first update would be at step {start or every} of {steps}"
    of_the_last = (steps - start) % every == 0 and not edit.refresh_norms
    if (edit.pull or of_the_last) and all(
        abs(edit.weight(update + 1) - 1) <= SMALLEST_EFFECT for update in sampled_steps(updates)
    ):
        return "each average is the weights themselves"
    return None


def idle_test_size(edit: e.SetTestSize, trick: Trick, probe: Probe) -> Why:
    own = edit.size == probe.task.image_size and edit.short_side is None
    return f"validation images have {edit.size} pixels without it" if own else None


def idle_gradients(edit: e.MapGrads, trick: Trick, probe: Probe) -> Why:
    grads = [1e4 * normal(64, 16), 1e4 * normal(64)]
    mapped = [grad.clone() for grad in grads]
    edit.apply(*([mapped] if edit.select is None else [mapped, [normal(64, 16), normal(64)]]))
    same = all(map(alike, mapped, grads))
    return "it leaves a gradient of length 3e5 as it is" if same else None


def idle_gradient(edit: e.SetGradient, trick: Trick, probe: Probe) -> Why:
    model = nn.Linear(8, 3).requires_grad_()
    with torch.no_grad():
        model.weight.copy_(normal(3, 8))
        model.bias.zero_()

    def backward() -> None:
        model(normal(IMAGES, 8)).pow(4).mean().backward()

    backward()
    plain = [parameter.grad.clone() for parameter in model.parameters() if parameter.grad is not None]
    model.zero_grad()
    edit.compute(model, backward)
    mine = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    return "its gradient is that of the loss" if all(map(alike, mine, plain)) else None


def idle_prediction(edit: e.WrapPredict, trick: Trick, probe: Probe) -> Why:
    images = normal(2, 3, probe.task.image_size, probe.task.image_size)
    weights = normal(images[0].numel(), 2)

    def predict(images: e.Images) -> e.Logits:
        return images.flatten(1) @ weights

    return "predictions are the same without it" if alike(edit.wrap(predict)(images), predict(images)) else None


def idle_optimizer(edit: e.SetOptimizer, trick: Trick, probe: Probe) -> Why:
    """Compare steps at a falling rate, of a weight that decays and of a bias that does not."""

    def trained(build: Callable[[list[e.ParamGroup]], torch.optim.Optimizer]) -> Tensor:
        weight, bias = nn.Parameter(normal(8, 6)), nn.Parameter(normal(8))
        rates = {"lr": 0.1, "peak_lr": 0.1}
        optimizer = build(
            [{"params": [weight], "weight_decay": 0.1, **rates}, {"params": [bias], "weight_decay": 0.0, **rates}]
        )
        for step in range(1, 5):
            for group in optimizer.param_groups:
                group["lr"] = 0.1 / step
            for parameter in (weight, bias):
                parameter.grad = step * normal(*parameter.shape) - parameter.detach()
            optimizer.step()
        return torch.cat([weight.flatten(), bias])

    return "its steps are the baseline's" if alike(trained(edit.build), trained(BASELINE_OPTIMIZER)) else None


def idle_norm(edit: e.SetPart, task: Task) -> Why:
    """Compare outputs, gradients and running statistics of a whole batch with those of a batch norm."""

    def traces(norm: nn.Module) -> dict[str, Tensor]:
        maps = normal(task.batch_size, FEATURES, 2, 2).requires_grad_()
        out = norm.train()(maps)
        (out.pow(3).sum() + maps.sum()).backward()
        found = {name: parameter.grad for name, parameter in [("maps", maps), *norm.named_parameters()]}
        found |= {f"value of {name}": tensor for name, tensor in norm.state_dict().items()}
        return {"out": out, **{name: tensor for name, tensor in found.items() if tensor is not None}}

    mine, plain = traces(edit.build(FEATURES)), traces(nn.BatchNorm2d(FEATURES))
    same = mine.keys() == plain.keys() and all(alike(mine[name], plain[name]) for name in mine)
    return "its norm is a batch norm of the whole batch" if same else None


def idle_part(edit: e.SetPart, trick: Trick, probe: Probe) -> Why:
    """Compare the layers that keep the shape of their input, in training mode at the end of the run."""
    if edit.part is e.Part.NORM:
        return idle_norm(edit, probe.task)
    if edit.part is e.Part.LOGIT_SCALE:
        return "the logits are multiplied by 1" if abs(edit.build(1.0) - 1) <= SMALLEST_EFFECT else None
    probe.task.clock.set(probe.task.clock.length.total_steps - 1)
    site = Site(parts=Parts({}), image_size=probe.task.image_size, path="probe", stage=4, block=3, blocks=4)
    maps, features = normal(16, 64, 8, 8), normal(64, 512)
    if edit.part in (e.Part.DROP, e.Part.GATE):
        module, x, plain = edit.build(64, site), maps, maps
    elif edit.part is e.Part.BRANCH:
        module, x, plain = edit.build(site), maps, maps
    elif edit.part is e.Part.HEAD_DROP:
        module, x, plain = edit.build(site), features, features
    elif edit.part is e.Part.ACT:
        module, x, plain = edit.build(), features, features.relu()
    elif edit.part is e.Part.HEAD_POOL:
        module, x = edit.build(), maps.abs() + 0.1
        plain = GlobalAverage()(x)
    else:
        return None
    if any(True for _ in module.parameters()) or not alike(module.train()(x.clone()), plain):
        return None
    return f"its {edit.part.value} changes no value"


JUDGES: dict[type, Callable[[Any, Trick, Probe], Why]] = {
    e.SetDecay: idle_decay,
    e.SetWarmup: idle_warmup,
    e.MapTargets: idle_targets,
    e.MapBatch: idle_batches,
    e.SetLoss: idle_loss,
    e.ScaleLoss: idle_scale,
    e.AddLossTerm: idle_term,
    e.SetTeacher: idle_teacher,
    e.SplitBatch: idle_split,
    e.ScaleParams: idle_factors,
    e.AverageWeights: idle_average,
    e.SetTestSize: idle_test_size,
    e.MapGrads: idle_gradients,
    e.SetGradient: idle_gradient,
    e.WrapPredict: idle_prediction,
    e.SetPart: idle_part,
    e.MapImages: idle_images,
    e.SetFlip: idle_flip,
    e.SetSampling: idle_sampling,
    e.SetOptimizer: idle_optimizer,
}
