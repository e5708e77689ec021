"""What generated frost does to photographs, beside the original pictures.

python benchmarks/frost.py --images PHOTOGRAPHS --frost FOLDER_OF_THE_SIX_PICTURES
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from shared import Report, arguments
from torch import Tensor

from bagoftricks.robustness.corruptions import CorruptionOptions, Frost, corrupt


def rows(images: Tensor, folder: Path) -> Iterator[list[str]]:
    for severity in (1, 3, 5):
        for frost in (Frost.from_folder(folder), Frost.made_up()):
            result = corrupt(images, "frost", severity, range(len(images)), CorruptionOptions(frost=frost)).float()
            numbers = (result.mean(), result.std((1, 2, 3)).mean(), (result - images).abs().mean())
            step = result.diff(dim=3).abs().mean()
            yield [str(severity), frost.describe(), *(f"{n:.1f}" for n in (*numbers, step))]


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--frost", type=Path, required=True)
    given = parser.parse_args()
    paths = sorted(given.images.rglob("*.JPEG"))[:64]
    arrays = [np.array(Image.open(path).convert("RGB").resize((224, 224))) for path in paths]
    images = torch.from_numpy(np.stack(arrays)).permute(0, 3, 1, 2).contiguous()
    report = Report(f"{len(paths)} photographs; grey levels of 255")
    report.table(["severity", "frost", "mean", "deviation", "change", "step"], rows(images, given.frost))


if __name__ == "__main__":
    main()
