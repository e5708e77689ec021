"""Runs of a sweep through Hydra's launcher plugins: joblib, submitit (SLURM or local) and Ray.

The plugins' engines start the jobs; the store keeps the results, so a job that dies is a run that is missing. Hydra's
interface for this is private and was tried with Hydra 1.3.8; the tests launch real jobs.
"""

import multiprocessing
import shlex
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from bagoftricks.cli.arguments import normalise_arguments
from bagoftricks.cli.conf import conf_dir
from bagoftricks.cli.extend import hydra_arguments, without_extensions
from bagoftricks.cli.text import as_typed, quoted
from bagoftricks.errors import UserError
from bagoftricks.plugins import extension_arguments

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from bagoftricks.study.launch import View
    from bagoftricks.study.plan import PlannedRun

EXTRAS = {"joblib": "joblib", "submitit_local": "slurm", "submitit_slurm": "slurm", "ray": "ray"}


def is_launcher(override: str) -> bool:
    """Return True if an override chooses or configures a launcher."""
    return override.startswith(("hydra/launcher=", "hydra.launcher."))


def launch_with_plugin(runs: "Sequence[PlannedRun]", overrides: Sequence[str], view: "View", slots: int) -> None:
    """Train the runs as jobs of a launcher plugin, ``slots`` at a time, and wait for them."""
    from hydra import compose, initialize_config_dir
    from hydra._internal.callbacks import Callbacks
    from hydra.core.global_hydra import GlobalHydra
    from hydra.core.hydra_config import HydraConfig
    from hydra.core.plugins import Plugins
    from hydra.errors import HydraException
    from hydra.types import HydraContext

    from bagoftricks.cli.schema import register
    from bagoftricks.store.store import Store
    from bagoftricks.study.plan import state_of

    name = next((o.partition("=")[2] for o in overrides if o.startswith("hydra/launcher=")), "")
    jobs = {run.id: job_arguments(run) for run in runs}
    register([override for job in jobs.values() for override in job])
    array = [f"hydra.launcher.array_parallelism={slots}"] if name == "submitit_slurm" else []
    where = f"hydra.sweep.dir={quoted(run_folder(runs))}"
    with initialize_config_dir(str(conf_dir()), version_base="1.3", job_name="bot-train"):
        try:
            config = compose(
                "config", overrides=[*overrides, *array, where, "hydra.mode=MULTIRUN"], return_hydra_config=True
            )
        except HydraException as error:
            extra = f": pip install 'bagoftricks[{EXTRAS[name]}]'" if name in EXTRAS else ""
            raise UserError(f"hydra/launcher={name} cannot be used{extra} ({str(error).splitlines()[0]})") from error
        HydraConfig.instance().set_config(config)
        context = HydraContext(config_loader=GlobalHydra.instance().config_loader(), callbacks=Callbacks(config))
        launcher: Any = Plugins.instance().instantiate_launcher(
            hydra_context=context, task_function=train_job, config=config
        )
        size = len(runs) if name == "submitit_slurm" else slots  # the others start all they are given at once
        for first in range(0, len(runs), size):
            batch = runs[first : first + size]
            for run in batch:
                view.started(run)
            launcher.launch([jobs[run.id] for run in batch], initial_job_idx=first)
            for run in batch:
                view.finished(run, state_of(run, Store(run.settings.store)), 0.0)


def job_arguments(run: "PlannedRun") -> list[str]:
    """Return the overrides of one run as Hydra takes them."""
    typed = without_extensions(shlex.split(run.command)[1:])
    return [*hydra_arguments(), *normalise_arguments([*typed, f"store={run.settings.store}"])]


def run_folder(runs: "Sequence[PlannedRun]") -> str:
    from bagoftricks.store.store import Store

    return str((Store(runs[0].settings.store).root / "launcher").resolve())


def train_job(config: "DictConfig") -> int:
    """Train one run in the process that the launcher made for it; keep a failure in the run's folder."""
    from hydra.core.hydra_config import HydraConfig
    from omegaconf import OmegaConf

    from bagoftricks.cli.progress import ConsoleReporter
    from bagoftricks.cli.schema import to_settings
    from bagoftricks.run.prepare import prepare
    from bagoftricks.store.store import Store
    from bagoftricks.study.launch import train_guarded
    from bagoftricks.study.plan import PlannedRun

    with suppress(ValueError):  # joblib's loky leaves a start method that DataLoader's workers cannot use
        multiprocessing.set_start_method("fork", force=True)
    settings = to_settings(config)
    overrides: list[str] = OmegaConf.to_container(HydraConfig.get().overrides.task)  # type: ignore[assignment]
    typed = [as_typed(override) for override in without_extensions(overrides)]
    command = shlex.join(["bot-train", *typed, *extension_arguments()])
    run = PlannedRun("", settings.seed, prepare(settings).id, settings, command)
    return train_guarded(run, Store(settings.store), ConsoleReporter(enabled=False))
