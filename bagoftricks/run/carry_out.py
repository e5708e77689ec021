"""Entry point of a run: choose the processes that train it, and evaluate it on corrupted images if requested."""

from bagoftricks.data import Dataset
from bagoftricks.distributed import in_ranks, join, requested_ranks
from bagoftricks.run.corrupted import CorruptedEvaluation, corruption_request
from bagoftricks.run.environment import find_device
from bagoftricks.run.evaluation import subject_of_run
from bagoftricks.run.execute import execute
from bagoftricks.run.ranks import RankedRun
from bagoftricks.run.reporter import Reporter, SilentReporter
from bagoftricks.settings import Settings
from bagoftricks.started import find_scheduler, other_rank, ranks_started
from bagoftricks.store.record import Record


def carry_out(settings: Settings, reporter: Reporter, command: str, data: Dataset | None = None) -> Record:
    """Return the record of the run, trained if it is missing, with the evaluation that ``corruptions=`` requests."""
    record = train_or_read(settings, reporter, command, data)
    if settings.corruptions.protocol == "none" or other_rank():
        return record
    subject = subject_of_run(record, settings, settings, None, data)
    request = corruption_request(subject)
    assert request is not None
    return CorruptedEvaluation(subject, request, record, reporter).recorded(record)


def train_or_read(settings: Settings, reporter: Reporter, command: str, data: Dataset | None = None) -> Record:
    """Return the record of the run, trained in this process, as one of several ranks, or by ranks started for it."""
    find_scheduler()
    ranks = requested_ranks(settings.runtime.devices)
    if ranks_started() > 1:
        world = join(find_device(settings.runtime.device))
        with in_ranks(world):
            return execute(settings, SilentReporter() if other_rank() else reporter, command, data, world)
    if ranks == 1:
        return execute(settings, reporter, command, data)
    return RankedRun(settings, reporter, command, ranks).carry_out()
