"""Published data sets of photographs: image files, and lists that give their labels and splits.

Where training images come in two parts (train and validation, as of Flowers and Aircraft), both are trained on and the
test images validate, as in the tables of papers; data.holdout tunes without them.
"""

import csv
import json
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Optional

from bagoftricks.data.published import LabelledPaths, Listed, Published, find_listed, lines, matlab
from bagoftricks.data.sources import Dataset
from bagoftricks.registry import check_range, dataset
from bagoftricks.settings import DataSettings, choose

# ruff: noqa: UP045 (OmegaConf reads Optional)

# --- Food-101 ---

FOOD101 = Published(
    folder="food-101",
    needs=("images", "meta/train.json", "meta/test.json"),
    images=(75_750, 25_250),
    classes=101,
    download=lambda datasets, root: datasets.Food101(root, download=True),
)


@dataset(name="food101")
class Food101(DataSettings):
    """Food-101 (Bossard et al. 2014): 75,750 and 25,250 photographs of 101 dishes; the training labels have noise."""

    root: Optional[str] = None
    """folder that holds food-101/, or receives the download (5 GB); default: a cache of the user's"""

    def find(self) -> Dataset:
        return find_listed(self, self.root, FOOD101, read_food101)


def read_food101(base: Path) -> Listed:
    by_class = [json.loads((base / "meta" / f"{split}.json").read_text("utf-8")) for split in ("train", "test")]
    classes = sorted(by_class[0])
    train, val = (
        [(f"images/{path}.jpg", classes.index(name)) for name, paths in of.items() for path in paths] for of in by_class
    )
    return Listed(classes, train, val)


# --- Flowers-102 ---

FLOWERS102 = Published(
    folder="flowers-102",
    needs=("jpg", "imagelabels.mat", "setid.mat"),
    images=(2_040, 6_149),
    classes=102,
    download=lambda datasets, root: datasets.Flowers102(root, download=True),
)


@dataset(name="flowers102")
class Flowers102(DataSettings):
    """Oxford Flowers-102 (Nilsback and Zisserman 2008): 2,040 (train and validation) and 6,149 photographs."""

    root: Optional[str] = None
    """folder that holds flowers-102/, or receives the download; default: a cache of the user's"""

    def find(self) -> Dataset:
        return find_listed(self, self.root, FLOWERS102, read_flowers102)


def read_flowers102(base: Path) -> Listed:
    from torchvision.datasets import Flowers102 as Theirs  # has the names of the classes, which no file has

    labels, ids = matlab(base / "imagelabels.mat", "labels"), matlab(base / "setid.mat", "trnid", "valid", "tstid")
    numbered = labels["labels"].tolist()  # from 1, of the images from 1 on

    def rows(*splits: str) -> LabelledPaths:
        return [(f"jpg/image_{i:05d}.jpg", numbered[i - 1] - 1) for split in splits for i in ids[split].tolist()]

    return Listed(Theirs.classes[: FLOWERS102.classes], rows("trnid", "valid"), rows("tstid"))


# --- Oxford-IIIT Pet ---

PETS = Published(
    folder="oxford-iiit-pet",
    needs=("images", "annotations/trainval.txt", "annotations/test.txt"),
    images=(3_680, 3_669),
    classes=37,
    download=lambda datasets, root: datasets.OxfordIIITPet(root, download=True),
)


@dataset(name="pets")
class Pets(DataSettings):
    """Oxford-IIIT Pet (Parkhi et al. 2012): 3,680 and 3,669 photographs of 37 breeds of cats and dogs."""

    root: Optional[str] = None
    """folder that holds oxford-iiit-pet/, or receives the download; default: a cache of the user's"""

    def find(self) -> Dataset:
        return find_listed(self, self.root, PETS, read_pets)


def read_pets(base: Path) -> Listed:
    train, val = (
        [(image, int(number) - 1) for image, number, *_ in map(str.split, lines(base / "annotations" / f"{split}.txt"))]
        for split in ("trainval", "test")
    )
    breeds = {label: image.rpartition("_")[0] for image, label in train}  # breed_number
    classes = [breeds[label] for label in sorted(breeds)]
    return Listed(classes, *([(f"images/{image}.jpg", label) for image, label in rows] for rows in (train, val)))


