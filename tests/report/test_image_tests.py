"""Images that two arms got right, from the files next to their records."""

import hashlib
from dataclasses import replace

import numpy as np
import pytest

from bagoftricks.report.image_tests import PairedImages, image_floor, paired_correctness
from bagoftricks.report.study_notes import study_notes
from bagoftricks.report.study_parts import SavedArm, SavedStudy
from bagoftricks.report.study_results import StudyResults
from bagoftricks.statistics.images import image_error, mcnemar
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


def study_of(store, runs, **about):
    """A study whose arms are compared with the first one."""
    first = next(iter(runs))
    arms = tuple(SavedArm(label=name, compare_to=None if name == first else first) for name in runs)
    saved = SavedStudy(name="s", command="c", seeds=(0, 1), arms=arms, whole={}, **about)
    return StudyResults(saved, runs, store=store)


def scored(found, top1):
    return {seed: replace(r, metrics={"last": replace(r.metrics["last"], top1=top1)}) for seed, r in found.items()}


def test_where_the_seeds_tie_the_images_are_tested(store):
    right = np.arange(IMAGES) < 6
    base = {seed: run(store, f"b{seed}", right & (np.arange(IMAGES) > 5)) for seed in (0, 1)}
    better = {seed: run(store, f"m{seed}", right) for seed in (0, 1)}
    results = study_of(store, {"base": scored(base, 50.0), "mixup": scored(better, 60.0)})
    found = results.comparisons["mixup"]
    assert found.p_images == pytest.approx(2 / 64)  # six images differ, all one way
    assert (
        found.verdict == "not testable: all 2 differences are equal, no spread to judge by; over the 12 images p 0.031"
    )
    assert replace(results, store=None).comparisons["mixup"].p_images is None


def test_the_floor_is_measured_on_the_images_or_scaled(store):
    right = {s: (np.arange(IMAGES) % 2 == 0) | (np.arange(IMAGES) == 2 * s + 1) for s in range(3)}
    other = {s: np.arange(IMAGES) == 2 * s for s in range(3)}
    arms = {name: {s: run(store, f"{name}{s}", of[s]) for s in of} for name, of in (("base", other), ("mixup", right))}
    results = study_of(store, arms)
    floor = results.image_floor
    expected = image_error(np.stack([right[s] for s in range(3)]), np.stack([other[s] for s in range(3)]))
    assert (floor.images, floor.low, floor.high, floor.measured) == (IMAGES, expected, expected, True)
    usual = replace(results, store=None).image_floor
    assert usual.low == pytest.approx(0.03 * (10_000 / IMAGES) ** 0.5)
    assert "as measured on CIFAR-10" in str(usual)
    assert any(str(floor) in note for note in study_notes(results))
    assert replace(results, chosen_score="loss").image_floor is None


def test_a_floor_that_few_seeds_hide_is_not_told_as_zero():
    one, none = np.array([[True, False], [False, True]]), np.array([[False, False], [False, False]])
    hidden, known = PairedImages((0, 1), one, none), PairedImages((0, 1), one[:1].repeat(2, 0), none)
    assert image_error(hidden.arm, hidden.other) == 0
    alone = image_floor([hidden], 10_000)
    assert (alone.low, alone.high, alone.measured) == (0.03, 0.07, False)
    assert str(image_floor([hidden, known], 2)).endswith("standard error of up to 50 points")


def test_the_floor_of_a_factorial_is_that_of_its_effects(store):
    half = np.arange(IMAGES) % 2 == 0
    right = {"off": np.zeros(IMAGES, bool), "on": half}
    runs = {name: {s: run(store, f"{name}{s}", bits) for s in (0, 1)} for name, bits in right.items()}
    arms = (SavedArm(label="off"), SavedArm(label="on", on=("mixup",)))
    saved = SavedStudy(
        name="s", command="c", seeds=(0, 1), arms=arms, whole={}, design="factorial", factors=(("mixup",),)
    )
    floor = StudyResults(saved, runs, store=store).image_floor
    assert floor.low == floor.high == pytest.approx(100 * (half.var(ddof=1) / IMAGES) ** 0.5)
    assert floor.measured


def test_tests_over_images_are_corrected_for_the_number_of_ties(store):
    right = np.arange(IMAGES) < 6
    base = {seed: run(store, f"b{seed}", np.zeros(IMAGES)) for seed in (0, 1)}
    arms = {name: {seed: run(store, f"{name}{seed}", right) for seed in (0, 1)} for name in ("mixup", "cosine")}
    tops = {"base": scored(base, 50.0)} | {name: scored(of, 60.0) for name, of in arms.items()}
    found = study_of(store, tops).comparisons
    assert [found[name].p_images for name in arms] == pytest.approx([2 * 2 / 64] * 2)
