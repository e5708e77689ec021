"""Data sets of Hugging Face's library from local files: the library writes them and says what they hold."""

import json
import os
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from bagoftricks.data import arrow
from bagoftricks.data.containers import span_bytes
from bagoftricks.data.finding import find_dataset
from bagoftricks.errors import DataError, UserError
from bagoftricks.settings import dataset_settings
from tests.data.test_digests import varied
from tests.data.test_listing import find

CLASSES = ["wasp", "ant", "bee"]  # in an order of their own


def found(root, **values):
    return find_dataset(dataset_settings("huggingface", root=str(root), **values))


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setattr(arrow, "cache_folder", lambda: tmp_path / "cache")
    return tmp_path / "cache" / "arrow"


@pytest.fixture
def photos(tmp_path):
    return varied(tmp_path / "photos")


def rows(root, split):
    files = sorted((root / split).rglob("*.png"))
    return [({"bytes": path.read_bytes(), "path": path.name}, path.parent.name) for path in files]


def metadata(**features):
    return {b"huggingface": json.dumps({"info": {"features": features}}).encode()}


IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
DECLARED = metadata(photo={"_type": "Image"}, kind={"_type": "ClassLabel", "names": CLASSES}, other={"_type": "Value"})


def table(some, *, declared=True, kind=IMAGE, labels=None):
    """A table as the library writes it; without what it declares, of another program."""
    images = [image if kind == IMAGE else image["bytes"] for image, _ in some]
    labels = [CLASSES.index(label) if declared else label for _, label in some] if labels is None else labels
    made = pa.table({"photo": pa.array(images, kind), "kind": labels, "other": [b"x"] * len(some)})
    if not declared:
        made = made.rename_columns(["photo", "label", "other"]).drop_columns(["other"])
    return made.replace_schema_metadata(DECLARED if declared else None)


def write_stream(file, made, **options):
    file.parent.mkdir(parents=True, exist_ok=True)
    with pa.ipc.new_stream(str(file), made.schema, options=pa.ipc.IpcWriteOptions(**options)) as writer:
        for start in range(0, max(len(made), 1), 2):  # several batches
            writer.write_table(made.slice(start, 2))


def write_file(file, made):
    with pa.ipc.new_file(str(file), made.schema) as writer:
        writer.write_table(made)


# --- as the library itself has it ---


@pytest.mark.slow
def test_what_the_library_saves_is_read_as_the_library_reads_it(photos, tmp_path, cache, monkeypatch):
    monkeypatch.setenv("HF_DATASETS_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    datasets = pytest.importorskip("datasets")
    datasets.disable_progress_bars()
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=CLASSES)})
    splits = {}
    for split, name in (("train", "train"), ("val", "validation")):
        images, labels = zip(*rows(photos, split), strict=True)
        columns = {"image": list(images), "label": list(labels)}
        splits[name] = datasets.Dataset.from_dict(columns, features=features)
    whole = datasets.DatasetDict(splits)
    whole.save_to_disk(tmp_path / "saved", num_shards={"train": 2, "validation": 1})
    for name, part in splits.items():
        part.to_parquet(tmp_path / "parquet" / f"{name}-00000-of-00001.parquet")
    read = datasets.load_from_disk(str(tmp_path / "saved"))
    for folder in ("saved", "parquet"):
        data = found(tmp_path / folder)
        assert data.classes == tuple(CLASSES)
        for ours, theirs in ((data.train, read["train"]), (data.val, read["validation"])):
            assert ours.labels.tolist() == theirs["label"]
            plain = theirs.cast_column("image", datasets.Image(decode=False))
            assert [bytes(ours.file(row).read()[1]) for row in range(6)] == [each["bytes"] for each in plain["image"]]
    selected = datasets.Dataset.from_dict({"image": list(images), "label": list(labels)}, features=features)
    selected.select([1, 0]).save_to_disk(tmp_path / "selected")
    assert len(found(tmp_path / "selected", holdout=0.5).train.labels) == 1


def test_a_number_is_the_place_of_its_class_even_where_classes_are_called_by_numbers(photos, tmp_path):
    feature = {"_type": "ClassLabel", "names": ["2", "0", "1"]}
    made = table(rows(photos, "train"), labels=[0, 0, 0, 1, 2, 2])
    write_stream(tmp_path / "train.arrow", made.replace_schema_metadata(metadata(kind=feature)))
    data = found(tmp_path / "train.arrow", holdout=0.5, image_column="photo")
    assert data.classes == ("2", "0", "1")
    assert sorted([*data.train.labels, *data.val.labels]) == [0, 0, 0, 1, 2, 2]
    feature["names"][0] = "7"
    beyond = table(rows(photos, "train"), labels=[0, 0, 0, 1, 2, 7])
    write_stream(tmp_path / "train.arrow", beyond.replace_schema_metadata(metadata(kind=feature)))
    with pytest.raises(DataError, match=r"1 of its labels are no classes .*\('7'\)"):
        found(tmp_path / "train.arrow", holdout=0.5, image_column="photo")
    feature["names"][0] = "0"
    write_stream(tmp_path / "train.arrow", made.replace_schema_metadata(metadata(kind=feature)))
    with pytest.raises(DataError, match="two classes have one name: '0', '0', '1'"):
        found(tmp_path / "train.arrow", holdout=0.5, image_column="photo")


