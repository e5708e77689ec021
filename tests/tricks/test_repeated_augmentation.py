import numpy as np
import pytest
import torch

from bagoftricks.data.augment import Augment, Finish
from bagoftricks.data.memory import MemoryLoader
from bagoftricks.data.plan import StepPlan
from bagoftricks.data.preparation import Preparation, Reading
from bagoftricks.data.shares import Shares
from bagoftricks.data.sources import MemorySplit
from bagoftricks.data.stream import StreamLoader
from bagoftricks.distributed import World
from bagoftricks.errors import UserError
from bagoftricks.run.loading import loaders
from bagoftricks.run.prepare import prepare
from bagoftricks.settings import Settings, dataset_settings
from bagoftricks.tricks.catalogue import create
from tests.helpers import KEY, make_task, photographs, the_edit


def epoch(number: int, count: int = 50, batch: int = 12, times: int = 3, **params) -> list[np.ndarray]:
    """Return the samples of each step of an epoch."""
    plan = StepPlan(count, batch, KEY, repeats=times, **params)
    return [rows for parts in plan.steps(number) for _, rows in parts]


def test_the_edit_holds_the_times():
    assert the_edit("repeated_augmentation", make_task(batch_size=12), times=3).times == 3


@pytest.mark.parametrize(("count", "batch", "times"), [(50, 12, 3), (50, 12, 12), (64, 8, 2), (9, 9, 3)])
def test_a_batch_has_each_of_its_images_m_times_under_other_numbers(count, batch, times):
    for number in range(5):
        steps = epoch(number, count, batch, times)
        assert len(steps) == count // batch
        for samples in steps:
            images, found = np.unique(samples % count, return_counts=True)
            assert len(images) == batch // times
            assert (found == times).all()
            assert len(set(samples.tolist())) == batch
            assert (samples[: batch // times] < count).all()  # the first views have the draws of the plain run


@pytest.mark.parametrize("times", [2, 3, 4])
def test_m_epochs_have_each_image_m_times_in_an_order_of_their_own(times):
    rounds = [np.concatenate([s for e in range(times) for s in epoch(r * times + e, 48, 12, times)]) for r in range(2)]
    for samples in rounds:
        assert (np.bincount(samples % 48) == times).all()
        assert sorted(samples) == list(range(48 * times))
    assert (rounds[0] != rounds[1]).any()


def test_once_is_the_plain_plan():
    for number in range(3):
        plain = [rows for parts in StepPlan(50, 12, KEY).steps(number) for _, rows in parts]
        assert np.array_equal(epoch(number, times=1), plain)


def test_an_epoch_that_is_begun_in_the_middle_has_the_same_steps():
    plan = StepPlan(50, 12, KEY, reads=2, repeats=3)
    for number in range(4):
        for start in range(1, len(plan)):
            late, whole = list(plan.steps(number, start)), list(plan.steps(number))[start:]
            assert all(
                np.array_equal(a, b)
                for one, other in zip(late, whole, strict=True)
                for (_, a), (_, b) in zip(one, other, strict=True)
            )


def test_a_step_of_two_reads_has_a_set_of_images_for_each():
    for parts in StepPlan(48, 12, KEY, reads=2, repeats=3).steps(0):
        (first, one), (second, other) = parts
        assert (first, second) == (0, 1)
        assert [len(np.unique(rows % 48)) for rows in (one, other)] == [4, 4]
        assert set((one % 48).tolist()) != set((other % 48).tolist())


def test_the_copies_of_balanced_sampling_are_repeated_under_numbers_of_their_own():
    copies = np.array([25.0] + [25 / 49] * 49)
    samples = np.concatenate([s for e in range(3) for s in epoch(e, 50, 10, 5, copies=copies)])
    assert (samples % 50 == 0).sum() >= 5 * (25 * 3 // 5 - 8)
    assert all(len(set(step.tolist())) == 10 for e in range(3) for step in epoch(e, 50, 10, 5, copies=copies))


def test_the_ranks_share_a_batch_out():
    plan, shared = StepPlan(48, 12, KEY, repeats=3), []
    for rank in range(2):
        world = type("Rank", (World,), {"rank": rank, "size": 2})()
        shared.append([Shares(world).mine(parts)[0][1] for parts in plan.steps(1)])
    for step, parts in enumerate(plan.steps(1)):
        assert sorted(np.concatenate([own[step] for own in shared])) == sorted(parts[0][1])


def test_both_loaders_augment_each_copy_differently_and_give_the_same_batches():
    data = dataset_settings(crop="pad", pad=3, jitter="hsv")
    split = MemorySplit(photographs(12, 8), np.arange(12))
    augment, finish = Augment.from_settings(data, 8, KEY), Finish(data, 12, torch.device("cpu"), channels_last=True)
    made = Preparation(StepPlan(12, 6, KEY, repeats=3), augment, finish)
    for a, b in zip(
        MemoryLoader(split, made, []).epoch(1), StreamLoader(split, made, Reading(workers=0)).epoch(1), strict=True
    ):
        assert torch.equal(a.images, b.images)
        assert torch.equal(a.targets, b.targets)
        labels = a.targets.argmax(1)
        assert torch.equal(labels, labels[:2].repeat(3))
        assert len(a.images.unique(dim=0)) == 6


def test_the_loader_of_a_run_repeats_its_images(tmp_path):
    asked = Settings(tricks={"repeated_augmentation": {"times": 4}}, batch_size=16, epochs=1, store=str(tmp_path))
    asked.data.image_size, asked.runtime.device = 8, "cpu"
    train, _ = loaders(prepare(asked), None)
    (batch, *_) = train.epoch(0)
    labels = batch.targets.argmax(1)
    assert torch.equal(labels, labels[:4].repeat(4))
    assert len(train) == 1438 // 16


def test_times_that_do_not_divide_the_batch_are_refused():
    with pytest.raises(
        UserError, match=r"^tricks\.repeated_augmentation\.times=3: must be a divisor of the batch size: "
    ):
        create("repeated_augmentation", times=3).edits(make_task(batch_size=256))


def test_a_single_time_is_refused():
    message = r"^tricks\.repeated_augmentation\.times=1: must be 2 or more \(leave repeated_augmentation out for 1\)$"
    with pytest.raises(UserError, match=message):
        create("repeated_augmentation", times=1)
