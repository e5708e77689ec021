"""The precision that a run of these settings computes in, where it is left to the machine."""

from collections.abc import Mapping
from typing import Any

from bagoftricks.cores import multiplies_bf16

PRECISION_TRICK = "mixed_precision"


def with_precision(tricks: Mapping[str, Any], device: str) -> dict[str, Any]:
    """Return tricks with bf16 for ``tricks.mixed_precision.dtype=auto``, without that trick if the device has no bf16.

    The settings of a run, its identity and its record then say what is computed, not where it was typed.
    """
    chosen = tricks.get(PRECISION_TRICK)
    if not isinstance(chosen, Mapping) or chosen.get("dtype") != "auto":  # what is no mapping is refused later
        return dict(tricks)
    others = {name: params for name, params in tricks.items() if name != PRECISION_TRICK}
    return {**others, PRECISION_TRICK: {**chosen, "dtype": "bf16"}} if on_bf16(device) else others


def on_bf16(device: str) -> bool:
    """Return True if the device, such as auto, has instructions for bf16; a processor is read from Linux's list."""
    if device.startswith("cuda") or multiplies_bf16():
        return True
    import torch  # takes a second, for processors that cannot or do not say

    from bagoftricks.run.check import has_bf16

    return has_bf16() or (device == "auto" and torch.cuda.is_available())