# --- FGVC-Aircraft ---

AIRCRAFT = Published(
    folder="fgvc-aircraft-2013b",
    needs=("data/images", "data/variants.txt"),
    images=(6_667, 3_333),
    classes=100,
    download=lambda datasets, root: datasets.FGVCAircraft(root, download=True),
)
AIRCRAFT_LEVELS = {"variant": ("variants", 100), "family": ("families", 70), "manufacturer": ("manufacturers", 30)}


@dataset(name="aircraft")
class Aircraft(DataSettings):
    """FGVC-Aircraft (Maji et al. 2013): 6,667 (train and validation) and 3,333 photographs of 100 variants."""

    root: Optional[str] = None
    """folder that holds fgvc-aircraft-2013b/, or receives the download (3 GB); default: a cache of the user's"""
    level: str = "variant"
    """what the classes are: variant (100), family (70) or manufacturer (30)"""

    def __post_init__(self) -> None:
        super().__post_init__()
        choose("data.level", self.level, ("variant", "family", "manufacturer"))

    def find(self) -> Dataset:
        facts = replace(AIRCRAFT, classes=AIRCRAFT_LEVELS[self.level][1])
        return find_listed(self, self.root, facts, partial(read_aircraft, level=self.level))


def read_aircraft(base: Path, level: str) -> Listed:
    classes = lines(base / "data" / f"{AIRCRAFT_LEVELS[level][0]}.txt")
    train, val = (
        [
            (f"data/images/{image}.jpg", classes.index(name))
            for image, _, name in (line.partition(" ") for line in lines(base / f"data/images_{level}_{split}.txt"))
        ]
        for split in ("trainval", "test")
    )
    return Listed(classes, train, val)


# --- Stanford Cars ---

CARS = Published(
    folder="stanford_cars",
    needs=("cars_train", "cars_test", "devkit/cars_meta.mat", "cars_test_annos_withlabels.mat"),
    images=(8_144, 8_041),
    classes=196,
)


@dataset(name="cars")
class Cars(DataSettings):
    """Stanford Cars (Krause et al. 2013): 8,144 and 8,041 photographs of 196 models. No longer to be downloaded."""

    root: Optional[str] = None
    """folder that holds stanford_cars/, with cars_train/, cars_test/, devkit/ and cars_test_annos_withlabels.mat"""

    def find(self) -> Dataset:
        return find_listed(self, self.root, CARS, read_cars)


def read_cars(base: Path) -> Listed:
    lists = {"cars_train": "devkit/cars_train_annos.mat", "cars_test": "cars_test_annos_withlabels.mat"}
    train, val = (
        [
            (f"{folder}/{row['fname']}", int(row["class"]) - 1)
            for row in matlab(base / file, "annotations")["annotations"]
        ]
        for folder, file in lists.items()
    )
    return Listed(matlab(base / "devkit/cars_meta.mat", "class_names")["class_names"].tolist(), train, val)


# --- CUB-200-2011 ---

CUB200 = Published(
    folder="CUB_200_2011",
    needs=("images", "images.txt", "image_class_labels.txt", "train_test_split.txt", "classes.txt"),
    images=(5_994, 5_794),
    classes=200,
)


@dataset(name="cub200")
class Cub200(DataSettings):
    """CUB-200-2011 (Wah et al. 2011): 5,994 and 5,794 photographs of 200 species of birds, by its lists."""

    root: Optional[str] = None
    """folder that holds CUB_200_2011/, with images/ and its lists images.txt, train_test_split.txt ..."""

    def find(self) -> Dataset:
        return find_listed(self, self.root, CUB200, read_cub200)


def read_cub200(base: Path) -> Listed:
    def by_id(name: str) -> dict[str, str]:
        return dict(line.split(maxsplit=1) for line in lines(base / f"{name}.txt"))

    paths, labels, is_train = by_id("images"), by_id("image_class_labels"), by_id("train_test_split")
    rows = [(is_train[i] == "1", (f"images/{path}", int(labels[i]) - 1)) for i, path in paths.items()]
    train, val = ([row for trained, row in rows if trained is wanted] for wanted in (True, False))
    return Listed(list(by_id("classes").values()), train, val)


# --- Places365 ---

