"""Pictures of what the network sees, with captions: draws of training images, predictions, mistakes."""

from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from bagoftricks.errors import UserError, printable
from bagoftricks.run.seen import SeenRow
from bagoftricks.store.files import write_whole

SPACE, LETTERS, LINE = 4, 13, 17  # pixels between pictures, of the font, and of a line
LEAST_SIDE, MOST_SIDE = 96, 224  # of a picture


def write_sheet(rows: Sequence[SeenRow], out: str, name: str = "show") -> None:
    """Write a PNG: rows of pictures under their titles, captions below. Raises UserError about argument ``name``."""
    sheet = _sheet(rows)
    try:
        write_whole(Path(out).expanduser(), lambda path: sheet.save(path, format="PNG"))
    except (OSError, ValueError) as error:
        raise UserError(f"{name}={out}: cannot be written ({getattr(error, 'strerror', None) or error})") from error


def _sheet(rows: Sequence[SeenRow]) -> Image.Image:
    font = ImageFont.load_default(LETTERS)
    largest = max(picture.shape[1] for row in rows for picture, _ in row.pictures)
    scale = -(-LEAST_SIDE // largest) if largest < LEAST_SIDE else 1
    side = min(scale * largest, MOST_SIDE)
    columns = max(len(row.pictures) for row in rows)
    lines = max(caption.count("\n") + 1 for row in rows for _, caption in row.pictures)
    across, down = side + SPACE, side + SPACE + lines * LINE
    titles = LINE * any(row.title for row in rows)
    sheet = Image.new("RGB", (columns * across + SPACE, len(rows) * (down + titles) + SPACE), "white")
    draw = ImageDraw.Draw(sheet)
    for number, row in enumerate(rows):
        top = SPACE + number * (down + titles)
        draw.text((SPACE, top), _fitting(row.title, columns * across, font), "black", font)
        for column, (pixels, caption) in enumerate(row.pictures):
            left, at = SPACE + column * across, top + titles
            picture = Image.fromarray(pixels.permute(1, 2, 0).contiguous().numpy())
            how = Image.Resampling.NEAREST if side >= largest else Image.Resampling.BOX
            sheet.paste(picture.resize((side, side), how), (left, at))
            for line, text in enumerate(caption.split("\n")):
                draw.text((left, at + side + line * LINE), _fitting(text, side, font), "black", font)
    return sheet


def _fitting(text: str, width: int, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> str:
    """Return the text, cut so that it is at most ``width`` pixels wide."""
    text = printable(text)
    while text and font.getlength(text) > width:
        text = text[:-1]
    return text
