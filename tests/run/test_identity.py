import pytest

from bagoftricks.errors import UserError
from bagoftricks.run.identity import run_id, run_identity
from bagoftricks.settings import RuntimeSettings, Settings, dataset_settings, network_settings


def identity(**changes):
    return run_identity(Settings(**changes), {}, "digest", 10)


def test_an_identity_has_the_settings_of_the_chosen_data_and_network_and_no_places():
    plain = identity(data=dataset_settings("imagefolder", root="here", val_root="there", cache="ram"))
    assert "widths" not in plain["model"]
    assert {"limit", "pad_mode", "decode"} <= plain["data"].keys()
    assert not {"root", "val_root", "cache"} & plain["data"].keys()


def test_results_of_images_that_were_not_identified_by_their_contents_are_not_taken():
    assert identity()["result_version"] == 3


def test_a_longer_run_is_named_as_the_run_of_all_its_epochs():
    changed = identity(extend="0a6", restart=True, runtime=RuntimeSettings(keep_state=True))
    assert run_id(changed) == run_id(identity())


@pytest.mark.parametrize(
    "changes",
    [
        {"data": dataset_settings(pad_mode="reflect")},
        {"model": network_settings(name="resnet14_laptop", kind="cifarnet", widths=[24, 32])},
        {"runtime": RuntimeSettings(measurement="host")},
    ],
    ids=["padding", "widths", "measurement"],
)
def test_what_changes_the_result_changes_the_id(changes):
    assert run_id(identity(**changes)) != run_id(identity())


def test_a_reflection_needs_an_image_larger_than_the_padding():
    with pytest.raises(UserError, match=r"^data\.pad=4: with data\.pad_mode=reflect, must be less than the 4 pixels"):
        Settings(data=dataset_settings(pad_mode="reflect"), image_size=4)
    Settings(data=dataset_settings(pad_mode="reflect"), image_size=5)
