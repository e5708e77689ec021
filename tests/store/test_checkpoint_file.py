"""The file of a checkpoint: what goes in comes out, and nothing else ever does."""

import json
import os
import pickle
import struct

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open

from bagoftricks.errors import DamagedCheckpoint, UserError
from bagoftricks.store.checkpoint_file import CHECKPOINT_FORMAT, encoded, read_checkpoint, write_checkpoint
from bagoftricks.training.state import TrainingState

TENSORS = {
    "kernel": torch.arange(24.0).view(2, 3, 2, 2).contiguous(memory_format=torch.channels_last),
    "pointwise": torch.arange(6.0).view(2, 3, 1, 1).contiguous(memory_format=torch.channels_last),
    "transposed": torch.arange(6.0).view(2, 3).mT,
    "half": torch.tensor([1.5, float("inf")], dtype=torch.bfloat16),
    "count": torch.tensor(7),
    "nothing": torch.zeros(0, 3),
    "flags": torch.tensor([True, False]),
    "double": torch.tensor(0.1, dtype=torch.float64),
}
VALUES = {"steps": 3, "seconds": 0.1 + 0.2, "names": ["a", None, True], "sha256": "0" * 64, "quote": '"sha256":"'}


@pytest.fixture
def path(tmp_path):
    write_checkpoint(tmp_path / "checkpoint", TrainingState(TENSORS, VALUES))
    return tmp_path / "checkpoint"


def test_what_goes_in_comes_out(path):
    state = read_checkpoint(path)
    assert state.values == VALUES
    assert set(state.tensors) == set(TENSORS)
    for name, tensor in state.tensors.items():
        assert tensor.dtype == TENSORS[name].dtype
        assert torch.equal(tensor, TENSORS[name])
        assert tensor.stride() == TENSORS[name].stride(), name


def test_a_checkpoint_is_a_file_of_safetensors(path):
    with safe_open(path, "pt") as file:
        assert torch.equal(file.get_tensor("kernel"), TENSORS["kernel"])


@given(st.data())
def test_a_bit_that_flips_anywhere_is_found_out(tmp_path_factory, data):
    whole = encoded(TrainingState(TENSORS, VALUES))
    bit = data.draw(st.integers(0, 8 * len(whole) - 1))
    whole[bit // 8] ^= 1 << bit % 8
    path = tmp_path_factory.mktemp("flipped") / "checkpoint"
    path.write_bytes(whole)
    with pytest.raises(DamagedCheckpoint, match="is damaged"):
        read_checkpoint(path)


def test_a_bit_that_flips_in_any_byte_is_found_out(path):
    whole = path.read_bytes()
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x10]) + whole[place + 1 :])
        with pytest.raises(DamagedCheckpoint):
            read_checkpoint(path)


def test_a_file_that_was_cut_short_or_grew_is_found_out(path):
    whole = path.read_bytes()
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        with pytest.raises(DamagedCheckpoint):
            read_checkpoint(path)
    path.write_bytes(whole + b"\0")
    with pytest.raises(DamagedCheckpoint):
        read_checkpoint(path)


def test_zeros_in_the_place_of_the_digest_are_no_digest(path):
    whole = path.read_bytes()
    start = whole.index(b'"sha256":"') + len(b'"sha256":"')
    path.write_bytes(whole[:start] + b"0" * 64 + whole[start + 64 :])
    with pytest.raises(DamagedCheckpoint):
        read_checkpoint(path)


class Malicious:
    def __init__(self, trace):
        self.trace = trace

    def __reduce__(self):
        return os.mkdir, (self.trace,)


@pytest.mark.parametrize("write", ["pickle", "torch", "beside safetensors"])
def test_a_malicious_pickle_is_refused_and_not_run(path, tmp_path, write):
    evil = Malicious(str(tmp_path / "executed"))
    if write == "torch":
        torch.save({"model": evil}, path)
    else:
        path.write_bytes((path.read_bytes() if "beside" in write else b"") + pickle.dumps(evil))
    with pytest.raises(DamagedCheckpoint):
        read_checkpoint(path)
    assert not (tmp_path / "executed").exists()
    pickle.loads(pickle.dumps(evil))
    assert (tmp_path / "executed").exists()  # it would have run


def test_a_header_that_claims_to_be_endless_is_found_out(path):
    path.write_bytes(struct.pack("<Q", 2**63) + path.read_bytes()[8:])
    with pytest.raises(DamagedCheckpoint):
        read_checkpoint(path)


def test_a_newer_format_is_refused_with_its_number(path, monkeypatch):
    monkeypatch.setattr("bagoftricks.store.checkpoint_file.CHECKPOINT_FORMAT", CHECKPOINT_FORMAT + 1)
    write_checkpoint(path, TrainingState(TENSORS, VALUES))
    monkeypatch.undo()
    with pytest.raises(
        UserError, match=rf"is of format {CHECKPOINT_FORMAT + 1}, which a newer version .* up to {CHECKPOINT_FORMAT}"
    ) as error:
        read_checkpoint(path)
    assert not isinstance(error.value, DamagedCheckpoint)


def test_a_file_whose_write_is_stopped_leaves_the_old_one(path):
    def stop():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_checkpoint(path, TrainingState({}, {"steps": 4}), before=stop)
    assert read_checkpoint(path).values == VALUES
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_values_survive_as_json(path):
    assert json.loads(json.dumps(read_checkpoint(path).values)) == VALUES
