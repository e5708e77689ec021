"""Step g: main effects of sixteen tricks from a 2^(16-11) fraction of resolution IV: 32 arms of six seeds, 192 runs.

A run is 582 steps of 512 images of a ResNet-14 for CIFAR-10: long enough that the average of the weights (100 steps)
has caught up and the schedules have room, short enough for 192 of them. Several share the card, as one alone is
expected to leave most of it idle. The preset's learning rate is for batches of 128; four times that, without warm-up in
half of the arms, would be a study of what diverges, so it is doubled only. On a CPU in bf16, one run of this budget
with cosine alone reached 73.6 %.
"""

from typing import Any

from on_gpu.ledger import Work
from on_gpu.studies import sweep_by_seed
from on_gpu.to_94 import CIFAR

TRICKS = (
    *("mixup", "eca", "cosine", "ema", "label_smoothing", "resnet_d", "warmup", "cutout", "dropblock"),
    *("clip_gradients", "sam", "se", "gelu", "zero_gamma", "no_bias_decay", "anti_alias"),
)
SEEDS, SLOTS = 6, 6


def measure(work: Work) -> bool:
    """Train the runs; return True when all seeds are there."""
    about: dict[str, Any] = {"design": "fractional", "tricks": TRICKS, "runs": 32}
    budget = ["epochs=6", "batch_size=512", "lr=0.2", "runtime.eval_every=6", f"engine.slots_per_device={SLOTS}"]
    if work.dry:
        budget = ["epochs=2", "batch_size=16", "data.limit=96", "runtime.device=cpu", "model.width=4", "slots=0"]
    overrides = ["preset=cifar_laptop", *CIFAR, f"data.root={work.data / 'cifar10'}", *budget]
    return sweep_by_seed(work, "sixteen", 1 if work.dry else SEEDS, about, *overrides)
