"""A picture of all corruptions at all severities of one image."""

from jaxtyping import UInt8
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from bagoftricks.data.decode import decode
from bagoftricks.data.image_file import ImageFile
from bagoftricks.data.transforms import fit
from bagoftricks.errors import UserError, printable
from bagoftricks.folders import local_path
from bagoftricks.robustness.corruptions import (
    CORRUPTIONS,
    EXTRA,
    CorruptionOptions,
    corrupt,
    resave_as_jpeg,
    smallest_side,
)
from bagoftricks.robustness.protocols import find_protocol
from bagoftricks.robustness.request import find_frost
from bagoftricks.robustness.scoring import SEVERITIES
from bagoftricks.settings import CorruptionSettings
from bagoftricks.store.files import write_whole

GAP = 4  # pixels between pictures
FONT_PIXELS = 15


def write_grid(image: str, out: str, settings: CorruptionSettings, size: int) -> None:
    """Write a PNG: a row for each corruption, the image itself and its severities next to it.

    All 19 corruptions by the constants that fit the size, or those of the protocol as it stores them.
    """
    path = local_path("image", image)
    if not path.exists():
        raise UserError(f"image={printable(image)}: no such file")
    pixels = decode(ImageFile(str(path), advice="name another file with image="))
    protocol = None if settings.protocol == "none" else find_protocol(settings.protocol)
    if protocol and protocol.sequences:
        raise UserError(f"corruptions={protocol.name}: its sequences are not shown; leave it out, or name another")
    names = protocol.corruptions if protocol else (*CORRUPTIONS, *EXTRA)
    constants = protocol.constants if protocol else "imagenet" if size > 64 else "cifar"
    for name in names:
        if size < (least := smallest_side(name, constants)):
            raise UserError(f"image_size={size}: {name} needs {least} pixels or more: type image_size={least}")
    clean = fit(pixels, size, size)[None]
    frost = find_frost(settings.frost) if settings.frost else None
    options = CorruptionOptions(constants, settings.seed, frost)

    def made(name: str, severity: int) -> UInt8[Tensor, "1 3 S S"]:
        changed = corrupt(clean, name, severity, [0], options)
        quality = protocol.jpeg_quality if protocol else None
        return changed if quality is None else resave_as_jpeg(changed, quality)

    rows = [(name, [clean, *(made(name, severity) for severity in SEVERITIES)]) for name in names]
    picture = _picture(rows, size)
    try:
        write_whole(local_path("out", out), lambda path: picture.save(path, format="PNG"))
    except OSError as error:
        raise UserError(f"out={out}: cannot be written ({error.strerror})") from error


def _picture(rows: list[tuple[str, list[Tensor]]], size: int) -> Image.Image:
    """Return the pictures in their places, corruptions named on the left, severities on top."""
    font = ImageFont.load_default(FONT_PIXELS)
    scale = -(-96 // size) if size < 96 else 1
    side = size * scale
    left = 10 + max(int(font.getlength(name)) for name, _ in rows)
    top = FONT_PIXELS + 10
    width = left + (1 + len(SEVERITIES)) * (side + GAP)
    canvas = Image.new("RGB", (width, top + len(rows) * (side + GAP)), "white")
    draw = ImageDraw.Draw(canvas)
    for column, text in enumerate(["clean", *(f"severity {s}" for s in SEVERITIES)]):
        draw.text((left + column * (side + GAP) + 2, 4), text, "black", font)
    for row, (name, images) in enumerate(rows):
        at = top + row * (side + GAP)
        draw.text((4, at + side // 2 - FONT_PIXELS // 2), name, "black", font)
        for column, image in enumerate(images):
            found = Image.fromarray(image[0].permute(1, 2, 0).contiguous().numpy())
            canvas.paste(found.resize((side, side), Image.Resampling.NEAREST), (left + column * (side + GAP), at))
    return canvas
