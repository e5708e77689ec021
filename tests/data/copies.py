"""Tiny copies of published data sets, laid out as their archives are, and torchvision's readers of them."""

import csv
import gzip
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from scipy.io import savemat
from torchvision import datasets as tv

from bagoftricks.data import arrays, ifood, listed, mnist, products
from bagoftricks.data.published import Published
from bagoftricks.rng import Key


def noise(*shape: int) -> np.ndarray:
    return Key(0).fold("copies", *shape).numpy().integers(0, 256, shape, dtype=np.uint8)


def text(file: Path, *lines: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


_made = 0


def image(file: Path) -> None:
    """Write an image whose pixels no other has, losslessly whatever its name says."""
    global _made
    _made += 1
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(noise(6, 9, 3, _made)[..., 0]).save(file, "PPM" if file.suffix == ".ppm" else "PNG")


def idx(values: np.ndarray, type_: int = 8) -> bytes:
    sizes = b"".join(int(size).to_bytes(4, "big") for size in values.shape)
    return bytes([0, 0, type_, values.ndim]) + sizes + values.tobytes()


def write_idx(folder: Path, begin: str, count: int, first: int = 0, classes: int = 3, packed: bool = False) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    labels = (first + np.arange(count) % classes).astype(np.uint8)
    for name, values in (("images-idx3", noise(count, 28, 28)), ("labels-idx1", labels)):
        data, file = idx(values), folder / f"{begin}-{name}-ubyte"
        file.write_bytes(data)
        if packed:
            file.with_name(f"{file.name}.gz").write_bytes(gzip.compress(data, mtime=0))
            file.unlink()


# --- one writer for each: 3 classes, 6 training and 3 validation images ---


def food101(root: Path) -> None:
    for split, numbers in (("train", (1, 2)), ("test", (3,))):
        listing = {name: [f"{name}/{i}" for i in numbers] for name in ("waffles", "apple_pie", "sushi")}
        text(root / f"food-101/meta/{split}.json", json.dumps(listing))
        for path in (path for paths in listing.values() for path in paths):
            image(root / f"food-101/images/{path}.jpg")


def flowers102(root: Path) -> None:
    base = root / "flowers-102"
    for i in range(1, 10):
        image(base / f"jpg/image_{i:05d}.jpg")
    savemat(base / "imagelabels.mat", {"labels": np.array([3, 1, 2, 1, 2, 3, 2, 3, 1], np.uint8)})
    savemat(base / "setid.mat", {"trnid": [2, 5, 8], "valid": [9, 3, 1], "tstid": [4, 6, 7]})


def pets(root: Path) -> None:
    base = root / "oxford-iiit-pet"
    breeds = ["Abyssinian", "american_bulldog", "Bengal"]
    for split, numbers in (("trainval", (1, 20)), ("test", (3,))):
        rows = [(f"{breed}_{i}", label) for label, breed in enumerate(breeds, 1) for i in numbers]
        text(base / f"annotations/{split}.txt", *(f"{name} {label} 1 1" for name, label in rows))
        for name, _ in rows:
            image(base / f"images/{name}.jpg")


def aircraft(root: Path) -> None:
    data = root / "fgvc-aircraft-2013b/data"
    variants = {"707-320": "Boeing 707", "A300B4": "A300", "An-12": "An-12"}
    text(data / "variants.txt", *variants)
    text(data / "families.txt", *variants.values())
    text(data / "manufacturers.txt", "Airbus", "Antonov", "Boeing")
    makers = dict(zip(variants, ("Boeing", "Airbus", "Antonov"), strict=True))
    for split, numbers in (("trainval", range(6)), ("test", range(6, 9))):
        names = {f"{i:07d}": list(variants)[i % 3] for i in numbers}
        text(data / f"images_variant_{split}.txt", *(f"{i} {name}" for i, name in names.items()))
        text(data / f"images_family_{split}.txt", *(f"{i} {variants[name]}" for i, name in names.items()))
        text(data / f"images_manufacturer_{split}.txt", *(f"{i} {makers[name]}" for i, name in names.items()))
        for i in names:
            image(data / f"images/{i}.jpg")


def cars(root: Path) -> None:
    base = root / "stanford_cars"
    (base / "devkit").mkdir(parents=True)
    names = np.array(["AM General Hummer SUV 2000", "Acura RL Sedan 2012", "Acura TL Sedan 2012"], object)
    savemat(base / "devkit/cars_meta.mat", {"class_names": names})
    fields = [("bbox_x1", int), ("class", int), ("fname", object)]
    for folder, file, labels in (
        ("cars_train", "devkit/cars_train_annos.mat", (3, 1, 2, 2, 1, 3)),
        ("cars_test", "cars_test_annos_withlabels.mat", (2, 3, 1)),
    ):
        rows = [(1, label, f"{i:05d}.jpg") for i, label in enumerate(labels, 1)]
        savemat(base / file, {"annotations": np.array(rows, fields)})
        for *_, name in rows:
            image(base / folder / name)


def cub200(root: Path) -> None:
    base = root / "CUB_200_2011"
    names = ["001.Black_footed_Albatross", "002.Laysan_Albatross", "003.Sooty_Albatross"]
    paths = [f"{name}/{name[4:]}_{i}.jpg" for name in names for i in range(3)]
    numbered = list(enumerate(paths, 1))
    text(base / "classes.txt", *(f"{i} {name}" for i, name in enumerate(names, 1)))
    text(base / "images.txt", *(f"{i} {path}" for i, path in numbered))
    text(base / "image_class_labels.txt", *(f"{i} {int(path[:3])}" for i, path in numbered))
    text(base / "train_test_split.txt", *(f"{i} {int(i % 3 > 0)}" for i, _ in numbered))
    for path in paths:
        image(base / f"images/{path}")


def places365(root: Path) -> None:
    base = root / "places365"
    text(base / "categories_places365.txt", "/a/airfield 0", "/a/airplane_cabin 1", "/a/apartment_building/outdoor 2")
    train = [f"{name} {i}" for i, name in enumerate(("/a/airfield/1.jpg", "/a/airplane_cabin/1.jpg"))] * 2
    train += [f"/a/apartment_building/outdoor/{i}.jpg 2" for i in (1, 2)]
    train[2:4] = [row.replace("1.jpg", "2.jpg") for row in train[2:4]]
    val = [f"Places365_val_{i:08d}.jpg {label}" for i, label in enumerate((2, 0, 1), 1)]
    text(base / "places365_train_standard.txt", *train)
    text(base / "places365_val.txt", *val)
    for folder, rows in (("data_256_standard", train), ("val_256", val)):
        for row in rows:
            image(base / folder / row.split()[0].lstrip("/"))


def gtsrb(root: Path) -> None:
    base = root / "gtsrb"
    for label in range(3):
        for i in range(2):
            image(base / f"GTSRB/Training/{label:05d}/00000_{i:05d}.ppm")
        text(base / f"GTSRB/Training/{label:05d}/GT-{label:05d}.csv", "Filename;Width")
    with (base / "GT-final_test.csv").open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file, delimiter=";")
        rows.writerow(["Filename", "Width", "ClassId"])
        for i, label in enumerate((2, 0, 1)):
            rows.writerow([f"{i:05d}.ppm", 9, label])
            image(base / f"GTSRB/Final_Test/Images/{i:05d}.ppm")


