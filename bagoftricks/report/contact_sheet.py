"""A picture of what the network sees: training images with several draws of each, and validation images."""

from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from bagoftricks.errors import UserError, printable
from bagoftricks.run.seen import SeenRow
from bagoftricks.store.files import write_whole

SPACE, LETTERS = 4, 13  # pixels between pictures, and of the font
LEAST_SIDE, MOST_SIDE = 96, 224  # of a picture


def write_sheet(rows: Sequence[SeenRow], out: str) -> None:
    """Write a PNG: a row for each image, captions under its pictures. Raises UserError."""
    sheet = _sheet(rows)
    try:
        write_whole(Path(out).expanduser(), lambda path: sheet.save(path, format="PNG"))
    except (OSError, ValueError) as error:
        raise UserError(f"show={out}: cannot be written ({getattr(error, 'strerror', None) or error})") from error


def _sheet(rows: Sequence[SeenRow]) -> Image.Image:
    font = ImageFont.load_default(LETTERS)
    largest = max(picture.shape[1] for row in rows for picture, _ in row.pictures)
    scale = -(-LEAST_SIDE // largest) if largest < LEAST_SIDE else 1
    side = min(scale * largest, MOST_SIDE)
    columns = max(len(row.pictures) for row in rows)
    across, down = side + SPACE, side + SPACE + LETTERS + 4
    sheet = Image.new("RGB", (columns * across + SPACE, len(rows) * (down + LETTERS + 4) + SPACE), "white")
    draw = ImageDraw.Draw(sheet)
    for number, row in enumerate(rows):
        top = SPACE + number * (down + LETTERS + 4)
        draw.text((SPACE, top), _fitting(row.title, columns * across, font), "black", font)
        for column, (pixels, caption) in enumerate(row.pictures):
            left, at = SPACE + column * across, top + LETTERS + 4
            picture = Image.fromarray(pixels.permute(1, 2, 0).contiguous().numpy())
            how = Image.Resampling.NEAREST if side >= largest else Image.Resampling.BOX
            sheet.paste(picture.resize((side, side), how), (left, at))
            draw.text((left, at + side), _fitting(caption, side, font), "black", font)
    return sheet


def _fitting(text: str, width: int, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> str:
    """Return the text, cut so that it is at most ``width`` pixels wide."""
    text = printable(text)
    while text and font.getlength(text) > width:
        text = text[:-1]
    return text
