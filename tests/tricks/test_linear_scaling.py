import pytest

from bagoftricks.errors import UserError
from bagoftricks.recipe.compose import compose
from bagoftricks.training.parameters import param_groups
from bagoftricks.tricks.catalogue import create
from tests.helpers import BATCH, make_model, make_task

IDENTITIES = [{"base_batch": BATCH}]


def rate(batch_size: int, **params: int) -> float:
    recipe = compose({"linear_scaling": create("linear_scaling", **params)}, make_task(batch_size=batch_size))
    (group,) = param_groups(make_model(recipe)[0], recipe.param_scales, lr=0.1, weight_decay=1e-4)
    return group["lr"]


@pytest.mark.parametrize(("batch_size", "expected"), [(128, 0.05), (256, 0.1), (512, 0.2), (1024, 0.4)])
def test_a_tenth_for_256_images(batch_size, expected):
    assert rate(batch_size) == expected


def test_the_base_batch_is_a_hyper_parameter():
    assert rate(1024, base_batch=512) == 0.2


def test_the_decay_is_left_alone():
    recipe = compose({"linear_scaling": create("linear_scaling")}, make_task(batch_size=1024))
    (group,) = param_groups(make_model(recipe)[0], recipe.param_scales, lr=0.1, weight_decay=1e-4)
    assert group["weight_decay"] == 1e-4


def test_a_base_batch_that_is_not_positive_is_refused():
    with pytest.raises(UserError, match=r"^tricks\.linear_scaling\.base_batch=0: must be positive$"):
        create("linear_scaling", base_batch=0)
