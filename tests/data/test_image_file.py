"""What is taken for an image: by the first bytes of regular files, within a limit, and every damage a DataError."""

import errno
import os
import socket
import struct
import zlib
from contextlib import suppress
from dataclasses import asdict

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from bagoftricks.data.augment import Augment, Finish
from bagoftricks.data.decode import decode, decode_on
from bagoftricks.data.decode_part import Wanted, decode_scaled
from bagoftricks.data.finding import find_dataset
from bagoftricks.data.image_file import ImageFile, NoImage, image_format, jpeg_header
from bagoftricks.data.plan import StepPlan
from bagoftricks.data.preparation import Preparation, Reading
from bagoftricks.data.sources import FileSplit
from bagoftricks.data.stream import StreamLoader
from bagoftricks.errors import DataError, UserError, VanishedError
from bagoftricks.run.identity import run_id, run_identity
from bagoftricks.settings import MAX_PIXELS, Settings, dataset_settings
from tests.pictures import SIGNATURE, chunk, decode_path, exif, photo, png, saved
from tests.torture_images import torture

FOREIGN = {
    b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n": "PostScript",
    b"\xc5\xd0\xd3\xc6" + bytes(28): "PostScript",
    b"%PDF-1.7\n": "PDF",
    b"PK\x03\x04" + bytes(26): "a zip archive",
    b"\n<!DOCTYPE html><html><body>404 Not Found</body></html>": "a web page",
    b"<HTML>": "a web page",
    b'\xef\xbb\xbf<?xml version="1.0"?><svg>': "XML or SVG",
    b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n": "git lfs pull",
    b"\0\0\0\x0cjP  \r\n\x87\n": "JPEG 2000",
    b"\0\0\0\x1cftypavif": "AVIF",
    b"\0\0\0\x18ftypheic": "HEIC",
    b"\0\0\0\x18ftypisom": "a film",
    b"\xff\x0a\0\0": "JPEG XL",
    bytes(128) + b"DICM": "DICOM",
    bytes(5000): "zeros",
    b"": "an empty file",
    b"hello": "its first bytes are of no format that is read: JPEG, PNG",
}


@pytest.mark.parametrize("name", ["a.png", "a.jpg"])
@pytest.mark.parametrize(("data", "what"), FOREIGN.items(), ids=FOREIGN.values())
def test_a_file_is_what_its_bytes_say_and_refused_by_its_own_name(tmp_path, data, what, name):
    (tmp_path / name).write_bytes(data)
    for read in (decode, lambda file: decode_scaled(file, Wanted(lambda h, w: (0, 0, h, w), 1))):
        with pytest.raises(DataError, match=rf"{name} cannot be read as an image \(.*{what}.*data\.on_error=skip"):
            read(ImageFile(str(tmp_path / name)))


def test_an_image_under_another_formats_name_is_read(tmp_path):
    (tmp_path / "a.jpg").write_bytes(png([[7]]))
    (tmp_path / "a.png").write_bytes(saved(Image.new("L", (8, 8), 7), "JPEG"))
    assert (decode_path(tmp_path / "a.jpg") == 7).all()
    assert (decode_path(tmp_path / "a.png") == 7).all()


def test_only_regular_files_are_opened_and_none_is_waited_for(tmp_path, monkeypatch):
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "link.png").symlink_to("/dev/zero")
    (tmp_path / "nowhere.png").symlink_to(tmp_path / "absent")
    (tmp_path / "round.png").symlink_to(tmp_path / "round.png")
    with socket.socket(socket.AF_UNIX) as bound:
        monkeypatch.chdir(tmp_path)  # a socket's path is short
        bound.bind("socket.png")
        for name, why in (
            ("pipe", "a pipe"),
            ("folder", "a folder"),
            ("link", "a device"),
            ("socket", "No such device"),
            ("nowhere", "a link that leads nowhere"),
            ("round", "Too many levels"),
        ):
            with pytest.raises(DataError, match=rf"{name}\.png cannot be read as an image \({why}") as caught:
                decode_path(tmp_path / f"{name}.png")
            assert not isinstance(caught.value, VanishedError)


def test_a_file_in_a_folder_that_cannot_be_entered_has_not_vanished(tmp_path):
    (tmp_path / "file").write_text("")  # in a folder's place: every system refuses, and every user
    with pytest.raises(VanishedError, match=r"a\.png cannot be reached \(Not a directory\): may its folder"):
        ImageFile(str(tmp_path / "file" / "a.png")).read()


