"""What generated frost does to photographs, beside the original pictures.

python benchmarks/frost.py --images PHOTOGRAPHS --frost FOLDER_OF_THE_SIX_PICTURES
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from bagoftricks.robustness.corruptions import CorruptionOptions, Frost, corrupt


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--frost", type=Path, required=True)
    given = parser.parse_args()
    paths = sorted(given.images.rglob("*.JPEG"))[:64]
    arrays = [np.array(Image.open(path).convert("RGB").resize((224, 224))) for path in paths]
    images = torch.from_numpy(np.stack(arrays)).permute(0, 3, 1, 2).contiguous()
    print("| severity | frost | mean | deviation | change | step |\n|---|---|--:|--:|--:|--:|")
    for severity in (1, 3, 5):
        for frost in (Frost.from_folder(given.frost), Frost.made_up()):
            result = corrupt(images, "frost", severity, range(len(images)), CorruptionOptions(frost=frost)).float()
            numbers = (result.mean(), result.std((1, 2, 3)).mean(), (result - images).abs().mean())
            step = result.diff(dim=3).abs().mean()
            print(f"| {severity} | {frost.describe()} | " + " | ".join(f"{n:.1f}" for n in (*numbers, step)) + " |")


if __name__ == "__main__":
    main()
