"""Repetition of a finished run: the same settings, trained again into another store."""

from dataclasses import replace

from bagoftricks.run.carry_out import carry_out
from bagoftricks.run.reporter import Reporter
from bagoftricks.run.teacher import as_file
from bagoftricks.settings import CorruptionSettings, Settings
from bagoftricks.store.record import Record, settings_of
from bagoftricks.store.secrets import require_secrets
from bagoftricks.store.store import Store


def repetition_settings(record: Record, store: Store, into: str) -> Settings:
    """Return the settings with which ``record``, of ``store``, is trained again into another store.

    The number of threads, on which the last bits depend, is that of the run. A teacher of the run's store is named by
    its file. A run that goes on from another is trained as a whole, or from the weights that it started from. An
    evaluation on corrupted images is not repeated. Raises UserError for settings of another version.
    """
    settings = settings_of(record)
    tricks = {name: dict(values) for name, values in settings.tricks.items()}
    for values in tricks.values():
        if isinstance(source := values.get("teacher"), str):
            values["teacher"] = as_file(source, store)
    threads = settings.runtime.threads
    runtime = replace(settings.runtime, threads=str(record.environment.threads) if threads == "auto" else threads)
    runtime.progress = True
    settings = replace(settings, runtime=runtime, tricks=tricks, corruptions=CorruptionSettings())
    return replace(settings, store=into, rerun=False, extend=None, restart=False)


def repeat(settings: Settings, reporter: Reporter, command: str) -> Record:
    """Train with the settings of a repetition, and return its record."""
    require_secrets({"data": vars(settings.data)})
    return carry_out(settings, reporter, command)
