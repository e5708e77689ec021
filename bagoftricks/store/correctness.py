"""Validation images that the weight sets of a run got right: one bit for each, in a file next to the record.

The file is safetensors: for each weight set the bits of the images in the order of the split, the first image in the
highest bit of the first byte. Images that could not be read have none; the number of the others is in the metadata.
"""

from collections.abc import Callable, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bagoftricks.errors import UserError
from bagoftricks.store.checkpoint_header import header_of
from bagoftricks.store.files import read_file, weights_writer, write_whole
from bagoftricks.store.record import Record
from bagoftricks.store.store import CORRECT, RECORD, Store

Bits = npt.NDArray[np.bool_]
Correct = Mapping[str, Bits]  # weight set -> (images,), true where it was right
IMAGE_COUNT = "images"  # key of their number in the metadata
CORRECT_BYTES = 2**28


def write_correct(folder: Path, correct: Correct, *, before: Callable[[], object] | None = None) -> None:
    """Write which images each weight set got right into a run's folder; ``before`` as for ``write_whole``."""
    import torch

    (images,) = {len(right) for right in correct.values()}
    packed = {name: torch.from_numpy(np.packbits(right)) for name, right in correct.items()}
    write_whole(folder / CORRECT, weights_writer(packed, {IMAGE_COUNT: f"{images}"}), before=before)


def read_correct(store: Store, record: Record) -> dict[str, Bits] | None:
    """Return which validation images each weight set of a run got right, (images,) each, in the order of the split.

    None where the run has left no such file (earlier versions), or it was not copied along with the record. Loads no
    torch. Raises UserError for a file that is damaged or not the one of the record.
    """
    path = store.folder(record.id) / CORRECT
    if CORRECT not in record.files:
        return None
    try:
        data = read_file(path, CORRECT_BYTES)
        if sha256(data).hexdigest() != record.files[CORRECT]:
            raise ValueError(f"its SHA-256 is not that in {RECORD}")
        return _unpacked(data, record)
    except FileNotFoundError:
        return None
    except Exception as error:  # a damaged file can fail in any way
        raise UserError(
            f"{path} is not what the run wrote ({error}): restore it, or train the run again with rerun=true"
        ) from error


def _unpacked(data: bytes, record: Record) -> dict[str, Bits]:
    from safetensors.numpy import load

    about: Mapping[str, Any] = header_of(bytearray(data))["__metadata__"]
    images, packed = int(about[IMAGE_COUNT]), load(data)
    if packed.keys() != record.metrics.keys():
        raise ValueError(f"it is of the weight sets {', '.join(packed)}")
    if not 0 < images <= record.data.val_images:
        raise ValueError(f"it is of {images:,} images")
    if any(bits.dtype != np.uint8 or bits.shape != (-(-images // 8),) for bits in packed.values()):
        raise ValueError("it has other tensors than a bit for each image")
    return {name: np.unpackbits(bits, count=images).astype(bool) for name, bits in packed.items()}
