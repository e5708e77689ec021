"""Every trick on several ranks; run by scripts/torture ranks."""

import pytest

from bagoftricks.distributed import ALONE
from bagoftricks.errors import UserError
from bagoftricks.tricks import FAMILY_OF
from tests.distributed import cases
from tests.distributed.cases import Case
from tests.distributed.ranks import on_ranks

# An ulp of bf16 is 2^-8. big_little's small maps have next to no variance, by which its norms divide the rounding: its
# gradients in fp64 are compared in test_world_sizes.
TOLERANCE = {"mixed_precision": 2e-2, "big_little": 1e-4}
PARAMS = {"distill": {"mode": "offline"}, "micro_batch": {"images": 4}}


def case_of(name):
    return Case((name,), steps=4, lr=0.01, params={name: PARAMS.get(name, {})})


def tricks():
    return sorted(FAMILY_OF)


def train_each(world, names):
    found = {}
    for name in names:
        try:
            found[name] = cases.train(world, case_of(name))
        except UserError as error:
            found[name] = str(error)
    return found


@pytest.fixture(scope="module")
def alone():
    return train_each(ALONE, tricks())


@pytest.fixture(scope="module", params=[2, 4])
def ranks(request):
    return on_ranks(request.param, train_each, tricks())


@pytest.mark.parametrize("name", tricks())
def test_a_trick_gives_the_weights_of_one_process(alone, ranks, name):
    one, (first, *others) = alone[name], [found[name] for found in ranks]
    if isinstance(one, str):
        pytest.skip(one)
    assert not isinstance(first, str), first
    assert all(first.equals(other) for other in others)
    assert one.distance(first) <= TOLERANCE.get(name, 3e-6)
