import os
import zlib

import numpy as np
import pytest
from PIL import Image

from bagoftricks.data import listing
from bagoftricks.data.finding import find_dataset
from bagoftricks.errors import DataError
from bagoftricks.settings import dataset_settings

JUNK = ("lost+found", "@eaDir", "__MACOSX", ".ipynb_checkpoints", "$RECYCLE.BIN")


def image(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (4, 4), zlib.crc32("/".join(path.parts[-3:]).encode())).save(path, "PNG")
    return path


def photos(root, *, train=("ant", "bee"), val=("ant", "bee"), count=3):
    for split, names in (("train", train), ("val", val)):
        for name in names:
            for i in range(count):
                image(root / split / name / f"{i}.png")
    return root


def find(root, **values):
    return find_dataset(dataset_settings(name="imagefolder", root=str(root), **values))


def test_one_folder_by_links_is_no_two_splits_and_files_in_both_are_a_warning(tmp_path):
    root = photos(tmp_path, val=("ant",))
    (root / "val" / "bee").symlink_to(root / "train" / "bee")
    assert find(root).warnings == ("3 of 6 validation images are training images too (bot-data lists them)",)
    (root / "val").rename(root / "other")
    (root / "val").symlink_to(root / "train")
    with pytest.raises(DataError, match=r"val: shares images with the training folder"):
        find(root)
    find(root, holdout=0.5)


def names(split):
    return [os.path.relpath(path, os.path.commonpath(list(split.paths))) for path in split.paths]


# --- what is an image, what is left out ---


def test_files_that_are_no_images_are_counted_by_suffix_and_said_once(tmp_path):
    photos(tmp_path)
    for name in ("a.txt", "b.TXT", "c.npy", "README"):
        (tmp_path / "train" / "ant" / name).write_text("no image")
    (tmp_path / "train" / "labels.csv").write_text("no image")
    image(tmp_path / "train" / "stray.png")
    data = find(tmp_path)
    assert data.listings["train"].ignored == {".txt": 2, ".npy": 1, "": 1, ".csv": 1}
    assert data.listings["train"].stray == 1
    files = "5 files (2 .txt, 1 no suffix, 1 .csv, 1 .npy)"
    assert data.notes() == [f"{tmp_path}/train: ignored {files}, 1 image outside of the classes' folders"]
    assert len(data.train.labels) == 6


def test_junk_of_systems_and_tools_is_neither_a_class_nor_an_image(tmp_path):
    photos(tmp_path)
    for name in JUNK:
        image(tmp_path / "train" / name / "0.png")
        image(tmp_path / "val" / "ant" / name / "0.png")
    for name in ("._0.jpg", "._1.jpg", ".DS_Store", "Thumbs.db", "thumbs.DB", "desktop.ini", ".hidden.png"):
        image(tmp_path / "train" / "ant" / name)
    data = find(tmp_path)
    assert data.classes == ("ant", "bee")
    assert (len(data.train.labels), len(data.val.labels)) == (6, 6)
    junk = data.listings["train"].junk
    assert junk["._*"] == 2
    assert sum(junk.values()) == len(JUNK) + 7
    assert "2 ._*" in data.notes()[0]


def test_suffixes_count_in_any_case_and_folders_may_look_like_files(tmp_path):
    photos(tmp_path)
    image(tmp_path / "train" / "ant" / "9.PNG")
    image(tmp_path / "train" / "ant" / "folder.png" / "deep" / "er" / "1.JPeG")
    assert len(find(tmp_path).train.labels) == 8


def test_what_is_no_regular_file_is_not_opened(tmp_path):
    photos(tmp_path)
    os.mkfifo(tmp_path / "train" / "ant" / "pipe.png")
    assert find(tmp_path).listings["train"].ignored == {"special file": 1}


def test_names_that_are_not_utf_8_or_that_a_terminal_would_obey_are_listed_and_printed_escaped(tmp_path):
    photos(tmp_path)
    odd = [b"caf\xe9.png", b"new\nline.png", b"\x1b[31mred.png", "写真.png".encode()]
    os.mkdir(os.fsencode(tmp_path) + b"/train/z\xe9bre\x1b")
    os.mkdir(os.fsencode(tmp_path) + b"/val/z\xe9bre\x1b")
    for split in (b"/train", b"/val"):
        for name in odd:
            source = image(tmp_path / "image.png")
            os.rename(source, os.fsencode(tmp_path) + split + b"/z\xe9bre\x1b/" + name)
    data = find(tmp_path)
    assert data.classes == ("ant", "bee", "z\\xe9bre\x1b")
    assert len(data.train.labels) == 10
    assert {os.fsencode(path).rpartition(b"/")[2] for path in data.train.paths[6:]} == set(odd)
    assert data.train.image(9).shape == (3, 4, 4)
    (tmp_path / "val" / "w\udce9\x1b").mkdir()
    with pytest.raises(DataError, match=r"/val/w\\xe9\\x1b: the training images have no class 'w\\xe9\\x1b'"):
        find(tmp_path)


# --- links ---


