"""Zip and tar archives: the same data as the unpacked folder, and every hostile or damaged one refused by name."""

import io
import os
import struct
import tarfile
import threading
import zipfile
import zlib

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bagoftricks.data import archives, containers
from bagoftricks.data.archives import inside_name, read_archive
from bagoftricks.data.cache import cached
from bagoftricks.data.containers import NO_CHECKSUM, Container, Span, open_container, span_bytes
from bagoftricks.data.decode import decode
from bagoftricks.data.finding import find_dataset
from bagoftricks.data.image_file import ImageFile
from bagoftricks.errors import DataError, VanishedError
from bagoftricks.run.identity import run_id, run_identity
from bagoftricks.settings import Settings, dataset_settings
from tests.data.test_digests import varied
from tests.data.test_listing import find, image
from tests.pictures import png


def zipped(root, archive, inside="", method=zipfile.ZIP_STORED):
    with zipfile.ZipFile(archive, "w", method) as made:
        for path in sorted(root.rglob("*"), reverse=True):  # in another order than the folder's
            made.write(path, f"{inside}{path.relative_to(root)}")
    return archive


def tarred(root, archive, inside=""):
    with tarfile.open(archive, "w") as made:
        for path in sorted(root.rglob("*"), reverse=True):
            made.add(path, f"{inside}{path.relative_to(root)}", recursive=False)
    return archive


def deflated(root, archive, inside=""):
    return zipped(root, archive, inside, zipfile.ZIP_DEFLATED)


def zip_of(archive, members):
    with zipfile.ZipFile(archive, "w") as made:
        for name, data in members.items():
            made.writestr(name, data)
    return archive


def tar_of(archive, members):
    with tarfile.open(archive, "w") as made:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            made.addfile(info, io.BytesIO(data))
    return archive


def id_of(root, **values):
    chosen = Settings(data=dataset_settings("imagefolder", root=str(root), **values))
    data = find_dataset(chosen.data)
    return run_id(run_identity(chosen, {}, data.digest, len(data.classes)))


def images_of(split):
    return [split.image(row) for row in range(len(split.labels))]


