"""Steps of the training on losses of one or two weights, made by the trainer itself."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache

import torch
from torch import Tensor, nn

from bagoftricks.recipe import edits as e
from bagoftricks.recipe.compose import compose
from bagoftricks.recipe.edits import Batch, SetDecay
from bagoftricks.recipe.trick import Length, Trick
from bagoftricks.report.pictures.drawing import Drawing
from bagoftricks.report.pictures.style import GREY
from bagoftricks.training.parameters import initialise
from bagoftricks.training.trainer import Trainer, TrainerSetup, selected
from bagoftricks.tricks.catalogue import create
from docs.site.tricks.drawn import BASELINE, SECOND, TRICK, drawing, panels, percent, spaced, step_axis
from docs.site.tricks.scene import KEY, NETWORKS, Subject, built, make_task

Loss = Callable[[Tensor, Tensor], Tensor]
STEPS, CURVATURE, START = 40, (1.0, 20.0), (-2.0, 0.9)
RATES = [2.0**k for k in range(6, -14, -1)]
NOISY = Length(steps_per_epoch=20, total_steps=600)
SHARP, FLAT = -1.0, 1.0  # places of two minima
NO_IMAGES = torch.zeros(1, 3, 2, 2)


class Point(nn.Module):
    """Network whose outputs are the weights of a 1x1 convolution, whatever the images."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(size, 1, 1, bias=False)

    def forward(self, images: Tensor) -> Tensor:
        return self.conv.weight.view(1, -1).expand(len(images), -1)


def trainer_of(tricks: Mapping[str, Trick], start: tuple[float, ...], loss: Loss, length: Length, lr: float) -> Trainer:
    """Return a trainer of a few weights."""
    task = replace(make_task(length), loss=loss, batch_size=1)

    def begin(model: nn.Module) -> None:
        with torch.no_grad():
            next(model.parameters()).copy_(torch.tensor(start).view(1, -1, 1, 1))

    setup = TrainerSetup(key=KEY, lr=lr, weight_decay=0.0, start=begin)
    return Trainer(compose(tricks, task), Point(len(start)), task, length, setup)


def valley(outputs: Tensor, targets: Tensor) -> Tensor:
    """Return a quadratic loss, 20 times as curved along the second weight."""
    return (torch.tensor(CURVATURE) * (outputs - targets) ** 2).sum(1).mean() / 2


def descent(tricks: Mapping[str, Trick], lr: float) -> tuple[Tensor, Tensor]:
    """Return the trained and the evaluated weights at each step in the valley: (steps + 1, 2) each."""
    decay = {} if "decays" in tricks else {"linear_decay": create("linear_decay")}
    own = {name: trick for name, trick in tricks.items() if name != "decays"}
    trainer = trainer_of({**own, **decay}, START, valley, Length(STEPS, STEPS), lr)
    path, evaluated = [], []
    for step in range(STEPS + 1):
        sets = list(trainer.weight_sets().values())
        path.append(sets[0].conv.weight.detach().flatten().clone())
        evaluated.append(sets[-1].conv.weight.detach().flatten().clone())
        if step < STEPS:
            trainer.step(Batch(NO_IMAGES, torch.zeros(1, 2)))
    return torch.stack(path), torch.stack(evaluated)


@cache
def plain_descent() -> tuple[Tensor, Tensor, float]:
    """Return the descent of the baseline."""
    return best_descent({})


def best_descent(tricks: Mapping[str, Trick]) -> tuple[Tensor, Tensor, float]:
    """Return the descent at the rate, out of powers of two, whose mean loss is the least, and that rate."""
    found = []
    for lr in RATES:
        path, evaluated = descent(tricks, lr)
        mean = float(sum(valley(point[None], torch.zeros(1, 2)) for point in evaluated)) / (STEPS + 1)
        found.append((mean if mean == mean else float("inf"), lr, path, evaluated))
    _, lr, path, evaluated = min(found, key=lambda each: each[:2])
    return path, evaluated, lr


