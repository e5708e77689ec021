"""Lists of images in CSV, TSV and Parquet: every row is an image with a label, or an error that names its line."""

import csv
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bagoftricks.data.finding import find_dataset
from bagoftricks.data.labelled import choose_splits, files_by_split, sorted_classes
from bagoftricks.errors import DataError, UserError
from bagoftricks.run.identity import run_id, run_identity
from bagoftricks.settings import Settings, dataset_settings
from bagoftricks.testing import check_dataset
from tests.data.test_archives import tar_of, zipped
from tests.data.test_digests import varied
from tests.data.test_listing import find

HEADER = ["path", "label", "split"]


def listed(file, **values):
    return find_dataset(dataset_settings("list", file=str(file), **values))


def rows_of(root):
    return [[str(p.relative_to(root)), p.parent.name, p.parent.parent.name] for p in sorted(root.rglob("*.png"))]


def write(file, rows, header=HEADER, delimiter=",", encoding="utf-8"):
    with open(file, "w", newline="", encoding=encoding) as opened:
        writer = csv.writer(opened, delimiter=delimiter)
        writer.writerows([header, *rows])
    return file


def write_parquet(file, rows, header=HEADER):
    pq.write_table(pa.table({name: [row[i] for row in rows] for i, name in enumerate(header)}), file)
    return file


@pytest.fixture
def root(tmp_path):
    return varied(tmp_path / "photos")


# --- the same data in every form ---


@pytest.mark.parametrize("form", ["csv", "tsv", "semicolons", "bom", "parquet", "archive", "absolute"])
def test_every_form_of_a_list_is_the_data_of_the_folder(root, tmp_path, form):
    rows, root_of = rows_of(root), {}
    if form == "parquet":
        file = write_parquet(root / "list", rows)
    elif form == "archive":
        file = write(tmp_path / "list.csv", rows)
        root_of = {"root": str(zipped(root, tmp_path / "photos.zip"))}
    elif form == "absolute":
        file = write(tmp_path / "list.csv", [[str(root / path), *rest] for path, *rest in rows])
    else:
        delimiter = {"tsv": "\t", "semicolons": ";"}.get(form, ",")
        file = write(root / "list", rows, delimiter=delimiter, encoding="utf-8-sig" if form == "bom" else "utf-8")
    data, same = listed(file, **root_of), find(root)
    assert (data.digest, data.classes) == (same.digest, same.classes)
    assert torch.equal(data.val.image(4), same.val.image(4))


def test_where_and_how_the_images_are_listed_is_in_no_id(root, tmp_path):
    def id_of(file, **values):
        settings = Settings(data=dataset_settings("list", file=str(file), **values))
        return run_id(run_identity(settings, {}, find_dataset(settings.data).digest, 2))

    plain = id_of(write(root / "list.csv", rows_of(root)))
    renamed = [[path, name, {"train": "1", "val": "0"}[split]] for path, name, split in rows_of(root)]
    file = write(tmp_path / "other.csv", renamed, ["wo", "was", "welche"])
    typed = {"path_column": "wo", "label_column": "was", "split_column": "welche", "train_split": "1", "val_split": "0"}
    assert id_of(file, root=str(root), **typed) == plain


def test_labels_that_are_all_numbers_are_sorted_by_their_size(root):
    rows = [[path, {"ant": "10", "bee": "9"}[name], split] for path, name, split in rows_of(root)]
    data = listed(write(root / "list.csv", rows))
    assert data.classes == ("9", "10")
    assert data.train.labels.tolist() == [1, 1, 1, 0, 0, 0]
    assert sorted_classes(["10", "9", "x"]) == ["10", "9", "x"]
    assert sorted_classes(["07", "7"]) == ["07", "7"]


def test_columns_have_their_usual_names_in_any_case(root):
    rows = [[i, *row] for i, row in enumerate(rows_of(root))]
    assert len(listed(write(root / "list.csv", rows, ["id", "File_Name", "Category", "subset"])).train.labels) == 6


def test_without_a_column_of_splits_a_share_is_held_out(root):
    rows = [row[:2] for row in rows_of(root)]
    file = write(root / "list.csv", rows, HEADER[:2])
    with pytest.raises(
        DataError, match=r"has no column of splits \(its columns: 'path', 'label'\): hold out a share with"
    ):
        listed(file)
    data = listed(file, holdout=0.25)
    assert (len(data.train.labels), len(data.val.labels)) == (9, 3)


def test_rows_of_a_third_split_are_counted(root):
    rows = rows_of(root)
    rows[0][2] = "test"
    data = listed(write(root / "list.csv", rows))
    assert len(data.train.labels) + len(data.val.labels) == 11
    assert data.warnings == (f"{root}/list.csv: 1 rows of the split 'test' are not used",)


def test_data_with_labels_of_their_own_keep_the_contract_of_data_sets(root, tmp_path):
    check_dataset("list", file=str(write(root / "list.csv", rows_of(root))))
    for split, name in (("train", "train"), ("val", "val")):
        some = [(root / path, label) for path, label, of in rows_of(root) if of == split]
        images = [path.read_bytes() for path, _ in some]
        table = pa.table({"image": pa.array(images, pa.binary()), "label": [label for _, label in some]})
        pq.write_table(table, tmp_path / f"{name}.parquet")
        members = {f"{i}.{suffix}": value for i, (path, label) in enumerate(some)
                   for suffix, value in (("png", path.read_bytes()), ("cls", label.encode()))}  # fmt: skip
        tar_of(tmp_path / f"{name}-0.tar", members)
    check_dataset("huggingface", root=str(tmp_path))
    check_dataset("webdataset", root=str(tmp_path))


