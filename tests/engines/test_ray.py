"""engine=ray on clusters of this machine. Those with several nodes are slow; what needs no cluster is not."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from PIL import Image

from bagoftricks.engines import ray_watch
from bagoftricks.engines.base import make_engine
from bagoftricks.engines.ray import RayJob
from bagoftricks.engines.ray_cluster import NodeShare, answers, cluster_address
from bagoftricks.engines.ray_cluster import start as connect
from bagoftricks.engines.ray_task import BoardReporter
from bagoftricks.errors import TrainingFailed, UserError
from bagoftricks.rng import Key
from tests.ray_nodes import ray_nodes, titles
from tests.torture import left_behind, litter, table

ray = pytest.importorskip("ray", reason="ray is not installed: pip install 'bagoftricks[ray]'")

STUDY = [
    "design=stack", "data.pad=1", "image_size=8", "model.depths=[1,1]", "model.width=4",
    "runtime.device=cpu", "format=json", "store=runs",
]  # fmt: skip
WHOLE = ["tricks=[mixup,ema]", "seeds=2", "lr=0.05", "epochs=6", "batch_size=16", "data.limit=360"]
TWO_RUNS = ["tricks=[mixup]", "seeds=1", "batch_size=8"]


def start(folder, *arguments, before=()):
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[2])}
    return subprocess.Popen(
        [*before, sys.executable, "-m", "bagoftricks.cli.sweep", *STUDY, *arguments],
        cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def swept(folder, *arguments, before=()):
    """Standard output, standard error and exit status of a sweep."""
    process = start(folder, *arguments, before=before)
    out, err = process.communicate(timeout=240)
    return out, err, process.returncode


def await_workers(nodes, process, count=1):
    while len(nodes.workers()) < count:
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)


@pytest.fixture(scope="module")
def nodes():
    with ray_nodes(2) as nodes:
        yield nodes


@pytest.fixture(scope="module")
def calm(tmp_path_factory):
    """The store and the table of the study in peace, on this machine's own pool."""
    folder = tmp_path_factory.mktemp("calm")
    _, err, status = swept(folder, *WHOLE)
    assert status == 0, err
    return left_behind(folder / "runs"), table(folder / "runs")


@pytest.mark.slow
@pytest.mark.serial
def test_a_study_on_two_nodes_is_that_of_this_machine_bit_for_bit(tmp_path, nodes, calm):
    _, err, status = swept(tmp_path, *WHOLE, "engine=ray", f"engine.address={nodes.address}")
    assert status == 0, err
    assert left_behind(tmp_path / "runs") == calm[0]
    assert table(tmp_path / "runs") == calm[1]
    assert litter(tmp_path / "runs") == []
    assert "engine=ray: 2 CPUs on 3 nodes\n" in err


@pytest.mark.slow
@pytest.mark.serial
def test_killed_workers_and_a_killed_node_cost_no_run_and_no_line_of_the_table(tmp_path, calm):
    with ray_nodes(2) as nodes:
        process = start(tmp_path, *WHOLE, "engine=ray", f"engine.address={nodes.address}")
        await_workers(nodes, process)
        time.sleep(1)
        killed = nodes.kill_worker()
        await_workers(nodes, process, 2)
        nodes.kill_node(0)
        out, err = process.communicate(timeout=240)
    assert (killed, process.returncode) == (True, 0), err
    assert left_behind(tmp_path / "runs") == calm[0]
    assert table(tmp_path / "runs") == calm[1]
    assert json.loads(out)  # and nothing but JSON
    assert litter(tmp_path / "runs") == []


@pytest.mark.slow
@pytest.mark.serial
def test_runs_that_fail_or_take_too_long_say_why_and_the_others_go_on(tmp_path, nodes):
    arguments = [*TWO_RUNS, "engine=ray", f"engine.address={nodes.address}"]
    _, err, status = swept(tmp_path, *arguments, "lr=1e30", "epochs=1")
    assert status == 1
    assert "the training loss is" in err
    assert "(runs/" in err
    assert "bot-run-" not in err + "".join(path.read_text() for path in tmp_path.glob("runs/*/failure.json"))
    _, err, status = swept(tmp_path, *arguments, "lr=0.05", "epochs=100000", "time_limit=8")
    assert status == 1
    assert err.count("over its time limit of 8 s") == 2


@pytest.mark.slow
@pytest.mark.serial
def test_a_new_cluster_ends_with_its_command_and_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("TMPDIR", "/tmp")
    before = {path.name for path in Path("/tmp").glob("bot-ray*")}
    process = start(tmp_path, *TWO_RUNS, "epochs=100000", "engine=ray", "engine.address=local")
    while not list(tmp_path.glob("runs/*/lease.json")) or not any("ray::train_on_node" in t for t in titles().values()):
        assert process.poll() is None, process.communicate()
        time.sleep(0.1)
    process.terminate()
    out, err = process.communicate(timeout=60)
    assert process.returncode == 75
    assert "interrupted" in err
    assert "Traceback" not in err
    assert list(tmp_path.glob("runs/*/lease.json")) == []
    assert out == ""
    deadline = time.monotonic() + 10
    while ours := [title for title in titles().values() if str(process.pid) in title and "ray" in title]:
        assert time.monotonic() < deadline, ours
        time.sleep(0.2)
    assert not (tmp_path / ".ray").exists()
    assert {path.name for path in Path("/tmp").glob("bot-ray-*")} <= before