def dtd(root: Path) -> None:
    base = root / "dtd/dtd"
    for i, split in enumerate(("train", "val", "test")):
        paths = [f"{name}/{name}_000{i}.jpg" for name in ("zigzagged", "banded", "woven")]
        text(base / f"labels/{split}1.txt", *paths)
        for path in paths:
            image(base / f"images/{path}")


def ifood2019(root: Path) -> None:
    base = root / "ifood-2019-fgvc6"
    text(base / "class_list.txt", "0 macaron", "1 beignet", "2 cruller")
    for split, labels in (("train", (2, 0, 1, 1, 0, 2)), ("val", (1, 2, 0))):
        names = [f"{split}_{i:06d}.jpg" for i in range(len(labels))]
        pairs = zip(names, labels, strict=True)
        text(base / f"{split}_labels.csv", "img_name,label", *(f"{name},{label}" for name, label in pairs))
        for name in names:
            image(base / f"{split}_set/{name}")


def sop(root: Path) -> None:
    """Write two kinds of products: two products to train on, and two others of two photographs each."""
    base = root / "Stanford_Online_Products"
    numbers = {"train": (1, 1, 1, 2, 2, 2), "test": (3, 3, 4, 4)}
    kinds = {1: ("bicycle", 1), 2: ("mug", 8), 3: ("bicycle", 1), 4: ("mug", 8)}
    first = 1
    for split, each in numbers.items():
        rows = []
        for i, product in enumerate(each, first):
            kind, number = kinds[product]
            path = f"{kind}_final/11108512287{product}_{i}.JPG"
            rows.append(f"{i} {product} {number} {path}")
            image(base / path)
        first += len(each)
        text(base / f"Ebay_{split}.txt", "image_id class_id super_class_id path", *rows)


