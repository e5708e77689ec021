"""Expected failures of a run: one line each, with what to type."""

import gc
import re
from contextlib import suppress
from pathlib import Path

import torch

from bagoftricks.data.handover import describe_death, is_dead_worker
from bagoftricks.errors import LOSS_FAILURE, LossNotFinite, TrainingFailed
from bagoftricks.recipe.trick import Length
from bagoftricks.settings import Settings
from bagoftricks.store.files import DISK_FULL

RESUME = "type the same command again to resume"
FEWEST = 4  # images at a time


def expected_failure(error: BaseException, settings: Settings) -> TrainingFailed | None:
    """Return the failure to report for ``error``, None if the error is not an expected one."""
    message = str(error)
    if is_out_of_memory(error):
        return TrainingFailed(f"{out_of_memory(settings)}: {LESS_MEMORY}")
    if is_dead_worker(error):
        return TrainingFailed(
            f"{describe_death(error)}: {RESUME}; if it dies at the same file again, remove that file; "
            f"runtime.workers={max(0, settings.runtime.workers // 2)} needs less memory"
        )
    if isinstance(error, RuntimeError) and (op := re.search(r"(\S+) does not have a deterministic impl", message)):
        return TrainingFailed(
            f"runtime.deterministic=true: {op[1]} has no deterministic form on this device; leave out the trick or "
            "the network that uses it, or runtime.deterministic"
        )
    if isinstance(error, ValueError) and "more than 1 value per channel" in message:  # of smaller images than the run's
        return TrainingFailed(
            "a batch norm met a batch of one image with a map of one pixel: type a larger batch_size="
        )
    if isinstance(error, RuntimeError) and "CUBLAS_WORKSPACE_CONFIG" in message:
        return TrainingFailed(
            "runtime.deterministic=true: cuBLAS runs without a fixed workspace already; put "
            "CUBLAS_WORKSPACE_CONFIG=:4096:8 into the environment of the command"
        )
    if isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename else ""
        if error.errno in DISK_FULL:
            return TrainingFailed(f"{where}the disk is full: make room, then {RESUME}")
        return TrainingFailed(f"{where}{last_line(error)}: fix it, then {RESUME}")
    return None


def loss_failure(error: LossNotFinite, length: Length, path: Path) -> TrainingFailed:
    """Return the failure to report for a loss that is not finite; ``path`` holds the evidence."""
    return TrainingFailed(
        f"{LOSS_FAILURE} {error.losses[error.step]} at step {error.step:,} of {length.total_steps:,} (epoch "
        f"{(error.step - 1) // length.steps_per_epoch + 1}): type a lower lr=, or add +efficiency=warmup; {path} has "
        "the batch and the gradients"
    )


def is_out_of_memory(error: BaseException) -> bool:
    """Return True if a GPU's memory, or the host's, did not suffice."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and bool(re.search(r"can't allocate memory|not enough memory", str(error)))


def smaller(images: int) -> int | None:
    """Return half as many images at a time, None if that is too few to train batch norm."""
    return images // 2 if images // 2 >= FEWEST else None


def release_memory() -> None:
    """Free the memory that no object uses any more."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


LESS_MEMORY = (
    "type +efficiency=micro_batch with a smaller tricks.micro_batch.images=, a smaller batch_size=, "
    "+efficiency=mixed_precision, or runtime.auto_micro_batch=true"
)


def out_of_memory(settings: Settings) -> str:
    """Return the sizes that did not fit into memory."""
    size = ""
    if torch.cuda.is_available():
        with suppress(RuntimeError):
            free, total = torch.cuda.mem_get_info()
            size = f" (the GPU has {total / 2**30:.1f} GiB, {free / 2**30:.1f} of them free now)"
    images = settings.tricks.get("micro_batch", {}).get("images", settings.batch_size)
    return f"out of memory with {images} images of {settings.pixels} x {settings.pixels} pixels at a time{size}"


def last_line(error: BaseException) -> str:
    """Return the last line of an error's message: errors of worker processes begin with a traceback."""
    text = getattr(error, "strerror", None) or str(error).strip() or type(error).__name__
    return str(text).splitlines()[-1]
