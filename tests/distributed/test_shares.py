"""Shares of a batch: facts that need no second process."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bagoftricks.data.shares import Shares
from bagoftricks.distributed.world import World
from bagoftricks.errors import UserError
from bagoftricks.rng import Key, Noise


def worlds(size):
    found = [World() for _ in range(size)]
    for rank, world in enumerate(found):
        world.rank, world.size = rank, size
    return found


@given(st.integers(1, 6), st.integers(6, 60), st.integers(6, 60))
def test_every_row_belongs_to_one_rank_and_shares_differ_by_one_image_at_most(size, count, micro):
    rows = [world.rows(count, micro) for world in worlds(size)]
    assert sorted(np.concatenate(rows)) == list(range(count))
    parts = [world.parts(count, micro) for world in worlds(size)]
    for world, own, cut in zip(worlds(size), rows, parts, strict=True):
        assert sum(images for images, _ in cut) == count
        for part, (images, here) in enumerate(cut):
            assert list(own[here]) == list(range(part * micro + world.rank, part * micro + images, size))


def test_interleaved_groups_of_images_stay_whole():
    rows, groups, size = 48, 12, 4  # image n is in group n mod 12
    for world in worlds(size):
        own = world.rows(rows)
        local = np.arange(len(own)) % (groups // size)
        found = {tuple(own[local == group] % groups) for group in range(groups // size)}
        assert found == {(g,) * (rows // groups) for g in range(world.rank, groups, size)}


def test_a_batch_that_leaves_a_rank_without_images_is_refused():
    with pytest.raises(UserError, match=r"runtime.devices=4: batch_size=18 in micro-batches of 8 leaves .*\(2 at a"):
        worlds(4)[0].check_batch(18, 8)
    worlds(4)[0].check_batch(20, 8)
    worlds(4)[0].check_batch(4)


@pytest.mark.parametrize("views", [1, 3])
def test_an_image_has_the_draws_inside_the_network_that_it_has_on_one_device(views):
    images, size = 10, 4
    alone = Noise(Key(3)).uniform(views * images, 5, device=torch.device("cpu"), place="here")
    for world in worlds(size):
        noise = Noise(Key(3), images, slice(world.rank, None, size))
        here = len(world.rows(images))
        assert noise.rows(views * here) == views * images
        own = noise.uniform(views * here, 5, device=torch.device("cpu"), place="here")
        rows = np.concatenate([view * images + world.rows(images) for view in range(views)])
        assert torch.equal(own, alone[torch.from_numpy(rows)])


def test_places_in_a_batch_of_two_reads_follow_the_order_of_what_a_rank_prepares():
    parts = [(0, np.arange(100, 107)), (1, np.arange(200, 207))]
    whole = np.concatenate([rows for _, rows in parts])
    for rank, world in enumerate(worlds(3)):
        shares = Shares(world, micro=4, whole=True)
        mine = np.concatenate([rows for _, rows in shares.mine(parts)])
        assert list(mine) == list(whole[shares.places(parts)[rank]])


def test_steps_are_dealt_out_in_turn():
    assert [list(Shares(world, dealt=True).steps(range(7))) for world in worlds(3)] == [[0, 3, 6], [1, 4], [2, 5]]
