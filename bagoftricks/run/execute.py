"""One run that this process carries out, alone or as one of several ranks: prepare, train, measure, record."""

import platform
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from functools import partial

import numpy as np

from bagoftricks.data import Dataset
from bagoftricks.data.cache import cache_note
from bagoftricks.data.handover import shared_memory_note
from bagoftricks.data.stream import worker_count
from bagoftricks.distributed import ALONE, World
from bagoftricks.errors import LossNotFinite, RunElsewhere, TrainingFailed, UserError
from bagoftricks.loggers.base import asked_loggers
from bagoftricks.measure.speed import peak_memory_mib, reset_peak_memory
from bagoftricks.recipe.trick import Length
from bagoftricks.run.check import discouraged_pairs, frozen_at_random, slow_arithmetic
from bagoftricks.run.costs import cost_of
from bagoftricks.run.deaths import SILENT_DEATH, show_native_crashes
from bagoftricks.run.environment import deterministic, environment, now, user_name
from bagoftricks.run.epochs import Training, final_metrics
from bagoftricks.run.failures import expected_failure, is_out_of_memory, loss_failure, release_memory, smaller
from bagoftricks.run.heap import keep_freed_memory
from bagoftricks.run.keeper import KeptState, RunCheckpointer, numerics_environment
from bagoftricks.run.loading import class_notes, loaders, teacher_logits, teacher_online
from bagoftricks.run.longer import step_to_keep
from bagoftricks.run.prepare import Prepared, prepare
from bagoftricks.run.reporter import Reporter
from bagoftricks.run.run_log import RunLog, run_facts
from bagoftricks.run.signals import Signals
from bagoftricks.run.start import Seconds, compile_step, make_trainer, memory_format_warnings, record_steps, warm_up
from bagoftricks.run.threads import choose_threads, use_threads
from bagoftricks.run.watch import evidence, write_evidence
from bagoftricks.settings import OF_LOGGERS, Settings
from bagoftricks.store.checkpoint_header import FOLDER
from bagoftricks.store.checkpoints import Checkpoints, remove_leftovers, threads_of
from bagoftricks.store.correctness import write_correct
from bagoftricks.store.description import DESCRIPTION, RunDescription, write_description
from bagoftricks.store.files import remove, remove_temporaries, weights_writer, write_whole
from bagoftricks.store.json_fields import Json
from bagoftricks.store.lease import NullLease, require_held
from bagoftricks.store.record import Cost, DataFacts, Record, TaskFacts
from bagoftricks.store.secrets import hide, hide_command, hide_text
from bagoftricks.store.steps import STEPS_CSV
from bagoftricks.store.store import EVIDENCE, ReadOnlyStore, Store