# --- errors ---


def changed(line, column, value):
    def change(rows):
        rows[line][column] = value

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (changed(1, 1, ""), r"line 3: has no label: correct the line, or remove it"),
        (changed(2, 0, " "), r"line 4: has no path"),
        (changed(3, 2, "trian"), r"line 5: the split 'trian' is unknown; did you mean 'train'\?; correct it"),
        (changed(3, 0, "train/ant/../ant/0.png"), r"line 5: 'train/ant/\.\./ant/0\.png' stands in line 2 too"),
        (changed(4, 0, "gone.png"), r"1 of 6 files are not in .*photos: 'gone\.png' \(line 6\); correct the paths"),
        (changed(11, 1, "aunt"), r"1 of its labels are no classes .* \('aunt'\); did you mean 'ant'"),
        (lambda rows: rows[5].append("x"), r"line 7: has 4 values, the first line 3"),
        (lambda rows: rows.clear(), r"list\.csv has no rows"),
    ],
)  # fmt: skip
def test_a_wrong_row_is_one_line_that_names_it(root, change, message):
    rows = rows_of(root)
    change(rows)
    with pytest.raises(DataError, match=message) as caught:
        listed(write(root / "list.csv", rows))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"path_column": "pth"}, r"data\.path_column=pth: .*list\.csv has no such column; did you mean 'path'\?"),
        ({"val_split": "vall"}, r"data\.val_split=vall: .* has no such split; did you mean 'val'\?"),
        ({"root": "{}/train"}, r"12 of 12|6 of 6 files are not in .*photos/train"),
    ],
)
def test_a_wrong_setting_is_one_line_with_the_way_out(root, values, message):
    file = write(root / "list.csv", rows_of(root))
    with pytest.raises(DataError, match=message):
        listed(file, **{name: value.format(root) for name, value in values.items()})


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "has no column of paths"),
        (b"a.jpg,cat\n", "no column of paths .*: write a first line such as path,label,split"),
        (
            b"path,name\na.jpg,x\n",
            r"no column of labels \(its columns: 'path', 'name'\): name it with data\.label_column=",
        ),
        (b'path,label\n"a.jpg,x\n', r"cannot be read \(unexpected end of data\)"),
        (b"path,label\n\xff,x\n", r"cannot be read \('utf-8' codec.*: save it as CSV in UTF-8"),
        (b"path,label\n" + b"x" * 200_000 + b",x\n", "field larger than field limit"),
        (b"PAR1 and so on", r"list cannot be read \("),
    ],
)
def test_what_is_no_list_is_one_line(tmp_path, data, message):
    (tmp_path / "list").write_bytes(data)
    with pytest.raises(DataError, match=message):
        listed(tmp_path / "list", holdout=0.5)


def test_a_null_in_parquet_is_a_missing_value(root):
    rows = rows_of(root)
    rows[1][1] = None
    with pytest.raises(DataError, match="line 2: has no label"):
        listed(write_parquet(root / "list.parquet", rows))


def test_a_missing_list_is_named_with_the_nearest(root):
    write(root / "labels.csv", rows_of(root))
    with pytest.raises(DataError, match=r"data\.file=.*lables\.csv: no such file; did you mean 'labels\.csv'\?"):
        listed(root / "lables.csv")
    with pytest.raises(DataError, match=r"data\.file is not set: type data\.file="):
        find_dataset(dataset_settings("list"))


@given(st.binary(max_size=200))
def test_any_bytes_are_a_list_or_one_line(tmp_path_factory, noise):
    file = tmp_path_factory.mktemp("noise") / "list.csv"
    for data in (noise, b"path,label,split\n" + noise, b"PAR1" + noise):
        file.write_bytes(data)
        with pytest.raises(UserError) as caught:
            listed(file)
        assert str(caught.value).isprintable()


# --- splits by their names ---


def test_splits_are_chosen_by_their_usual_names():
    def chosen(*known, holdout=False, train=None, val=None):
        return choose_splits("x", known, train, val, holdout=holdout)

    assert chosen("test", "train", "validation") == ("train", "validation")
    assert chosen("Test", "Train") == ("Train", "Test")
    assert chosen("train", "test", val="test", holdout=True) == ("train", None)
    assert chosen("photos", holdout=True) == ("photos", None)
    assert chosen("0", "1", train="1", val="0") == ("1", "0")
    with pytest.raises(DataError, match=r"x has no training split, only 'test'"):
        chosen("test", holdout=True)
    with pytest.raises(
        DataError, match=r"x has no validation split \('extra': name one of them with data\.val_split=\)"
    ):
        chosen("train", "extra")


def test_files_belong_to_the_split_in_their_path_or_to_their_own_name():
    names = {
        "data/train-00000-of-00002.parquet": "train",
        "cifar10-test.arrow": "test",
        "default/validation/0000.parquet": "validation",
        "imagenet1k-train-0001.tar": "train",
        "extra-00001-of-00002.parquet": "extra",
        "0001.tar": "all",
    }
    for name, split in names.items():
        assert list(files_by_split([Path("/r") / name], Path("/r"))) == [split]


def test_a_list_of_many_is_no_list_of_lists(root):
    """Labels stay an array of whole numbers, whatever their text."""
    assert listed(write(root / "list.csv", rows_of(root))).train.labels.dtype == np.int64
