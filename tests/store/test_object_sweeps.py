"""Two sweeps over one bucket of a real server, with a killed worker: nothing lost, nothing done twice."""

import pytest

from tests.object_server import missing
from tests.torture_objects import torture

FAST = [
    "design=stack", "tricks=[label_smoothing,cosine]", "seeds=3", "slots=2", "retry=failed", "data.limit=200",
    "image_size=8", "model.depths=[1,1]", "model.width=4", "batch_size=8", "epochs=3", "runtime.device=cpu",
    "runtime.checkpoint_steps=4",
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.serial
@pytest.mark.skipif(bool(missing()), reason=f"{missing()} is not installed: pip install 'bagoftricks[test]'")
def test_two_sweeps_over_one_bucket_train_each_run_once_though_a_worker_is_killed(tmp_path):
    found = torture(tmp_path, kills=1, seed=3, study=FAST)
    assert found["wrong"] == []
    assert found["runs"] >= 9
