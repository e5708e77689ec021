"""Parameters of a network by their place: starting values, rates, what is frozen, running statistics."""

from collections.abc import Iterator
from math import prod
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from bagoftricks.errors import UserError
from bagoftricks.recipe import edits as e
from bagoftricks.recipe.compose import compose
from bagoftricks.recipe.trick import Length
from bagoftricks.report.pictures.drawing import Drawing
from bagoftricks.report.pictures.style import BLUE, GREY, ORANGE, PALE
from bagoftricks.training.parameters import check_selectors, initialise, initialise_from_images, owned_parameters
from bagoftricks.tricks.catalogue import create
from docs.site.tricks.drawn import BASELINE, TRICK, drawing, grid, panels
from docs.site.tricks.images import SOURCE, normalised
from docs.site.tricks.scene import KEY, NETWORKS, Shown, Subject, built, make_task, small_images

ORDER = (2, 0, 4, 3, 1, 5)  # of the networks, for pictures of parameters
LONG = Length(steps_per_epoch=1000, total_steps=30_000)
BATCHES = (32, 64, 128, 256, 512, 1024)


class Owned(NamedTuple):
    """Parameter with its module and its name there."""

    module: nn.Module
    name: str
    value: Tensor

    @property
    def is_matrix(self) -> bool:
        """Return True for the weights of a convolution or a linear layer."""
        return self.value.ndim > 1


def network_for(subject: Subject) -> Shown:
    """Return the first network that has parameters for the trick."""
    for at in ORDER:
        try:
            recipe = compose({subject.name: subject.trick}, make_task(image_size=NETWORKS[at].pixels))
            check_selectors(built({subject.name: subject.trick}, NETWORKS[at]), recipe)
        except UserError:
            continue
        return NETWORKS[at]
    return NETWORKS[0]


def owned(model: nn.Module) -> list[Owned]:
    """Return the parameters of a network from the image to the logits."""
    return [Owned(module, name, value) for module, name, _, value in owned_parameters(model)]


def of_matrices(found: list[Owned]) -> Iterator[tuple[str, list[int], str]]:
    """Yield the places of weights and of vectors, with their names and colours."""
    yield "weights", [at for at, each in enumerate(found) if each.is_matrix], BLUE
    yield "norms and biases", [at for at, each in enumerate(found) if not each.is_matrix], ORANGE


def draw_rates(subject: Subject) -> Drawing:
    """Draw the factors of the learning rate and the weight decay: by batch size if that decides, else by layer."""
    scales = [
        prod(edit.lr for edit in create(subject.name).edits(make_task(batch_size=size)) if _is_plain_rate(edit))
        for size in BATCHES
    ]
    if len(set(scales)) > 1:
        return _draw_batch_sizes(subject, scales)
    shown = network_for(subject)
    found = owned(built({}, shown))
    edits = subject.every(e.ScaleParams)
    factors = [
        [prod(_factor(edit, kind, each) for edit in edits if edit.select(each.module, each.name)) for each in found]
        for kind in ("lr", "weight_decay")
    ]
    figure, axes = panels(2)
    for ax, values, label in zip(axes, factors, ("learning rate", "weight decay"), strict=True):
        for name, places, colour in of_matrices(found):
            ax.plot(places, [values[at] for at in places], "o", markersize=3, color=colour, label=name)
        ax.axhline(1, **{**BASELINE, "linewidth": 0.8})
        ax.set(xlabel="parameter, from the image to the logits", ylabel=f"factor of the {label}")
        if max(values) > 10 * max(min(values), 1e-9) and min(values) > 0:
            ax.set_yscale("log")
        else:
            ax.set_ylim(-0.05 * max(values), 1.15 * max(1, *values))
    axes[0].legend()
    ranges = [f"{min(values):.3g} to {max(values):.3g}" for values in factors]
    return drawing(
        figure,
        f"Rates of the layers with {subject.name}",
        f"Factors of the learning rate and of the weight decay of each parameter of {shown.title}: {ranges[0]}, and "
        f"{ranges[1]}.",
        f"Factor by which {subject.name} multiplies the learning rate and the weight decay of each parameter of "
        f"{shown.title}; dashed: 1, as in the baseline.",
    )


def _is_plain_rate(edit: Any) -> bool:
    return isinstance(edit, e.ScaleParams) and not callable(edit.lr)