PLACES365 = Published(
    folder="places365",
    needs=("categories_places365.txt", "places365_train_standard.txt", "places365_val.txt"),
    images=(1_803_460, 36_500),
    classes=365,
)
PLACES_FOLDERS = (  # the images of 256 pixels before the large ones, as torchvision and the archives call them
    ("data_256_standard", "data_256", "data_large_standard", "data_large"),
    ("val_256", "val_large"),
)


@dataset(name="places365")
class Places365(DataSettings):
    """Places365-Standard (Zhou et al. 2017): 1,803,460 and 36,500 photographs of 365 kinds of scenes."""

    root: Optional[str] = None
    """folder that holds places365/, or is it: its lists, and data_256/ and val_256/ (or data_large/, val_large/)"""

    def find(self) -> Dataset:
        return find_listed(self, self.root, PLACES365, read_places365)


def read_places365(base: Path) -> Listed:
    numbers = {name: int(number) for name, number in map(str.split, lines(base / "categories_places365.txt"))}
    classes = [name[3:] for name in sorted(numbers, key=numbers.__getitem__)]  # /a/airfield, as an image's path begins
    rows = []
    for folders, listed in zip(PLACES_FOLDERS, ("places365_train_standard", "places365_val"), strict=True):
        folder = next((folder for folder in folders if (base / folder).is_dir()), folders[0])
        of_split = map(str.split, lines(base / f"{listed}.txt"))
        rows.append([(f"{folder}/{path.lstrip('/')}", int(number)) for path, number in of_split])
    return Listed(classes, *rows)


# --- GTSRB ---

GTSRB = Published(
    folder="gtsrb",
    needs=("GTSRB/Training", "GTSRB/Final_Test/Images", "GT-final_test.csv"),
    images=(26_640, 12_630),
    classes=43,
    download=lambda datasets, root: [datasets.GTSRB(root, split, download=True) for split in ("train", "test")],
)


@dataset(name="gtsrb")
class Gtsrb(DataSettings):
    """German Traffic Signs (Stallkamp et al. 2011): 26,640 and 12,630 photographs of 43 signs, 30 of each sign seen.

    data.holdout would put photographs of one and the same sign on both sides.
    """

    root: Optional[str] = None
    """folder that holds gtsrb/, or receives the download; default: a cache of the user's"""

    def find(self) -> Dataset:
        return find_listed(self, self.root, GTSRB, read_gtsrb)


def read_gtsrb(base: Path) -> Listed:
    training = base / "GTSRB/Training"
    folders = sorted(folder for folder in training.iterdir() if folder.is_dir())
    train = [
        (str(image.relative_to(base)), label)
        for label, folder in enumerate(folders)
        for image in sorted(folder.glob("*.ppm"))
    ]
    with (base / "GT-final_test.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter=";", skipinitialspace=True))
    val = [(f"GTSRB/Final_Test/Images/{row['Filename']}", int(row["ClassId"])) for row in rows]
    return Listed([str(int(folder.name)) for folder in folders], train, val)


# --- Describable Textures ---

DTD = Published(
    folder="dtd/dtd",
    needs=("images", "labels"),
    images=(3_760, 1_880),
    classes=47,
    download=lambda datasets, root: datasets.DTD(root, download=True),
)


@dataset(name="dtd")
class Dtd(DataSettings):
    """Describable Textures (Cimpoi et al. 2014): 3,760 (train and validation) and 1,880 images of 47 textures."""

    root: Optional[str] = None
    """folder that holds dtd/dtd/, or receives the download; default: a cache of the user's"""
    partition: int = 1
    """number of the published split, 1 to 10; papers report the mean of all"""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range("data.partition", self.partition, 1, 10)

    def find(self) -> Dataset:
        return find_listed(self, self.root, DTD, partial(read_dtd, partition=self.partition))


def read_dtd(base: Path, partition: int) -> Listed:
    train, val = (
        [path for split in splits for path in lines(base / f"labels/{split}{partition}.txt")]
        for splits in (("train", "val"), ("test",))
    )
    classes = sorted({path.partition("/")[0] for path in train})
    return Listed(
        classes,
        *([(f"images/{path}", classes.index(path.partition("/")[0])) for path in paths] for paths in (train, val)),
    )