APART = ["unshare", "--mount", "sh", "-c", 'mount -t tmpfs tmpfs "$0" && cp -r photos "$0" && cd "$0" && exec "$@"']


@pytest.mark.slow
@pytest.mark.serial
def test_no_folder_is_shared_and_data_that_the_nodes_lack_are_sent(tmp_path, nodes):
    """The sweep works below a file system of its own, which no node sees."""
    apart = tmp_path / "apart"
    apart.mkdir()
    if subprocess.run([*APART[:4], 'mount -t tmpfs tmpfs "$0"', apart], capture_output=True).returncode:
        pytest.skip("this user may not mount a file system of its own")
    photos = Key(0).fold("photos").numpy().integers(0, 255, (2, 12, 9, 9, 3), dtype="uint8")
    for split in ("train", "val"):
        for label, images in zip("ab", photos, strict=True):
            (tmp_path / "photos" / split / label).mkdir(parents=True)
            for i, image in enumerate(images):
                Image.fromarray(image).save(tmp_path / "photos" / split / label / f"{i}.png")
    data = ["data=imagefolder", "data.root=photos", "data.limit=24", "batch_size=8", "epochs=1", "runtime.workers=0"]
    data += [*TWO_RUNS, "engine=ray", f"engine.address={nodes.address}"]
    process = start(tmp_path, *data, before=[*APART, apart])
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert json.loads(out)
    assert not list(apart.iterdir())
    _, err, status = swept(tmp_path, *data, "engine.ship_data=false", before=[*APART, apart])
    assert status == 1
    assert f"{apart}/photos: is not on the node" in err


@pytest.mark.slow
@pytest.mark.serial
def test_a_run_that_no_node_can_carry_out_is_refused(tmp_path, nodes):
    _, err, status = swept(
        tmp_path, *TWO_RUNS, "epochs=1", "engine=ray", f"engine.address={nodes.address}", "engine.num_gpus=2"
    )
    assert status == 2
    assert "needs a node with 2 GPUs" in err
    assert "Traceback" not in err


def test_an_address_where_nobody_answers_is_one_line_at_once(monkeypatch):
    began = time.monotonic()
    with pytest.raises(UserError, match=r"127\.0\.0\.1:9: no Ray cluster answers there"):
        cluster_address("127.0.0.1:9")
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:9")
    with pytest.raises(UserError, match=r"RAY_ADDRESS=127\.0\.0\.1:9"):
        cluster_address("auto")
    assert time.monotonic() - began < 5


def test_a_cluster_that_was_found_and_does_not_answer_is_to_be_started_again(monkeypatch):
    def refuse(**options):
        raise RuntimeError("timed out")

    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr("ray.init", refuse)
    with pytest.raises(UserError, match=r"was found at 192\.0\.2\.2:6379, and does not answer .*ray stop"):
        connect("auto", "192.0.2.2:6379", {})
    with pytest.raises(UserError, match=r"^engine\.address=192\.0\.2\.2:6379: timed out"):
        connect("192.0.2.2:6379", "192.0.2.2:6379", {})


# --- a cluster that is lost ---


def raise_local_raylet_died(task):
    raise ray.exceptions.LocalRayletDiedError


def raise_node_died(task):
    raise ray.exceptions.NodeDiedError("its node died")


def test_a_task_that_this_process_cannot_start_any_more_is_no_failure_of_its_run(monkeypatch):
    engine, job = make_engine("ray", {}), RayJob(SimpleNamespace(settings=SimpleNamespace(store="runs")), "task", None)
    engine.jobs = [job]
    monkeypatch.setattr("ray.get", raise_local_raylet_died)
    with pytest.raises(TrainingFailed, match=r"nodes are gone .*: start nodes, then type the same command again"):
        engine.take(job)
    assert engine.jobs == [job]  # to be marked as interrupted, not as failed


def test_a_run_that_was_lost_with_the_last_node_waits_for_another_and_costs_no_attempt(monkeypatch):
    engine = make_engine("ray", {"max_retries": 0})
    job = RayJob(SimpleNamespace(settings=SimpleNamespace(store="runs")), "task", None, began=1.0)
    engine.jobs, engine.view = [job], SimpleNamespace(postponed=lambda run, elsewhere: None)
    engine.watch = SimpleNamespace(has_room=lambda share: False)
    monkeypatch.setattr(engine, "share_of", lambda run: NodeShare(1, 0))
    monkeypatch.setattr(engine, "start", lambda run, store: "another task")
    monkeypatch.setattr("ray.get", raise_node_died)
    assert engine.take(job) is None
    assert [(job.task, job.began) for job in engine.jobs] == [("another task", None)]


