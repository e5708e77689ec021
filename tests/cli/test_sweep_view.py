from types import SimpleNamespace

from bagoftricks.cli.sweep_view import StudyView
from bagoftricks.store.store import RunState, Store
from tests.store.test_store import record


def test_a_line_has_the_time_and_the_accuracy_of_the_table_also_for_a_job_of_a_launcher(tmp_path, capsys):
    store = Store(tmp_path)
    scores = {"last": {"top1": 70.0}, "ema": {"top1": 71.5}}
    store.write_record(record(id="a", metrics=scores, cost={"wall_seconds": 12.0}))
    settings = SimpleNamespace(store=str(tmp_path))
    view = StudyView(total=2, done=0, left=None, slots=1)
    view.finished(SimpleNamespace(id="a", label="ema", seed=0, settings=settings), RunState.DONE, 0.0)
    view.finished(SimpleNamespace(id="b", label="sam", seed=1, settings=settings), RunState.FAILED, 3.0)
    first, second = capsys.readouterr().err.splitlines()
    assert first.endswith("[1/2] ema, seed 0: top-1 71.50 %, 12 s")
    assert second.endswith("[2/2] sam, seed 1: failed, 3 s")
