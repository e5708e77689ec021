"""Images before and after: augmentation policies, erased and mixed batches, sizes, test-time views."""

import math

import torch
from torch import Tensor

from bagoftricks.recipe import edits as e
from bagoftricks.recipe.edits import Batch, BatchPhase
from bagoftricks.report.pictures.drawing import Drawing
from docs.site.tricks.drawn import drawing, grid, image_row
from docs.site.tricks.scene import KEY, LENGTH, PIXELS, Subject, small_images

ACROSS = 7
MEAN = torch.tensor([0.4914, 0.4822, 0.4465]).view(3, 1, 1)  # of CIFAR-10's training images
STD = torch.tensor([0.2470, 0.2435, 0.2616]).view(3, 1, 1)
SOURCE = "pieces of scikit-learn's two photographs, china.jpg and flower.jpg"


def normalised(images: Tensor) -> Tensor:
    """Return bytes as the network sees them."""
    return (images / 255 - MEAN) / STD


def shown(images: Tensor) -> Tensor:
    """Return normalised images as bytes."""
    return ((images * STD + MEAN) * 255).round().clamp(0, 255).to(torch.uint8)


def draw_policy(subject: Subject) -> Drawing:
    """Draw two images with several draws of an augmentation policy."""
    edit = subject.one(e.MapImages)
    figure, axes = grid(2, ACROSS)
    for row, image in zip(axes, small_images(2), strict=True):
        count = ACROSS - 1
        draws = torch.from_numpy(KEY.fold("policy").uniform(range(count), edit.draws)).float()
        views = edit.apply(image.repeat(count, 1, 1, 1), draws)
        made = views if edit.views == 1 else views[count : 2 * count]
        image_row(row, [(image, "image"), *((pixels, f"draw {n}") for n, pixels in enumerate(made, 1))])
    of_views = f" The clean image is trained on too, {edit.views} views in all." if edit.views > 1 else ""
    return drawing(
        figure,
        f"Images with {subject.name}",
        f"Two rows of small images: a photograph, and what {subject.name} makes of it with {ACROSS - 1} draws.",
        f"{SOURCE[0].upper()}{SOURCE[1:]} at {PIXELS} pixels, before and after {subject.name} with {ACROSS - 1} "
        f"draws.{of_views}",
    )


