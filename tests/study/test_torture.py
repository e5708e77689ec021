import pytest

from tests.torture import STUDY, torture


@pytest.mark.slow
@pytest.mark.serial
def test_a_study_whose_processes_are_killed_is_the_study_in_peace(tmp_path):
    small = [word for word in STUDY if not word.startswith(("tricks=", "seeds=", "epochs="))]
    study = [*small, "tricks=[mixup,ema]", "seeds=1", "epochs=4"]
    found = torture(tmp_path, kills=12, seed=1, study=study)
    assert found["wrong"] == []
    assert found["kills"] >= 12
