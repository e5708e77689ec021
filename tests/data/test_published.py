"""Published data sets, each on a tiny copy of its layout."""

from dataclasses import replace

import numpy as np
import pytest
import torchvision.datasets as tv
from scipy.io import savemat
from torchvision.datasets import mnist as tv_mnist

from bagoftricks.data.finding import find_dataset, unseen_classes
from bagoftricks.data.published import require_whole
from bagoftricks.data.sources import Dataset, FileSplit
from bagoftricks.errors import DataError, UserError
from bagoftricks.folders import yaml_files
from bagoftricks.registry import all_cards
from bagoftricks.settings import dataset_settings
from bagoftricks.testing import check_dataset
from bagoftricks.yaml_files import read_yaml
from tests.data import copies
from tests.data.copies import COPIES, Copy

MODULES = (copies.arrays, copies.ifood, copies.listed, copies.mnist, copies.products)
PUBLISHED = [module.__name__ for module in MODULES]


@pytest.fixture
def copy(tmp_path, monkeypatch):
    """A writer of a copy: name -> folder to type as data.root, with the copy's counts in the place of the published."""

    def made(name):
        copy: Copy = COPIES[name]
        copy.write(tmp_path)
        module, fact = copy.where
        change = monkeypatch.setitem if isinstance(module, dict) else monkeypatch.setattr
        change(module, fact, replace(copy.facts, **copy.tiny))
        if name == "aircraft":
            levels = {level: (file, 3) for level, (file, _) in module.AIRCRAFT_LEVELS.items()}
            monkeypatch.setattr(module, "AIRCRAFT_LEVELS", levels)
        return tmp_path

    monkeypatch.setattr("bagoftricks.data.published._download", no_download)
    return made


def no_download(root, download):
    raise AssertionError("tests download nothing")


def test_every_data_set_has_its_yaml_its_help_and_a_copy_here():
    cards = all_cards("dataset")
    published = {name for name, card in cards.items() if card.module in PUBLISHED}
    assert published == set(COPIES)
    files = {file.stem: file for file in yaml_files("data")}
    assert set(cards) <= set(files)
    for name, copy in COPIES.items():
        values, card = read_yaml(files[name]), cards[name]
        assert values["num_classes"] == copy.facts.classes, name
        first = files[name].read_text().partition("\n")[0]
        if name != "emnist":
            assert f"{copy.facts.images[0]:,} + {copy.facts.images[1]:,}" in first, name
            assert f"{copy.facts.images[0]:,}" in card.summary, name
        assert ("downloaded when absent" in first) == (copy.facts.download is not None), name
        assert card.fields[0].name == "root"


@pytest.mark.parametrize("name", COPIES)
def test_a_copy_keeps_the_contract_of_a_data_set(copy, name):
    root = copy(name)
    check_dataset(name, root=str(root))
    data = find_dataset(dataset_settings(name, root=str(root)))
    train, val = ([0, 0, 0, 1, 1, 1], [2, 2, 3, 3]) if name == "sop" else ([0, 0, 1, 1, 2, 2], [0, 1, 2])
    assert sorted(data.train.labels.tolist()) == train
    assert sorted(data.val.labels.tolist()) == val


@pytest.mark.parametrize("name", [name for name, copy in COPIES.items() if copy.theirs])
def test_images_labels_and_their_order_are_those_of_torchvisions_reader(copy, name, monkeypatch):
    root = copy(name)
    for module in (tv.svhn, tv.stl10, tv.places365, tv_mnist):
        monkeypatch.setattr(module, "check_integrity", lambda *_, **__: True)  # the sums are of the whole sets
    data = dataset_settings(name, root=str(root)).find()
    for split, train in ((data.train, True), (data.val, False)):
        theirs = COPIES[name].theirs(root, train)
        assert len(theirs) == len(split.labels)
        for row in range(len(theirs)):
            image, label = theirs[row]
            assert split.labels[row] == label
            pixels = np.asarray(image.convert("RGB"))
            pixels = pixels.swapaxes(0, 1) if name == "emnist" else pixels  # torchvision leaves them on their side
            assert np.array_equal(split.image(row).permute(1, 2, 0), pixels)


def test_flowers_are_trained_on_with_both_training_parts_in_torchvisions_order(copy, monkeypatch):
    root = copy("flowers102")
    monkeypatch.setattr(tv.flowers102, "check_integrity", lambda *_: True)
    data = dataset_settings("flowers102", root=str(root)).find()
    train, val, test = (tv.Flowers102(root, split) for split in ("train", "val", "test"))
    assert data.train.labels.tolist() == train._labels + val._labels
    assert data.train.paths.tolist() == [str(path) for path in train._image_files + val._image_files]
    assert data.val.labels.tolist() == test._labels
    assert data.classes == ("pink primrose", "hard-leaved pocket orchid", "canterbury bells")


