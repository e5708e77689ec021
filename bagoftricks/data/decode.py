"""Images from their files' bytes: whole, or many on a GPU; ``decode_part`` has what is less than whole.

docs/data.md has the policy. JPEGs go through torchvision (libjpeg-turbo), all others through Pillow: torchvision's
decoder of PNGs ends the process at a damaged file, and that of GIFs can hang. No other module opens an image.
"""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import BytesIO
from typing import TypeAlias

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image, ImageOps, PngImagePlugin, TiffImagePlugin, UnidentifiedImageError, WebPImagePlugin  # noqa: F401  (formats)
from PIL.GifImagePlugin import GifImageFile
from torch import Tensor

from bagoftricks.data.image_file import ImageFile, JpegHeader, NoImage, image_format, jpeg_header
from bagoftricks.errors import DataError, printable

POLICY = 4  # raise it when the same file gives other pixels
SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm"}
ORIENTATION, BITS, PHOTOMETRIC, SAMPLES, PLANES, EXTRA = 274, 258, 262, 339, 284, 338  # tags of EXIF and TIFF
PngImagePlugin.MAX_TEXT_CHUNK = PngImagePlugin.MAX_TEXT_MEMORY  # of 64 MiB: edited photographs have more than 1
Rgb: TypeAlias = UInt8[Tensor, "3 H W"]


def decode(file: ImageFile) -> Rgb:
    """Return the pixels of an image file as a person sees them: RGB, upright, over white, the first frame.

    Raises DataError that names the file if it is no image, is damaged, or is larger than it may be.
    """
    _, data = file.read()
    return decode_bytes(file, data)


def decode_unturned(file: ImageFile) -> Rgb:
    """Return the pixels of an image with a mask. Raises DataError as ``decode``, and for one that EXIF turns."""
    name, data = file.read()
    if "turned by EXIF" in unusual(file, name, data):
        raise DataError(
            f"{printable(file.path)}: is turned by its EXIF metadata, and its mask may not be: save both upright, "
            "without EXIF, or type data.on_error=skip"
        )
    return decode_bytes(file, data)


def decode_bytes(file: ImageFile, data: bytearray) -> Rgb:
    """Return the pixels of a file that was read."""
    with file.naming():
        name = image_format(data)
        if name == "JPEG" and (header := checked_header(file, data)).channels != 4:  # CMYK is left to Pillow
            try:
                return upright(decode_jpeg_code(_tensor(data)), orientation(header.exif))
            except RuntimeError:  # a kind of JPEG that only Pillow reads, or a broken one: Pillow says in what way
                pass
        with opened(file, name, data) as image:
            return _flattened(image, data)


def unusual(file: ImageFile, name: str, data: bytearray) -> tuple[str, ...]:
    """Return what is unusual about a file of format ``name``; the policy says what becomes of it."""
    with file.naming():
        if name == "JPEG":
            header = checked_header(file, data)
            found = {
                "CMYK": header.channels == 4,
                "greys": header.channels == 1,
                "turned by EXIF": orientation(header.exif) != 1,
            }
            return tuple(trait for trait, has in found.items() if has)
        with opened(file, name, data) as image:
            tags = image.tag_v2 if isinstance(image, TiffImagePlugin.TiffImageFile) else {}
            turn = tags.get(ORIENTATION, 1) if tags else orientation(image.info.get("exif"))
            deep = (name == "PNG" and data[24] == 16) or max(tags.get(BITS, (8,))) > 8 or image.mode.startswith("I")
            found = {
                "16 bits": deep,
                "alpha": image.has_transparency_data,
                "CMYK": image.mode == "CMYK",
                "greys": image.mode in ("1", "L", "LA"),
                "turned by EXIF": turn != 1,
                "animated": getattr(image, "n_frames", 1) > 1,
            }
            return tuple(trait for trait, has in found.items() if has)