def draw_descent(subject: Subject) -> Drawing:
    """Draw the path of an optimiser in a valley beside the baseline's, each at its best rate."""
    tricks: dict[str, Trick] = {subject.name: subject.trick}
    if subject.has(SetDecay):
        tricks["decays"] = subject.trick  # the decay is its own
    ours, ours_evaluated, our_rate = best_descent(tricks)
    plain, _, rate = plain_descent()
    figure, axes = panels(2, height=2.5)
    x, y = (torch.from_numpy(spaced(*ends, 80)).float() for ends in ((-2.3, 1.3), (-1.2, 1.2)))
    height = (CURVATURE[0] * x[None] ** 2 + CURVATURE[1] * y[:, None] ** 2) / 2
    axes[0].contour(x, y, height.sqrt(), levels=8, colors=GREY, linewidths=0.4, alpha=0.6)
    lines = [(plain, f"baseline, lr {rate:g}", BASELINE), (ours, f"{subject.name}, lr {our_rate:g}", TRICK)]
    if subject.has(e.AverageWeights):
        lines.append((ours_evaluated, "its average, which is evaluated", SECOND))
    for path, label, style in lines:
        axes[0].plot(*path.T, label=label, marker=".", markersize=3, **style)
        values = [float(valley(point[None], torch.zeros(1, 2))) for point in path]
        axes[1].plot(values, label=label, **style)
    axes[0].plot(0, 0, "+", color="black")
    axes[0].set(xlabel="weight 1", ylabel="weight 2", xlim=(-2.3, 1.3), ylim=(-1.2, 1.2))
    axes[1].set(yscale="log", ylabel="loss", ylim=(1e-6, 30))
    axes[1].legend(loc="lower left")
    step_axis(axes[1], "step")
    ends = [float(valley(of[-1][None], torch.zeros(1, 2))) for of in (plain, ours_evaluated)]
    return drawing(
        figure,
        f"Path of {subject.name}",
        f"Paths of {STEPS} steps down a valley of two weights, and their losses. From the same start, the baseline "
        f"(SGD with Nesterov momentum) ends at a loss of {ends[0]:.2g} and {subject.name} at {ends[1]:.2g}.",
        f"{STEPS} steps on (w1\N{SUPERSCRIPT TWO} + 20 w2\N{SUPERSCRIPT TWO}) / 2, the two weights being one kernel, "
        "made by the trainer, with linear_decay unless the trick sets the decay; lr, before the trick's own factors, "
        "is the power of two with the least mean loss. A valley does not tell which one trains a network better.",
    )


