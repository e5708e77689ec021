"""Small image files of every kind, made for the tests: PNGs byte by byte, the others by Pillow."""

import struct
import zlib
from io import BytesIO

import numpy as np
from PIL import Image

from bagoftricks.data.decode import decode
from bagoftricks.data.image_file import ImageFile
from bagoftricks.rng import Key

SIGNATURE = b"\x89PNG\r\n\x1a\n"
CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # of PNG's colour types
ADAM7 = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))


def decode_path(path):
    return decode(ImageFile(str(path)))


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(values, bits=8, colour=0, *, before=(), after=(), interlaced=False):
    """A PNG of whole numbers (height, width[, channels]); ``before`` and ``after`` its pixels: chunks (kind, data)."""
    values = np.asarray(values).reshape(*np.shape(values)[:2], CHANNELS[colour])
    height, width = values.shape[:2]
    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, int(interlaced))
    passes = [values[top::down, left::across] for top, left, down, across in ADAM7] if interlaced else [values]
    rows = b"".join(packed(row.ravel(), bits) for part in passes if part.size for row in part)
    chunks = [(b"IHDR", header), *before, (b"IDAT", zlib.compress(rows)), *after, (b"IEND", b"")]
    return SIGNATURE + b"".join(chunk(*one) for one in chunks)


def packed(row, bits):
    """A row of PNG with its filter, which is none."""
    if bits >= 8:
        return b"\0" + row.astype(f">u{bits // 8}").tobytes()
    digits = (row[:, None] >> np.arange(bits - 1, -1, -1)) & 1
    return b"\0" + np.packbits(digits.astype(np.uint8)).tobytes()


def exif(orientation, order=">"):
    """EXIF metadata that hold nothing but an orientation."""
    start = b"MM\0*" if order == ">" else b"II*\0"
    return b"Exif\0\0" + start + struct.pack(f"{order}IHHHIHHI", 8, 1, 274, 3, 1, orientation, 0, 0)


def saved(image, kind, **how):
    file = BytesIO()
    image.save(file, kind, **how)
    return file.getvalue()


def photo(mode="RGB", size=(24, 17), seed=0):
    pixels = Key(seed).numpy().integers(0, 256, (size[1], size[0], 4), np.uint8)
    return Image.fromarray(pixels, "RGBA").convert(mode)


def pngs():
    """PNGs of every depth, colour and order of rows."""
    draw = Key(1).numpy()
    palette = (b"PLTE", bytes(draw.integers(0, 256, 3 * 256, np.uint8)))
    for colour, depths in ((0, (1, 2, 4, 8, 16)), (2, (8, 16)), (3, (1, 2, 4, 8)), (4, (8, 16)), (6, (8, 16))):
        for bits in depths:
            values = draw.integers(0, 2**bits, (17, 24, CHANNELS[colour]))
            before = [(b"PLTE", palette[1][: 3 * 2**bits])] if colour == 3 else []
            for interlaced in (False, True):
                made = png(values, bits, colour, before=before, interlaced=interlaced)
                yield f"png colour {colour} of {bits} bits{' interlaced' * interlaced}", made
    clear = {
        0: (b"tRNS", struct.pack(">H", 77)),
        2: (b"tRNS", struct.pack(">HHH", 1, 2, 3)),
        3: (b"tRNS", bytes(range(256))),
    }
    for colour, transparent in clear.items():
        before = [*([palette] if colour == 3 else []), transparent, (b"tEXt", b"Title\0a picture")]
        values = draw.integers(0, 256, (17, 24, CHANNELS[colour]))
        yield f"png colour {colour} transparent", png(values, 8, colour, before=before, after=[(b"eXIf", exif(6)[6:])])
    frames = [photo("RGBA", seed=i) for i in range(3)]
    yield "png animated", saved(frames[0], "PNG", save_all=True, append_images=frames[1:])


def others():
    """Files of the other formats that are read, in many of their kinds."""
    for mode in ("L", "RGB", "CMYK"):
        yield f"jpeg {mode}", saved(photo(mode), "JPEG", quality=90)
    yield "jpeg progressive", saved(photo(), "JPEG", progressive=True)
    yield "jpeg 4:4:4 with EXIF", saved(photo(), "JPEG", subsampling=0, exif=exif(6))
    yield "jpeg with restarts", saved(photo(size=(64, 48)), "JPEG", restart_marker_blocks=1)
    yield "mpo", saved(photo(), "MPO", save_all=True, append_images=[photo(seed=2)])
    for mode in ("RGB", "RGBA"):
        yield f"webp {mode}", saved(photo(mode), "WEBP", quality=80, exif=exif(3))
        yield f"webp {mode} lossless", saved(photo(mode), "WEBP", lossless=True)
    frames = [photo("RGB", seed=i) for i in range(3)]
    yield "webp animated", saved(frames[0], "WEBP", save_all=True, append_images=frames[1:])
    yield "gif", saved(photo("P"), "GIF")
    yield "gif animated", saved(frames[0], "GIF", save_all=True, append_images=frames[1:], disposal=2, transparency=3)
    for mode in ("1", "L", "P", "RGB", "RGBA"):
        yield f"bmp {mode}", saved(photo(mode), "BMP")
    for mode in ("1", "L", "P", "RGB", "RGBA", "CMYK", "LAB", "YCbCr"):
        yield f"tiff {mode}", saved(photo(mode) if mode != "LAB" else Image.new("LAB", (9, 7), (120, 3, 9)), "TIFF")
    deep = np.arange(17 * 24, dtype=np.uint16).reshape(17, 24) * 160
    yield "tiff I;16", saved(Image.fromarray(deep), "TIFF")
    for how in ("tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg"):
        yield f"tiff {how}", saved(photo(), "TIFF", compression=how)
    yield "tiff group4", saved(photo("1"), "TIFF", compression="group4")
    yield "tiff of pages", saved(photo(), "TIFF", save_all=True, append_images=[photo(seed=3)])
    for mode in ("1", "L", "RGB", "I;16"):
        yield f"ppm {mode}", saved(Image.fromarray(deep) if mode == "I;16" else photo(mode), "PPM")
    yield "ppm plain", b"P3\n2 1\n255\n255 0 0\n0 255 0\n"


def every_kind():
    return {**dict(pngs()), **dict(others())}
