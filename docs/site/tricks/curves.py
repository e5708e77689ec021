"""Curves: learning rates over a run, losses and targets, rounding."""

import numpy as np
import torch
from torch import Tensor

from bagoftricks.recipe import edits as e
from bagoftricks.recipe.compose import compose
from bagoftricks.recipe.edits import Batch
from bagoftricks.report.pictures.drawing import Drawing
from docs.site.tricks.drawn import BASELINE, SECOND, TRICK, drawing, panels, spaced, step_axis
from docs.site.tricks.scene import CLASSES, COUNTS, LENGTH, Subject, make_task

EPOCHS = LENGTH.total_steps // LENGTH.steps_per_epoch
PRECISIONS = {torch.float32: "fp32", torch.bfloat16: "bf16", torch.float16: "fp16"}
OTHERS = 0.0  # logit of the classes that are not drawn


def draw_schedule(subject: Subject) -> Drawing:
    """Draw the factor of the learning rate over a run, with the baseline's, on a linear and a logarithmic axis."""
    steps = range(0, LENGTH.total_steps, 5)
    ours, plain = (compose(tricks, make_task()) for tricks in ({subject.name: subject.trick}, {}))
    figure, axes = panels(2)
    factors = [ours.schedule(step) for step in steps]
    epochs = [step / LENGTH.steps_per_epoch for step in steps]
    for ax in axes:
        ax.plot(epochs, [plain.schedule(step) for step in steps], label="baseline: a tenth at each quarter", **BASELINE)
        ax.plot(epochs, factors, label=subject.name, **TRICK)
        step_axis(ax)
    axes[0].set_ylabel("factor of the peak learning rate")
    axes[0].set_ylim(bottom=0)
    axes[1].set_yscale("log")
    axes[1].set_ylim(1e-4, 2)
    axes[1].legend(loc="lower left")
    middle, end = ours.schedule(LENGTH.total_steps // 2), ours.schedule(LENGTH.total_steps - 1)
    begins = f"begins at {factors[0]:.3g}, is {middle:.3g} halfway and {end:.3g} at the last step"
    return drawing(
        figure,
        f"Learning rate with {subject.name}",
        f"Two panels, the second with a logarithmic axis: the factor of the learning rate over {EPOCHS} epochs. With "
        f"{subject.name} it {begins}; the baseline falls to a tenth after each quarter of the run.",
        f"Factor of the peak learning rate at each step of a run of {EPOCHS} epochs of {LENGTH.steps_per_epoch} steps, "
        "from the recipe with this trick alone and from the baseline; right, the same on a logarithmic axis.",
    )


def losses(loss: e.LossFn, target: int, logits: Tensor) -> tuple[Tensor, Tensor]:
    """Return the loss and its derivative as one class's logit changes and the others' stay."""
    rows = torch.full((len(logits), CLASSES), OTHERS)
    moved = logits.clone().requires_grad_()
    rows = torch.cat([rows[:, :target], moved[:, None], rows[:, target + 1 :]], 1)
    one_hot = torch.eye(CLASSES)[target]
    values = torch.stack([loss(row[None], one_hot[None]) for row in rows])
    (slope,) = torch.autograd.grad(values.sum(), moved)
    return values.detach(), slope


def draw_loss(subject: Subject) -> Drawing:
    """Draw a loss and its derivative against the logit of the right class."""
    logits = torch.from_numpy(spaced(-6, 10)).float()
    loss, plain = subject.one(e.SetLoss).loss, torch.nn.functional.cross_entropy
    figure, axes = panels(2)
    frequent, rare = losses(loss, 0, logits), losses(loss, CLASSES - 1, logits)
    differ = not torch.allclose(frequent[0], rare[0], atol=1e-4)
    shown = [("cross entropy", losses(plain, 0, logits), BASELINE), (subject.name, frequent, TRICK)]
    if differ:
        shown[1] = (f"{subject.name}, class of {COUNTS[0]:,} images", frequent, TRICK)
        shown.append((f"{subject.name}, class of {COUNTS[-1]:,} images", rare, SECOND))
    for name, (values, slope), style in shown:
        axes[0].plot(logits, values, label=name, **style)
        axes[1].plot(logits, slope, **style)
    axes[0].set(xlabel="logit of the right class", ylabel="loss")
    axes[1].set(xlabel="logit of the right class", ylabel="derivative of the loss")
    axes[0].legend(loc="upper right")
    at = int((logits - 0).abs().argmin())
    ratio = float(frequent[0][at] / shown[0][1][0][at])
    return drawing(
        figure,
        f"Loss with {subject.name}",
        f"Loss and its derivative against the logit of the right class of {CLASSES}, the other logits being 0. Where "
        f"all logits are 0, the loss of {subject.name} is {ratio:.3g} times the cross entropy.",
        f"Loss of one image and its derivative as the logit of the right class changes; the other {CLASSES - 1} logits "
        "are 0." + (" Classes have unequal numbers of images." if differ else ""),
    )


def draw_distillation(subject: Subject) -> Drawing:
    """Draw the loss with a teacher against the logit of the right class, for a sure and an unsure teacher."""
    logits = torch.from_numpy(spaced(-6, 24)).float()
    temperature = subject.one(e.SetTeacher).temperature
    factor = subject.one(e.ScaleLoss).factor if subject.has(e.ScaleLoss) else 1.0
    terms = [edit.term for edit in subject.every(e.AddLossTerm)]

    def with_teacher(logit: float) -> e.LossFn:
        teacher = torch.zeros(1, CLASSES)
        teacher[0, 0] = logit
        probabilities = (teacher / temperature).softmax(1)

        def loss(student: Tensor, target: Tensor) -> Tensor:
            batch = Batch(torch.zeros(1, 3, 2, 2), target, probabilities)
            hard = factor * torch.nn.functional.cross_entropy(student, target)
            return sum((term(student, batch) for term in terms), hard)

        return loss

    figure, axes = panels(2)
    plain = losses(torch.nn.functional.cross_entropy, 0, logits)[1]
    axes[0].plot(logits, plain, label="no teacher", **BASELINE)
    lowest = []
    for logit, style in ((12.0, TRICK), (4.0, SECOND)):
        values, slope = losses(with_teacher(logit), 0, logits)
        axes[0].plot(logits, slope, label=f"teacher's logit {logit:g}", **style)
        axes[1].plot(logits, values - values.min(), **style)
        lowest.append(f"{float(logits[values.argmin()]):.1f} with the teacher's at {logit:g}")
    axes[0].axhline(0, color="black", linewidth=0.5)
    axes[0].set(xlabel="student's logit of the right class", ylabel="derivative of the loss")
    axes[1].set(xlabel="student's logit of the right class", ylabel="loss above its least value")
    axes[0].legend()
    return drawing(
        figure,
        f"Loss with {subject.name}",
        "Loss and its derivative against the student's logit of the right class. Without a teacher the loss falls for "
        f"ever; with one it is least at a finite logit: {' and '.join(lowest)}.",
        f"Derivative of the whole loss, and the loss above its least value, as the student's logit of the right class "
        f"changes; the other {CLASSES - 1} logits of student and teacher are 0. Temperature {temperature:g}.",
    )


def draw_targets(subject: Subject) -> Drawing:
    """Draw a target before and after."""
    before = torch.eye(CLASSES)[:1]
    after = before
    for edit in subject.every(e.MapTargets):
        after = edit.apply(after)
    figure, axes = panels(2)
    for ax in axes:
        places = np.arange(CLASSES)
        ax.bar(places - 0.2, before[0].numpy(), 0.38, color=BASELINE["color"], label="one right class")
        ax.bar(places + 0.2, after[0].numpy(), 0.38, color=TRICK["color"], label=subject.name)
        ax.set_xticks(range(CLASSES))
        ax.set_xlabel("class")
    axes[0].set(ylabel="share of the target", ylim=(0, 1.05))
    axes[1].set(ylim=(0, 2.2 * float(after[0, 1:].max()) or 0.1), title="the same, enlarged")
    axes[0].legend()
    right, wrong = float(after[0, 0]), float(after[0, 1])
    return drawing(
        figure,
        f"Target with {subject.name}",
        f"Bars of a target over {CLASSES} classes: the right class has {right:.3g} instead of 1, each other one "
        f"{wrong:.3g} instead of 0.",
        f"Target of an image of class 0 before and after {subject.name}, for {CLASSES} classes.",
    )


def draw_precision(subject: Subject) -> Drawing:
    """Draw the relative error of rounding against the size of a number."""
    edit = subject.one(e.SetPrecision)
    sizes = torch.logspace(-12, 8, 20_001, dtype=torch.float64)
    figure, (ax,) = panels(1)
    found = []
    for dtype, name in PRECISIONS.items():
        style = TRICK if dtype is edit.dtype else BASELINE if dtype is torch.float32 else SECOND
        rounded = sizes.to(dtype).double()
        error = ((rounded - sizes) / sizes).abs().clamp(max=1)
        envelope = torch.nn.functional.max_pool1d(error[None], 401, 1, 200)[0]
        label = f"{name}: {subject.name}" if dtype is edit.dtype else name
        ax.plot(sizes[::50], envelope[::50], label=label, **style)
        kept = sizes[error < 0.5]
        found.append(f"{name} {float(envelope[sizes >= 1][0]):.2g}, from {float(kept[0]):.1g} to {float(kept[-1]):.1g}")
    ax.set(xscale="log", yscale="log", xlabel="size of a number", ylabel="largest relative error", ylim=(1e-9, 3))
    ax.legend(loc="center", bbox_to_anchor=(0.4, 0.36))
    return drawing(
        figure,
        f"Rounding with {subject.name}",
        f"Largest relative error of rounding against the size of a number from {float(sizes[0]):.0e} to "
        f"{float(sizes[-1]):.0e}, with the error near 1 and the numbers that are kept: {'; '.join(found)}.",
        "Largest relative error of a number of about this size, rounded to each format; 1 means that it is lost "
        "(rounded to 0 or to infinity).",
    )