PACKERS = {"zip": zipped, "deflated.zip": deflated, "tar": tarred}
Names = st.text(
    st.characters(codec="utf-8", exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=6
)
Paths = st.lists(
    st.tuples(st.sampled_from(["ant", "bee", "ant.b", "été"]), st.lists(Names, max_size=2), Names), max_size=8
)


# --- the same data ---


@pytest.mark.parametrize("kind", PACKERS)
@settings(max_examples=20)
@example(paths=[("cow", [], ".")], holdout=0.0, wrapped=False)  # an empty folder
@given(paths=Paths, holdout=st.sampled_from([0.0, 0.3]), wrapped=st.booleans())
def test_an_archive_is_the_same_data_and_the_same_run_as_its_folder(tmp_path_factory, kind, paths, holdout, wrapped):
    root = varied(tmp_path_factory.mktemp("folder"))
    for number, (name, folders, file) in enumerate(paths):
        folder = root / "train" / name
        for each in folders:
            folder /= f"{each}_"
        folder.mkdir(parents=True, exist_ok=True)
        if not {file, *folders} & {".", ".."}:
            (folder / f"{file}.png").write_bytes(png([[number]]))
    archive = PACKERS[kind](root, tmp_path_factory.mktemp("archive") / f"photos.{kind}", "photos/" * wrapped)

    def described(where):
        try:
            return find(where, holdout=holdout)
        except DataError as error:
            return str(error).replace(str(where), "").replace("/photos", "")

    here, there = described(root), described(archive)
    if isinstance(here, str):
        assert there == here
        return
    assert (there.classes, there.digest) == (here.classes, here.digest)
    assert id_of(archive, holdout=holdout) == id_of(root, holdout=holdout)
    for one, other in ((here.train, there.train), (here.val, there.val)):
        assert one.labels.tolist() == other.labels.tolist()
        assert all(torch.equal(a, b) for a, b in zip(images_of(one), images_of(other), strict=True))


@pytest.mark.parametrize("kind", PACKERS)
def test_a_split_may_be_an_archive_and_a_root_may_lie_in_one(tmp_path, kind):
    root = varied(tmp_path / "photos")
    (tmp_path / "packed").mkdir()
    for split in ("train", "val"):
        PACKERS[kind](root / split, tmp_path / "packed" / f"{split}.{kind[-3:]}")
    whole = PACKERS[kind](root, tmp_path / "whole.archive")  # its bytes say what it is
    digest = find(root).digest
    assert find(tmp_path / "packed").digest == digest
    assert find(f"{whole}/train", val_root=f"{whole}/val").digest == digest
    with pytest.raises(
        DataError, match=r"data\.root=.*: .*whole\.archive has no folder 'trian'; did you mean 'train'\?"
    ):
        find(f"{whole}/trian")
    with pytest.raises(DataError, match=r"whole\.archive/val: shares images with the training folder"):
        find(f"{whole}/val", val_root=f"{whole}/val")


def test_a_folder_that_has_an_archive_alone_says_what_to_type(tmp_path):
    zipped(varied(tmp_path / "unpacked"), tmp_path / "photos.zip")
    (tmp_path / "only").mkdir()
    (tmp_path / "photos.zip").rename(tmp_path / "only" / "photos.zip")
    with pytest.raises(DataError, match=r"only has no folders, but 'photos\.zip': type data\.root= with the archive"):
        find(tmp_path / "only")


def test_images_are_named_by_archive_and_member(tmp_path):
    root = varied(tmp_path / "photos")
    (root / "train" / "ant" / "0.png").write_bytes(b"none")
    archive = zipped(root, tmp_path / "photos.zip")
    split = find(archive).train
    assert split.paths[0] == f"{archive}/train/ant/0.png"
    with pytest.raises(DataError, match=r"photos\.zip/train/ant/0\.png cannot be read as an image \(its first bytes"):
        split.image(0)


@pytest.mark.parametrize("kind", PACKERS)
def test_a_limit_of_pixels_and_a_cache_hold_for_members(tmp_path, kind, monkeypatch):
    archive = PACKERS[kind](varied(tmp_path / "photos"), tmp_path / "photos.archive")
    with pytest.raises(DataError, match=r"16 pixels, more than data\.max_pixels=15"):
        find(archive, max_pixels=15).train.image(0)
    split = find(archive).train
    kept = cached(split, "ram")
    first = kept.image(1)
    monkeypatch.setattr("bagoftricks.data.sources.decode", None)
    assert torch.equal(kept.image(1), first)


def test_threads_read_one_archive_at_once(tmp_path):
    split = find(zipped(varied(tmp_path / "photos"), tmp_path / "photos.zip")).train
    right, wrong = [split.file(row).read() for row in range(6)], []

    def read():
        wrong.extend(turn for turn in range(300) if split.file(turn % 6).read() != right[turn % 6])

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


# --- what is remembered ---


@pytest.fixture
def settled(monkeypatch):
    monkeypatch.setattr(containers, "TICK", -(10**12))


@pytest.mark.usefixtures("settled")
@pytest.mark.parametrize("damage", [None, "flip", "cut"])
def test_headers_are_read_once_and_again_where_the_memory_is_damaged(tmp_path, monkeypatch, damage):
    monkeypatch.setattr(archives, "cache_folder", lambda: tmp_path / "cache")
    archive = tar_of(tmp_path / "a.tar", {"caf\udce9.png": b"x", "b\n.png": b"yy", "../c": b""})
    first = read_archive(str(archive))
    (index,) = (tmp_path / "cache" / "archives").glob("*.safetensors")
    data = bytearray(index.read_bytes())
    data[-1] ^= damage == "flip"
    index.write_bytes(data[:-1] if damage == "cut" else data)
    reads, plain = [], archives._read_tar
    monkeypatch.setattr(archives, "_read_tar", lambda *given: reads.append(1) or plain(*given))
    again = read_archive(str(archive))
    assert len(reads) == bool(damage)
    assert (again.names, again.table.tolist()) == (first.names, first.table.tolist())
    assert (again.names, again.left_out) == (["caf\udce9.png", "b\n.png"], {archives.OUTSIDE: 1})
    tar_of(archive, {"other.png": b"z"})
    assert read_archive(str(archive)).names == ["other.png"]


@pytest.mark.usefixtures("settled")
@pytest.mark.parametrize("kind", PACKERS)
def test_the_contents_of_members_are_read_once(tmp_path, kind, monkeypatch):
    root = varied(tmp_path / "photos")
    digest, archive = find(root).digest, PACKERS[kind](root, tmp_path / "photos.archive")
    assert find(archive).digest == digest
    monkeypatch.setattr("bagoftricks.data.digests.span_blocks", None)
    assert find(archive).digest == digest


def test_an_archive_that_changes_while_it_is_used_is_never_skipped(tmp_path):
    split = find(zipped(varied(tmp_path / "photos"), tmp_path / "photos.zip")).train
    containers._opened.cache_clear()
    os.utime(tmp_path / "photos.zip", ns=(5, 5))
    with pytest.raises(VanishedError, match=r"photos\.zip was changed while it was in use"):
        split.image(0)
    os.remove(tmp_path / "photos.zip")
    with pytest.raises(VanishedError, match=r"photos\.zip/train/ant/0\.png has vanished"):
        split.image(0)


# --- hostile and damaged archives ---


def test_names_lead_nowhere_else():
    for name in ("/etc/a.png", "../a.png", "a/../../b.png", "", "./", "a\0.png", "x" * 5000):
        assert inside_name(name) is None
    assert inside_name("./a//b/./c.png") == "a/b/c.png"


@pytest.mark.parametrize("make", [zip_of, tar_of])
def test_junk_strangers_and_names_that_lead_out_are_left_out_and_counted(tmp_path, make):
    good = {f"{split}/{name}/0.png": png([[i]]) for i, split in enumerate(("train", "val")) for name in ("ant", "bee")}
    bad = {"../train/ant/9.png": png([[9]]), "/train/ant/8.png": png([[9]]), "__MACOSX/train/ant/._0.png": b"junk"}
    data = find(make(tmp_path / "photos.archive", {**bad, **good, "train/notes.txt": b"", "train/ant/.DS_Store": b""}))
    assert len(data.train.labels) == 2
    assert data.listings["train"].ignored == {".txt": 1}
    assert data.listings["train"].junk == {".DS_Store": 1}
    assert f"{tmp_path}/photos.archive: left out 2 with paths outside of the archive" in data.warnings


@pytest.mark.parametrize("make", [zip_of, tar_of])
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_of_two_members_of_one_name_the_last_counts(tmp_path, make):
    members = {f"{split}/{name}/0.png": png([[5]]) for split in ("train", "val") for name in ("ant", "bee")}
    archive = make(tmp_path / "photos.archive", members)
    with (zipfile.ZipFile if make is zip_of else tarfile.open)(archive, "a") as made:
        if make is zip_of:
            made.writestr("train/ant/0.png", png([[7]]))
        else:
            (tmp_path / "0.png").write_bytes(png([[7]]))
            made.add(tmp_path / "0.png", "train/ant/0.png")
    data = find(archive)
    assert (data.train.image(0) == 7).all()
    assert any("1 names occur twice: the last counts" in warning for warning in data.warnings)


def test_links_in_a_tar_archive_hard_ones_are_files(tmp_path):
    root = varied(tmp_path / "photos")
    os.link(root / "train" / "ant" / "0.png", root / "train" / "ant" / "9.png")
    (root / "train" / "ant" / "link.png").symlink_to("0.png")
    data = find(tarred(root, tmp_path / "photos.tar"))
    assert len(data.train.labels) == 7
    assert f"{tmp_path}/photos.tar: left out 1 links" in data.warnings


def test_a_zip_archive_with_what_is_not_read_is_refused_by_the_members_name(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_BZIP2) as made:
        made.writestr("ant/0.png", b"x")
    with pytest.raises(DataError, match=r"a\.zip/ant/0\.png is compressed with bzip2, and only stored and deflated"):
        read_archive(str(tmp_path / "a.zip"))
    data = bytearray(zip_of(tmp_path / "b.zip", {"ant/0.png": b"x"}).read_bytes())
    data[data.index(b"PK\x01\x02") + 8] |= 1
    (tmp_path / "b.zip").write_bytes(data)
    with pytest.raises(DataError, match=r"b\.zip/ant/0\.png is encrypted: extract"):
        read_archive(str(tmp_path / "b.zip"))


@pytest.mark.parametrize(("mode", "command"), [("w:gz", "gzip -dk"), ("w:bz2", "bzip2 -dk"), ("w:xz", "xz -dk")])
def test_an_archive_that_is_compressed_as_a_whole_is_refused_with_what_to_type(tmp_path, mode, command):
    with tarfile.open(tmp_path / "photos.tar.gz", mode) as made:
        made.add(tmp_path, "x")
    with pytest.raises(DataError, match=rf"compressed as a whole.*: type {command} .*photos\.tar\.gz first"):
        find(tmp_path / "photos.tar.gz")


def test_a_bomb_that_declares_less_than_it_holds_is_not_inflated(tmp_path, monkeypatch):
    raw = zlib.compress(bytes(20 * 2**20), 9)[2:-4]
    path = tmp_path / "bomb"
    path.write_bytes(raw)
    made = []
    inflated = containers._inflated
    monkeypatch.setattr(containers, "_inflated", lambda raws: (made.append(len(b)) or b for b in inflated(raws)))
    with pytest.raises(ValueError, match="declares 100 bytes and holds more"):
        span_bytes(Span(open_container(str(path)), 0, len(raw), 100, deflated=True))
    assert sum(made) <= containers.READ_BYTES
    large = ImageFile("a", span=Span(open_container(str(path)), 0, len(raw), 2**31, deflated=True))
    with pytest.raises(DataError, match="2,147,483,648 bytes, too many for an image"):
        large.read()


def test_members_that_overlap_are_refused(tmp_path):
    path = zip_of(tmp_path / "a.zip", {"ant/0.png": b"x" * 50, "ant/1.png": b"y" * 50})
    data = bytearray(path.read_bytes())
    second = data.rindex(b"PK\x01\x02")
    data[second + 42 : second + 46] = struct.pack("<I", 10)  # its header lies in the first member
    data[10:14] = b"PK\x03\x04"
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"a\.zip.*"):
        read_archive(str(path))
    first = data.index(b"PK\x01\x02")
    data[second + 42 : second + 46] = data[first + 42 : first + 46]
    data[first + 20 : first + 24] = struct.pack("<I", 40)
    path.write_bytes(data)
    with pytest.raises(DataError, match="members overlap, as in a zip bomb"):
        read_archive(str(path))


