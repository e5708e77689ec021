"""The precision that a run of these settings computes in, where it is left to the machine."""

from bagoftricks.cores import multiplies_bf16
from bagoftricks.registry import Values

PRECISION_TRICK = "mixed_precision"


def choose_precision(values: Values) -> None:
    """Replace ``tricks.mixed_precision.dtype=auto`` by bf16 if the device multiplies in it, else leave the trick out.

    The settings of a run, its identity and its record then say what is computed, not where it was typed.
    """
    tricks = values["tricks"]
    if tricks.get(PRECISION_TRICK, {}).get("dtype") != "auto":
        return
    if on_bf16(values["runtime"]["device"]):
        tricks[PRECISION_TRICK]["dtype"] = "bf16"
    else:
        del tricks[PRECISION_TRICK]


def on_bf16(device: str) -> bool:
    """Return True if the device, such as auto, has instructions for bf16; a processor is read from Linux's list."""
    if device.startswith("cuda"):
        return True
    if multiplies_bf16():
        return True
    import torch  # takes a second, for processors that cannot or do not say

    from bagoftricks.run.check import has_bf16

    return has_bf16() or (device == "auto" and torch.cuda.is_available())
