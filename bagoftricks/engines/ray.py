"""A Ray cluster: each run is a task, and its record and weights come back, so that no folder is shared.

This process keeps the leases of the runs that it has submitted and writes all files of the store; the nodes see
temporary folders of their own. A task whose worker or node died is not Ray's to repeat: the supervisor does that.
"""

import os
import signal
import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass, replace
from typing import Any

from bagoftricks.engines.base import ELSEWHERE, Ended, Engine, Limits, View
from bagoftricks.engines.parcel import deliver, pack
from bagoftricks.engines.ray_cluster import NodeShare, cluster_line, connected, tell
from bagoftricks.engines.ray_task import Board, Order, Outcome, train_on_node
from bagoftricks.engines.ray_watch import ClusterWatch, lost_cluster
from bagoftricks.engines.shipping import SHIPPED_BYTES, Shipped, digest_of_archive, pack_files, paths_of, relocated
from bagoftricks.errors import RunElsewhere, UserError, printable
from bagoftricks.folders import local_folder
from bagoftricks.registry import engine
from bagoftricks.run.teacher import as_file
from bagoftricks.settings import Settings, choose
from bagoftricks.store.files import remove_temporaries
from bagoftricks.store.lease import Lease
from bagoftricks.store.store import RunState, Store
from bagoftricks.study.plan import PlannedRun

NEWS_SECONDS = 0.5  # between two questions for progress


@dataclass
class RayJob:
    """Task of one run, whose lease this process holds."""

    run: PlannedRun
    task: Any
    lease: Lease
    began: float | None = None  # None: it waits for a node
    at: str = "before its first step"
    over_time: bool = False

    def seconds(self) -> float:
        return 0.0 if self.began is None else time.monotonic() - self.began