# --- every form of the files ---


FORMS = {
    "stream": lambda file, made: write_stream(file.with_suffix(".arrow"), made),
    "compressed stream": lambda file, made: write_stream(file.with_suffix(".arrow"), made, compression="zstd"),
    "file": lambda file, made: write_file(file.with_suffix(".arrow"), made),
    "parquet": lambda file, made: pq.write_table(made, file.with_suffix(".parquet"), row_group_size=2),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("declared", [True, False])
@pytest.mark.parametrize("kind", [IMAGE, pa.binary(), pa.large_binary()], ids=str)
def test_every_form_of_a_file_has_the_images_of_the_folder(photos, tmp_path, cache, form, declared, kind):
    (tmp_path / "files").mkdir()
    for split, name in (("train", "train"), ("val", "test")):
        FORMS[form](
            tmp_path / "files" / f"{name}-00000-of-00001", table(rows(photos, split), declared=declared, kind=kind)
        )
    data, same = found(tmp_path / "files"), find(photos)
    assert data.classes == (tuple(CLASSES) if declared else same.classes)
    assert [data.classes[label] for label in data.train.labels] == ["ant"] * 3 + ["bee"] * 3
    for row in range(6):
        assert torch.equal(data.val.image(row), same.val.image(row))
    assert data.train.paths[4].endswith("/row 4")
    assert cache.exists() == (form in ("compressed stream", "parquet"))
    if not declared:
        assert data.digest == same.digest


def test_what_is_unpacked_into_the_cache_is_made_once_and_again_after_a_change(photos, tmp_path, cache, capsys):
    file = tmp_path / "photos.parquet"
    pq.write_table(table(rows(photos, "train")), file)
    digests = [found(file, holdout=0.5).digest for _ in range(2)]
    assert capsys.readouterr().err.count("its images are unpacked once into") == 1
    pq.write_table(table(rows(photos, "val")), file)
    digests.append(found(file, holdout=0.5).digest)
    assert digests[0] == digests[1] != digests[2]
    (made,) = cache.glob("*.arrow")
    made.write_bytes(b"damaged")
    assert found(file, holdout=0.5).digest == digests[2]


def test_a_cache_that_cannot_be_written_is_one_line(photos, tmp_path, cache):
    cache.parent.write_text("no folder")
    pq.write_table(table(rows(photos, "train")), tmp_path / "photos.parquet")
    with pytest.raises(UserError, match=r"\.arrow cannot be written \(.*\): make room there, or name another folder"):
        found(tmp_path / "photos.parquet", holdout=0.5)


def test_images_that_are_not_in_the_file_are_read_from_their_paths(photos, tmp_path):
    some = rows(photos, "train")
    images = [
        ({"bytes": None, "path": str(photos / "train" / label / image["path"])}, label) for image, label in some[:5]
    ]
    write_stream(tmp_path / "files" / "train.arrow", table([*images, some[5]]))
    data = found(tmp_path / "files", holdout=0.5)
    assert {*data.train.paths, *data.val.paths} == {
        *(image["path"] for image, _ in images), f"{tmp_path}/files/train.arrow/row 5"
    }  # fmt: skip
    assert find(photos).train.image(0).tolist() in [data.train.image(i).tolist() for i in range(3)] + [
        data.val.image(i).tolist() for i in range(3)
    ]
    os.remove(images[2][0]["path"])
    with pytest.raises(DataError, match=r"1 images are not in it and not there \('.*/2\.png'\)"):
        found(tmp_path / "files", holdout=0.5)


# --- the cache of the library ---


def test_the_id_of_a_data_set_finds_what_the_library_has_downloaded(photos, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    snapshot = tmp_path / "hub" / "datasets--me--photos" / "snapshots" / "abc"
    write_stream(snapshot / "data" / "train-0.arrow", table(rows(photos, "train")))
    (tmp_path / "hub" / "datasets--me--photos" / "refs").mkdir()
    (tmp_path / "hub" / "datasets--me--photos" / "refs" / "main").write_text("abc")
    folder = tmp_path / "datasets" / "you___photos" / "default" / "0.0.0" / "1f"
    write_stream(folder / "photos-train.arrow", table(rows(photos, "train")))
    write_stream(folder / "cache-123.arrow", table(rows(photos, "val")))  # of a map over the data set
    monkeypatch.chdir(tmp_path)
    for name in ("me/photos", "you/photos"):
        assert len(found(name, holdout=0.5).train.labels) == 3
    with pytest.raises(DataError, match=r"has no validation split: hold out a share"):
        found("you/photos")
    with pytest.raises(DataError, match=r"no data set of this id in .*: nothing is downloaded here; type hf download"):
        found("me/other")


def test_files_of_several_data_sets_are_refused(photos, tmp_path):
    for name in ("one", "two"):
        write_stream(tmp_path / "files" / name / "train.arrow", table(rows(photos, "train")))
    with pytest.raises(DataError, match=r"the split 'train' has files in 2 folders \('one', 'two'\): type data\.root="):
        found(tmp_path / "files")


# --- errors ---


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"image_column": "foto"}, r"data\.image_column=foto: .* no such column of images; did you mean 'photo'\?"),
        ({"label_column": "king"}, r"data\.label_column=king: .* did you mean 'kind'\?"),
        ({"val_split": "x"}, r"data\.val_split=x: .* has no such split \(it has 'train'\)"),
        ({"holdout": 0}, r"has no validation split: hold out a share with data\.holdout=0\.2"),
    ],
)
def test_a_wrong_setting_is_one_line_with_the_way_out(photos, tmp_path, values, message):
    write_stream(tmp_path / "files" / "train.arrow", table(rows(photos, "train")))
    with pytest.raises(DataError, match=message):
        found(tmp_path / "files", **{"holdout": 0.5, **values})