def test_a_file_that_is_gone_has_vanished(tmp_path):
    for path in (tmp_path / "absent.png", tmp_path / "folder" / "absent.png"):
        with pytest.raises(VanishedError, match=r"absent\.png has vanished"):
            decode_path(path)


def test_names_are_shown_without_what_a_terminal_obeys(tmp_path):
    for name, shown in (("caf\udce9.png", r"caf\\xe9\.png"), ("a\x1b[31m\n.png", r"a\\x1b\[31m\\n\.png")):
        (tmp_path / name).write_bytes(b"none")
        with pytest.raises(DataError, match=rf"{shown} cannot be read") as caught:
            decode_path(tmp_path / name)
        assert str(caught.value).isprintable()
        (tmp_path / name).write_bytes(png([[7]]))
        assert (decode_path(tmp_path / name) == 7).all()


def test_too_many_open_files_are_no_fault_of_the_file(tmp_path, monkeypatch):
    (tmp_path / "a.png").write_bytes(png([[7]]))

    def fails(*_):
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(os, "open", fails)
    with pytest.raises(OSError, match="Too many open files"):
        decode_path(tmp_path / "a.png")


def test_a_file_in_many_pieces_is_read_whole(tmp_path, monkeypatch):
    """Some file systems give less than they are asked for."""
    whole, (path,) = os.readv, [tmp_path / "a.png"]
    path.write_bytes(png(np.arange(12).reshape(3, 4)))
    monkeypatch.setattr(os, "readv", lambda file, views: whole(file, [views[0][:7]]))
    assert decode_path(path)[0].flatten().tolist() == list(range(12))


# --- the most pixels ---


def large_png(width, height):
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return SIGNATURE + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def large_jpeg(width, height):
    data = saved(photo(), "JPEG")
    at = data.index(b"\xff\xc0") + 5
    return data[:at] + struct.pack(">HH", height, width) + data[at + 4 :]


@pytest.mark.parametrize(
    "data",
    [large_png(30_000, 30_000), large_jpeg(30_000, 30_000), large_png(2**31 - 1, 2**31 - 1),
     b"GIF89a" + struct.pack("<HH", 65535, 65535) + saved(photo("P"), "GIF")[10:], b"P6\n30000 30000\n255\n",
     b"BM" + struct.pack("<IHHIIiiHHIIiiII", 99, 0, 0, 54, 40, 2**30, 2**30, 1, 24, *[0] * 6)],
    ids=["png", "jpeg", "huge png", "gif", "ppm", "bmp"],
)  # fmt: skip
def test_too_large_an_image_is_named_before_it_is_decoded(tmp_path, data):
    (tmp_path / "large.image").write_bytes(data)
    for read in (decode, lambda file: decode_scaled(file, Wanted(lambda h, w: (0, 0, h, w), 8)) or decode(file)):
        with pytest.raises(DataError, match=r"large\.image .* pixels\)?, more than data\.max_pixels=178956970"):
            read(ImageFile(str(tmp_path / "large.image")))
    file = ImageFile(str(tmp_path / "large.image"))
    (there,) = decode_on(torch.device("cpu"), [(file, torch.frombuffer(bytearray(data), dtype=torch.uint8))])
    assert isinstance(there, DataError)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP", "PPM"])
def test_the_limit_counts_pixels_and_holds_for_every_format(tmp_path, kind):
    path = tmp_path / "a"
    path.write_bytes(saved(photo("RGB", (24, 17)), kind))
    assert decode(ImageFile(str(path), 24 * 17)).shape == (3, 17, 24)
    with pytest.raises(DataError, match=r"24 x 17 = 408 pixels, more than data\.max_pixels=407"):
        decode(ImageFile(str(path), 24 * 17 - 1))


