"""What the environment says of ranks that were started together. Imports nothing heavy: commands only ask."""

import os
import sys

NEEDED = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")  # as torchrun sets them


def ranks_started() -> int:
    """How many ranks somebody else has started, of which this process is one; 0 for none."""
    return int(os.environ["WORLD_SIZE"]) if all(name in os.environ for name in NEEDED) else 0


def other_rank() -> bool:
    """Whether this process is a rank that leaves writing and printing to rank 0."""
    return ranks_started() > 0 and int(os.environ["RANK"]) > 0


def local_rank() -> int | None:
    """This rank's number on its machine; None outside of ranks."""
    return int(os.environ.get("LOCAL_RANK", 0)) if ranks_started() > 1 else None


def find_scheduler() -> None:
    """Let a job of submitit that has several tasks know its rank, in the variables that torchrun sets."""
    submitit = sys.modules.get("submitit")  # a job of submitit has imported it
    if ranks_started() or submitit is None:
        return
    from submitit.helpers import TorchDistributedEnvironment

    try:
        tasks = submitit.JobEnvironment().num_tasks
    except RuntimeError:  # not inside of a job
        return
    if tasks > 1:
        TorchDistributedEnvironment().export(set_cuda_visible_devices=False)
