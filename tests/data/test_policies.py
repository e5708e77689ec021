"""What every augmentation policy must keep to: its views of an image are a function of (seed, epoch, pass, sample)."""

import pickle

import numpy as np
import pytest
import torch

from bagoftricks.data.augment import Augment, Finish
from bagoftricks.data.memory import MemoryLoader
from bagoftricks.data.plan import StepPlan
from bagoftricks.data.preparation import Preparation, Reading
from bagoftricks.data.sources import MemorySplit
from bagoftricks.data.stream import StreamLoader
from bagoftricks.recipe.edits import MapImages
from bagoftricks.settings import dataset_settings
from bagoftricks.tricks import FAMILY_OF
from bagoftricks.tricks.catalogue import create
from tests.helpers import FITTING, KEY, make_task, photographs

DATA = dataset_settings(pad=2)


def policy_of(name, **params):
    return next(
        (e for e in create(name, **{**FITTING.get(name, {}), **params}).edits(make_task()) if isinstance(e, MapImages)),
        None,
    )


POLICIES = [name for name in FAMILY_OF if policy_of(name)]
every_policy = pytest.mark.parametrize("name", POLICIES)


def draws(policy, count, key=KEY):
    return torch.from_numpy(key.fold("policy").uniform(np.arange(count), policy.draws)).float()


def augmented(name, images, key=KEY):
    policy = policy_of(name)
    return policy.apply(images, draws(policy, len(images), key)).view(policy.views, *images.shape)


@every_policy
def test_the_views_are_bytes_of_the_same_shape_and_most_of_them_are_changed(name):
    images = photographs(64, 32)
    views = augmented(name, images)
    assert views.dtype == torch.uint8
    assert (views[-1] != images).flatten(1).any(1).float().mean() > 0.6


@every_policy
def test_the_same_draws_give_the_same_bytes_and_others_give_others(name):
    images = photographs(16, 32)
    assert torch.equal(augmented(name, images), augmented(name, images))
    assert not torch.equal(augmented(name, images), augmented(name, images, KEY.fold(1)))


@every_policy
@pytest.mark.parametrize("size", [16, 32, 33])
def test_a_batch_of_eight_is_eight_batches_of_one(name, size):
    images, policy = photographs(8, size), policy_of(name)
    numbers = draws(policy, 8)
    together = policy.apply(images, numbers).view(policy.views, *images.shape)
    for i in range(8):
        assert torch.equal(policy.apply(images[i : i + 1], numbers[i : i + 1]), together[:, i])


@every_policy
@pytest.mark.parametrize("extreme", [0.0, 1 - 2.0**-24])
def test_the_smallest_and_the_largest_draws_are_served(name, extreme):
    policy = policy_of(name)
    made = policy.apply(photographs(2, 16), torch.full((2, policy.draws), extreme))
    assert made.shape == (2 * policy.views, 3, 16, 16)


@every_policy
def test_a_policy_travels_to_worker_processes(name):
    policy, images = policy_of(name), photographs(4, 16)
    sent = pickle.loads(pickle.dumps(policy))
    assert torch.equal(sent.apply(images, draws(policy, 4)), policy.apply(images, draws(policy, 4)))


@every_policy
@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=pytest.mark.slow)])
def test_the_two_loaders_give_the_same_views(name, workers):
    policy = policy_of(name)
    split = MemorySplit(photographs(12, 16), np.arange(12))
    finish = Finish(DATA, 12, torch.device("cpu"), channels_last=True)
    augment, plan = Augment.from_settings(DATA, 16, KEY, (name, policy)), StepPlan(12, 4, KEY)
    memory = MemoryLoader(split, Preparation(plan, augment, finish), [])
    stream = StreamLoader(split, Preparation(plan, augment, finish), Reading(workers=workers, on_error="fail"))
    for a, b in zip(memory.epoch(3), stream.epoch(3), strict=True):
        assert torch.equal(a.images, b.images)
        assert torch.equal(a.targets, b.targets)
        assert a.images.shape[0] == policy.views * len(a) == policy.views * 4