def draw_batch(subject: Subject) -> Drawing:
    """Draw images of a batch before and after a map of the batch, or at several times if it resizes them."""
    edits = sorted(subject.every(e.MapBatch), key=lambda edit: edit.phase)
    if edits[-1].phase is BatchPhase.RESIZE:
        return _draw_sizes(subject, edits[-1])
    batch = _batch(edits)
    subject.task.clock.set(LENGTH.total_steps // 2)
    mapped = batch
    for edit in edits:
        mapped = edit.apply(mapped, KEY.fold(subject.name, LENGTH.total_steps // 2))
    figure, axes = grid(2, ACROSS)
    image_row(axes[0], [(pixels, f"class {n}") for n, pixels in enumerate(shown(batch.images[:ACROSS]))])
    targets = [_in_words(target) for target in mapped.targets]
    image_row(axes[1], list(zip(shown(mapped.images), targets, strict=True)))
    changed = int((mapped.targets[:ACROSS] != batch.targets[:ACROSS]).any(1).sum())
    return drawing(
        figure,
        f"Images with {subject.name}",
        f"Two rows of {ACROSS} small images: above, images of a batch, below, the same places after {subject.name}. "
        f"Targets of {changed} of them are mixed; they stand above the images.",
        f"A batch of {len(mapped)} images, {SOURCE}, at {PIXELS} pixels: some of them before and after "
        f"{subject.name}, halfway through a run. Above each image its target.",
    )


def _batch(edits: list[e.MapBatch]) -> Batch:
    """Return a batch of a class for each image, read as often as the edits read it."""
    count = (ACROSS + 1) * max(edit.reads for edit in edits)
    return Batch(normalised(small_images(count)), torch.eye(count))


def _in_words(target: Tensor) -> str:
    shares = [(float(share), number) for number, share in enumerate(target) if share > 0.005]
    if len(shares) == 1:
        return f"class {shares[0][1]}"
    return ", ".join(f"{number}: {share:.2f}" for share, number in sorted(shares, reverse=True))


def _draw_sizes(subject: Subject, edit: e.MapBatch) -> Drawing:
    image = small_images(1)
    progress = [at / (ACROSS - 1) * 0.99 for at in range(ACROSS)]
    figure, axes = grid(1, ACROSS)
    pictures, sides = [], []
    for share in progress:
        subject.task.clock.set(round(share * LENGTH.total_steps))
        made = edit.apply(Batch(normalised(image), torch.ones(1, 1)), KEY)
        side = made.images.shape[-1]
        canvas = torch.full((3, PIXELS, PIXELS), 255, dtype=torch.uint8)
        canvas[:, :side, :side] = shown(made.images)[0]
        sides.append(side)
        pictures.append((canvas, f"{100 * share:.0f} %: {side} px"))
    image_row(axes[0], pictures)
    return drawing(
        figure,
        f"Sizes of images with {subject.name}",
        f"One image at {ACROSS} times of a run, with a side of {', '.join(map(str, sides))} pixels.",
        f"An image of {PIXELS} pixels as the network gets it in the course of a run, with the share of the run that "
        "is done and the side in pixels.",
    )


def draw_views(subject: Subject) -> Drawing:
    """Draw the images that the network sees for one test image, in the order in which it is asked."""
    seen: list[Tensor] = []

    def predict(images: Tensor) -> Tensor:
        seen.append(shown(images[0].clone()))
        return torch.zeros(len(images), 2)

    image = normalised(small_images(2)[1:])
    subject.one(e.WrapPredict).wrap(predict)(image)
    figure, axes = grid(1, ACROSS)
    views = [(pixels, f"view {n}") for n, pixels in enumerate(seen, 1)]
    differences = [(_difference(shown(image[0]), pixels), f"view {n}, changed") for n, pixels in enumerate(seen, 1)]
    image_row(axes[0], [(shown(image[0]), "test image"), *views, *differences][:ACROSS])
    return drawing(
        figure,
        f"Views of a test image with {subject.name}",
        f"A test image, the {len(seen)} views of it that the network predicts, and where each differs from the image.",
        f"A test image of {PIXELS} pixels, and the {len(seen)} images that the network sees in its place with "
        f"{subject.name}; then the absolute difference of each from the image (black: none).",
    )


def _difference(one: Tensor, other: Tensor) -> Tensor:
    return (one.int() - other.int()).abs().to(torch.uint8)


def draw_test_size(subject: Subject) -> Drawing:
    """Draw an image as it is evaluated without and with another test size."""
    edit, usual = subject.one(e.SetTestSize), 224
    short = edit.short_side or math.ceil(edit.size / 0.875)
    figure, axes = grid(1, 3, side=1.9)
    pictures = []
    for size, of in ((usual, round(usual / 0.875)), (edit.size, short)):
        whole = small_images(1, of // 4)
        top = (whole.shape[-1] - size // 4) // 2
        crop = whole[0, :, top : top + size // 4, top : top + size // 4]
        canvas = torch.full((3, edit.size // 4, edit.size // 4), 255, dtype=torch.uint8)
        canvas[:, : size // 4, : size // 4] = crop
        pictures.append((canvas, f"{size} pixels"))
    image_row(axes[0], pictures)
    more = (edit.size / usual) ** 2
    return drawing(
        figure,
        f"Test images with {subject.name}",
        f"The same photograph cropped to {usual} and to {edit.size} pixels: the second has {more:.2f} times as many.",
        f"A validation image as it is evaluated after a training at {usual} pixels: with the usual centre crop of "
        f"{usual} pixels, and with {subject.name} of {edit.size} (drawn at a quarter of the size). An image has "
        f"{more:.2f} times as many pixels.",
    )
