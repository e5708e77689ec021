"""Watch over a cluster during a study. A cluster that is lost is no run's failure: the command ends, and says so."""

import time
from collections.abc import Sequence

from bagoftricks.engines.ray_cluster import NodeShare, alive_nodes, answers, cluster_line
from bagoftricks.errors import TrainingFailed

NODES_SECONDS = 10.0  # between two looks
GONE_SECONDS = 60.0  # without a node that could carry out any run, after which the study stops
HEAD_SECONDS = 30.0  # without an answer of the head; after 60, Ray would end this process without a word of ours


class ClusterWatch:
    """Watch over the nodes, now and then, and over the head, which Ray's own calls would wait for."""

    def __init__(self, address: str, *, patient: bool) -> None:
        self.head = head_address(address)
        self.patient = patient  # nodes may come later
        self.seen: list[dict[str, float]] = []  # also of nodes that are gone
        self.note_nodes()
        self.looked = self.answered = self.roomy = time.monotonic()

    def look(self, waiting: Sequence[NodeShare]) -> None:
        """Look at the cluster if it is time to. Raises TrainingFailed if it is gone, or has no room for what waits."""
        now = time.monotonic()
        if now - self.looked < NODES_SECONDS:
            return
        self.looked = now
        if answers(self.head):
            self.answered = now
            self.note_nodes()
            self.see_to_room(now, waiting)
        else:
            self.require_patience(now)

    def require_patience(self, now: float) -> None:
        """Raise TrainingFailed if the head has not answered for long."""
        if now - self.answered > HEAD_SECONDS:
            raise lost_cluster(f"its head, {self.head}, does not answer")

    def await_head(self) -> None:
        """Wait until the head answers: a call that needs it would wait too, and then end the process."""
        while not answers(self.head):
            self.require_patience(time.monotonic())
            time.sleep(1.0)
        self.answered = time.monotonic()

    def has_room(self, share: NodeShare) -> bool:
        """Return True if a node lives at this moment that could carry out a run."""
        self.await_head()
        self.note_nodes()
        return any(share.fits(node) for node in self.nodes)

    def note_nodes(self) -> None:
        """Take the nodes that live now."""
        self.nodes = alive_nodes()
        self.seen += [node for node in self.nodes if node not in self.seen]

    def see_to_room(self, now: float, waiting: Sequence[NodeShare]) -> None:
        """Raise TrainingFailed if no node has been there for a while that could carry out what waits."""
        if self.patient or not waiting or any(share.fits(node) for share in waiting for node in self.nodes):
            self.roomy = now
        elif now - self.roomy > GONE_SECONDS:
            raise lost_cluster(f"none is left for the runs that wait: {cluster_line(self.nodes)}")


def lost_cluster(why: str) -> TrainingFailed:
    """Return the error that ends a study whose cluster is lost."""
    return TrainingFailed(f"the cluster's nodes are gone ({why}): start nodes, then type the same command again")


def head_address(address: str) -> str:
    """Return where the head of the cluster answers that this process is connected to."""
    import ray

    return address if address.startswith("ray://") else str(ray.get_runtime_context().gcs_address)
