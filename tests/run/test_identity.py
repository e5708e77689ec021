import pytest

from bagoftricks.errors import UserError
from bagoftricks.run.identity import run_id, run_identity
from bagoftricks.settings import Settings, dataset_settings, network_settings


def identity(**changes):
    return run_identity(Settings(**changes), {}, "digest", 10)


def test_what_came_later_is_left_out_where_it_changes_nothing():
    plain = identity()
    assert "pad_mode" not in plain["data"]
    assert "widths" not in plain["model"]
    assert "limit" in plain["data"]  # an earlier setting whose value is null stays


@pytest.mark.parametrize(
    "changes",
    [
        {"data": dataset_settings(pad_mode="reflect")},
        {"model": network_settings(name="resnet14_laptop", kind="cifarnet", widths=[24, 32])},
    ],
    ids=["padding", "widths"],
)
def test_what_changes_the_result_changes_the_id(changes):
    assert run_id(identity(**changes)) != run_id(identity())


def test_a_reflection_needs_an_image_larger_than_the_padding():
    with pytest.raises(UserError, match=r"^data\.pad=4: with data\.pad_mode=reflect, must be less than the 4 pixels"):
        Settings(data=dataset_settings(pad_mode="reflect"), image_size=4)
    Settings(data=dataset_settings(pad_mode="reflect"), image_size=5)
