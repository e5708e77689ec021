"""Order and choice of training images: flips, sampling, repeats, parts of a batch."""

from itertools import pairwise

import numpy as np

from bagoftricks.data.plan import StepPlan
from bagoftricks.distributed import ALONE
from bagoftricks.recipe import edits as e
from bagoftricks.report.pictures.drawing import Drawing
from bagoftricks.report.pictures.style import BLUE, GREY, PALETTE
from docs.site.tricks.drawn import drawing, panels
from docs.site.tricks.scene import BATCH, CLASSES, COUNTS, KEY, Subject

IMAGES, EPOCHS = 16, 10


def draw_flips(subject: Subject) -> Drawing:
    """Draw which images are flipped in each epoch, without and with the trick."""
    edit = subject.one(e.SetFlip)
    flip = KEY.fold("flip")
    usual = [flip.fold(epoch, 0).uniform(range(IMAGES), 1)[:, 0] < 0.5 for epoch in range(EPOCHS)]
    first = flip.fold(0, 0).uniform(range(IMAGES), 1)
    made = [edit.draw(first, epoch)[:, 0] < 0.5 for epoch in range(EPOCHS)]
    figure, axes = panels(2)
    for ax, flipped, title in zip(axes, (usual, made), ("baseline: random", subject.name), strict=True):
        ax.imshow(np.array(flipped).T, cmap=_two_colours(), interpolation="none", aspect="auto")
        ax.set(xlabel="epoch", title=title, xticks=range(EPOCHS), yticks=[])
        ax.set_xticks(np.arange(0.5, EPOCHS - 1), minor=True)
        ax.set_yticks(np.arange(0.5, IMAGES - 1), minor=True)
        ax.grid(which="minor", color="white")
        ax.set_axisbelow(False)
        ax.tick_params(which="minor", length=0)
    axes[0].set_ylabel("image")
    again = [np.mean([a == b for a, b in pairwise(of)]) for of in (usual, made)]
    return drawing(
        figure,
        f"Flips with {subject.name}",
        f"Two grids of {IMAGES} images by {EPOCHS} epochs, dark where the image is flipped. An image is shown from the "
        f"same side as in the epoch before in {100 * again[0]:.0f} % of cases with random flips and in "
        f"{100 * again[1]:.0f} % with {subject.name}.",
        f"Which of {IMAGES} images are flipped (dark) in each of {EPOCHS} epochs: random flips, and {subject.name}.",
    )


def _two_colours() -> object:
    from matplotlib.colors import ListedColormap

    return ListedColormap(["#C9DDEC", BLUE])


def draw_sampling(subject: Subject) -> Drawing:
    """Draw the images of each class in an epoch, without and with the trick."""
    labels = np.repeat(np.arange(CLASSES), COUNTS)
    copies = subject.one(e.SetSampling).copies(labels)
    plan = StepPlan(len(labels), BATCH, KEY, copies=copies)
    rows = np.concatenate([rows for step in plan.steps(0) for _, rows in step]) % len(labels)
    made = np.bincount(labels[rows], minlength=CLASSES)
    figure, (ax,) = panels(1)
    places = np.arange(CLASSES)
    ax.bar(places - 0.2, COUNTS, 0.38, color=GREY, label="baseline: each image once")
    ax.bar(places + 0.2, made, 0.38, color=BLUE, label=subject.name)
    ax.set(xlabel="class", ylabel="images in an epoch", xticks=places)
    ax.legend()
    return drawing(
        figure,
        f"Images of each class with {subject.name}",
        f"Bars for {CLASSES} classes of {COUNTS[0]:,} to {COUNTS[-1]} training images. In an epoch with {subject.name} "
        f"each class has from {made.min():,} to {made.max():,} images.",
        f"Images of each class in one epoch of {len(rows):,} images, as the loader plans it, for classes of unequal "
        "size.",
    )


def draw_repeats(subject: Subject) -> Drawing:
    """Draw which images are in the first batches, without and with the trick."""
    count, batch = 24, 12
    times = subject.one(e.RepeatImages).times
    figure, axes = panels(2)
    different = []
    for ax, repeats, title in zip(axes, (1, times), ("baseline", subject.name), strict=True):
        plan = StepPlan(count, batch, KEY, repeats=repeats)
        steps = [rows for epoch in range(2) for step in plan.steps(epoch) for _, rows in step]
        images = np.array(steps) % count
        different.append(len(set(images[0])))
        ax.pcolormesh(images, cmap="viridis", edgecolors="white", linewidth=0.5)
        for (step, place), image in np.ndenumerate(images):
            ax.text(place + 0.5, step + 0.5, image, ha="center", va="center", fontsize=5.5, color="white")
        ax.set(xlabel="place in the batch", title=title, xticks=[], yticks=np.arange(len(steps)) + 0.5)
        ax.set_yticklabels(range(1, len(steps) + 1))
        ax.invert_yaxis()
    axes[0].set_ylabel("step")
    return drawing(
        figure,
        f"Batches with {subject.name}",
        f"Two grids of numbers, a row for each step: the images in batches of {batch}. A batch has {different[0]} "
        f"different images in the baseline and {different[1]} with {subject.name}.",
        f"Numbers of the images in each batch of {batch}, of {count} images in two epochs, as the loader plans them. "
        "Each sample of an image is augmented by draws of its own.",
    )


def draw_split(subject: Subject) -> Drawing:
    """Draw the parts of a batch of which the gradient is computed at a time."""
    parts = ALONE.parts(BATCH, subject.one(e.SplitBatch).images)
    figure, (ax,) = panels(1, height=1.2)
    ax.barh([1], [BATCH], 0.5, color=GREY)
    start = 0
    for number, (images, _) in enumerate(parts):
        ax.barh([0], [images], 0.5, left=start, color=PALETTE[number % 2], edgecolor="white")
        ax.text(start + images / 2, 0, f"{images}", ha="center", va="center", color="white")
        start += images
    ax.set(yticks=[1, 0], yticklabels=["baseline", subject.name], xlabel="images of a batch", xlim=(0, BATCH))
    return drawing(
        figure,
        f"Parts of a batch with {subject.name}",
        f"A batch of {BATCH} images as one bar, and as {len(parts)} parts of at most {max(p[0] for p in parts)}.",
        f"A batch of {BATCH} images: the baseline computes the gradient of all at once; {subject.name} that of "
        f"{len(parts)} parts one after the other, and takes one step with their mean.",
    )
