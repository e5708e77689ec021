"""What decoding JPEGs at a reduced scale saves, and by how many grey levels its crops differ from those in full.

    python benchmarks/decoding.py FOLDER [--sides 375 700 1000 1500 3000] [--images 24]

FOLDER has a folder of JPEGs per class. They are enlarged to each short side, with noise as a sensor's, and saved at
quality 90; --sides 0 leaves them as they are.
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from bagoftricks.data.augment import Augment
from bagoftricks.data.sources import FileSplit
from bagoftricks.rng import Key
from bagoftricks.settings import dataset_settings

SIZE, QUALITY, NOISE = 224, 90, 4.0


def enlarged(path: Path, short_side: int, folder: Path) -> Path:
    """A copy of a photograph with this short side."""
    if not short_side:
        return path
    with Image.open(path) as opened:
        scale = short_side / min(opened.size)
        sides = (round(opened.width * scale), round(opened.height * scale))
        pixels = np.asarray(opened.convert("RGB").resize(sides, Image.Resampling.BICUBIC)).astype(np.float32)
    noisy = pixels + Key(0).fold(str(path.name)).numpy().normal(0, NOISE, pixels.shape)
    made = folder / f"{short_side}-{path.stem}.jpg"
    Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(made, quality=QUALITY)
    return made


def augment(way: str, decode: str) -> Augment:
    data = dataset_settings(crop="area", jitter="none", pca=0.0, decode=decode)
    return Augment.from_settings(data, SIZE, Key(0)) if way == "train" else Augment.plain(data, SIZE)


def crops(files: FileSplit, made_by: Augment) -> tuple[float, Tensor]:
    """Milliseconds of processor an image, median of three, and the crops."""
    draws = made_by.draws(0, [(0, np.arange(len(files.labels)))])
    spent = []
    for _ in range(3):
        start = time.process_time()
        made = [made_by.square_of(files, index, row) for index, row in enumerate(draws)]
        spent.append(1000 * (time.process_time() - start) / len(made))
    return sorted(spent)[1], torch.stack(made).float()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--sides", type=int, nargs="+", default=[375, 700, 1000, 1500, 3000])
    parser.add_argument("--images", type=int, default=24)
    given = parser.parse_args()
    torch.set_num_threads(1)
    photographs = sorted(given.folder.glob("*/*.[jJ]*"))[: given.images]
    print(
        f"torch {torch.__version__}; {len(photographs)} photographs, crops of {SIZE}\n\n| short side | kB | crop "
        "| full, ms | scaled, ms | mean difference | largest | bias |\n|---|---|---|---|---|---|---|---|"
    )
    for side in given.sides:
        with tempfile.TemporaryDirectory() as folder:
            made = [enlarged(path, side, Path(folder)) for path in photographs]
            size = np.mean([path.stat().st_size for path in made]) / 1000
            files = FileSplit(np.array([str(path) for path in made]), np.zeros(len(made), np.int64))
            for way in ("train", "val"):
                (full_ms, full), (scaled_ms, scaled) = (crops(files, augment(way, d)) for d in ("full", "scaled"))
                off = scaled - full
                print(
                    f"| {side or 'as they are'} | {size:,.0f} | {way} | {full_ms:.2f} | {scaled_ms:.2f} "
                    f"| {off.abs().mean():.2f} | {off.abs().max():.0f} | {off.mean():.3f} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
