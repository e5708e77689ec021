"""Scenes as a data set, for segmentation and detection without a download: drawn once, then kept."""

import json
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path
from typing import Optional

import numpy as np
import torch
from jaxtyping import UInt8
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from bagoftricks.data.decode import decode
from bagoftricks.data.digests import replace_file
from bagoftricks.data.image_file import ImageFile
from bagoftricks.data.scenes import CutOuts, SceneLook, Scenes, draw_scenes
from bagoftricks.data.sources import Dataset, MemorySplit, memory_digest, source_of
from bagoftricks.data.transforms import fit
from bagoftricks.errors import DataError
from bagoftricks.folders import cache_folder, local_folder
from bagoftricks.recipe.edits import NO_CLASS
from bagoftricks.registry import dataset
from bagoftricks.rng import Key
from bagoftricks.settings import DataSettings, choose, dataset_settings, positive

# ruff: noqa: UP045 (OmegaConf reads Optional)

SCENES_VERSION = 1  # raise it when the same settings give other scenes
TEXTURES, TEXTURE_SIDE = 1000, 64
PHOTOGRAPHS = (".jpg", ".jpeg", ".png")


@dataset(name="scenes")
class SceneSet(DataSettings):
    """Scenes of real cut-outs on textures, with a class for each pixel or boxes; validation shows other cut-outs."""

    places = (*DataSettings.places, "textures")

    targets: str = "masks"
    """masks (a class for each pixel, the background included), boxes, or classes (of the one article in a scene)"""
    articles: str = "digits"
    """what is cut out: digits (scikit-learn's, in this package) or fashion_mnist"""
    scenes: int = 2000
    """training scenes"""
    val_scenes: int = 500
    """validation scenes"""
    most_articles: int = 4
    """most articles in a scene"""
    root: Optional[str] = None
    """folder that holds FashionMNIST/raw/, or receives the download; default: a cache of the user's"""
    textures: Optional[str] = None
    """folder of photographs for the backgrounds, searched through; default: smooth noise"""

    def __post_init__(self) -> None:
        super().__post_init__()
        choose("data.targets", self.targets, ("masks", "boxes", "classes"))
        choose("data.articles", self.articles, ("digits", "fashion_mnist"))
        positive(1_000_000, **{"data.scenes": self.scenes, "data.val_scenes": self.val_scenes})
        positive(100, **{"data.most_articles": self.most_articles})

    def find(self) -> Dataset:
        own = {} if self.articles == "digits" else {"root": self.root}
        source: Dataset = dataset_settings(self.articles, **own).find()
        textures = None if self.textures is None else read_textures(self.textures)
        most = 1 if self.targets == "classes" else self.most_articles
        look = SceneLook(side=self.image_size, most=most)
        train, val = (
            drawn_split(cut_outs(source_of(split)), textures, look, count, self.targets, name)
            for split, count, name in ((source.train, self.scenes, "train"), (source.val, self.val_scenes, "val"))
        )
        classes = ("background", *source.classes) if self.targets == "masks" else source.classes
        return Dataset(self.name, tuple(classes), train, val, targets=self.targets)


def cut_outs(split: MemorySplit | object) -> CutOuts:
    """Return the images of a split in memory as cut-outs."""
    assert isinstance(split, MemorySplit), "articles are in memory"
    return CutOuts(split.images[:, 0], torch.from_numpy(split.labels))


def drawn_split(
    articles: CutOuts, textures: UInt8[Tensor, "T 3 H W"] | None, look: SceneLook, count: int, targets: str, name: str
) -> MemorySplit:
    """Return ``count`` scenes as a split, from the cache folder if they were drawn before."""
    of_articles = memory_digest(MemorySplit(articles.greys[:, None], articles.labels.numpy()))
    facts = [SCENES_VERSION, vars(look), count, name, of_articles]
    digest = blake2b(json.dumps(facts).encode(), digest_size=16)
    if textures is not None:
        digest.update(textures.contiguous().numpy().data)
    place = cache_folder() / "scenes" / f"{digest.hexdigest()}.safetensors"
    made = kept_scenes(place)
    if made is None:
        made = draw_scenes(articles, textures, Key(0).fold("scenes", name), range(count), look)
        with suppress(OSError):  # a full or read-only disk is no reason to stop
            place.parent.mkdir(parents=True, exist_ok=True)
            replace_file(place, save({key: value.contiguous() for key, value in vars(made).items()}))
    if targets == "classes":
        return MemorySplit(made.images, made.boxes[:, 0, 4].long().numpy())
    labels = np.zeros(count, np.int64)
    if targets == "masks":
        return MemorySplit(torch.cat([made.images, NO_CLASS - made.masks[:, None]], 1), labels)
    boxes = made.boxes.clone()
    boxes[..., :4] /= look.side
    return MemorySplit(made.images, labels, boxes.numpy())


def kept_scenes(place: Path) -> Scenes | None:
    """Return the scenes in a file, None if there are none or they are damaged."""
    try:
        found = load_file(place)
        return Scenes(found["images"], found["masks"], found["boxes"])
    except (OSError, SafetensorError, KeyError):
        return None


def read_textures(typed: str) -> UInt8[Tensor, "T 3 S S"]:
    """Return the first photographs below a folder, in the order of their names, cut to squares."""
    folder = local_folder("data.textures", typed)
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in PHOTOGRAPHS)
    if not files:
        raise DataError(f"data.textures={typed}: holds no photographs ({', '.join(PHOTOGRAPHS)})")
    chosen = files[:: max(1, len(files) // TEXTURES)][:TEXTURES]
    return torch.stack([fit(decode(ImageFile(str(path))), TEXTURE_SIDE, TEXTURE_SIDE) for path in chosen])
