"""submitit's executors with the settings of engine=slurm."""

import math
import shlex
from collections.abc import Mapping, Sequence
from contextlib import redirect_stderr
from io import StringIO
from pathlib import Path
from typing import Any

from bagoftricks.engines.slurm_job import carry_out_job
from bagoftricks.engines.slurm_queue import complaint
from bagoftricks.engines.slurm_setup import guarded
from bagoftricks.errors import UserError

SAME_NAME = ("job_name", "partition", "account", "constraint", "qos", "time")
NO_LIMIT = 10**6  # minutes


def slurm_executor(files: Path, settings: Mapping[str, Any]) -> Any:
    """Return an executor that submits arrays to SLURM; ``files`` is the folder of its scripts and logs."""
    import submitit

    options = dict(option.partition("=")[::2] for option in settings["extra"])
    cpus, memory = settings["cpus"], settings["mem_gb"]
    made = submitit.SlurmExecutor(files)
    made.update_parameters(
        **{name: settings[name] for name in SAME_NAME},
        cpus_per_task=cpus,
        srun_args=None if cpus is None else [f"--cpus-per-task={cpus}"],  # which srun does not take over from sbatch
        gpus_per_node=settings["gpus"] or None,
        mem=None if memory is None else f"{math.ceil(memory * 1024)}M",
        signal_delay_s=settings["save_seconds"],
        setup=guarded(settings["setup"]) or None,
        array_parallelism=settings["at_once"],
        additional_parameters={"requeue": True, **{name: value or True for name, value in options.items()}},
    )
    return made


def local_executor(files: Path, settings: Mapping[str, Any], gpus: int) -> Any:
    """Return an executor that starts processes on this machine."""
    import submitit

    made = submitit.LocalExecutor(files)
    minutes = settings["time"] or NO_LIMIT
    log = f'exec 2>>{shlex.quote(str(files))}/"$$"_0_log.err'  # submitit's name, before it opens the file
    setup = ["\n".join([log, *guarded(settings["setup"])])] if settings["setup"] else []
    made.update_parameters(
        setup=setup, gpus_per_node=gpus, timeout_min=minutes, signal_delay_s=settings["save_seconds"]
    )
    return made


def submitted(executor: Any, specs: Sequence[str]) -> list[str]:
    """Submit a job for each file of runs as one array; return their numbers. Raises UserError with sbatch's words."""
    from submitit.core.utils import FailedJobError

    try:
        with redirect_stderr(StringIO()):  # the error has it all
            return [job.job_id for job in executor.map_array(carry_out_job, specs)]
    except FailedJobError as error:
        raise UserError(f"engine=slurm: {complaint(str(error))}") from error
