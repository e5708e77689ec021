"""The upper rows of a JPEG are those of the whole one, and what cannot be read in part is read, or refused, as ever."""

from itertools import product

import numpy as np
import pytest
import torch
from PIL import Image
from simplejpeg import encode_jpeg

from bagoftricks.data.augment import Augment
from bagoftricks.data.decode import decode
from bagoftricks.data.decode_part import Wanted, decode_part, row_decoder
from bagoftricks.data.given import given_square
from bagoftricks.data.image_file import ImageFile
from bagoftricks.data.sources import FileSplit
from bagoftricks.errors import DataError
from bagoftricks.rng import Key
from bagoftricks.settings import dataset_settings
from tests.data.test_decode import photograph
from tests.pictures import exif

PLAIN = {
    "4:2:0": {},
    "4:2:2": {"subsampling": 1},
    "4:4:4": {"subsampling": 0},
    "grey": {"mode": "L"},
    "restarts": {"restart_marker_blocks": 5},
    "own tables": {"optimize": True},
    "with EXIF": {"exif": exif(1)},
}
OTHERS = {"progressive": {"progressive": True}, "CMYK": {"mode": "CMYK"}, "turned": {"exif": exif(6)}}


def upper(path, rows):
    return decode_part(ImageFile(str(path)), Wanted(lambda height, width: (0, 0, min(rows, height), width)))


def outcome(read):
    """An image, or the error, which names the file."""
    try:
        return read()
    except DataError as error:
        return str(error)


@pytest.mark.parametrize("name", PLAIN)
@pytest.mark.parametrize("sides", [(97, 131), (64, 48), (33, 200)])
def test_upper_rows_are_those_of_the_whole_and_no_more_than_needed(tmp_path, capfd, name, sides):
    path = photograph(tmp_path / "a.jpg", *sides, **PLAIN[name])
    whole = decode(ImageFile(path))
    for rows in (1, 15, 16, 17, 30):
        pixels, height = upper(path, rows)
        assert pixels.shape == (3, rows + 1, sides[0])
        assert torch.equal(pixels[:, :rows], whole[:, :rows])
        assert height == sides[1]
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("colours", ["411", "440"])
def test_colours_of_rare_resolutions_are_those_of_the_whole(tmp_path, colours):
    pixels = np.array(Image.open(photograph(tmp_path / "a.jpg", 100, 90)))
    (tmp_path / "a.jpg").write_bytes(encode_jpeg(pixels, colorsubsampling=colours))
    whole, (made, _) = decode(ImageFile(str(tmp_path / "a.jpg"))), upper(tmp_path / "a.jpg", 40)
    assert made.shape[1] == 41
    assert torch.equal(made[:, :40], whole[:, :40])


@pytest.mark.parametrize("name", OTHERS)
def test_other_kinds_are_decoded_whole_and_once(tmp_path, monkeypatch, name):
    tried = []
    monkeypatch.setattr("bagoftricks.data.decode_part.row_decoder", lambda: tried.append)
    path = photograph(tmp_path / "a.jpg", 80, 60, **OTHERS[name])
    pixels, height = upper(path, 20)
    assert torch.equal(pixels, decode(ImageFile(path)))
    assert height == pixels.shape[1] == (80 if name == "turned" else 60)
    assert not tried


def test_the_last_rows_are_decoded_with_the_whole(tmp_path):
    path = photograph(tmp_path / "a.jpg", 80, 60)
    for rows in (59, 60):
        assert torch.equal(upper(path, rows).pixels, decode(ImageFile(path)))


def test_a_file_that_was_cut_short_below_the_rows_is_refused_as_ever(tmp_path):
    whole = b""
    for name, share in product(("4:2:0", "restarts"), (0.5, 0.9)):  # a restart is the first surplus that is warned of
        photograph(tmp_path / "a.jpg", 300, 400, **PLAIN[name])
        whole = (tmp_path / "a.jpg").read_bytes()
        (tmp_path / "a.jpg").write_bytes(whole[: int(len(whole) * share)])
        expected = outcome(lambda: decode(ImageFile(str(tmp_path / "a.jpg"))))
        assert "cannot be read" in expected
        assert outcome(lambda: upper(tmp_path / "a.jpg", 40)) == expected
    (tmp_path / "a.jpg").write_bytes(whole + b"what a camera left")
    assert upper(tmp_path / "a.jpg", 40).pixels.shape[1] == 41


def test_damages_below_the_rows_are_found_as_ever(tmp_path):
    """A marker anywhere in the coded rows ends a decoding or does not, whether the rows at it are wanted or not."""
    made, draw, refused = [], Key(0).numpy(), 0
    for name in ("4:2:0", "restarts"):
        photograph(tmp_path / "a.jpg", 200, 300, **PLAIN[name])
        whole = (tmp_path / "a.jpg").read_bytes()
        for case in range(150):
            data, at = bytearray(whole), int(draw.integers(len(whole) // 2, len(whole) - 2))
            data[at : at + 2] = bytes([255, case * 7 % 256])
            (tmp_path / "a.jpg").write_bytes(data)
            ends = [
                outcome(lambda: decode(ImageFile(str(tmp_path / "a.jpg")))[:, :64]),
                outcome(lambda: upper(tmp_path / "a.jpg", 64).pixels[:, :64]),
            ]
            refused += isinstance(ends[0], str)
            made.append(ends[0] == ends[1] if isinstance(ends[0], str) else torch.equal(*ends))
    assert all(made)
    assert refused > 20


@pytest.mark.parametrize("how", ["full", "scaled"])
def test_crops_are_the_same_without_simplejpeg(tmp_path, monkeypatch, how):
    paths = [photograph(tmp_path / f"{i}.jpg", 300 + 31 * i, 420 - 23 * i, i) for i in range(6)]
    split = FileSplit(np.array(paths), np.zeros(6, np.int64))
    augment = Augment.from_settings(dataset_settings(crop="area", jitter="none", decode=how), 64, Key(0))
    rows = augment.draws(0, [(0, np.arange(6))]).tolist()
    read = [split.part(i, Wanted(lambda *sides, row=row: augment._box(row, *sides))) for i, row in enumerate(rows)]
    assert any(0 < part.pixels.shape[1] < part.height for part in read)
    fast = [augment.square_of(split, i, row) for i, row in enumerate(rows)]
    monkeypatch.setattr("bagoftricks.data.decode_part.row_decoder", lambda: None)
    for i, row in enumerate(rows):
        assert torch.equal(augment.square_of(split, i, row), fast[i])
        if how == "full":
            assert torch.equal(augment.square(split.image(i), row), fast[i])


def test_the_decoder_is_an_optional_package(monkeypatch):
    row_decoder.cache_clear()
    monkeypatch.setitem(__import__("sys").modules, "simplejpeg", None)
    assert row_decoder() is None
    row_decoder.cache_clear()


def test_validation_images_are_resized_whole(tmp_path):
    path = photograph(tmp_path / "a.jpg", 300, 420)
    augment = Augment.plain(dataset_settings(), 96)
    split = FileSplit(np.array([path]), np.zeros(1, np.int64))
    expected = augment.square(split.image(0), ())
    assert torch.equal(augment.square_of(split, 0, ()), expected)
    assert torch.equal(given_square(path, augment, 10**6), expected)