def test_links_to_files_and_folders_are_followed_and_two_links_count_twice(tmp_path):
    photos(tmp_path / "data")
    for i in range(6):
        image(tmp_path / "elsewhere" / f"{i}.png")
    for name in ("one", "two"):
        (tmp_path / "data" / "train" / "ant" / name).symlink_to(tmp_path / "elsewhere")
    (tmp_path / "data" / "train" / "bee" / "file.png").symlink_to(tmp_path / "elsewhere" / "0.png")
    (tmp_path / "data" / "train" / "cat").symlink_to(tmp_path / "elsewhere")
    data = find(tmp_path / "data")
    assert np.bincount(data.train.labels).tolist() == [15, 4, 6]
    assert data.listings["train"].links == 3


@pytest.mark.parametrize("target", [".", "..", "../..", "../../..", "/"])
def test_a_link_back_to_a_folder_above_is_left_out_and_named(tmp_path, target):
    photos(tmp_path)
    (tmp_path / "train" / "ant" / "loop").symlink_to(target)
    data = find(tmp_path)
    assert len(data.train.labels) == 6
    assert data.listings["train"].dropped_links == ("ant/loop",)
    assert "ignored 1 link to nowhere or in a circle (ant/loop)" in data.notes()[0]


def test_links_of_two_folders_to_each_other_end(tmp_path):
    photos(tmp_path)
    (tmp_path / "train" / "ant" / "bees").symlink_to("../bee")
    (tmp_path / "train" / "bee" / "ants").symlink_to("../ant")
    data = find(tmp_path)
    assert np.bincount(data.train.labels).tolist() == [6, 6]
    assert data.listings["train"].dropped_links == ("ant/bees/ants", "bee/ants/bees")


def test_links_that_lead_nowhere_are_left_out_and_named(tmp_path):
    photos(tmp_path)
    (tmp_path / "train" / "ant" / "gone.png").symlink_to("nowhere.png")
    (tmp_path / "train" / "ant" / "itself.png").symlink_to("itself.png")
    (tmp_path / "train" / "cow").symlink_to("nowhere")
    data = find(tmp_path)
    assert sorted(data.listings["train"].dropped_links) == ["ant/gone.png", "ant/itself.png", "cow"]
    assert data.classes == ("ant", "bee")


def test_a_class_that_links_to_another_is_a_warning(tmp_path):
    photos(tmp_path)
    (tmp_path / "train" / "wasp").symlink_to("bee")
    assert "the classes 'bee', 'wasp' are one folder, by links" in find(tmp_path).warnings


def test_the_root_itself_may_be_a_link_or_relative_or_end_in_a_slash(tmp_path, monkeypatch):
    photos(tmp_path / "data")
    (tmp_path / "link").symlink_to("data")
    monkeypatch.chdir(tmp_path / "data")
    found = [find(root) for root in (tmp_path / "data", tmp_path / "link", f"{tmp_path}/data/", ".", "../data")]
    assert len({data.digest for data in found}) == 1
    monkeypatch.chdir(tmp_path)
    assert found[3].train.image(0).shape == (3, 4, 4)  # the paths do not depend on the working folder


def test_a_folder_that_cannot_be_read_is_named(tmp_path, monkeypatch):
    photos(tmp_path)
    scandir = os.scandir

    def refuse(path):
        if str(path).endswith("bee"):
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(listing.os, "scandir", refuse)
    with pytest.raises(DataError, match=r"train/bee cannot be listed \(Permission denied\): make it readable"):
        find(tmp_path)


# --- classes ---


@pytest.mark.parametrize("litter", [None, "a.tiff2", "notes.txt"])
def test_a_class_without_training_images_is_refused_by_name(tmp_path, litter):
    photos(tmp_path)
    (tmp_path / "train" / "cow").mkdir()
    if litter:
        (tmp_path / "train" / "cow" / litter).write_text("no image")
    with pytest.raises(
        DataError, match=r"no images \(.*\) in the folders of 1 of 3 classes \('cow'\): move them away"
    ) as error:
        find(tmp_path)
    assert ("ignored 1 file" in str(error.value)) == bool(litter)


def test_a_class_without_validation_images_is_a_warning(tmp_path):
    data = find(photos(tmp_path, train=("ant", "bee", "cow")))
    assert data.warnings == ("1 of 3 classes have no validation images: 'cow'",)


def test_a_single_class_is_refused_with_the_folder_that_was_meant(tmp_path):
    image(tmp_path / "one" / "pictures" / "1.png")
    with pytest.raises(DataError, match="has one class only, 'pictures': there is nothing to tell apart; put"):
        find(tmp_path / "one", holdout=0.5)
    photos(tmp_path / "two" / "pictures")
    with pytest.raises(DataError, match=r"'pictures': .*; type data\.root=.*/two/pictures, which has 2 folders"):
        find(tmp_path / "two", holdout=0.5)


def test_names_that_look_alike_are_a_warning_and_between_splits_an_explanation(tmp_path):
    photos(tmp_path, train=("Ant", "ant", "caf\u00e9"), val=("ant",))
    assert "the classes 'Ant', 'ant' look alike, and are 2" in find(tmp_path).warnings
    image(tmp_path / "val" / "cafe\u0301" / "1.png")
    with pytest.raises(DataError, match="is spelled with other characters: rename the folder"):
        find(tmp_path)
