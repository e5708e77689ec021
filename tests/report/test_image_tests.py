"""Images that two arms got right, from the files next to their records."""

import hashlib

import numpy as np
import pytest

from bagoftricks.report.image_tests import paired_correctness
from bagoftricks.statistics.images import mcnemar
from bagoftricks.store.correctness import write_correct
from bagoftricks.store.store import CORRECT, Store
from tests.store.test_store import record

IMAGES = 12
RNG = np.random.default_rng(0)


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path)


def run(store, name, right, *, digest="d", skipped=(), **sets):
    """A finished run, whose weight set ``last`` got these images right."""
    correct = {"last": np.array(right, bool), **sets}
    write_correct(store.folder(name), correct)
    sha256 = hashlib.sha256((store.folder(name) / CORRECT).read_bytes()).hexdigest()
    data = {"val_images": IMAGES, "digest": digest, "skipped": list(skipped)}
    made = record(id=name, metrics={each: {} for each in correct}, data=data, files={CORRECT: sha256})
    store.write_record(made)
    return made


def arm(store, name, seeds, **changes):
    drawn = {seed: RNG.random(IMAGES) < 0.7 for seed in seeds}
    return {seed: run(store, f"{name}{seed}", right, **changes) for seed, right in drawn.items()}, drawn


def test_arms_are_paired_by_the_seeds_of_both(store):
    (mixup, right), (base, other) = arm(store, "m", (2, 0, 5)), arm(store, "b", (0, 2, 3))
    found = paired_correctness(store, mixup, base)
    assert found.seeds == (0, 2)
    assert found.arm.tolist() == [right[0].tolist(), right[2].tolist()]
    assert found.other.tolist() == [other[0].tolist(), other[2].tolist()]
    assert 0 < mcnemar(found.arm, found.other) <= 1
    alone = paired_correctness(store, mixup, mixup)
    assert alone.seeds == (0, 2, 5)
    assert alone.arm.tolist() == alone.other.tolist()


def test_the_weight_set_is_the_reported_one(store):
    ema = np.arange(IMAGES) % 2 == 0
    one = {0: run(store, "a", np.ones(IMAGES), ema=ema)}
    assert paired_correctness(store, one, one).arm.tolist() == [ema.tolist()]


def test_runs_without_the_file_and_of_other_images_are_left_out(store):
    base, _ = arm(store, "b", (0, 1, 2, 3))
    mixup, _ = arm(store, "m", (0,))
    mixup |= arm(store, "n", (1,), digest="e")[0] | arm(store, "o", (2,), skipped=["a.png"])[0]
    mixup[3] = record(id="m3")
    assert paired_correctness(store, mixup, base).seeds == (0,)
    assert paired_correctness(store, {3: mixup[3]}, base) is None
    assert paired_correctness(store, {1: mixup[1]}, base) is None
    elsewhere = {**base, **arm(store, "q", (1,), digest="e")[0]}
    assert paired_correctness(store, elsewhere, elsewhere).seeds == (0, 2, 3)


def test_a_damaged_file_is_left_out_with_a_note(store, capsys):
    base, _ = arm(store, "b", (0, 1))
    (store.folder("b0") / CORRECT).write_bytes(b"x")
    assert paired_correctness(store, base, base).seeds == (1,)
    assert "b0/correct.safetensors is not what the run wrote" in capsys.readouterr().err