def test_several_columns_of_labels_and_secret_labels_are_refused(photos, tmp_path):
    some = rows(photos, "train")
    feature = {"_type": "ClassLabel", "names": CLASSES}
    made = table(some).replace_schema_metadata(metadata(photo={"_type": "Image"}, kind=feature, other=feature))
    write_stream(tmp_path / "files" / "train.arrow", made)
    with pytest.raises(
        DataError, match=r"several columns of labels \('kind', 'other'\): name one with data\.label_column="
    ):
        found(tmp_path / "files", holdout=0.5)
    for labels in ([-1] * 6, [0, 1, None, 0, 1, 1]):
        write_stream(tmp_path / "files" / "train.arrow", table(some, labels=labels))
        with pytest.raises(DataError, match=r"[16] of 6 images have no label"):
            found(tmp_path / "files", holdout=0.5)


@pytest.mark.parametrize(
    "state",
    ["[]", "{}", "{", '{"_data_files": 3}', '{"_data_files": [{}]}', '{"_data_files": [{"filename": "../x.arrow"}]}',
     '{"_data_files": [{"filename": "x.arrow"}], "_indices_data_files": ["i"]}', '{"_data_files": []}',
     '{"_data_files": [{"filename": "gone.arrow"}]}', "[" * 100_000],
)  # fmt: skip
def test_a_damaged_description_is_one_line(tmp_path, state):
    (tmp_path / "state.json").write_text(state)
    with pytest.raises(DataError) as caught:
        found(tmp_path, holdout=0.5)
    assert str(caught.value).isprintable()
    (tmp_path / "dataset_dict.json").write_text('{"splits": ["../other"]}')
    with pytest.raises(
        DataError, match=r"dataset_dict\.json cannot be read \(it must name files or folders next to it\)"
    ):
        found(tmp_path)


@pytest.mark.parametrize("form", FORMS)
def test_any_damage_is_one_line_or_images_within_the_file(photos, tmp_path, cache, form):
    (tmp_path / "files").mkdir()
    FORMS[form](tmp_path / "files" / "train", table(rows(photos, "train")))
    (file,) = (tmp_path / "files").iterdir()
    data, outcomes = file.read_bytes(), set()
    for at in range(0, len(data), max(len(data) // 60, 1)):
        for damaged in (data[:at], data[:at] + bytes([data[at] ^ 0xFF]) + data[at + 1 :]):
            file.write_bytes(damaged)
            try:
                made = found(tmp_path / "files", holdout=0.5)
            except UserError as error:
                outcomes.add("error")
                assert str(error).isprintable()  # noqa: PT017
                continue
            outcomes.add("data")
            for place in made.train.places():
                assert isinstance(place, str) or len(span_bytes(place)) == place.size
    assert outcomes == {"error", "data"}


def test_without_pyarrow_the_extra_is_named(tmp_path, monkeypatch):
    (tmp_path / "train.arrow").write_bytes(b"x")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(UserError, match=r"pyarrow, which is not installed: type pip install 'bagoftricks\[datasets\]'"):
        found(tmp_path, holdout=0.5)


def test_a_folder_without_such_files_is_named(tmp_path):
    with pytest.raises(DataError, match="has no Arrow or Parquet files: name the folder of save_to_disk"):
        found(tmp_path)
    with pytest.raises(DataError, match=r"data\.root is not set: type data\.root=FOLDER"):
        find_dataset(dataset_settings("huggingface"))