class Clock:
    """A clock that a test sets."""

    now = 0.0

    def monotonic(self):
        return self.now

    def sleep(self, seconds):
        self.now += seconds


@pytest.fixture
def watch(monkeypatch):
    """A watch over a cluster of one node, whose clock, nodes and head are those of the test."""
    watch = SimpleNamespace(clock=Clock(), nodes=[{"CPU": 1.0}], head=True)
    monkeypatch.setattr(ray_watch, "time", watch.clock)
    monkeypatch.setattr(ray_watch, "alive_nodes", lambda: watch.nodes)
    monkeypatch.setattr(ray_watch, "answers", lambda address: watch.head)
    watch.of = ray_watch.ClusterWatch("ray://there:10001", patient=False)

    def look(now):
        watch.clock.now = now
        watch.of.look([NodeShare(1, 0)])

    watch.look = look
    return watch


def test_a_head_that_is_away_for_long_ends_the_study_before_ray_ends_the_process(watch, monkeypatch):
    watch.head = False
    monkeypatch.setattr(ray_watch, "alive_nodes", None)  # it would wait for the head
    watch.look(11)
    watch.look(22)
    with pytest.raises(TrainingFailed, match=r"its head, ray://there:10001, does not answer.*: start nodes"):
        watch.look(33)


def test_a_task_is_started_only_once_the_head_answers_and_the_wait_has_an_end(watch, monkeypatch):
    answers = iter([False, False, True])
    monkeypatch.setattr(ray_watch, "answers", lambda address: next(answers, False))
    watch.of.await_head()
    assert watch.clock.now == 2
    with pytest.raises(TrainingFailed, match="does not answer"):
        watch.of.await_head()
    assert watch.clock.now == 33


def test_a_head_that_comes_back_in_time_ends_nothing(watch):
    watch.head = False
    watch.look(22)
    watch.head = True
    watch.look(33)
    watch.head = False
    watch.look(55)


def test_nodes_that_are_away_for_long_end_the_study(watch):
    watch.look(11)
    watch.nodes = [{"CPU": 0.0}]
    watch.look(60)
    with pytest.raises(TrainingFailed, match=r"0 CPUs on 1 node\): start nodes"):
        watch.look(72)


def test_a_run_keeps_its_share_of_a_gpu_when_the_nodes_with_gpus_are_gone(watch):
    engine, runtime = make_engine("ray", {}), SimpleNamespace(device="auto", devices=1)
    run, engine.watch = SimpleNamespace(settings=SimpleNamespace(runtime=runtime)), watch.of
    watch.nodes = [{"CPU": 8.0, "GPU": 2.0}]
    watch.look(11)
    watch.nodes = [{"CPU": 1.0}]
    watch.look(22)
    assert engine.share_of(run) == NodeShare(4, 1)


class Told:
    """A board that forgets what it is told."""

    def __getattr__(self, name):
        return SimpleNamespace(remote=lambda *values: None)


def test_a_run_that_would_have_another_id_on_the_node_is_refused_and_an_evaluation_is_none():
    reporter = BoardReporter("0" * 20, Told(), 0.0)
    reporter.begin("0" * 20, 5, 0)
    reporter.begin("small_c", 5, 0)
    with pytest.raises(UserError, match="this would be another run"):
        reporter.begin("1" * 20, 5, 0)


def test_local_is_a_new_cluster_whatever_is_there(monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:9")
    assert cluster_address("local") is None


@pytest.mark.parametrize("address", ["nowhere", "ray://host", "host:port"])
def test_what_is_no_address_is_refused(address):
    with pytest.raises(UserError, match="must be auto, local, HOST:PORT"):
        answers(address)


@pytest.mark.parametrize(
    ("share", "node", "runs"),
    [
        (NodeShare(1, 0), {"CPU": 8.0}, 8),
        (NodeShare(4, 2), {"CPU": 64.0, "GPU": 8.0}, 4),
        (NodeShare(1, 0.1), {"CPU": 64.0, "GPU": 1.0}, 10),
        (NodeShare(1, 1), {"CPU": 8.0}, 0),
        (NodeShare(0.5, 0), {"CPU": 0.0}, 0),
    ],
)
def test_a_node_has_room_for_as_many_runs_as_fit_in_all_it_has(share, node, runs):
    assert share.fits(node) == runs


@pytest.mark.parametrize(
    ("share", "words"),
    [(NodeShare(1, 1), "1 GPU and 1 CPU"), (NodeShare(2, 0.5), "0.5 GPUs and 2 CPUs"), (NodeShare(1, 0), "1 CPU")],
)
def test_a_share_is_told_in_words(share, words):
    assert share.words() == words


@pytest.mark.parametrize(
    ("setting", "value"), [("num_cpus", 0.0), ("num_gpus", -1.0), ("max_retries", -1), ("ship_data", "maybe")]
)
def test_settings_that_make_no_sense_are_refused(setting, value):
    with pytest.raises(UserError, match=f"engine.{setting}="):
        make_engine("ray", {setting: value})