def test_textures_are_trained_on_with_both_training_parts(copy):
    root = copy("dtd")
    data = dataset_settings("dtd", root=str(root)).find()
    parts = [tv.DTD(root, split) for split in ("train", "val", "test")]
    assert data.train.labels.tolist() == parts[0]._labels + parts[1]._labels
    assert data.val.paths.tolist() == [str(path) for path in parts[2]._image_files]
    assert list(data.classes) == parts[0].classes
    with pytest.raises(UserError, match=r"data\.partition=11: must be between 1 and 10"):
        dataset_settings("dtd", partition=11)


def test_birds_go_by_their_lists(copy):
    data = dataset_settings("cub200", root=str(copy("cub200"))).find()
    assert data.classes == ("001.Black_footed_Albatross", "002.Laysan_Albatross", "003.Sooty_Albatross")
    names = [path.rpartition("/")[2] for path in data.train.paths]  # every third is of the test
    assert names == [f"{bird}_Albatross_{i}.jpg" for bird in ("Black_footed", "Laysan", "Sooty") for i in (0, 1)]
    assert data.train.labels.tolist() == [0, 0, 1, 1, 2, 2]


@pytest.mark.parametrize(("level", "classes"), [("family", ("Boeing 707", "A300", "An-12")),
                                                ("manufacturer", ("Airbus", "Antonov", "Boeing"))])  # fmt: skip
def test_aircraft_are_classified_at_three_levels(copy, level, classes):
    root = copy("aircraft")
    data = dataset_settings("aircraft", root=str(root), level=level).find()
    assert data.classes == classes
    assert data.train.labels.tolist() == tv.FGVCAircraft(root, "trainval", level)._labels
    with pytest.raises(UserError, match=r"data\.level=maker: must be one of variant, family, manufacturer"):
        dataset_settings("aircraft", level="maker")


def test_dishes_go_by_their_lists(copy):
    data = dataset_settings("ifood", root=str(copy("ifood"))).find()
    assert data.classes == ("macaron", "beignet", "cruller")
    assert [path.rpartition("/")[2] for path in data.val.paths] == [
        "val_000000.jpg",
        "val_000001.jpg",
        "val_000002.jpg",
    ]
    assert data.val.labels.tolist() == [1, 2, 0]


def test_products_of_validation_are_others_than_those_of_training(copy):
    root = copy("sop")
    data = find_dataset(dataset_settings("sop", root=str(root)))
    assert data.targets == "unseen"
    assert data.classes == ("bicycle_111085122871", "mug_111085122872", "bicycle_111085122873", "mug_111085122874")
    assert data.train.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert data.val.labels.tolist() == [2, 2, 3, 3]
    lists = root / "Stanford_Online_Products"
    (lists / "Ebay_test.txt").write_text((lists / "Ebay_test.txt").read_text().replace(" 4 ", " 5 "))
    with pytest.raises(DataError, match="leave out numbers of products"):
        dataset_settings("sop", root=str(root)).find()


def write_birds(base, labels, trained):
    """Write the lists of CUB-200-2011 for images of these classes."""
    rows = list(enumerate(labels, 1))
    copies.text(base / "classes.txt", *(f"{i} {i:03d}.Bird" for i in range(1, 201)))
    copies.text(base / "images.txt", *(f"{i} {label:03d}.Bird/{i}.jpg" for i, label in rows))
    copies.text(base / "image_class_labels.txt", *(f"{i} {label}" for i, label in rows))
    copies.text(base / "train_test_split.txt", *(f"{i} {int(flag)}" for i, flag in enumerate(trained, 1)))


def write_cars(base, labels, trained):
    """Write the lists of Stanford Cars for images of these classes."""
    (base / "devkit").mkdir(parents=True)
    savemat(base / "devkit/cars_meta.mat", {"class_names": np.array([f"Car {i}" for i in range(1, 197)], object)})
    fields = [("class", int), ("fname", object)]
    for file, chosen in (("devkit/cars_train_annos.mat", trained), ("cars_test_annos_withlabels.mat", ~trained)):
        rows = [(label, f"{i:05d}.jpg") for i, label in enumerate(labels[chosen], 1)]
        savemat(base / file, {"annotations": np.array(rows, fields)})


@pytest.mark.parametrize(
    ("facts", "write", "read", "seen", "counts"),
    [
        (copies.listed.CUB200, write_birds, copies.listed.read_cub200, 100, (5_864, 5_924)),
        (copies.listed.CARS, write_cars, copies.listed.read_cars, 98, (8_054, 8_131)),
    ],
    ids=["cub200", "cars"],
)
def test_unseen_classes_take_all_images_of_both_lists(tmp_path, facts, write, read, seen, counts):
    """Lists with the published number of images in either half of the classes, as retrieval splits them."""
    labels = np.concatenate([1 + np.arange(counts[0]) % seen, 1 + seen + np.arange(counts[1]) % (facts.classes - seen)])
    trained = np.arange(len(labels)) % 2 == 0
    trained[np.flatnonzero(~trained)[: facts.images[0] - trained.sum()]] = True
    assert (trained.sum(), (~trained).sum()) == facts.images
    write(tmp_path, labels, trained)
    listed = read(tmp_path)
    splits = [
        FileSplit(np.array([path for path, _ in rows]), np.array([label for _, label in rows]))
        for rows in (listed.train, listed.val)
    ]
    found = unseen_classes(require_whole(Dataset("copy", tuple(listed.classes), *splits), facts), seen)
    assert (len(found.train.labels), len(found.val.labels)) == counts
    assert set(found.train.labels.tolist()) == set(range(seen))
    assert set(found.val.labels.tolist()) == set(range(seen, facts.classes))
    assert found.targets == "unseen"