def decode_on(device: torch.device, files: Sequence[tuple[ImageFile, Tensor]]) -> list[Tensor | DataError]:
    """Image files with their bytes decoded to ``device``: JPEGs by nvJPEG where that is a GPU, others before.

    Broken ones are returned, not raised.
    """
    turns = [_turn_there(file, data) for file, data in files]
    jpegs = [data for (_, data), turn in zip(files, turns, strict=True) if turn]
    there: Iterator[Tensor | None]
    try:
        there = iter(_decode_jpegs(jpegs, device))
    except RuntimeError:  # one of them is broken, or of a kind that nvJPEG does not know
        there = iter([_decode_one(data, device) for data in jpegs])
    images = [next(there) if turn else None for turn in turns]
    return [
        _decode_here(file, data, device) if image is None else upright(image, turn or 1)
        for (file, data), turn, image in zip(files, turns, images, strict=True)
    ]


def decode_jpeg_code(code: UInt8[Tensor, " n"]) -> Rgb:
    """Return the pixels of a JPEG as it is stored. Raises RuntimeError for a damaged one.

    This is what decode_jpeg calls, which warns of its own end first: as long as half of a small image takes.
    """
    from torchvision.io import ImageReadMode

    image: Tensor = torch.ops.image.decode_jpeg(code, ImageReadMode.RGB.value, False)
    return image


def load_decoder() -> None:
    """Import torchvision's decoder, which takes as long as torch: before processes are forked, once for them all."""
    import torchvision.io  # noqa: F401


def _decode_jpegs(codes: list[Tensor], device: torch.device) -> list[Tensor]:
    from torchvision.io import ImageReadMode, decode_jpeg

    return decode_jpeg(codes, ImageReadMode.RGB, device=device) if codes else []


def _decode_one(code: Tensor, device: torch.device) -> Tensor | None:
    try:
        return _decode_jpegs([code], device)[0]
    except RuntimeError:
        return None


def _decode_here(file: ImageFile, data: Tensor, device: torch.device) -> Tensor | DataError:
    try:
        return decode_bytes(file, bytearray(data.numpy())).to(device)
    except DataError as error:
        return error


def _turn_there(file: ImageFile, data: Tensor) -> int | None:
    """Return the orientation of a JPEG that a GPU can decode, None for any other file."""
    code = bytes(data.numpy())
    try:
        if image_format(code) != "JPEG" or (header := checked_header(file, code)).channels == 4:
            return None
        return orientation(header.exif)
    except NoImage:
        return None


def _tensor(data: bytearray) -> UInt8[Tensor, " n"]:
    return torch.frombuffer(data, dtype=torch.uint8)


def checked_header(file: ImageFile, data: bytes | bytearray) -> JpegHeader:
    """Return the header of a JPEG. Raises NoImage for one with more pixels than are allowed."""
    header = jpeg_header(data)
    file.check_size(header.width, header.height)
    return header


@contextmanager
def opened(file: ImageFile, name: str, data: bytearray) -> Iterator[Image.Image]:
    """Open an image of format ``name`` with Pillow, its header read and its size checked."""
    if Image.MAX_IMAGE_PIXELS is not None and file.max_pixels > 2 * Image.MAX_IMAGE_PIXELS:
        Image.MAX_IMAGE_PIXELS = file.max_pixels  # our limit takes the place of Pillow's, which raises at twice its own
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of metadata, mostly: what matters is raised
        try:
            image = Image.open(BytesIO(data), formats=[name])
        except UnidentifiedImageError as error:
            raise NoImage(f"a damaged {name}, or one of a kind that is not read") from error
        except Image.DecompressionBombError as error:
            size = str(error).partition(" exceeds")[0]
            raise NoImage(f"{size}, more than data.max_pixels={file.max_pixels}") from error
        with image:
            file.check_size(*image.size)
            yield image


def _flattened(image: Image.Image, data: bytearray) -> Rgb:
    """Return the first frame of an image that Pillow has opened."""
    _refuse_other_numbers(image)
    image.load()
    if image.format == "PNG" and "transparency" in image.info:
        image.info["transparency"] = _transparent_colour(image.info["transparency"], *data[24:26])
    exif = None if image.format == "TIFF" else image.info.get("exif")  # Pillow turns a TIFF itself
    if image.mode.startswith("I"):
        image = _first_8_bits(image)
    frame = (isinstance(image, GifImageFile) and image.dispose_extent) or (0, 0, *image.size)
    if image.has_transparency_data or frame != (0, 0, *image.size):
        over = image.convert("RGBA").crop(frame)
        image = Image.new("RGB", image.size, "white")
        image.paste(over, frame, over.getchannel("A"))
    pixels = torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1)
    return upright(pixels, orientation(exif)).contiguous()


