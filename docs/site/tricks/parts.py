"""Parts of networks: activations, pooling, norms, layers that drop, and diagrams of layers that changed."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from bagoftricks.models.layers import Site
from bagoftricks.models.parts import Parts
from bagoftricks.recipe.edits import Part
from bagoftricks.report.pictures.drawing import Drawing
from bagoftricks.report.pictures.style import BLUE, GREY, SMALL, new_figure
from docs.site.tricks.drawn import BASELINE, SECOND, TRICK, WIDTH, drawing, panels, percent, spaced
from docs.site.tricks.drawn import grid as image_grid
from docs.site.tricks.layers import Change, changes_of
from docs.site.tricks.scene import BATCH, CLASSES, KEY, LENGTH, Subject

MAP, CHANNELS, STAGES, BLOCKS = 14, 8, 4, 16
SEEN = 24  # samples or features that are drawn
LAYER_POINTS = 7.5


def site(**place: int) -> Site:
    """Return a place in a network of four stages and 16 blocks, as a ResNet-50 has."""
    return Site(Parts({}), image_size=224, stages=STAGES, blocks=BLOCKS, **place)  # type: ignore[arg-type]


def draw_activation(subject: Subject) -> Drawing:
    """Draw an activation and its derivative beside those of ReLU."""
    made: nn.Module = subject.one(Part.ACT).build()
    figure, axes = panels(2)
    curves = []
    for act in (nn.ReLU(), made):
        x = torch.from_numpy(spaced(-4, 4, 401)).float().requires_grad_()
        y = act(x * 1.0)
        (slope,) = torch.autograd.grad(y.sum(), x)
        curves.append((x.detach(), y.detach(), slope))
    for (x, y, slope), name, style in zip(curves, ("ReLU", subject.name), (BASELINE, TRICK), strict=True):
        axes[0].plot(x, y, label=name, **style)
        axes[1].plot(x, slope, **style)
    axes[0].set(xlabel="input", ylabel="output", ylim=(-1, 4))
    axes[1].set(xlabel="input", ylabel="derivative")
    axes[0].legend()
    x, y, slope = curves[1]
    least = f"{float(y.min()):.3f} at {float(x[y.argmin()]):.2f}"
    return drawing(
        figure,
        f"Activation with {subject.name}",
        f"{subject.name} and ReLU, and their derivatives, from -4 to 4. The least value of {subject.name} there is "
        f"{least}; its derivative at 0 is {float(slope[200]):.2f}.",
        f"Output and derivative of the activation of {subject.name}, and of ReLU (dashed).",
    )


def draw_pooling(subject: Subject) -> Drawing:
    """Draw the pooled value of a map of ones in which one position grows."""
    pool = subject.one(Part.HEAD_POOL).build()
    values = torch.from_numpy(spaced(0, 10, 101)).float()
    maps = torch.ones(len(values), 1, 4, 4)
    maps[:, 0, 1, 1] = values
    with torch.no_grad():
        made = pool(maps).flatten()
    figure, (ax,) = panels(1)
    mean, largest = maps.flatten(1).mean(1), maps.flatten(1).amax(1)
    ax.plot(values, mean, label="mean (baseline)", **BASELINE)
    ax.plot(values, largest, label="maximum", **SECOND)
    ax.plot(values, made, label=subject.name, **TRICK)
    ax.set(xlabel="value at one of 16 positions, 1 at the others", ylabel="pooled value")
    ax.legend()
    return drawing(
        figure,
        f"Pooling with {subject.name}",
        f"Pooled value of a 4x4 map of ones against the value of one position. At 10 the mean is "
        f"{float(mean[-1]):.2f}, the maximum {float(largest[-1]):g}, and {subject.name} {float(made[-1]):.2f}.",
        f"Value that is pooled from a 4x4 map of ones in which one position has another value, by {subject.name} at "
        "the start of the training, by the mean and by the maximum.",
    )


def draw_norm(subject: Subject) -> Drawing:
    """Draw the values of a batch after its norm against those before."""
    norm = subject.one(Part.NORM).build(1).train()
    values = torch.randn(BATCH, 1, 1, 2, generator=KEY.fold("norm").generator())
    values = values + torch.linspace(-1, 1, BATCH).view(-1, 1, 1, 1) ** 3
    figure, (ax,) = panels(1, width=WIDTH * 0.75)
    with torch.no_grad():
        pairs = [(nn.BatchNorm2d(1).train()(values), "batch norm", GREY), (norm(values), subject.name, BLUE)]
    for made, name, colour in pairs:
        ax.plot(values.flatten(), made.flatten(), ".", color=colour, label=name, markersize=3.5, markeredgewidth=0)
    ax.set(xlabel="value before the norm", ylabel="value after it")
    ax.legend(markerscale=3)
    spread = float((pairs[1][0] - pairs[0][0]).abs().max())
    return drawing(
        figure,
        f"Norm with {subject.name}",
        f"Values of a batch of {BATCH} images after the norm against those before: with batch norm on one line, with "
        f"{subject.name} up to {spread:.2f} away from it.",
        f"Each value of one channel in a batch of {BATCH} images before and after the norm, in training. Batch norm "
        "has one mean and standard deviation for the batch, so all values lie on one line.",
    )


def masks(subject: Subject, module: nn.Module, ones: Tensor, step: int) -> Tensor:
    """Return what a layer makes of ones in training, at a step of the run."""
    subject.task.clock.set(step)
    subject.task.noise.key = KEY.fold("network", step)
    with torch.no_grad():
        made: Tensor = module.train()(ones)
    return made


def draw_dropped_maps(subject: Subject) -> Drawing:
    """Draw what is dropped of feature maps of ones, at three times of a run."""
    module = subject.one(Part.DROP).build(CHANNELS, site(stage=STAGES, block=BLOCKS - 1))
    times = (0.0, 0.5, 0.999)
    figure, grid = image_grid(len(times), CHANNELS)
    shares = []
    for row, time in zip(grid, times, strict=True):
        made = masks(subject, module, torch.ones(1, CHANNELS, MAP, MAP), round(time * LENGTH.total_steps))
        shares.append(percent(float((made == 0).float().mean())))
        for ax, channel in zip(row, made[0], strict=True):
            ax.imshow((channel > 0).numpy(), cmap=_kept(), vmin=0, vmax=1, interpolation="none")
            ax.set(xticks=[], yticks=[])
            ax.spines[:].set_visible(False)
        row[0].set_ylabel(f"{100 * time:.0f} % of\nthe run", fontsize=SMALL)
    return drawing(
        figure,
        f"Dropped parts of feature maps with {subject.name}",
        f"Three rows of {CHANNELS} feature maps at the start, the middle and the end of a run; dark squares are set to "
        f"0: {', '.join(shares)} of the maps.",
        f"Positions of {CHANNELS} channels of one image that are set to 0 (dark) in the last stage, in maps of {MAP} x "
        f"{MAP}: {', '.join(shares)}.",
    )


def _kept() -> object:
    from matplotlib.colors import ListedColormap

    return ListedColormap([BLUE, "#E8E8E8"])


def draw_dropped_branches(subject: Subject) -> Drawing:
    """Draw which branches of which images are skipped in one step."""
    build = subject.one(Part.BRANCH).build
    rows = []
    for block in range(BLOCKS):
        module = build(site(block=block, stage=1).at(f"block{block}"))
        rows.append(masks(subject, module, torch.ones(SEEN, 1, 1, 1), LENGTH.total_steps // 2).flatten() > 0)
    return _mask_drawing(subject, torch.stack(rows), "image", "block", "residual branches are skipped")


def draw_dropped_features(subject: Subject) -> Drawing:
    """Draw which features of which images are dropped in one step."""
    module = subject.one(Part.HEAD_DROP).build(site())
    made = masks(subject, module, torch.ones(12, SEEN), LENGTH.total_steps // 2)
    return _mask_drawing(subject, made > 0, "feature", "image", "features are set to 0")


def _mask_drawing(subject: Subject, kept: Tensor, across: str, down: str, what: str) -> Drawing:
    figure, (ax,) = panels(1, height=2.4)
    ax.imshow(kept.numpy(), cmap=_kept(), vmin=0, vmax=1, interpolation="none", aspect="auto")
    ax.set(xlabel=across, ylabel=down)
    share = percent(float((~kept).float().mean()))
    first, last = (percent(float((~row).float().mean())) for row in (kept[0], kept[-1]))
    return drawing(
        figure,
        f"Dropped with {subject.name}",
        f"Grid of {len(kept)} {down}s by {kept.shape[1]} {across}s; dark where {what}: {share} of all, {first} in the "
        f"first row and {last} in the last.",
        f"Dark: {what} in one step of the training, {share} of those drawn. What is kept is scaled up, so that the "
        "mean stays.",
    )


def draw_logit_scale(subject: Subject) -> Drawing:
    """Draw the probability of the right class against its logit, before and after the scale."""
    scale = float(subject.one(Part.LOGIT_SCALE).build(1.0))
    logits = torch.from_numpy(spaced(-10, 40)).float()
    rows = torch.zeros(len(logits), CLASSES)
    rows[:, 0] = logits
    figure, axes = panels(2)
    for factor, name, style in ((1.0, "baseline", BASELINE), (scale, f"{subject.name}: x {scale:g}", TRICK)):
        p = (factor * rows).softmax(1)[:, 0]
        axes[0].plot(logits, p, label=name, **style)
        axes[1].plot(logits, factor * (p - 1), **style)
    axes[0].set(xlabel="logit before the scale", ylabel="probability of the class")
    axes[1].set(xlabel="logit before the scale", ylabel="derivative of the loss")
    axes[0].legend()
    return drawing(
        figure,
        f"Probabilities with {subject.name}",
        f"Probability of a class and derivative of its cross entropy against its logit: with the logits multiplied by "
        f"{scale:g}, the probability rises over a range {1 / scale:g} times as wide, and the derivative is at most "
        f"{scale:g} instead of 1.",
        f"Softmax probability of one of {CLASSES} classes, and derivative of the cross entropy if it is the right one, "
        "against its logit; the other logits are 0.",
    )


def draw_layers(subject: Subject) -> Drawing | None:
    """Draw the layers of up to two places that change, without and with the trick; None if no layer does."""
    changes = changes_of(subject.name)
    if not changes:
        return None
    lines = [max(len(change.before), len(change.after)) for change in changes]
    figure = new_figure(WIDTH, sum(0.35 + 0.22 * count for count in lines))
    rows = figure.subplots(len(changes), 2, squeeze=False, gridspec_kw={"height_ratios": lines})
    for change, row, count in zip(changes, rows, lines, strict=True):
        titles = f"{change.place}, without", f"{change.place}, with {subject.name}"
        for ax, layers, title in zip(row, (change.before, change.after), titles, strict=True):
            _column(ax, layers, title, count)
    return drawing(
        figure,
        f"Layers with {subject.name}",
        " ".join(_in_words(change, subject.name) for change in changes),
        f"Layers of {changes[0].network} in {' and '.join(change.place for change in changes)}, in the order in which "
        f"they compute, without and with {subject.name}, with channels x height x width of their outputs; in colour "
        "those that differ.",
    )


def _column(ax: Any, layers: Sequence[tuple[str, bool]], title: str, lines: int) -> None:
    ax.set(xlim=(0, 1), ylim=(lines, 0), title=title)
    ax.axis("off")
    for at, (text, changed) in enumerate(layers):
        box = {"boxstyle": "round,pad=0.2", "facecolor": "#DCEAF5" if changed else "#F0F0F0", "linewidth": 0.6}
        box["edgecolor"] = BLUE if changed else GREY
        ax.text(0.02, at + 0.5, text, va="center", fontsize=LAYER_POINTS, bbox=box)


def _in_words(change: Change, name: str) -> str:
    before, after = ([text for text, changed in of if changed] for of in (change.before, change.after))
    return (
        f"Two columns of layers in {change.place} of {change.network}. Without {name}: {', '.join(before) or 'none'}; "
        f"with it: {', '.join(after) or 'none'}."
    )
