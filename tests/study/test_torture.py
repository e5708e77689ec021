import pytest

from tests.torture import STUDY, torture


@pytest.mark.slow
@pytest.mark.serial
@pytest.mark.parametrize("kills", [6, pytest.param(12, marks=pytest.mark.long)])
def test_a_study_whose_processes_are_killed_is_the_study_in_peace(tmp_path, kills):
    small = [word for word in STUDY if not word.startswith(("tricks=", "seeds=", "epochs="))]
    study = [*small, "tricks=[mixup,ema]", "seeds=1", "epochs=4"]
    found = torture(tmp_path, kills=kills, seed=1, study=study)
    assert found["wrong"] == []
    assert found["kills"] >= kills
