"""The state of a run in one file: tensors and plain values, with a digest. Nothing in it is ever executed.

A checkpoint is a safetensors file. Its metadata hold the values as JSON, and the SHA-256 of the whole file with the
digest's own 64 characters taken as zeros, so that a file that was cut short or changed anywhere is found out.
"""

import json
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import torch
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from bagoftricks.errors import DamagedCheckpoint, UserError
from bagoftricks.store.checkpoint_header import LENGTH_BYTES, header_of
from bagoftricks.store.files import read_file, write_whole
from bagoftricks.store.json_fields import Json
from bagoftricks.training.state import TrainingState

CHECKPOINT_FORMAT = 1  # raise it when an older version could misread a newer checkpoint
CHECKPOINT_BYTES = 2**38  # more is no checkpoint
UNSET = b"0" * 64


def write_checkpoint(path: Path, state: TrainingState, *, before: Callable[[], object] | None = None) -> None:
    """Write ``state`` whole or not at all; ``before`` is called just before the file appears."""
    data = encoded(state)
    write_whole(path, lambda file: file.write_bytes(data), before=before)


def encoded(state: TrainingState) -> bytearray:
    """Return the bytes of a checkpoint."""
    tensors = {name: tensor.contiguous() for name, tensor in state.tensors.items()}
    strides = {
        name: tensor.stride() for name, tensor in state.tensors.items() if tensor.stride() != row_major_strides(tensor)
    }
    about = {"format": CHECKPOINT_FORMAT, "strides": strides, "values": state.values}
    data = bytearray(save_tensors(tensors, {"about": json.dumps(about), "sha256": UNSET.decode()}))
    start = _digest_start(data)
    data[start : start + len(UNSET)] = _digest(data, start).encode()
    return data


def read_checkpoint(path: Path) -> TrainingState:
    """Return the state in a file, on the CPU, in the memory order it had. Runs no code from the file.

    Raises DamagedCheckpoint, UserError for a file that a newer version wrote, OSError where it cannot be read.
    """
    data = bytearray(read_file(path, CHECKPOINT_BYTES))
    try:
        about = _verified(data)
        newer = int(about["format"]) > CHECKPOINT_FORMAT
        state = None if newer else _decoded(data, about)
    except Exception as error:  # a damaged file can fail in any way
        raise DamagedCheckpoint(f"{path} is damaged ({error})") from error
    if state is None:
        raise UserError(
            f"{path} is of format {about['format']}, which a newer version of bagoftricks wrote (this one reads up to "
            f"{CHECKPOINT_FORMAT}): upgrade this one to resume from it, or type rerun=true to start from the beginning"
        )
    return state


def _verified(data: bytearray) -> Json:
    """Return the values of the header, after a check of the digest."""
    start = _digest_start(data)
    if data[start : start + len(UNSET)] != _digest(data, start).encode():
        raise ValueError("its digest is not that of its contents")
    about: Json = json.loads(header_of(data)["__metadata__"]["about"])
    return about


def _decoded(data: bytearray, about: Json) -> TrainingState:
    tensors = load_tensors(bytes(data))
    strides = about["strides"]
    return TrainingState(
        {name: with_strides(tensor, strides[name]) if name in strides else tensor for name, tensor in tensors.items()},
        about["values"],
    )


def row_major_strides(tensor: Tensor) -> tuple[int, ...]:
    """Return the strides of a tensor of this shape in row-major order."""
    return torch.empty(tensor.shape, device="meta").stride()


def with_strides(tensor: Tensor, strides: list[int]) -> Tensor:
    """Return a copy of a tensor with these strides."""
    return torch.empty_strided(tensor.shape, strides, dtype=tensor.dtype, device=tensor.device).copy_(tensor)


def _digest_start(data: bytearray) -> int:
    """Return the position of the 64 characters of the digest."""
    size = int.from_bytes(data[:LENGTH_BYTES], "little")
    key = b'"sha256":"'
    found = data.find(key, LENGTH_BYTES, LENGTH_BYTES + size)
    if found < 0 or LENGTH_BYTES + size > len(data):
        raise ValueError("it has no digest")
    return found + len(key)


def _digest(data: bytearray, start: int) -> str:
    """SHA-256 of the file with its own place taken as zeros."""
    view, digest = memoryview(data), sha256()
    for part in (view[:start], UNSET, view[start + len(UNSET) :]):
        digest.update(part)
    return digest.hexdigest()