def test_the_limit_can_be_raised_above_that_of_pillow(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    path = tmp_path / "a.png"
    path.write_bytes(png(np.zeros((20, 20), int)))
    assert decode(ImageFile(str(path), 400)).shape == (3, 20, 20)


def test_a_runs_limit_reaches_its_files(tmp_path):
    for split in ("train", "val"):
        for name, side in (("small", 20), ("large", 40)):
            folder = tmp_path / split / name
            folder.mkdir(parents=True)
            (folder / "a.png").write_bytes(png(np.zeros((side, side), int)))
    settings = {"name": "imagefolder", "root": str(tmp_path), "max_pixels": 1000, "on_error": "skip"}
    data = find_dataset(dataset_settings(**settings))
    for split in (data.train, data.val, data.train.subset(np.arange(2))):
        plain, finish = Augment(80, None), Finish(dataset_settings(), 2, torch.device("cpu"), channels_last=True)
        loader = StreamLoader(split, Preparation(StepPlan(2, 2), plain, finish), Reading(workers=0, on_error="skip"))
        (batch,) = loader.epoch(0)
        assert batch.targets.argmax(1).tolist() == [1]  # of the classes large and small
        assert len(loader.skipped) == 1
        assert "large/a.png" in loader.skipped[0]


def test_the_limit_is_in_a_runs_id_where_images_are_left_out():
    def id_of(**data):
        return run_id(run_identity(Settings(data=dataset_settings(**data)), {}, "digest", 10))

    assert id_of(max_pixels=10**6) == id_of()
    assert id_of(max_pixels=10**6, on_error="skip") != id_of(on_error="skip")
    assert asdict(dataset_settings())["max_pixels"] == MAX_PIXELS
    with pytest.raises(UserError, match=r"data\.max_pixels=0: must be positive"):
        dataset_settings(max_pixels=0)


# --- damage ---


@pytest.mark.slow
def test_bounded_torture():
    """`scripts/torture images` has the long form."""
    counts, faults = torture(300, seed=7)
    assert faults == []
    assert sum(counts.values()) == 300
    assert counts["png", "refused"] > 5 < counts["png", "decoded"]


def test_a_damaged_png_never_ends_the_process(tmp_path):
    data = bytearray(png(np.arange(300).reshape(15, 20), 16, interlaced=True))
    at = data.index(b"IDAT") + 20
    data[at] ^= 0xFF
    (tmp_path / "damaged.png").write_bytes(data)
    child = os.fork()
    if child == 0:
        try:
            decode_path(tmp_path / "damaged.png")
        except DataError as error:
            (tmp_path / "error").write_text(str(error))
        finally:
            os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert "damaged.png cannot be read as an image" in (tmp_path / "error").read_text()


@pytest.mark.parametrize(
    "error",
    [SyntaxError("broken PNG"), struct.error("unpack"), zlib.error("data"), EOFError(), MemoryError(), KeyError(3),
     IndexError("list"), OverflowError("big"), UnicodeDecodeError("utf-8", b"\xff", 0, 1, "no"), AssertionError(),
     TypeError("none"), AttributeError("none"), ZeroDivisionError("zero"), NotImplementedError(), RecursionError(),
     Image.DecompressionBombError("Image size (9 pixels) exceeds"), OSError("truncated\nline"), RuntimeError("x")],
    ids=lambda error: type(error).__name__,
)  # fmt: skip
@pytest.mark.parametrize("where", ["PIL.Image.open", "PIL.Image.Image.convert"])
def test_whatever_a_decoder_raises_names_the_file(tmp_path, monkeypatch, error, where):
    (tmp_path / "a.png").write_bytes(png([[7]]))

    def fails(*_, **__):
        raise error

    monkeypatch.setattr(where, fails)
    with pytest.raises(DataError, match=r"^\S*a\.png cannot be read as an image \([^\n]+\): remove it, or set data"):
        decode_path(tmp_path / "a.png")


@given(st.binary(max_size=200), st.integers(0, 40))
def test_headers_of_any_bytes_are_told_or_refused(noise, cut):
    jpeg = saved(photo(), "JPEG", exif=exif(6))
    for data in (noise, b"\xff\xd8\xff" + noise, jpeg[:cut] + noise + jpeg[cut:]):
        for read in (image_format, jpeg_header):
            with suppress(NoImage):
                assert read(data)


def test_a_jpegs_header_is_found_as_its_decoder_finds_it():
    plain = saved(photo(size=(24, 17)), "JPEG", exif=exif(6))
    assert jpeg_header(plain)[:3] == (24, 17, 3)
    assert jpeg_header(plain).exif == exif(6)
    filled = (
        plain[:2] + b"rubbish\xff\0\xff\xff\xff" + plain[3:]
    )  # skipped by libjpeg: what is no marker, and its filling
    assert jpeg_header(filled)[:3] == (24, 17, 3)
    assert jpeg_header(saved(photo("L"), "JPEG", progressive=True)).channels == 1
    assert jpeg_header(plain).exif is not None
    later = plain.replace(b"\xff\xdb", b"\xff\xe1\0\x04\0\0\xff\xdb", 1)
    assert jpeg_header(later)[:3] == (24, 17, 3)


def test_the_limit_of_a_split_survives_its_parts():
    split = FileSplit(np.array(["a", "b"]), np.arange(2), max_pixels=5)
    assert split.subset(np.array([1])).file(0) == ImageFile("b", 5)
