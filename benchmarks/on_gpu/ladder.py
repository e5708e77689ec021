"""Step f: the rows of Page's ladder, one run at a time, as many seeds as the time allows.

Its row 1 differs from row 0 in a setting of the runtime alone, so it is the same run and has no row of its own here.
"""

from on_gpu.ledger import Work
from on_gpu.studies import sweep_by_seed
from on_gpu.to_94 import CIFAR

SEEDS = 5


def measure(work: Work) -> bool:
    """Train the rows; return True when all seeds are there."""
    about = {"experiment": "page/ladder", "scale": "paper", "skip": True, "slots": 1}
    small: list[str] = []
    if work.dry:
        about["scale"] = "laptop"
        small = ["runtime.device=cpu", "model.width=4", "batch_size=16", "epochs=2", "data.limit=96"]
    overrides = [*CIFAR, f"data.root={work.data / 'cifar10'}", *small]
    return sweep_by_seed(work, "ladder", 1 if work.dry else SEEDS, about, *overrides)
