"""What decoding JPEGs at a reduced scale saves, and by how many grey levels its crops differ from those in full.

    python benchmarks/decoding.py FOLDER [--sides 375 700 1000 1500 3000] [--images 24]

FOLDER has a folder of JPEGs per class. They are enlarged to each short side, with noise as a sensor's, and saved at
quality 90; --sides 0 leaves them as they are.
"""

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from shared import Report, Spread, arguments, in_turn, ratios, spread
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
    """Milliseconds of processor an image, and the crops."""
    draws = made_by.draws(0, [(0, np.arange(len(files.labels)))]).tolist()
    start = time.process_time()
    made = [made_by.square_of(files, index, row) for index, row in enumerate(draws)]
    return 1000 * (time.process_time() - start) / len(made), torch.stack(made).float()


def compared(files: FileSplit, way: str) -> tuple[dict[str, Spread], Spread, Tensor]:
    """Return the milliseconds of both decodings, the ratio of full to scaled, and how their crops differ."""
    made_by = {decode: augment(way, decode) for decode in ("full", "scaled")}
    found = in_turn({decode: lambda _, a=a: crops(files, a) for decode, a in made_by.items()}, 3)
    spent = {decode: [took for took, _ in each] for decode, each in found.items()}
    return (
        {decode: spread(each) for decode, each in spent.items()},
        ratios(spent["full"], spent["scaled"]),
        found["scaled"][0][1] - found["full"][0][1],
    )


def rows(sides: list[int], photographs: list[Path], report: Report) -> Iterator[list[str]]:
    for side in sides:
        with tempfile.TemporaryDirectory() as folder:
            made = [enlarged(path, side, Path(folder)) for path in photographs]
            size = np.mean([path.stat().st_size for path in made]) / 1000
            files = FileSplit(np.array([str(path) for path in made]), np.zeros(len(made), np.int64))
            for way in ("train", "val"):
                spent, ratio, off = compared(files, way)
                place, differences = (
                    f"{side} pixels" if side else "as they are",
                    [off.abs().mean(), off.abs().max(), off.mean()],
                )
                times = [spent["full"].text(), spent["scaled"].text(), ratio.text()]
                yield [place, f"{size:,.0f}", way, *times, *(f"{value:.3f}" for value in differences)]
                report.ratio(f"data.decode=scaled, {way} crops, short side {place}", "full", ratio)


def main() -> None:
    parser = arguments(__doc__, images=24)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--sides", type=int, nargs="+", default=[375, 700, 1000, 1500, 3000])
    given = parser.parse_args()
    torch.set_num_threads(1)
    photographs = sorted(given.folder.glob("*/*.[jJ]*"))[: given.images]
    report = Report(f"{len(photographs)} photographs, crops of {SIZE} pixels; grey levels of 255")
    times, differences = ["full, ms of processor", "scaled", "full over scaled"], ["mean difference", "largest", "bias"]
    headings = ["short side", "kB", "crop", *times, *differences]
    report.table(headings, rows(given.sides, photographs, report))


if __name__ == "__main__":
    main()
