"""Splits of a folder, hold-outs and limits."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bagoftricks.data.finding import stratified
from bagoftricks.errors import DataError
from bagoftricks.rng import Key
from tests.data.test_listing import find, image, photos


def classes(root, *names, count=4):
    for name in names:
        for i in range(count):
            image(root / name / f"{i}.png")
    return root


# --- which folders are splits ---


@pytest.mark.parametrize("name", ["train", "val", "test"])
def test_a_split_is_a_folder_that_has_folders_so_a_class_may_be_called_train(tmp_path, name):
    data = find(classes(tmp_path, name, "tram", "bus"), holdout=0.25)
    assert data.classes == tuple(sorted((name, "tram", "bus")))
    assert len(data.train.labels) + len(data.val.labels) == 12


@pytest.mark.parametrize("val", ["val", "validation", "valid", "test"])
def test_the_validation_split_has_one_of_four_names(tmp_path, val):
    classes(tmp_path / "train", "ant", "bee")
    classes(tmp_path / val, "ant", "bee", count=1)
    assert len(find(tmp_path).val.labels) == 2


def test_the_first_name_that_has_folders_of_classes_is_taken_and_one_passed_over_is_named(tmp_path):
    classes(tmp_path / "train", "ant", "bee")
    classes(tmp_path / "test", "ant", "bee", count=1)
    image(tmp_path / "val" / "0.png")
    data = find(tmp_path)
    assert len(data.val.labels) == 2
    assert data.warnings == (f"{tmp_path}/val has no folders of classes: validating on test/",)
    classes(tmp_path / "val", "ant", "bee", count=3)
    assert len(find(tmp_path).val.labels) == 6


def test_what_lies_next_to_both_splits_is_left_alone(tmp_path):
    classes(photos(tmp_path), "extras")
    assert find(tmp_path).classes == ("ant", "bee")


def test_a_flat_validation_folder_is_named(tmp_path):
    classes(tmp_path / "train", "ant", "bee")
    image(tmp_path / "val" / "0.png")
    with pytest.raises(DataError, match=r"next to train/ \(.*/val has no folders of classes: ignored\): hold out"):
        find(tmp_path)


def test_train_that_may_be_a_split_or_a_class_is_refused(tmp_path):
    classes(tmp_path / "train", "steam", "diesel")
    classes(tmp_path, "bus", "tram")
    with pytest.raises(
        DataError, match=r"may be the training split, or a class next to 'bus', 'tram': type data\.root="
    ):
        find(tmp_path, holdout=0.25)
    assert find(tmp_path / "train", holdout=0.25).classes == ("diesel", "steam")


@pytest.mark.parametrize("names", [("train", "val"), ("Training", "Testing"), ("train",)])
def test_splits_without_classes_are_not_classes(tmp_path, names):
    with pytest.raises(DataError, match=r"which are no classes: put the images of each class"):
        find(classes(tmp_path, *names), holdout=0.25)


# --- two folders, and hold-outs ---


def test_a_validation_folder_that_a_holdout_leaves_aside_is_named(tmp_path):
    for split in ("train", "val"):
        classes(tmp_path / split, "tram", "bus")
    assert any("val is not used: data.holdout" in warning for warning in find(tmp_path, holdout=0.25).warnings)


def test_a_second_folder_and_a_holdout_exclude_each_other(tmp_path):
    photos(tmp_path)
    with pytest.raises(
        DataError, match=r"data\.holdout=0\.2 and data\.val_root=.*: both choose .* leave one of them out"
    ):
        find(tmp_path / "train", val_root=str(tmp_path / "val"), holdout=0.2)


@pytest.mark.parametrize("val_root", ["train", "train/", "train/../train", "link", "", "train/ant"])
def test_validation_on_the_training_folder_is_refused_whatever_its_name(tmp_path, val_root):
    photos(tmp_path)
    (tmp_path / "link").symlink_to("train")
    with pytest.raises(DataError, match=r"shares images with the training folder .*data\.holdout=0\.2 instead"):
        find(tmp_path, val_root=f"{tmp_path}/{val_root}")


def test_a_holdout_takes_of_each_class_its_share_the_same_one_each_time(tmp_path):
    classes(tmp_path, "ant", count=40)
    classes(tmp_path, "bee", count=10)
    data, again = find(tmp_path, holdout=0.2), find(tmp_path, holdout=0.2)
    assert np.bincount(data.val.labels).tolist() == [8, 2]
    assert np.bincount(data.train.labels).tolist() == [32, 8]
    assert set(data.val.paths) == set(again.val.paths)
    assert not {*data.val.paths} & {*data.train.paths}


def test_small_classes_have_an_image_on_either_side_and_single_images_are_trained_on(tmp_path):
    classes(tmp_path, "ant", count=30)
    classes(tmp_path, "bee", count=2)
    classes(tmp_path, "cow", count=1)
    data = find(tmp_path, holdout=0.04)
    assert np.bincount(data.val.labels).tolist() == [1, 1]
    assert np.bincount(data.train.labels).tolist() == [29, 1, 1]
    assert data.warnings == (
        "data.holdout=0.04: 2 images are held out instead of 1, for the small classes",
        "1 of 3 classes have no validation images: 'cow'",
    )


def test_a_holdout_of_classes_of_one_image_says_why_it_is_empty(tmp_path):
    for name in ("ant", "bee", "cow"):
        classes(tmp_path, name, count=1)
    with pytest.raises(
        DataError, match=r"has no validation images \(data\.holdout=0\.4: 0 images are held out instead"
    ):
        find(tmp_path, holdout=0.4)


def test_one_validation_image_is_a_warning(tmp_path):
    classes(tmp_path, "ant", count=4)
    classes(tmp_path, "bee", count=1)
    assert "there is one validation image: the accuracy can only be 0 or 100 %" in find(tmp_path, holdout=0.2).warnings


def test_a_limit_keeps_each_class_while_it_can(tmp_path):
    classes(tmp_path, "ant", count=30)
    classes(tmp_path, "bee", count=3)
    data = find(tmp_path, holdout=0.3, limit=4)
    assert np.bincount(data.train.labels).tolist() == [3, 1]
    assert np.bincount(data.val.labels).tolist() == [3, 1]
    assert find(tmp_path, holdout=0.3, limit=1).warnings[0] == "1 of 2 classes have no training images: 'bee'"


@given(st.lists(st.integers(0, 6), min_size=1, max_size=200), st.integers(0, 9))
def test_every_beginning_of_the_order_has_the_classes_shares(labels, key):
    labels = np.array(labels)
    rows = stratified(labels, Key(key))
    assert sorted(rows) == list(range(len(labels)))
    counts = np.bincount(labels)
    present = counts > 0
    for end in range(1, len(rows) + 1):
        taken = np.bincount(labels[rows[:end]], minlength=len(counts))
        exact = counts * end / len(labels)
        assert (taken[present] >= np.minimum(1, exact[present].astype(int))).all()
        assert (taken <= np.maximum(exact + present.sum(), 1)).all()
    assert len(set(labels[rows[: present.sum()]])) == present.sum()
