"""The file of the images that each weight set got right."""

import hashlib
import json
import subprocess
import sys

import numpy as np
import pytest
import torch

from bagoftricks.errors import UserError
from bagoftricks.store.correctness import read_correct, write_correct
from bagoftricks.store.files import weights_writer
from bagoftricks.store.store import CORRECT, Store
from tests.store.test_store import record

RIGHT = {"last": np.arange(11) % 3 == 0, "ema": np.arange(11) % 2 == 1}


def kept(store, **changes):
    """A run of eleven validation images whose record has the digest of the file."""
    digest = hashlib.sha256((store.folder("abc") / CORRECT).read_bytes()).hexdigest()
    made = record(metrics={"last": {}, "ema": {}}, data={"val_images": 11}, files={CORRECT: digest}, **changes)
    store.write_record(made)
    return made


def test_the_images_come_back_in_their_order(tmp_path):
    store = Store(tmp_path)
    write_correct(store.folder("abc"), RIGHT)
    found = read_correct(store, kept(store))
    assert {name: bits.tolist() for name, bits in found.items()} == {
        name: bits.tolist() for name, bits in RIGHT.items()
    }
    assert found["last"].dtype == bool


def test_ten_thousand_images_take_little_more_than_a_bit_each(tmp_path):
    write_correct(tmp_path, {"last": np.ones(10_000, bool)})
    assert 1250 < (tmp_path / CORRECT).stat().st_size < 1500


def test_a_record_without_the_file_has_none(tmp_path):
    store = Store(tmp_path)
    assert read_correct(store, record()) is None
    assert read_correct(store, record(files={CORRECT: "0" * 64})) is None


@pytest.mark.parametrize(
    ("tensors", "images", "why"),
    [
        ({"last": torch.zeros(2, dtype=torch.uint8)}, 11, "it is of the weight sets last"),
        (dict.fromkeys(("last", "ema"), torch.zeros(1, dtype=torch.uint8)), 11, "other tensors"),
        (dict.fromkeys(("last", "ema"), torch.zeros(2, dtype=torch.float32)), 11, "other tensors"),
        (dict.fromkeys(("last", "ema"), torch.zeros(2, dtype=torch.uint8)), 12, "of 12 images"),
        (dict.fromkeys(("last", "ema"), torch.zeros(0, dtype=torch.uint8)), 0, "of 0 images"),
    ],
    ids=["sets", "length", "type", "many", "none"],
)
def test_a_file_that_does_not_fit_the_record_is_named(tmp_path, tensors, images, why):
    store = Store(tmp_path)
    store.folder("abc").mkdir()
    weights_writer({name: tensor.clone() for name, tensor in tensors.items()}, {"images": f"{images}"})(
        store.folder("abc") / CORRECT
    )
    made = kept(store)
    with pytest.raises(UserError, match=f"correct.safetensors is not what the run wrote .*{why}.*rerun=true"):
        read_correct(store, made)


def test_a_damaged_file_is_named(tmp_path):
    store = Store(tmp_path)
    write_correct(store.folder("abc"), RIGHT)
    made, path = kept(store), store.folder("abc") / CORRECT
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(UserError, match="its SHA-256 is not that in record"):
        read_correct(store, made)


def test_reading_loads_no_torch(tmp_path):
    store = Store(tmp_path)
    write_correct(store.folder("abc"), RIGHT)
    kept(store)
    code = (
        "import sys, json; from bagoftricks.store.store import Store; from bagoftricks.store.correctness import "
        f"read_correct; store = Store({str(tmp_path)!r}); found = read_correct(store, store.record('abc')); "
        "print(json.dumps([int(found['last'].sum()), 'torch' in sys.modules]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == [4, False]