def svhn(root: Path) -> None:
    (root / "svhn").mkdir(parents=True)
    for split, labels in (("train", (1, 10, 2, 2, 1, 10)), ("test", (2, 10, 1))):
        arrays = {"X": noise(32, 32, 3, len(labels)), "y": np.array(labels, np.uint8)[:, None]}
        savemat(root / f"svhn/{split}_32x32.mat", arrays)


def stl10(root: Path) -> None:
    base = root / "stl10_binary"
    text(base / "class_names.txt", "airplane", "bird", "car")
    for split, labels in (("train", (1, 3, 2, 2, 1, 3)), ("test", (2, 3, 1))):
        noise(len(labels), 3, 96, 96).tofile(base / f"{split}_X.bin")
        np.array(labels, np.uint8).tofile(base / f"{split}_y.bin")


def of_mnist(kind: str) -> Callable[[Path], None]:
    def write(root: Path) -> None:
        write_idx(root / kind / "raw", "train", 6)
        write_idx(root / kind / "raw", "t10k", 3)

    return write


def emnist(root: Path) -> None:
    for subset, first in (("balanced", 0), ("letters", 1)):
        write_idx(root / "EMNIST/raw", f"emnist-{subset}-train", 6, first)
        write_idx(root / "EMNIST/raw", f"emnist-{subset}-test", 3, first)


@dataclass(frozen=True)
class Copy:
    """A data set's writer, its facts as published, and the classes of its copy."""

    write: Callable[[Path], None]
    facts: Published
    where: tuple[Any, str]  # module (or dictionary) and name of the facts
    theirs: Callable[[Path, bool], Any] | None = None  # torchvision's reader of the training, or the validation, split

    @property
    def tiny(self) -> dict[str, Any]:
        """What the copy has instead of what was published; those whose files name no classes keep all."""
        if self.write is sop:
            return {"images": (6, 4), "classes": 4}
        of_files = self.where[0] in (listed, ifood) or self.write is stl10
        return {"images": (6, 3), "classes": 3 if of_files else self.facts.classes}


def _copy(write: Callable[[Path], None], module: Any, name: str, theirs: Any = None) -> Copy:
    facts = module[name] if isinstance(module, dict) else getattr(module, name)
    return Copy(write, facts, (module, name), theirs)


def split_of(train: bool) -> str:
    return "train" if train else "test"


COPIES = {
    "food101": _copy(food101, listed, "FOOD101", lambda root, train: tv.Food101(root, split_of(train))),
    "flowers102": _copy(flowers102, listed, "FLOWERS102"),
    "pets": _copy(pets, listed, "PETS", lambda root, train: tv.OxfordIIITPet(root, "trainval" if train else "test")),
    "aircraft": _copy(
        aircraft, listed, "AIRCRAFT", lambda root, train: tv.FGVCAircraft(root, "trainval" if train else "test")
    ),
    "cars": _copy(cars, listed, "CARS", lambda root, train: tv.StanfordCars(root, split_of(train))),
    "cub200": _copy(cub200, listed, "CUB200"),
    "places365": _copy(
        places365,
        listed,
        "PLACES365",
        lambda root, train: tv.Places365(root / "places365", "train-standard" if train else "val", small=True),
    ),
    "gtsrb": _copy(gtsrb, listed, "GTSRB", lambda root, train: tv.GTSRB(root, split_of(train))),
    "dtd": _copy(dtd, listed, "DTD"),
    "ifood": _copy(ifood2019, ifood, "IFOOD"),
    "sop": _copy(sop, products, "SOP"),
    "svhn": _copy(svhn, arrays, "SVHN", lambda root, train: tv.SVHN(root / "svhn", split_of(train))),
    "stl10": _copy(stl10, arrays, "STL10", lambda root, train: tv.STL10(root, split_of(train))),
    "mnist": _copy(of_mnist("MNIST"), mnist, "MNIST", lambda root, train: tv.MNIST(root, train)),
    "fashion_mnist": _copy(
        of_mnist("FashionMNIST"), mnist, "FASHION_MNIST", lambda root, train: tv.FashionMNIST(root, train)
    ),
    "kmnist": _copy(of_mnist("KMNIST"), mnist, "KMNIST", lambda root, train: tv.KMNIST(root, train)),
    "emnist": _copy(emnist, mnist.EMNIST, "balanced", lambda root, train: tv.EMNIST(root, "balanced", train=train)),
}