def _factor(edit: e.ScaleParams, kind: str, each: Owned) -> float:
    value = getattr(edit, kind)
    return float(value(each.module, each.name)) if callable(value) else float(value)


def _draw_batch_sizes(subject: Subject, scales: list[float]) -> Drawing:
    figure, (ax,) = panels(1)
    ax.plot(BATCHES, [1] * len(BATCHES), label="baseline", **BASELINE)
    ax.plot(BATCHES, scales, label=subject.name, marker="o", markersize=3.5, **TRICK)
    ax.set(xscale="log", yscale="log", xlabel="batch size", ylabel="factor of the learning rate")
    ax.set_xticks(BATCHES, [str(size) for size in BATCHES])
    ax.set_yticks(scales, [f"{scale:g}" for scale in scales])
    ax.minorticks_off()
    ax.legend()
    return drawing(
        figure,
        f"Learning rate with {subject.name}",
        f"Factor of the learning rate against the batch size: {scales[0]:g} at {BATCHES[0]} images, {scales[-1]:g} at "
        f"{BATCHES[-1]}; 1 in the baseline.",
        f"Factor by which {subject.name} multiplies the learning rate, against the batch size.",
    )


def draw_frozen(subject: Subject) -> Drawing:
    """Draw the parameters that keep their starting values, and those that are trained."""
    shown = network_for(subject)
    found = owned(built({subject.name: subject.trick}, shown))
    edits = subject.every(e.FreezeParams)
    frozen = [any(edit.select(each.module, each.name) for edit in edits) for each in found]
    figure, (ax,) = panels(1)
    for is_frozen, colour, label in ((False, BLUE, "trained"), (True, PALE, "frozen")):
        places = [at for at, each in enumerate(frozen) if each is is_frozen]
        sizes = [found[at].value.numel() for at in places]
        ax.bar(places, sizes, 0.85, color=colour, edgecolor=GREY, linewidth=0.3, label=label)
    ax.set(yscale="log", xlabel="parameter, from the image to the logits", ylabel="numbers in it")
    ax.legend()
    kept = sum(each.value.numel() for each, is_frozen in zip(found, frozen, strict=True) if is_frozen)
    whole = sum(each.value.numel() for each in found)
    return drawing(
        figure,
        f"Frozen parameters with {subject.name}",
        f"Bars for the {len(found)} parameters of {shown.title}; {sum(frozen)} of them are frozen, with {kept:,} of "
        f"{whole:,} numbers.",
        f"Parameters of {shown.title} that keep their starting values with {subject.name} ({kept:,} of {whole:,} "
        "numbers), and those that are trained.",
    )


def started(subject: Subject, shown: Shown, *, plain: bool) -> nn.Module:
    """Return a network at the start of a run, without or with the trick."""
    recipe = compose({} if plain else {subject.name: subject.trick}, make_task(image_size=shown.pixels))
    model = built({} if plain else {subject.name: subject.trick}, shown, "cpu")
    initialise(model, recipe.inits, KEY.fold("init"))
    return model


def draw_start(subject: Subject) -> Drawing:
    """Draw starting values without and with the trick: of a kernel, or the means of all vectors."""
    shown = network_for(subject)
    models = [owned(started(subject, shown, plain=plain)) for plain in (True, False)]
    edits = subject.every(e.InitParams)
    chosen = [at for at, each in enumerate(models[0]) if any(edit.select(each.module, each.name) for edit in edits)]
    kernels = [at for at in chosen if models[0][at].value.ndim == 4]
    if kernels:
        return _draw_kernels(subject, shown, [of[kernels[0]].value.detach() for of in models])
    vectors = [at for at, each in enumerate(models[0]) if not each.is_matrix and each.name == models[0][chosen[0]].name]
    figure, (ax,) = panels(1)
    for found, label, style, shape in zip(models, ("baseline", subject.name), (BASELINE, TRICK), "os", strict=True):
        means = [float(found[at].value.detach().mean()) for at in vectors]
        ax.plot(means, shape, color=style["color"], label=label, markersize=5 if shape == "o" else 3)
    ax.set(xlabel=f"{models[0][chosen[0]].name} of each norm, from the image to the logits", ylabel="mean at the start")
    ax.legend(loc="center left")
    return drawing(
        figure,
        f"Starting values with {subject.name}",
        f"Means of the starting values of {len(vectors)} vectors of {shown.title}; {len(chosen)} of them are others "
        f"with {subject.name}.",
        f"Mean starting value of each vector of this kind in {shown.title}, without and with {subject.name}.",
    )


