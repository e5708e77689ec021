"""Files that the settings of a run name, on a machine that has them and on one that lacks them."""

import os
from dataclasses import replace
from pathlib import Path

import pytest

from bagoftricks.engines.shipping import Shipped, digest_of_archive, pack_files, paths_of, placed, relocated
from bagoftricks.errors import UserError
from bagoftricks.settings import CorruptionSettings, Settings, dataset_settings


@pytest.fixture
def photos(tmp_path, monkeypatch):
    """A folder of images in the working folder, and settings that name it by its relative path."""
    monkeypatch.chdir(tmp_path)
    Path("photos/train/cat").mkdir(parents=True)
    Path("photos/train/cat/1.png").write_bytes(b"an image")
    return Settings(data=dataset_settings("imagefolder", root="photos"))


def shipped(settings):
    """All that the settings name, as archives in place of references to them."""
    found = {path: pack_files(path, None) for path in paths_of(settings)}
    return {path: Shipped(digest_of_archive(archive), [archive]) for path, archive in found.items()}


def test_paths_are_made_absolute_and_nothing_else_is_changed(photos, tmp_path):
    there = relocated(photos, os.path.abspath)
    assert there.data.root == str(tmp_path / "photos")
    assert replace(there, data=photos.data) == photos


def test_a_machine_that_has_the_path_uses_it(photos):
    there = relocated(photos, os.path.abspath)
    absent = {path: Shipped("", []) for path in paths_of(there)}
    assert placed(there, absent, "n", lambda archive: archive) == there


def test_a_machine_that_lacks_the_path_extracts_the_archive_once(photos, tmp_path):
    there = relocated(photos, os.path.abspath)
    parcels, fetched = shipped(there), []
    (tmp_path / "photos").rename(tmp_path / "elsewhere")

    def get(archive):
        fetched.append(1)
        return archive

    roots = {placed(there, parcels, "n", get).data.root for _ in range(2)}
    (root,) = roots
    assert (Path(root) / "train/cat/1.png").read_bytes() == b"an image"
    assert fetched == [1]


def test_files_that_are_neither_there_nor_shipped_are_named(photos, tmp_path):
    there = relocated(photos, os.path.abspath)
    (tmp_path / "photos").rename(tmp_path / "elsewhere")
    with pytest.raises(UserError, match=r"photos: is not on the node n: .*engine\.ship_data=true"):
        placed(there, {there.data.root: Shipped("", [])}, "n", lambda archive: archive)


def test_more_bytes_than_are_small_are_not_packed(photos):
    assert pack_files("photos", 7) is None
    assert pack_files("photos", 8) is not None


def test_weights_of_a_teacher_go_with_the_record_that_says_whose_they_are(tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    (run / "weights.safetensors").write_bytes(b"weights")
    (run / "record.json").write_text("{}")
    settings = Settings(tricks={"distill": {"teacher": f"file:{run}/weights.safetensors"}})
    parcels = shipped(settings)
    run.rename(tmp_path / "elsewhere")
    source = placed(settings, parcels, "n", lambda archive: archive).tricks["distill"]["teacher"]
    here = Path(source.removeprefix("file:"))
    assert here.read_bytes() == b"weights"
    assert here.with_name("record.json").read_text() == "{}"


def test_a_stored_set_of_corrupted_images_is_a_path_too(tmp_path):
    settings = Settings(corruptions=CorruptionSettings(protocol="cifar10_c", stored=str(tmp_path)))
    assert paths_of(settings) == [str(tmp_path)]


def test_a_list_without_a_root_is_read_from_its_own_folder(tmp_path):
    (tmp_path / "list.csv").write_text("path,label\n")
    settings = Settings(data=dataset_settings("list", file=str(tmp_path / "list.csv")))
    assert sorted(paths_of(settings)) == [str(tmp_path), str(tmp_path / "list.csv")]
