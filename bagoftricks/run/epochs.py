"""The epochs of a run: train, evaluate, collect the rows of metrics."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, fields
from itertools import islice

from bagoftricks.data import Loader
from bagoftricks.data.handover import is_dead_worker
from bagoftricks.errors import DataError
from bagoftricks.measure.speed import synchronise
from bagoftricks.recipe.edits import Batch
from bagoftricks.run.keeper import EpochRows, Progress, RunCheckpointer
from bagoftricks.run.reporter import NO_SCORES, EpochRow, Reporter
from bagoftricks.run.run_log import RunLog
from bagoftricks.run.start import Seconds
from bagoftricks.settings import Settings
from bagoftricks.store.correctness import Correct
from bagoftricks.store.record import CurvePoint, Scores, scores_of
from bagoftricks.training.trainer import Trainer, predictor

REFRESH_BATCHES = 50  # to measure the batch norms' statistics of averaged weights on


@dataclass
class Training:
    """Training of a run in this process: its epochs, with an evaluation after each."""

    settings: Settings
    checkpointer: RunCheckpointer
    reporter: Reporter
    save: Callable[[EpochRows], object]  # writes the rows of all evaluated epochs
    save_correct: Callable[[Correct], object]  # writes the images that were right after the last epoch
    seconds: Seconds = field(default_factory=Seconds)
    log: RunLog | None = None  # on rank 0, where something is logged

    @property
    def trainer(self) -> Trainer:
        return self.checkpointer.trainer

    @property
    def progress(self) -> Progress:
        return self.checkpointer.progress

    @property
    def loaders(self) -> tuple[Loader, Loader]:
        return self.checkpointer.loaders

    def run(self) -> None:
        """Train and evaluate the remaining epochs."""
        progress, epochs, every = self.progress, self.settings.epochs, self.settings.runtime.eval_every
        while progress.epoch <= epochs:
            mean_loss = self.train_epoch()
            self.checkpointer.end_of_epoch()
            evaluated = progress.epoch % every == 0 or progress.epoch == epochs
            rows, correct = self.evaluate(mean_loss) if evaluated else ([], {})
            of_images = any(len(right) for right in correct.values())
            if progress.epoch == epochs and of_images and self.trainer.world.leads:
                self.save_correct(correct)  # before a checkpoint after which nothing is evaluated again
            progress.end_epoch(rows)
            for row in rows:
                self.reporter.epoch(row)
            if self.log is not None:
                self.log.evaluation(rows)
            if rows:
                self.save(progress.rows)
        self.checkpointer.end_of_epoch()

    def train_epoch(self) -> float:
        """Take the remaining steps of an epoch; return the mean loss. Only the end waits for the device."""
        trainer, progress, checkpointer, train = self.trainer, self.progress, self.checkpointer, self.loaders[0]
        before, start = progress.train_seconds, time.perf_counter()
        at = progress.taken

        def batches() -> Iterator[Batch]:
            nonlocal at
            try:
                for at, batch in train.numbered(progress.epoch - 1, progress.taken):  # noqa: B007
                    yield batch
            except Exception as error:
                if is_dead_worker(error):
                    checkpointer.worker_died()
                raise

        for loss in trainer.epoch(batches()):
            progress.total = loss if progress.total is None else progress.total + loss
            progress.taken, progress.train_seconds = at + 1, before + time.perf_counter() - start
            self.reporter.step()
            if self.log is not None:
                self.log.step(loss)
            if trainer.world.leads:  # the other ranks have the same loss
                checkpointer.watch.check(trainer.steps_done, loss)
            checkpointer.step()
        synchronise(trainer.device)
        if self.log is not None:
            self.log.flush()
        checkpointer.watch.flush()
        progress.taken, progress.train_seconds = len(train), before + time.perf_counter() - start
        progress.end_training()
        if progress.total is None:
            raise DataError(f"epoch {progress.epoch}: no training image could be read; check data.root")
        return progress.total.item() / len(train)

    def evaluate(self, mean_loss: float) -> tuple[EpochRows, Correct]:
        """Score every weight set on the validation images; return a row for each, and which images it got right."""
        trainer, progress, (train, val) = self.trainer, self.progress, self.loaders
        interruptible = self.checkpointer.interruptible
        trainer.refresh_norms(islice(interruptible(train.epoch(progress.epoch)), REFRESH_BATCHES))
        rows: EpochRows = []
        correct = {}
        for name, model in trainer.weight_sets().items():
            predict, task = predictor(trainer.recipe, model), self.settings.task
            found = task.measure(predict, interruptible(val.numbered(0)), trainer.world)
            about = {"epoch": progress.epoch, "weights": name, "steps": trainer.steps_done, "train_loss": mean_loss}
            rows.append({**about, **found.scores, "train_seconds": progress.train_seconds})
            correct[name] = found.correct
        return rows, correct


def final_metrics(rows: EpochRows, epochs: int) -> dict[str, Scores]:
    """Return the last epoch's scores of each weight set."""
    return {row["weights"]: scores_of(scores_in(row)) for row in rows if row["epoch"] == epochs}


def scores_in(row: EpochRow) -> dict[str, float]:
    """Return the scores in a row of metrics.csv."""
    return {key: value for key, value in row.items() if key not in NO_SCORES}


def learning_curve(rows: EpochRows, first: str) -> tuple[CurvePoint, ...]:
    """Return the ``first`` score of each weight set by seconds of training, from which the time to it follows."""
    names = [field.name for field in fields(CurvePoint) if field.name != "score"]
    return tuple(CurvePoint(**{name: row[name] for name in names}, score=row[first]) for row in rows)
