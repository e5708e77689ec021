"""Shards of webdataset: samples by key, labels from .cls or .json, read at their places."""

import json

import pytest
import torch

from bagoftricks.data.finding import find_dataset
from bagoftricks.errors import DataError
from bagoftricks.settings import dataset_settings
from tests.data.test_archives import tar_of
from tests.data.test_digests import varied
from tests.data.test_listing import find
from tests.pictures import png


def shards(root, **values):
    return find_dataset(dataset_settings("webdataset", root=str(root), **values))


def sample(key, label, suffix="cls", pixel=0):
    return {f"{key}.png": png([[pixel]]), f"{key}.{suffix}": label if isinstance(label, bytes) else str(label).encode()}


def whole(folder, **changes):
    tar_of(folder / "val-0.tar", {**sample("a", 0), **sample("b", 1), **changes})
    return folder


def both(tmp_path, members):
    tar_of(tmp_path / "train-000.tar", members)
    return whole(tmp_path)


@pytest.mark.parametrize("suffix", ["cls", "json"])
@pytest.mark.parametrize("named", [True, False])
def test_shards_are_the_data_of_their_folder(tmp_path, suffix, named):
    root, packed = varied(tmp_path / "photos"), tmp_path / "packed"
    packed.mkdir()
    if not named:
        (packed / "classes.txt").write_text("ant\nbee\n")
    for split in ("train", "val"):
        members = {}
        for number, path in enumerate(sorted((root / split).rglob("*.png"))):
            label = path.parent.name if named else ["ant", "bee"].index(path.parent.name)
            text = str(label) if suffix == "cls" else json.dumps({"label": label, "width": 4})
            members[f"{number:04d}.png"] = path.read_bytes()
            members[f"{number:04d}.{suffix}"] = text.encode()
        half = dict(list(members.items())[:6]), dict(list(members.items())[6:])
        for number, part in enumerate(half):
            tar_of(packed / f"{split}-{number:06d}.tar", part)
    data, same = shards(packed), find(root)
    assert (data.digest, data.classes) == (same.digest, same.classes)
    assert data.train.paths[3] == f"{packed}/train-000001.tar/0003.png"
    assert torch.equal(data.train.image(3), same.train.image(3))


def test_other_members_are_counted_and_a_sample_without_an_image_is_none(tmp_path):
    members = {**sample("a", 0), "a.txt": b"a cat", "c.cls": b"0", **sample("dir/a", 1)}
    data = shards(both(tmp_path, members))
    assert data.train.labels.tolist() == [0, 1]
    assert data.listings["train"].ignored == {".txt": 1}


def test_one_of_several_images_and_labels_is_chosen_by_its_suffix(tmp_path):
    members = {**sample("a", 0), **sample("b", 1)}
    members |= {f"{key}.{suffix}": png([[9]]) for key in "ab" for suffix in ("seg.png", "jpg")}
    with pytest.raises(DataError, match=r"'a' has several images \('png', 'seg\.png', 'jpg'\): name the suffix"):
        shards(both(tmp_path, members))
    tar_of(tmp_path / "val-0.tar", members)
    assert shards(tmp_path, image_suffix="seg.png").train.image(0).unique().tolist() == [9]
    assert shards(tmp_path, image_suffix=".png", label_suffix=".cls").train.image(0).unique().tolist() == [0]


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"a.png": b"", **sample("b", 1)}, r"1 images have no label \('a'\): each needs a member KEY\.cls or"),
        (sample("a", b""), r"train-000\.tar/a\.cls holds no label \(neither a name nor a number\)"),
        (sample("a", b"\xff"), r"a\.cls holds no label \('utf-8'"),
        (sample("a", b"[1]", "json"), r"a\.json holds no label \(no 'label' in it\)"),
        (sample("a", b'{"x": 1}', "json"), r"a\.json holds no label \(no 'label' in it\)"),
        (sample("a", b'{"label": [1]}', "json"), r"neither a name nor a number"),
        (sample("a", b'{"label": true}', "json"), r"neither a name nor a number"),
        (sample("a", b"[" * 100_000, "json"), r"a\.json holds no label"),
        (sample("a", b"x" * 2**21), r"2,097,152 bytes, too many for a label"),
        ({"a.txt": b""}, r"train-000\.tar and the 0 shards after it hold no images"),
    ],
)  # fmt: skip
def test_a_wrong_sample_is_one_line_that_names_it(tmp_path, members, message):
    with pytest.raises(DataError, match=message) as caught:
        shards(both(tmp_path, members))
    assert str(caught.value).isprintable()


def test_names_of_numbered_classes_must_be_whole(tmp_path):
    both(tmp_path, {**sample("a", 0), **sample("b", 2)})
    (tmp_path / "classes.txt").write_text("ant\nbee\n\n")
    with pytest.raises(DataError, match=r"1 of its labels are no classes of the training images \('2'\)"):
        shards(tmp_path)
    (tmp_path / "classes.txt").write_text("ant\n\nbee\n")
    with pytest.raises(DataError, match=r"classes\.txt: must have a name for each class, a line each"):
        shards(tmp_path)


def test_a_folder_without_shards_and_a_compressed_shard_are_refused(tmp_path):
    with pytest.raises(DataError, match="has no tar archives"):
        shards(tmp_path)
    both(tmp_path, sample("a", 0))
    (tmp_path / "train-001.tar.gz").write_bytes(b"\x1f\x8b" + bytes(600))
    with pytest.raises(DataError, match=r"train-001\.tar\.gz is compressed as a whole.*: type gzip -dk"):
        shards(tmp_path)
    with pytest.raises(DataError, match=r"data\.root is not set"):
        find_dataset(dataset_settings("webdataset"))