def _draw_kernels(subject: Subject, shown: Shown, kernels: list[Tensor]) -> Drawing:
    middle = kernels[0].shape[2] // 2
    figure, axes = panels(2, height=2.6)
    most = max(float(kernel.abs().max()) for kernel in kernels)
    for ax, kernel, title in zip(axes, kernels, ("baseline", subject.name), strict=True):
        drawn = ax.imshow(
            kernel[:, :, middle, middle].numpy(), cmap="RdBu_r", vmin=-most, vmax=most, interpolation="none"
        )
        ax.set(xlabel="input channel", ylabel="output channel", title=title)
    figure.colorbar(drawn, ax=axes, label="weight", shrink=0.8)
    out, channels = kernels[0].shape[:2]
    ones = int((kernels[1][:, :, middle, middle] == 1).sum())
    return drawing(
        figure,
        f"Starting values with {subject.name}",
        f"Two maps of the middle weights of a kernel from {channels} to {out} channels at the start: random ones, and "
        f"{ones} weights of 1 with {subject.name}.",
        f"Weights at the middle position of the first kernel that {subject.name} starts in another way, in "
        f"{shown.title}.",
    )


def draw_filters(subject: Subject) -> Drawing:
    """Draw the filters that are computed from images."""
    shown = network_for(subject)
    model = built({subject.name: subject.trick}, shown, "cpu")
    initialise(model, [], KEY.fold("init"))
    edits = [(subject.name, edit) for edit in subject.every(e.InitFromImages)]
    initialise_from_images(model, edits, lambda count: normalised(small_images(min(count, 64), shown.pixels)))
    chosen = [each for each in owned(model) if any(edit.select(each.module, each.name) for _, edit in edits)]
    filters = chosen[0].value.detach()
    across = 14
    rows = -(-len(filters) // across)
    figure, axes = grid(rows, across)
    for ax in axes.flat:
        ax.axis("off")
    for ax, kernel in zip(axes.flat, filters, strict=False):
        scaled = kernel[:3] / kernel.abs().max() / 2 + 0.5
        ax.imshow(scaled.permute(1, 2, 0).numpy(), interpolation="none")
    return drawing(
        figure,
        f"Filters with {subject.name}",
        f"{len(filters)} small colour pictures, one for each filter, from smooth ones to fine stripes and checks.",
        f"The {len(filters)} filters of the first convolution of {shown.title} as {subject.name} computes them from "
        f"{SOURCE}, each scaled to its largest weight (grey: 0).",
    )


def draw_running_mean(subject: Subject) -> Drawing:
    """Draw the running mean of a norm whose inputs change, at several lengths of an epoch."""
    edit = subject.one(e.SetNormMomentum)
    subject.task.clock.begin(LONG)
    figure, (ax,) = panels(1)
    inputs = np.repeat([0.0, 1.0], (20, 280)) + 0.15 * KEY.fold("inputs").numpy().standard_normal(300)
    ax.plot(inputs, ".", color=GREY, markersize=2, label="mean of each batch")
    share = edit.share() if callable(edit.share) else edit.share
    usual = nn.BatchNorm1d(1).momentum or 0.0
    for value, name, style in ((usual, "baseline", BASELINE), (share, subject.name, TRICK)):
        ax.plot(_running(inputs, value), label=f"{name}: a share of {value:.3g} a step", **style)
    ax.set(xlabel="step", ylabel="running mean")
    ax.legend(loc="lower right")
    steps = LONG.steps_per_epoch
    return drawing(
        figure,
        f"Running statistics with {subject.name}",
        f"The means of batches jump from 0 to 1 after 20 steps. The running mean follows, by a share of {usual:g} a "
        f"step in the baseline and of {share:.3g} with {subject.name} in epochs of {steps:,} steps.",
        f"Running mean of a batch norm whose inputs jump, without the trick and with {subject.name} at its default, "
        f"for epochs of {steps:,} steps. It is what evaluation uses.",
    )


def _running(inputs: np.ndarray, share: float) -> list[float]:
    norm = nn.BatchNorm1d(1, momentum=share).train()
    found = []
    for value in inputs:
        norm(torch.tensor([[value - 1.0], [value + 1.0]]).float())
        found.append(float(norm.running_mean))
    return found
