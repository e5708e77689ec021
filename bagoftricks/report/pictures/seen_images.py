"""Training images as the network sees them, in several epochs: augmented, mixed, resized."""

from typing import TYPE_CHECKING

from bagoftricks.errors import UserError
from bagoftricks.report.pictures.drawing import Drawing, DrawnNumbers
from bagoftricks.report.pictures.style import SMALL, drawn_text, new_figure
from bagoftricks.run.seen import SeenRow, seen_rows

if TYPE_CHECKING:
    from bagoftricks.run.inspection import Looked

MOST_ROWS, MOST_ACROSS = 4, 5  # training images, and draws of each


def draw_images(looked: "Looked", width: float) -> Drawing:
    """Draw some training images with several draws of the augmentation, each with its target."""
    rows = [row for row in seen_rows(looked) if row.title != "validation" and row.pictures][:MOST_ROWS]
    if not rows:
        raise UserError("no training image can be read")
    across = min(MOST_ACROSS, max(len(row.pictures) for row in rows))
    side = width / across
    figure = new_figure(width, len(rows) * (side + 0.3) + 0.1)
    grid = figure.subplots(len(rows), across, squeeze=False)
    for panels, row in zip(grid, rows, strict=True):
        for axes, (pixels, caption) in zip(panels, row.pictures, strict=False):
            axes.imshow(pixels.permute(1, 2, 0).numpy(), interpolation="nearest")
            axes.set_title(drawn_text(caption, int(15 * side), 2), fontsize=SMALL, pad=2)
        for axes in panels:
            axes.axis("off")
    names = " + ".join(looked.checked.tricks) or "no tricks"
    return Drawing(
        figure=figure,
        title=f"Training images with {names}",
        description=f"{len(rows)} training images of {looked.data.name} in {across} epochs each as the network sees "
        f"them, with {names}; above each its target.",
        caption=f"Training images of {looked.data.name} as the network sees them at {looked.settings.pixels} pixels "
        f"with {names}: each row is one image in {_epochs(rows[0])}; seed {looked.settings.seed}. Above each "
        "picture its target, in shares if images are mixed.",
        numbers=DrawnNumbers(
            ("image", "draw", "target"),
            tuple(
                (number, draw, caption)
                for number, row in enumerate(rows, 1)
                for draw, (_, caption) in enumerate(row.pictures[:across], 1)
            ),
        ),
    )


def _epochs(row: SeenRow) -> str:
    """Return the epochs of a row, as its title has them."""
    epochs = row.title.rpartition("in epochs ")[2].split(", ")
    return f"epochs {', '.join(epochs[:MOST_ACROSS])}"