@engine(name="ray", package="ray")
class RayEngine(Engine):
    """A Ray cluster, or a new one on this machine. Records and weights travel back: no folder is shared."""

    address: str = "auto"
    """auto (a cluster of ray start on this machine or of RAY_ADDRESS, else a new one), local (a new one), HOST:PORT,
    or ray://HOST:10001"""
    num_cpus: float | None = None
    """CPUs of each run; default: 1, with a GPU its share of the CPUs of its node"""
    num_gpus: float | None = None
    """GPUs of each run, 0.5 for two runs on one; default: runtime.devices where the cluster has GPUs"""
    max_retries: int = 2
    """times that a run is begun again whose worker process or node died"""
    ship_data: str = "auto"
    """send files that settings name to nodes that lack them: auto (up to 512 MiB), true or false"""
    working_dir: str | None = None
    """folder that is copied to every node and where runs begin, as for plug-ins"""
    autoscale: bool = False
    """true: wait for nodes that an autoscaler adds, even if no node is large enough now"""

    def __post_init__(self) -> None:
        choose("engine.ship_data", self.ship_data, ("auto", "true", "false"))
        if self.num_cpus is not None and not self.num_cpus > 0:
            raise UserError(f"engine.num_cpus={self.num_cpus:g}: must be positive")
        if self.num_gpus is not None and self.num_gpus < 0:
            raise UserError(f"engine.num_gpus={self.num_gpus:g}: must not be negative")
        if self.max_retries < 0:
            raise UserError(f"engine.max_retries={self.max_retries}: must be 0 or more")

    @property
    def attempts(self) -> int:
        """Return the number of times that a run is begun."""
        return self.max_retries + 1

    def open(self, runs: Sequence[PlannedRun], view: View, limits: Limits) -> None:
        """Connect to the cluster, or start one. Raises UserError if it has no room for one of the runs."""
        super().open(runs, view, limits)
        self.jobs: list[RayJob] = []
        self.refused: list[Ended] = []
        self.shipped: dict[str, Shipped] = {}
        self.stack = ExitStack()
        self.news: Any = None
        self.asked = time.monotonic()
        self.stack.enter_context(connected(self.address, self.runtime_env()))
        self.watch = ClusterWatch(self.address, patient=self.autoscale)
        tell(cluster_line(self.watch.nodes))
        self.require_room(runs)
        self.board = self.start_board()

    def runtime_env(self) -> dict[str, Any]:
        """Return what Ray prepares on each node."""
        if self.working_dir is None:
            return {}
        return {"working_dir": str(local_folder("engine.working_dir", self.working_dir).resolve())}

    def start_board(self) -> Any:
        """Return the actor that keeps the progress of runs, on the node of this process."""
        import ray
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        near = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=True)
        return ray.remote(num_cpus=0, max_restarts=-1, scheduling_strategy=near)(Board).remote()

    # --- room ---

    def share_of(self, run: PlannedRun) -> NodeShare:
        """Return the share of a node that a run takes."""
        runtime, gpus = run.settings.runtime, self.num_gpus
        nodes = self.watch.seen  # the last GPU that died makes no run one for a CPU
        most = max((node.get("GPU", 0.0) for node in nodes), default=0.0)
        if gpus is None:
            wanted = runtime.device != "cpu" and (most or runtime.device != "auto")
            gpus = 0.0 if not wanted else max(1.0, most) if runtime.devices == -1 else float(runtime.devices)
        if self.num_cpus is not None:
            return NodeShare(self.num_cpus, gpus)
        each = [node.get("CPU", 0.0) // node["GPU"] for node in nodes if node.get("GPU")]
        return NodeShare(max(1.0, min(each, default=1.0) * min(gpus, most) // 1), gpus)

    def require_room(self, runs: Sequence[PlannedRun]) -> None:
        """Raise UserError for a run that would wait forever, because no node has what it takes."""
        if self.autoscale:
            return
        for run in runs:
            share = self.share_of(run)
            if not any(share.fits(node) for node in self.watch.nodes):
                raise UserError(
                    f"'{run.label}' needs a node with {share.words()}, and the cluster has "
                    f"{cluster_line(self.watch.nodes)}: type other engine.num_gpus= and engine.num_cpus=, or "
                    "engine.autoscale=true to wait for a larger node"
                )

    def room(self) -> int:
        """Return the slots that are free; without ``slots=``, twice as many as the cluster carries out at a time."""
        if self.limits.slots:
            return self.limits.slots - len(self.jobs)
        share = self.share_of(self.jobs[0].run) if self.jobs else NodeShare(self.num_cpus or 1.0, self.num_gpus or 0.0)
        return max(1, 2 * sum(share.fits(node) for node in self.watch.nodes)) - len(self.jobs)

    def waiting(self) -> int:
        """Return the number of tasks that wait for a node."""
        return sum(job.began is None for job in self.jobs)

    # --- jobs ---

    def submit(self, runs: Sequence[PlannedRun]) -> None:
        """Make a task of each run, and take its lease; a run of another process is reported as elsewhere."""
        for run in runs:
            store = Store(run.settings.store)
            lease = store.claim(run.id)
            if lease is None:
                self.refused.append(Ended(run, ELSEWHERE))
                continue
            lease.__enter__()
            job = RayJob(run, None, lease)
            self.jobs.append(job)
            store.clear_marks(run.id)
            remove_temporaries(store.folder(run.id))
            job.task = self.start(run, store)

    def start(self, run: PlannedRun, store: Store) -> Any:
        """Return a reference to the outcome of a new task."""
        import ray

        self.watch.await_head()
        share = self.share_of(run)
        train = ray.remote(num_cpus=share.cpus, num_gpus=share.gpus, max_retries=0)(train_on_node)
        return train.remote(self.order(run, store, share), self.board)

    def order(self, run: PlannedRun, store: Store, share: NodeShare) -> Order:
        """Return what a node needs to know of a run."""
        settings = relocated(with_files(run.settings, store), os.path.abspath)
        values = asdict(settings)
        values["plugins"] = [self.plugin_there(path) for path in values["plugins"]]
        return Order(
            run_id=run.id,
            label=run.label,
            seed=run.seed,
            settings=values,
            command=run.command,
            evaluation=run.evaluation,
            data_digest=run.identity["data"]["digest"],
            store=str(store.root),
            files=pack(store.folder(run.id)),
            shipped={path: self.ship(path) for path in paths_of(settings)},
            cpus=max(1, int(share.cpus)),
            gpus=share.gpus,
        )

    def plugin_there(self, path: str) -> str:
        """Return the path of a plug-in on a node: relative, if it lies in the folder that is copied there."""
        base = self.runtime_env().get("working_dir")
        return os.path.relpath(path, base) if base and path.startswith(base + os.sep) else path

    def ship(self, path: str) -> Shipped:
        """Return the files at a path as an archive that nodes can get, made once."""
        import ray

        if path not in self.shipped:
            alone = self.ship_data == "auto" and len(self.watch.nodes) == 1 and not self.address.startswith("ray://")
            archive = None
            if self.ship_data != "false" and not alone:
                archive = pack_files(path, SHIPPED_BYTES if self.ship_data == "auto" else None)
            found = Shipped("", []) if archive is None else Shipped(digest_of_archive(archive), [ray.put(archive)])
            self.shipped[path] = found
        return self.shipped[path]

    def poll(self) -> list[Ended]:
        """Pass on what the runs tell; return those that have ended."""
        import ray

        self.watch.look([self.share_of(job.run) for job in self.jobs if job.began is None])
        self.hear()
        self.stop_late_ones()
        ended, self.refused = self.refused, []
        tasks = [job.task for job in self.jobs]
        if tasks and not ended:
            ready, _ = ray.wait(tasks, num_returns=1, timeout=0.2, fetch_local=False)
            if ready:
                ready, _ = ray.wait(tasks, num_returns=len(tasks), timeout=0, fetch_local=False)
                self.hear(now=True)
            taken = [self.take(job) for job in list(self.jobs) if job.task in ready]
            ended += [end for end in taken if end is not None]
        return ended

    def hear(self, *, now: bool = False) -> None:
        """Pass the progress on to the view, at most twice a second."""
        import ray

        if self.news is None and (now or time.monotonic() - self.asked > NEWS_SECONDS):
            self.asked, self.news = time.monotonic(), self.board.take.remote()
        if self.news is None or not ray.wait([self.news], timeout=0.2 if now else 0)[0]:
            return
        try:
            told = ray.get(self.news)
        except ray.exceptions.RayError:  # its node died; it starts again elsewhere
            told = {}
        self.news = None
        for job in self.jobs:
            if job.run.id in told:
                self.pass_on(job, *told[job.run.id])

    def pass_on(self, job: RayJob, seconds: float, done: int, steps: int, rows: Sequence[Any]) -> None:
        """Tell the view how a run gets on."""
        if job.began is None:
            job.began = time.monotonic() - seconds
            self.view.started(job.run)
        if steps:
            job.at = f"after step {done:,} of {steps:,}"
            for row in rows or [None]:
                self.view.progress(job.run, done, steps, row)

    def stop_late_ones(self) -> None:
        """Stop the tasks of runs that are over their time limit."""
        import ray

        limit = self.limits.time_limit
        for job in self.jobs:
            if limit is not None and not job.over_time and job.seconds() > limit:
                job.over_time = True
                ray.cancel(job.task, force=True)

    # --- what became of a task ---

    def take(self, job: RayJob) -> Ended | None:
        """Write what a task has left into the store, and give its lease back; None if it waits for nodes again."""
        import ray

        store, run = Store(job.run.settings.store), job.run
        try:
            result = ray.get(job.task)
        except ray.exceptions.LocalRayletDiedError as error:  # this process can start nothing any more
            raise lost_cluster("the one of this machine died") from error
        except ray.exceptions.RayError as error:
            result = error
        if is_loss(result) and not job.over_time and not self.watch.has_room(self.share_of(run)):
            self.wait_for_nodes(job, store)
            return None
        self.jobs.remove(job)
        try:
            return self.record(job, store, result)
        except RunElsewhere:
            return Ended(run, ELSEWHERE)
        finally:
            job.lease.__exit__(None, None, None)

    def wait_for_nodes(self, job: RayJob, store: Store) -> None:
        """Start a task again that was lost with the last node: no attempt of its run, which waits for a new node."""
        self.view.postponed(job.run, elsewhere=False)
        job.task, job.began, job.at = self.start(job.run, store), None, RayJob.at

    def record(self, job: RayJob, store: Store, result: Any) -> Ended:
        """Write the outcome of a task, or how it failed; return the end of the job."""
        run, seconds = job.run, job.seconds()
        if isinstance(result, Outcome):
            deliver(result.files, run, store, job.lease)
            if result.failure is not None:
                store.mark_failed(run.id, *result.failure)
            store.push(run.id)
            return Ended(run, result.status, seconds, at=job.at)
        if job.over_time:
            store.mark_failed(run.id, f"over its time limit of {self.limits.time_limit:g} s", "")
            return Ended(run, 1, seconds, at=job.at)
        if is_loss(result):
            return Ended(run, -signal.SIGKILL, seconds, how=f"was lost: {ray_reason(result)}", at=job.at)
        store.mark_failed(run.id, f"its task could not run: {ray_reason(result)}", str(result))
        return Ended(run, 1, seconds, at=job.at)

    def close(self) -> None:
        """Stop the tasks that are left, mark their runs as interrupted, and leave the cluster."""
        import ray

        try:
            for job in self.jobs:
                with suppress(Exception):  # the cluster may be gone
                    ray.cancel(job.task, force=True)
                store = Store(job.run.settings.store)
                if job.began is not None and store.state(job.run.id) is not RunState.DONE and job.lease.held():
                    store.mark_interrupted(job.run.id)
                job.lease.__exit__(None, None, None)
                with suppress(OSError):  # it is not empty
                    store.folder(job.run.id).rmdir()
        finally:
            self.stack.close()


def with_files(settings: Settings, store: Store) -> Settings:
    """Return settings whose teacher, a run of the store, is named as the file of its weights."""
    teacher = settings.tricks.get("distill", {}).get("teacher")
    if not teacher:
        return settings
    tricks = {name: dict(params) for name, params in settings.tricks.items()}
    tricks["distill"]["teacher"] = as_file(str(teacher), store)
    return replace(settings, tricks=tricks)


def is_loss(error: object) -> bool:
    """Return True if a task ended with its worker or its node, or its result was lost with one."""
    from ray import exceptions

    kinds = (
        exceptions.WorkerCrashedError,
        exceptions.NodeDiedError,
        exceptions.ObjectLostError,
        exceptions.OutOfMemoryError,
    )
    return isinstance(error, kinds)


def ray_reason(error: Exception) -> str:
    """Return one line about an error of Ray's."""
    cause = getattr(error, "cause", None)
    lines = [line.strip() for line in str(cause or error).splitlines() if line.strip()]
    return printable(lines[-1] if cause is None and "Traceback" in str(error) else (lines or [type(error).__name__])[0])