@dataclass
class Run:
    """One run that is being carried out; every rank of ``world`` has its own, and the first one writes.

    ``data`` is the data set of the settings, if it is known already.
    """

    settings: Settings
    reporter: Reporter
    command: str
    data: Dataset | None = None
    world: World = ALONE

    def __post_init__(self) -> None:
        self.began = time.perf_counter()
        self.store = Store(self.settings.store) if self.world.leads else ReadOnlyStore(self.settings.store)
        self.signals = Signals()

    def carry_out(self) -> Record:
        """Return the record of the run: the stored one, or a new one after training.

        Raises UserError before any image is decoded, RunElsewhere while another process trains the run, and
        TrainingFailed for an expected failure, such as a loss that is not finite.
        If the run fails, the store notes how.
        """
        self.prepare()
        if record := self.finished():
            self.reporter.note(f"run {self.id} is finished: this is its record (rerun=true trains it again)")
            if self.world.leads:
                remove_leftovers(self.store, self.id)
            return record
        self.claim()
        show_native_crashes()
        with self.lease:
            if record := self.finished():
                return record  # finished before the lease was taken
            self.clear_traces()
            self.describe()
            with self.marked_outcome(), deterministic(self.settings.runtime.deterministic):
                self.world.on_peer_lost(lambda error: self.mark_failed(f"{error}", ""))
                record = self.train()
            with suppress(OSError):  # the run is done
                self.checkpoints().clear()
                if self.world.leads:
                    remove(self.store.folder(self.id) / DESCRIPTION)
        return record

    # --- prepare ---

    def prepare(self) -> None:
        """Check the settings, find the data and name the run."""
        self.store.writable()
        self.prepared: Prepared = prepare(self.settings, data=self.data)
        self.id = self.prepared.id
        self.world.agree("their settings or data: the run's id", self.id)

    def finished(self) -> Record | None:
        """Return the record of the finished run, unless it is to be trained again."""
        return self.world.broadcast_object(lambda: None if self.settings.rerun else self.store.record(self.id))

    def claim(self) -> None:
        """Take the lease of the run. Raises RunElsewhere while another process holds it."""
        lease = self.store.claim(self.id) if self.world.leads else NullLease()
        if lease is None:
            raise RunElsewhere(f"run {self.id} is being trained by another process: wait for it, or change a setting")
        self.lease = lease
        if lease.took_over:
            self.reporter.note(SILENT_DEATH)

    def clear_traces(self) -> None:
        """Remove the marks and the unfinished files of earlier processes."""
        self.store.clear_marks(self.id)
        if self.world.leads:
            remove_temporaries(self.store.folder(self.id))
            remove_temporaries(self.store.folder(self.id) / FOLDER)

    def describe(self) -> None:
        """Write the description of the run on the first rank: it lists the run until there is a record."""
        if not self.world.leads:
            return
        prepared, settings = self.prepared, self.settings
        description = RunDescription(
            id=self.id,
            tricks=hide(prepared.identity["tricks"]),
            data=prepared.data.name,
            model=hide(prepared.identity["model"]),
            seed=settings.seed,
            epochs=settings.epochs,
            command=hide_command(self.command),
            config=recorded(settings),
            plugins=prepared.identity.get("plugins", {}),
            teacher=prepared.teacher.about() if prepared.teacher else None,
            parent=prepared.parent.facts if prepared.parent else None,
            date=now(),
            host=platform.node(),
            user=user_name(),
        )
        with suppress(OSError):  # the training comes to the same disk
            write_description(self.store.folder(self.id), description, before=self.require_lease)
        self.store.push(self.id)

    def require_lease(self) -> None:
        """Raise RunElsewhere if another process has taken the run over."""
        require_held(self.lease, self.id)

    def checkpoints(self) -> Checkpoints:
        """Return the checkpoints of the run; only the first rank writes any."""
        folder, runtime = self.store.folder(self.id), self.settings.runtime
        saved = partial(self.store.push, self.id)
        return Checkpoints(folder, runtime, self.require_lease, saved, writes=self.world.leads)

    @contextmanager
    def marked_outcome(self) -> Iterator[None]:
        """Record how the run ended if the block raises, unless another process took it over.

        An expected failure is raised as TrainingFailed, whose message has what to type.
        """
        try:
            yield
        except KeyboardInterrupt:
            if self.lease.held():
                self.store.mark_interrupted(self.id)
            self.signals.pass_on()
            raise
        except BaseException as error:
            failure = expected_failure(error, self.settings)
            if self.lease.held():
                text = f"{failure or error}" or type(error).__name__
                self.mark_failed(text, traceback.format_exc())
            if failure is not None:
                raise failure from error
            raise

    def mark_failed(self, error: str, trace: str) -> None:
        """Record the error without the secrets among the settings."""
        settings = asdict(self.settings)
        self.store.mark_failed(self.id, hide_text(error, settings), hide_text(trace, settings))

    # --- train ---

    def train(self) -> Record:
        """Train, measure and record; with auto_micro_batch, again in smaller micro-batches if memory runs out."""
        images: int | None = None
        automatic = self.settings.runtime.auto_micro_batch
        if automatic and self.world.size > 1:
            raise UserError(
                "runtime.auto_micro_batch=true: works on one device only; leave it out, or type +efficiency=micro_batch"
            )
        while True:
            try:
                return self.attempt(images)
            except (RuntimeError, MemoryError) as error:
                before = images or self.prepared.recipe.micro_batch or self.settings.batch_size
                images = smaller(before) if automatic else None
                if images is None or not is_out_of_memory(error):
                    raise
            self.reporter.note(
                f"warning: out of memory with {before} images at a time: continuing with {images}; batch norm now "
                "uses the statistics of fewer images, so the result changes (the record lists it)"
            )
            release_memory()

    def attempt(self, micro_batch: int | None) -> Record:
        """Train, measure and record. ``micro_batch``: images at a time, fewer than the recipe's."""
        self.announce()
        training = self.start(micro_batch)
        with self.logged(training):
            self.train_steps(training)
            return self.record(training)

    @contextmanager
    def logged(self, training: Training) -> Iterator[None]:
        """Send the figures of a training to its loggers and to steps.csv, and how the block ended."""
        settings, folder = self.settings, self.store.folder(self.id)
        if not self.world.leads or not (settings.logger or settings.log_every):
            if self.world.leads and training.trainer.steps_done == 0:
                remove(folder / STEPS_CSV)  # of an earlier training
            yield
            return
        facts = run_facts(self.prepared, training.checkpointer, self.command)
        training.log = RunLog(settings, folder, self.reporter.note, self.require_lease, asked_loggers(settings))
        training.log.begin(training.checkpointer, facts)
        with training.log:
            yield

    def train_steps(self, training: Training) -> None:
        """Take the remaining steps, and report them."""
        self.reporter.begin(self.id, training.trainer.length.total_steps, training.trainer.steps_done)
        try:
            with self.signals:
                training.run()
            training.checkpointer.wait()
        except LossNotFinite as error:
            raise self.loss_failure(error, training) from error
        except Exception:
            with suppress(Exception):  # the first error is the one to report
                training.checkpointer.wait()
            raise
        finally:
            self.reporter.end()

    def announce(self) -> None:
        """Report the data, the device and every warning."""
        prepared, runtime = self.prepared, self.settings.data
        train, val = prepared.data.train.labels, prepared.data.val.labels
        precision = prepared.recipe.precision
        if self.settings.runtime.progress:
            self.reporter.note(
                f"{prepared.data.name}: {len(train):,} training and {len(val):,} validation images of "
                f"{len(prepared.data.classes)} classes at {self.settings.pixels} pixels, on {prepared.device}"
                + (f" and {self.world.size - 1} more" if self.world.size > 1 else "")
                + (f", in {str(precision.dtype).removeprefix('torch.')}" if precision else "")
            )
        for line in prepared.data.notes():
            self.reporter.note(line)
        doubts = frozen_at_random(prepared.checked) + slow_arithmetic(prepared.recipe, prepared.device)
        for warning in [*discouraged_pairs(self.settings.tricks), *doubts]:
            self.reporter.note(f"warning: {warning}")
        for note in class_notes(prepared):
            self.reporter.note(note)
        if runtime.cache in ("ram", "disk"):
            self.reporter.note(cache_note(runtime.cache))
        if prepared.data.train.file(0) is not None and (small := self.shared_memory_note()):
            self.reporter.note(small)

    def shared_memory_note(self) -> str | None:
        """Return a line about shared memory that is too small for the batches of this run's workers, if it is."""
        runtime, recipe = self.settings.runtime, self.prepared.recipe
        views = recipe.map_images[1].views if recipe.map_images else 1
        images = max(self.settings.batch_size * recipe.reads * views, runtime.eval_batch_size)
        return shared_memory_note(worker_count(runtime.workers, self.world), images * self.settings.pixels**2)

    def start(self, micro_batch: int | None) -> Training:
        """Build the batches, the network and its trainer, and resume from the last checkpoint."""
        prepared, runtime, world = self.prepared, self.settings.runtime, self.world
        use_threads(world.broadcast_object(self.threads))
        keep_freed_memory()
        logits = teacher_logits(prepared, world)
        train, val = loaders(prepared, logits, world)
        make = partial(
            make_trainer,
            prepared,
            len(train),
            sample=train.sample,
            teacher=teacher_online(prepared),
            world=world,
            whole=train.shares.whole,
        )
        seconds = Seconds(teacher=logits.seconds if logits else None)
        if runtime.warmup_steps and not micro_batch:
            seconds.warmup = warm_up(make, train, runtime.warmup_steps)
        trainer = make()
        for warning in memory_format_warnings(self.settings, trainer.model):
            self.reporter.note(f"warning: {warning}")
        if runtime.compile:
            seconds.compile = compile_step(self.settings, trainer)
        if runtime.cuda_graph:
            record_steps(self.settings, trainer, self.reporter.note)
        numerics = numerics_environment(prepared.device, world.size)
        checkpointer = RunCheckpointer(
            prepared.identity,
            numerics,
            trainer,
            (train, val),
            self.checkpoints(),
            self.signals,
            prepared.parent.state if prepared.parent else None,
            self.kept_state(trainer.length),
        )
        checkpointer.begin(micro_batch, rerun=self.settings.rerun, note=self.reporter.note)
        reset_peak_memory(prepared.device)
        save = partial(self.store.write_metrics, self.id, before=self.require_lease)
        save_correct = partial(write_correct, self.store.folder(self.id), before=self.require_lease)
        return Training(self.settings, checkpointer, self.reporter, save, save_correct, seconds)

    def kept_state(self, length: Length) -> KeptState | None:
        """Return where and when to keep the state for longer runs, None where none is asked for or has a use."""
        if not self.settings.runtime.keep_state:
            return None
        at, why_not = step_to_keep(self.prepared.checked, length)
        if at is None:
            self.reporter.note(
                f"warning: runtime.keep_state=true: no state is kept: {why_not}; +refine=constant_lr or wsd, or decays "
                "at absolute epochs, do not"
            )
            return None
        return KeptState(at, self.store.kept_state(self.id), self.reporter.note)

    def threads(self) -> int:
        """Return the number of threads: that of the checkpoint or state to resume from, if there is one."""
        earlier = None if self.settings.rerun else self.checkpoints().earlier_threads()
        if earlier is None and self.prepared.parent and self.prepared.parent.state:
            earlier = threads_of(self.prepared.parent.state)
        return choose_threads(self.prepared.checked, earlier, self.reporter.note)

    def loss_failure(self, error: LossNotFinite, training: Training) -> TrainingFailed:
        """Write the evidence of a loss that is not finite; return the failure that names its file."""
        path = self.store.folder(self.id) / EVIDENCE
        if self.world.leads:
            with suppress(Exception):  # the loss is the error to report
                training.checkpointer.wait()
            with suppress(OSError):
                facts = evidence(error, training.trainer, training.loaders[0].plan, self.settings.seed)
                steps = training.checkpointer.checkpoints.steps()
                write_evidence(path, {**facts, "checkpoints_before": [step for step in steps if step < error.step]})
        return loss_failure(error, training.trainer.length, path)

    # --- record ---

    def record(self, training: Training) -> Record:
        """Write the weights and the record on the first rank; return the record on every rank."""
        world, loaders = self.world, training.loaders
        memory = max(world.all_gather_object(peak_memory_mib(self.prepared.device)))
        skipped = world.all_gather_object([file for loader in loaders for file in loader.skipped])
        broken = sorted({file for files in skipped for file in files})
        if broken:
            self.reporter.note(f"warning: skipped {len(broken):,} images, which the record names: {broken[0]}")

        def write() -> Record:
            for name, model in training.trainer.weight_sets().items():
                path = self.store.weights(self.id, name)
                write_whole(path, weights_writer(model.state_dict()), before=self.require_lease)
            cost = cost_of(self.prepared, training, self.store, memory, partial(self.wall_seconds, training))
            record = self.make_record(training, cost, broken)
            self.store.write_record(record, before=self.require_lease)
            return record

        return world.broadcast_object(write)

    def wall_seconds(self, training: Training) -> float:
        """Return the seconds of the run so far, in all of its processes."""
        return training.progress.wall_seconds + time.perf_counter() - self.began

    def make_record(self, training: Training, cost: Cost, skipped: list[str]) -> Record:
        """Return the record of the trained run."""
        prepared, settings, data, progress = self.prepared, self.settings, self.prepared.data, training.progress
        machine = environment(
            prepared.device, self.world.size, progress.continuations, micro_batches=progress.reductions()
        )
        return Record(
            id=self.id,
            status="done",
            tricks=hide(prepared.identity["tricks"]),
            data=DataFacts(
                name=data.name,
                train_images=len(data.train.labels),
                val_images=len(data.val.labels),
                classes=len(data.classes),
                digest=data.digest,
                image_size=settings.pixels,
                skipped=tuple(skipped),
                class_names=data.classes,
                class_counts=tuple(np.bincount(data.train.labels, minlength=len(data.classes)).tolist()),
                teacher=prepared.teacher.about() if prepared.teacher else None,
            ),
            model=hide(prepared.identity["model"]),
            seed=settings.seed,
            epochs=settings.epochs,
            metrics=final_metrics(progress.rows, settings.epochs),
            cost=cost,
            environment=machine,
            command=hide_command(self.command),
            config=recorded(settings),
            plugins=prepared.identity.get("plugins", {}),
            parent=prepared.parent.facts if prepared.parent else None,
            task=task_facts(prepared),
            files=self.store.digests(self.id),
        )


def task_facts(prepared: Prepared) -> TaskFacts | None:
    """Return what a record says of the task, None for classification."""
    task = prepared.settings.task
    if task.name == "classification":
        return None
    own = {key: value for key, value in asdict(task).items() if key != "name"}
    return TaskFacts(name=task.name, first=task.first, outputs=prepared.num_classes, settings=own)


def recorded(settings: Settings) -> Json:
    """Return settings as records hold them: without secrets, and without loggers, which are no part of a result."""
    return {key: value for key, value in hide(asdict(settings)).items() if key not in OF_LOGGERS}


def execute(
    settings: Settings, reporter: Reporter, command: str, data: Dataset | None = None, world: World = ALONE
) -> Record:
    """Return the record of the run with these settings, as ``Run.carry_out`` does."""
    return Run(settings, reporter, command, data, world).carry_out()
