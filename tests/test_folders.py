"""Paths as users type them, and the folder of the cache."""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from bagoftricks import folders
from bagoftricks.errors import DataError, UserError
from bagoftricks.folders import cache_folder, local_folder, local_path

PASSWD_WITHOUT_US = """
import os, pwd, sys
def nobody(uid): raise KeyError(uid)
pwd.getpwuid = nobody
from bagoftricks.folders import cache_folder
print(cache_folder()); print(cache_folder())
"""


def in_a_container(tmp_path, code=PASSWD_WITHOUT_US, **variables):
    """A process of a user without a home and without an entry in the table of users."""
    kept = {k: v for k, v in os.environ.items() if k not in ("HOME", "XDG_CACHE_HOME")}
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**kept, "TMPDIR": str(tmp_path), **variables},
        capture_output=True,
        text=True,
        check=True,
    )


@pytest.mark.parametrize("more", ["", pytest.param("import bagoftricks.data", marks=pytest.mark.slow)])
def test_without_a_home_the_cache_is_a_temporary_folder_said_once(tmp_path, more):
    done = in_a_container(tmp_path, PASSWD_WITHOUT_US + more, XDG_CACHE_HOME="relative")
    folder = tmp_path / f"bagoftricks-{os.getuid()}"
    assert done.stdout.split() == [str(folder)] * 2
    assert done.stderr.count("no home folder") == 1
    assert folder.stat().st_mode & 0o777 == 0o700
    done = in_a_container(tmp_path, XDG_CACHE_HOME=str(tmp_path / "kept"))
    assert (done.stdout.split()[0], done.stderr) == (str(tmp_path / "kept" / "bagoftricks"), "")


def test_another_users_temporary_folder_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    (tmp_path / "bagoftricks-12345").mkdir()
    monkeypatch.setattr(os, "getuid", lambda: 12345)
    with pytest.raises(UserError, match="is another user's: name a folder for the cache with the variable XDG_CACHE"):
        folders._temporary_cache.__wrapped__()


@pytest.mark.parametrize("unset", ["", "cache", "./cache"])
def test_an_empty_or_relative_xdg_cache_home_counts_as_unset(tmp_path, monkeypatch, unset):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", unset)
    assert cache_folder() == tmp_path / ".cache" / "bagoftricks"


@pytest.mark.parametrize(
    "address", ["s3://bucket/runs", "gs://b", "https://host/a.pth", "file:///data/x", "hdfs://n/x"]
)
def test_an_address_is_no_path(address, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=f"data.root={address}: is an address, .* copy or mount it"):
        local_path("data.root", address)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("path", "why"), [("", "is empty"), ("x" * 300, "is no path"), ("写" * 100, "is no path")])
def test_what_cannot_be_a_path_is_refused(path, why):
    with pytest.raises(UserError, match=why):
        local_path("data.root", path)


@pytest.mark.parametrize("path", ["写真", "a b'c", "caf\udce9", "s3:", "a:b", "$HOME", "[x", "~no_such_user/x"])
def test_any_other_text_is_a_path_letter_for_letter(path):
    assert local_path("data.root", path) == Path(path)


def test_a_file_where_a_folder_is_needed_is_named(tmp_path):
    (tmp_path / "photos.zip").touch()
    (tmp_path / "photo.jpg").touch()
    with pytest.raises(DataError, match=r"photos\.zip: is a file, not a folder: extract it, and name the folder"):
        local_folder("data.root", tmp_path / "photos.zip")
    with pytest.raises(DataError, match=r"photo\.jpg: is a file, not a folder$"):
        local_folder("data.root", tmp_path / "photo.jpg")
    with pytest.raises(DataError, match=r"no such folder; did you mean 'photos\.zip'\?"):
        local_folder("data.root", tmp_path / "photos")


def test_the_stamp_of_the_package_changes_with_any_of_its_files_and_with_nothing_else(tmp_path, monkeypatch):
    copy = tmp_path / "bagoftricks"
    shutil.copytree(Path(folders.__file__).parent, copy)
    monkeypatch.setattr(folders, "__file__", str(copy / "folders.py"))
    before = folders.package_stamp()
    (copy / "__pycache__").mkdir(exist_ok=True)
    (copy / "__pycache__" / "made.pyc").write_text("")
    assert folders.package_stamp() == before
    with (copy / "recipe" / "compose.py").open("a") as file:
        file.write("\n")
    assert folders.package_stamp() != before
