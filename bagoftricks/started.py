"""Read from the environment whether this process is one of several ranks. Imports nothing heavy."""

import os
import sys

NEEDED = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")  # as torchrun sets them


def ranks_started() -> int:
    """Return the number of ranks that were started together with this process; 0 if it is none."""
    return int(os.environ["WORLD_SIZE"]) if all(name in os.environ for name in NEEDED) else 0


def other_rank() -> bool:
    """Return True if this process is a rank that leaves writing and printing to rank 0."""
    return ranks_started() > 0 and int(os.environ["RANK"]) > 0


def local_rank() -> int | None:
    """Return this rank's number on its machine; None outside of ranks."""
    return int(os.environ.get("LOCAL_RANK", 0)) if ranks_started() > 1 else None


def find_scheduler() -> None:
    """Set torchrun's variables from submitit's, in a submitit job of several tasks."""
    submitit = sys.modules.get("submitit")  # a job of submitit has already imported it
    if ranks_started() or submitit is None:
        return
    from submitit.helpers import TorchDistributedEnvironment

    try:
        tasks = submitit.JobEnvironment().num_tasks
    except RuntimeError:  # not inside of a job
        return
    if tasks > 1:
        TorchDistributedEnvironment().export(set_cuda_visible_devices=False)