def decode_pillow(image: Image.Image) -> Rgb:
    """Return the pixels of an image that a program has opened or made, as those of a file: RGB, upright, over white.

    Raises NoImage for numbers whose black and white are not known.
    """
    _refuse_other_numbers(image)
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I"):
        image = _first_8_bits(image)
    if image.has_transparency_data:
        over = image.convert("RGBA")
        image = Image.new("RGB", image.size, "white")
        image.paste(over, (0, 0), over.getchannel("A"))
    return torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1).contiguous()


def _refuse_other_numbers(image: Image.Image) -> None:
    """Raise NoImage for numbers whose black and white are not known, and for those that Pillow mixes up."""
    tags = image.tag_v2 if isinstance(image, TiffImagePlugin.TiffImageFile) else {}
    if tags.get(PLANES) == 2 and len(image.getbands()) > 1:
        deep = max(tags.get(BITS, (8,))) > 8 and image.info["compression"] == "raw"
        if deep or image.mode == "LA" or (image.mode == "RGBA" and EXTRA not in tags):
            raise NoImage("each channel in a plane of its own: save it with the channels of a pixel together")
    signed_or_floating = {2, 3, 5, 6}.intersection(tags.get(SAMPLES, (1,)))
    if signed_or_floating or image.mode == "F" or (image.mode == "I" and image.format != "PPM"):
        raise NoImage(
            "signed, floating-point or 32-bit numbers, and nothing says what is black and what is white: "
            "save it with 8 or 16 bits a channel"
        )


def _first_8_bits(image: Image.Image) -> Image.Image:
    """Return an image of 16-bit greys by their higher bytes; 12 bits of a TIFF by their first 8."""
    tags = image.tag_v2 if isinstance(image, TiffImagePlugin.TiffImageFile) else {}
    values = np.asarray(image)
    greys = (values >> (4 if tags.get(BITS) == (12,) else 8)).astype(np.uint8)
    if tags.get(PHOTOMETRIC) == 0:  # white is zero; Pillow turns greys of 8 bits alone
        greys = 255 - greys
    if (clear := image.info.get("transparency")) is None:
        return Image.fromarray(greys)
    return Image.merge(
        "LA", (Image.fromarray(greys), Image.fromarray(np.where(values == clear, 0, 255).astype(np.uint8)))
    )


def _transparent_colour(clear: bytes | int | tuple[int, ...], bits: int, kind: int) -> bytes | int | tuple[int, ...]:
    """Return a PNG's transparent colour in the range of Pillow's pixels."""
    if kind == 2 and bits == 16:
        raise NoImage("16-bit colours with a transparent one: save it with an alpha channel")
    if isinstance(clear, int) and kind == 0:
        return clear * {2: 85, 4: 17}.get(bits, 1)
    return clear


def orientation(exif: bytes | None) -> int:
    """Return the orientation, 1 to 8, that EXIF metadata give; 1 where they are damaged or have none."""
    if exif is None:
        return 1
    tags = Image.Exif()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            tags.load(exif)
            given = tags.get(ORIENTATION, 1)
        except Exception:  # metadata can be broken in as many ways as images
            return 1
    return given if given in range(2, 9) else 1


def upright(image: Rgb, orientation: int) -> UInt8[Tensor, "3 _ _"]:
    """Return an image upright that was stored in one of EXIF's orientations."""
    if orientation >= 5:
        image = image.transpose(1, 2)
    flipped = {2: [2], 3: [1, 2], 4: [1], 6: [2], 7: [1, 2], 8: [1]}.get(orientation)
    return image.flip(flipped) if flipped else image


def read_mask(path: str, sides: tuple[int, int]) -> UInt8[Tensor, "H W"]:
    """Return the bytes of an image file whose bytes are classes, of ``sides`` (height, width).

    Raises DataError if it cannot be read, or has other sides.
    """
    try:
        with Image.open(path) as file:
            plain = file if file.mode in ("L", "P") else file.convert("L")
            classes = torch.from_numpy(np.array(plain, np.uint8))
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(f"{path}: cannot be read as a mask ({error})") from error
    if tuple(classes.shape) != sides:
        raise DataError(f"{path}: has {tuple(classes.shape)} pixels, its image {sides}")
    return classes