def test_a_damaged_member_is_a_broken_image(tmp_path):
    path = zip_of(tmp_path / "a.zip", {"ant/0.png": png([[7]])})
    data = path.read_bytes()
    path.write_bytes(data.replace(b"IDAT", b"IDAX", 1))
    archive = read_archive(str(path))
    span = archive.spans(np.array([0]))[0]
    with pytest.raises(DataError, match=r"\(damaged: it is not what the archive's checksum says\): remove it, or set"):
        decode(ImageFile("a.zip/ant/0.png", span=span))


@given(st.data())
def test_any_damage_of_an_archive_is_an_error_or_an_index(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("damaged")
    make = data.draw(st.sampled_from([zip_of, tar_of]))
    path = make(folder / "a", {"ant/0.png": b"x" * 30, "ant/ü.png": b"", f"bee/{'n' * 120}.png": b"y" * 600})
    whole = bytearray(path.read_bytes())
    for at, value in data.draw(st.lists(st.tuples(st.integers(0, len(whole) - 1), st.integers(0, 255)), max_size=6)):
        whole[at] = value
    path.write_bytes(whole[: data.draw(st.sampled_from([len(whole), *range(0, len(whole), 97)]))])
    try:
        archive = read_archive(str(path))
    except DataError:
        return
    for row in range(len(archive.names)):
        span = archive.spans(np.arange(len(archive.names)))[row]
        try:
            assert len(span_bytes(span)) == span.size
        except ValueError:
            continue


def test_a_tar_archive_that_is_cut_at_a_members_border_is_refused(tmp_path):
    data = tar_of(tmp_path / "a.tar", {"ant/0.png": b"x" * 512, "ant/1.png": b"y" * 512}).read_bytes()
    (tmp_path / "a.tar").write_bytes(data[:1024])
    with pytest.raises(DataError, match=r"a\.tar cannot be read as a zip or tar archive \(cut short or damaged"):
        read_archive(str(tmp_path / "a.tar"))
    (tmp_path / "a.tar").write_bytes(data[:1024] + b"junk" * 128 + data[1536:])
    with pytest.raises(DataError, match=r"cut short or damaged at byte 1,024"):
        read_archive(str(tmp_path / "a.tar"))


@pytest.mark.parametrize("what", ["pipe", "text", "empty"])
def test_what_is_no_archive_is_refused_and_not_waited_for(tmp_path, what):
    path = tmp_path / "photos.zip"
    if what == "pipe":
        os.mkfifo(path)
    else:
        path.write_bytes(b"no archive" if what == "text" else b"")
    with pytest.raises(DataError, match=r"photos\.zip"):
        find(path)


def test_a_span_that_ends_beyond_its_container_is_an_error(tmp_path):
    (tmp_path / "a").write_bytes(b"12345")
    with pytest.raises(ValueError, match="the archive ends within it"):
        span_bytes(Span(open_container(str(tmp_path / "a")), 3, 5, 5, deflated=False, checksum=NO_CHECKSUM))
    with pytest.raises(OSError, match="No such file"):
        span_bytes(Span(Container(str(tmp_path / "b"), b"", 0), 3, 5, 5))


def test_an_image_next_to_the_classes_is_counted(tmp_path):
    root = varied(tmp_path / "photos")
    image(root / "train" / "stray.png")
    assert find(zipped(root, tmp_path / "a.zip")).listings["train"].stray == 1