def draw_average(subject: Subject) -> Drawing:
    """Draw a noisy weight and its average over a run."""

    def bowl(outputs: Tensor, targets: Tensor) -> Tensor:
        return ((outputs - targets) ** 2).sum(1).mean() / 2

    noise = torch.randn(NOISY.total_steps, generator=KEY.fold("noise").generator())

    def followed(tricks: dict[str, Trick]) -> tuple[Tensor, Tensor]:
        with_rate = {**tricks, "constant_lr": create("constant_lr")}
        trainer = trainer_of(with_rate, (-6.0,), bowl, NOISY, 0.02)
        path, average = [], []
        for step in range(NOISY.total_steps):
            trainer.step(Batch(NO_IMAGES, noise[step].view(1, 1) * 3))
            sets = trainer.weight_sets()
            path.append(sets["last"].conv.weight.item())
            average.append(sets[subject.name].conv.weight.item() if subject.name in sets else float("nan"))
        return torch.tensor(path), torch.tensor(average)

    (path, average), (plain, _) = followed({subject.name: subject.trick}), followed({})
    pulls = subject.one(e.AverageWeights).pull
    figure, (ax,) = panels(1)
    epochs = torch.arange(1, NOISY.total_steps + 1) / NOISY.steps_per_epoch
    ax.plot(epochs, plain, label="weight without the trick" if pulls else "trained weight", color=GREY, linewidth=0.8)
    if pulls:
        ax.plot(epochs, path, label="trained weight, set to the average at each update", **{**SECOND, "linewidth": 0.8})
    ax.plot(epochs, average, label=f"average of {subject.name}, which is evaluated", **TRICK)
    ax.axhline(0, color="black", linewidth=0.5)
    ax.set_ylabel("weight (best: 0)")
    ax.legend(loc="lower right")
    step_axis(ax)
    tail = slice(NOISY.total_steps * 9 // 10, None)
    spread = [float(of[tail].square().mean().sqrt()) for of in (plain, average)]
    return drawing(
        figure,
        f"Averaged weights with {subject.name}",
        f"A noisy weight that falls to 0 and its average. In the last tenth of the run the weight is {spread[0]:.2f} "
        f"away from 0 (root mean square), the average {spread[1]:.2f}.",
        f"One weight of a quadratic loss with noisy gradients in {NOISY.total_steps // NOISY.steps_per_epoch} epochs "
        f"of {NOISY.steps_per_epoch} steps at a constant learning rate, and its average, made by the trainer.",
    )


def two_minima(outputs: Tensor, targets: Tensor) -> Tensor:
    """Return a loss with a sharp minimum and a flat one of the same depth."""
    sharp = torch.exp(-(((outputs - SHARP) / 0.06) ** 2) / 2)
    flat = torch.exp(-(((outputs - FLAT) / 0.5) ** 2) / 2)
    return (1.2 - sharp - flat).sum(1).mean()


def gradients_along(subject: Subject, places: Tensor) -> Tensor:
    """Return the gradient that the optimiser gets at each weight."""
    tricks = {subject.name: subject.trick}
    found = []
    for at, place in enumerate(places.tolist()):
        trainer = trainer_of(tricks, (place,), two_minima, NOISY, 0.1)
        trainer.steps_done = at  # each with draws of its own
        kept: list[Tensor] = []
        trainer.scaler.step = lambda optimizer, kept=kept, t=trainer: kept.append(t.model.conv.weight.grad.clone())
        trainer.step(Batch(NO_IMAGES, torch.zeros(1, 1)))
        found.append(float(kept[0]))
    return torch.tensor(found)


def draw_gradient(subject: Subject) -> Drawing:
    """Draw the gradient with and without the trick along a loss with a sharp and a flat minimum."""
    places = torch.from_numpy(spaced(-1.8, 2.4, 211)).float().requires_grad_()
    values = torch.stack([two_minima(place.view(1, 1), place) for place in places])
    (plain,) = torch.autograd.grad(values.sum(), places)
    places = places.detach()
    ours = gradients_along(subject, places)
    figure, axes = panels(3)
    axes[0].plot(places, values.detach(), color="black")
    axes[0].set(xlabel="weight", ylabel="loss")
    axes[1].plot(places, plain, label="baseline", **BASELINE)
    axes[1].plot(places, ours, label=subject.name, **TRICK)
    axes[1].set(xlabel="weight", ylabel="gradient of the step")
    axes[1].legend(fontsize=6)
    axes[2].plot(places, ours - plain, **TRICK)
    axes[2].set(xlabel="weight", ylabel="change of the gradient")
    sharp, flat = (places - SHARP).abs() < 0.3, (places - FLAT).abs() < 1
    change = [float((ours - plain)[of].abs().max() / plain[of].abs().max()) for of in (sharp, flat)]
    return drawing(
        figure,
        f"Gradient with {subject.name}",
        f"A loss with a sharp minimum at {SHARP:g} and a flat one at {FLAT:g}, and its gradient with and without "
        f"{subject.name}: it changes by up to {percent(change[0])} of its largest value at the sharp one, "
        f"{percent(change[1])} at the flat one.",
        "A loss of one weight, the gradient that the optimiser gets at each weight, as the trainer computes it with "
        "the trick, and its distance from the plain one (one draw at each weight if the trick draws).",
    )


def draw_gradient_norms(subject: Subject) -> Drawing:
    """Draw the norm of the gradients after the trick against the norm before, and the means of output channels."""
    shown = NETWORKS[2]
    model = built({}, shown, "cpu")
    initialise(model, [], KEY.fold("init"))
    edit = subject.one(e.MapGrads)
    chosen = selected(model, edit.select) or list(model.parameters())
    kernel = next(at for at, p in enumerate(chosen) if p.ndim == 4 and p.shape[1] > 3)
    generator = KEY.fold("gradient").generator()
    unit = [torch.randn(p.shape, generator=generator) + 0.5 for p in chosen]
    length = torch.nn.utils.get_total_norm(unit)

    def mapped(norm: float) -> tuple[list[Tensor], list[Tensor]]:
        before = [g * (norm / length) for g in unit]
        after = [g.clone() for g in before]
        edit.apply(*([after] if edit.select is None else [after, chosen]))
        return before, after

    norms = torch.logspace(-3, 3, 61)
    after = [float(torch.nn.utils.get_total_norm(mapped(float(norm))[1])) for norm in norms]
    figure, axes = panels(2)
    axes[0].plot(norms, norms, label="baseline", **BASELINE)
    axes[0].plot(norms, after, label=subject.name, **TRICK)
    axes[0].set(xscale="log", yscale="log", xlabel="norm of the gradient", ylabel="norm after the trick")
    axes[0].legend()
    before, made = mapped(1.0)
    for grads, style in ((before, BASELINE), (made, TRICK)):
        axes[1].plot(grads[kernel].flatten(1).mean(1), **{**style, "linestyle": "none"}, marker="o", markersize=3)
    axes[1].axhline(0, color="black", linewidth=0.5)
    axes[1].set(xlabel="output channel of a kernel", ylabel="mean of its gradient")
    means = [float(grads[kernel].flatten(1).mean(1).abs().max()) for grads in (before, made)]
    return drawing(
        figure,
        f"Gradients with {subject.name}",
        f"Norm of the gradient after {subject.name} against the norm before, from 0.001 to 1000: {after[0]:.3g} to "
        f"{after[-1]:.3g}. At a norm of 1, the means of a kernel's output channels are at most {means[0]:.2g} before "
        f"and {means[1]:.2g} after.",
        f"Random gradients of {shown.title}, with a mean above 0, scaled to a norm and changed by {subject.name}: the "
        "norm of all afterwards, and at a norm of 1 the mean over each output channel of one kernel.",
    )