def test_letters_begin_at_class_zero(copy, monkeypatch):
    root = copy("emnist")
    monkeypatch.setitem(copies.mnist.EMNIST, "letters", replace(copies.mnist.EMNIST["letters"], images=(6, 3)))
    data = find_dataset(dataset_settings("emnist", root=str(root), subset="letters"))
    assert data.classes == tuple("abcdefghijklmnopqrstuvwxyz")
    assert data.train.labels.tolist() == [0, 1, 2, 0, 1, 2]


def test_the_folder_itself_can_be_the_root(copy):
    root = copy("pets")
    nested, itself = (find_dataset(dataset_settings("pets", root=str(f))) for f in (root, root / "oxford-iiit-pet"))
    assert nested.digest == itself.digest


@pytest.mark.parametrize("name", COPIES)
def test_other_counts_than_published_are_refused_with_both(copy, monkeypatch, name):
    root = copy(name)
    published = COPIES[name].facts
    module, fact = COPIES[name].where
    (monkeypatch.setitem if isinstance(module, dict) else monkeypatch.setattr)(module, fact, published)
    train, val = published.images
    there = 4 if name == "sop" else 3
    message = (
        rf"^{name}: has 6 training and {there} validation images .* published are {train:,} training and {val:,} valid"
    )
    with pytest.raises(DataError, match=message) as error:
        dataset_settings(name, root=str(root)).find()
    assert len(error.value.found.train.labels) == 6  # bot-data looks at it all the same


def test_missing_images_are_counted_and_named(copy):
    root = copy("food101")
    (root / "food-101/images/sushi/3.jpg").unlink()
    with pytest.raises(DataError, match=r"^food101: 1 of 3 listed images are not in .*\('images/sushi/3\.jpg'\)"):
        dataset_settings("food101", root=str(root)).find()


@pytest.mark.parametrize(
    ("name", "file", "content"),
    [
        ("food101", "food-101/meta/train.json", b"{"),
        ("pets", "oxford-iiit-pet/annotations/test.txt", b"Abyssinian_1\n"),
        ("flowers102", "flowers-102/setid.mat", b"no MATLAB file, but long enough to be looked at" * 9),
        ("cub200", "CUB_200_2011/image_class_labels.txt", b"1 1\n"),
        ("ifood", "ifood-2019-fgvc6/train_labels.csv", b"img_name,label\ntrain_000000.jpg,crisps\n"),
        ("sop", "Stanford_Online_Products/Ebay_test.txt", b"image_id class_id super_class_id path\n7 3 bicycle\n"),
        ("svhn", "svhn/test_32x32.mat", b""),
        ("stl10", "stl10_binary/train_X.bin", b"12345"),
    ],
)
def test_damaged_lists_are_one_line(copy, name, file, content):
    root = copy(name)
    (root / file).write_bytes(content)
    with pytest.raises(DataError, match=rf"^{name}: .* is damaged, or not as published \(.+\): extract") as error:
        dataset_settings(name, root=str(root)).find()
    assert "\n" not in str(error.value)


def test_what_is_missing_is_said(tmp_path, monkeypatch):
    with pytest.raises(
        DataError, match=r"^cars: .*/bagoftricks/stanford_cars lacks 'cars_train', .* put its extracted"
    ):
        dataset_settings("cars").find()
    (tmp_path / "stanford_cars/cars_train").mkdir(parents=True)
    with pytest.raises(DataError, match=r"^cars: .*/stanford_cars lacks 'cars_test', 'devkit/cars_meta\.mat', 'cars_t"):
        dataset_settings("cars", root=str(tmp_path)).find()
    with pytest.raises(DataError, match=r"^data\.root=.*/food: no such folder"):  # 5 GB go into no misspelled folder
        dataset_settings("food101", root=str(tmp_path / "food")).find()
    monkeypatch.setattr(tv, "Food101", unreachable)
    with pytest.raises(
        DataError, match=r"^food101 could not be downloaded \(no route to host\): .*/food-101 lacks 'im"
    ):
        dataset_settings("food101", root=str(tmp_path)).find()


def unreachable(*_, **__):
    raise OSError("no route to host")


def test_a_download_is_asked_for_once_in_torchvisions_layout(tmp_path, monkeypatch):
    called = []

    def download(root, split, *, download):
        called.append((root, split, download))
        if len(called) == 2:
            copies.svhn(tmp_path)

    monkeypatch.setattr(tv, "SVHN", download)
    monkeypatch.setattr(copies.arrays, "SVHN", replace(copies.arrays.SVHN, images=(6, 3)))
    for _ in range(2):
        assert len(dataset_settings("svhn", root=str(tmp_path)).find().train.labels) == 6
    assert called == [(tmp_path / "svhn", "train", True), (tmp_path / "svhn", "test", True)]
