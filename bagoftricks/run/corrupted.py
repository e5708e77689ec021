"""Carry out an evaluation on corrupted images, survive being killed, and write its result into the run's record."""

import functools
import json
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, fields, replace
from hashlib import blake2b
from pathlib import Path

import torch

from bagoftricks.data.augment import Finish
from bagoftricks.errors import RunElsewhere
from bagoftricks.models.weights import file_digest
from bagoftricks.recipe.edits import Images
from bagoftricks.recipe.recipe import test_pixels
from bagoftricks.robustness.overlaps import overlaps
from bagoftricks.robustness.request import EvaluationRequest, is_recorded, request_from
from bagoftricks.robustness.scoring import mce, mean_error, relative_mce
from bagoftricks.robustness.stopwatch import Stopwatch
from bagoftricks.robustness.tally import CLEAN, Cell, Counts, Tally, by_corruption, count_errors
from bagoftricks.run.corrupted_images import piece_count, pieces
from bagoftricks.run.environment import environment
from bagoftricks.run.evaluation import Subject
from bagoftricks.run.reporter import Reporter
from bagoftricks.store.files import read_file, write_whole
from bagoftricks.store.json_fields import parse_json, sealed_text, unsealed
from bagoftricks.store.lease import require_held
from bagoftricks.store.record import Record
from bagoftricks.store.robustness import Machine, RobustnessResult, RobustnessScores
from bagoftricks.store.store import Store
from bagoftricks.training.trainer import predictor

SAVE_EVERY_S = 20.0  # between two writings of the unfinished counts
PARTIAL = "partial.json"
PARTIAL_BYTES = 2**28


def corruption_request(subject: Subject) -> EvaluationRequest | None:
    """Return the requested evaluation on corrupted images, None without one."""
    recipe = subject.recipe
    return request_from(subject.settings, recipe, subject.size, test_pixels(subject.trained, recipe))


@dataclass
class CorruptedEvaluation:
    """Evaluation of networks on corrupted images. ``record``: of the run that they are of, None for a file of weights.

    The steps are find, count, score and record.
    """

    subject: Subject
    request: EvaluationRequest
    record: Record | None
    reporter: Reporter

    def __post_init__(self) -> None:
        self.store = Store(self.subject.settings.store)

    @property
    def belongs(self) -> bool:
        """True if the images are the run's own, so that their errors belong into its record."""
        return self.record is not None and self.subject.data.digest == self.record.data.digest

    @property
    def doubts(self) -> list[str]:
        """Reasons why the robustness is no surprise; of a file of weights, the training is unknown."""
        trained = self.subject.trained
        return [] if self.record is None else overlaps(trained.tricks, trained.data, trained.pixels)

    def result(self) -> RobustnessResult:
        """Return the result, evaluated if it is missing. It is recorded if it ``belongs``."""
        if self.record is not None and self.belongs:
            return self.recorded(self.record).robustness[self.request.name]
        partial = self.store.shared("unfinished") / f"{self.digest()}.{PARTIAL}"
        result = self.count(partial)
        partial.unlink(missing_ok=True)
        return result

    def recorded(self, record: Record) -> Record:
        """Return the record with the result, evaluated if it is missing; the file is replaced whole, at the end.

        Raises RunElsewhere while another process works on the run.
        """
        name = self.request.name
        if is_recorded(self.request, record) and not self.subject.settings.rerun:
            self.reporter.note(f"run {record.id} has its errors of {name} in its record")
            return record
        lease = self.store.claim(record.id)
        if lease is None:
            raise RunElsewhere(f"run {record.id} is worked on by another process: wait for it")
        with lease:
            record = self.store.record(record.id) or record  # another evaluation may have come in between
            partial = self.store.folder(record.id) / f"{self.request.protocol.name}.{PARTIAL}"
            record = replace(record, robustness={**record.robustness, name: self.find(record) or self.count(partial)})
            self.store.write_record(record, before=functools.partial(require_held, lease, record.id))
            self.store.clear_marks(record.id)
            partial.unlink(missing_ok=True)
        return record

    def find(self, record: Record) -> RobustnessResult | None:
        """Return the result from errors that the record has, over the requested normaliser; None without any."""
        known = record.evaluation(self.request.measured)
        return None if known is None or self.subject.settings.rerun else rescored(known, self.request)

    def count(self, partial: Path) -> RobustnessResult:
        """Return the errors and scores of every weight set. The counts lie in ``partial`` until the result is kept."""
        for reason in self.doubts:
            self.reporter.note(f"warning: {reason}")
        subject, request, reporter, device = self.subject, self.request, self.reporter, self.subject.checked.device
        for note in request.stored.notes(subject.data.classes) if request.stored else []:
            reporter.note(note)
        tally = Tally(request.cells, tuple(subject.files), device)
        counts = Unfinished(partial, self.digest(), tally)
        spent = counts.load(reporter)
        watch, started = Stopwatch(device), time.perf_counter()

        def seconds() -> dict[str, float]:
            parts = {**watch.seconds(), "total": time.perf_counter() - started}
            return {part: parts.get(part, 0.0) + spent.get(part, 0.0) for part in {**spent, **parts}}

        def after() -> None:
            counts.pieces += 1
            reporter.step()
            counts.save_now_and_then(seconds)

        predicts = {name: predictor(subject.recipe, subject.network(name)) for name in subject.files}
        left, done = piece_count(subject, request, tally), counts.pieces
        reporter.begin(request.protocol.name, left + done, done)
        try:
            count_errors(pieces(subject, request, tally, watch), predicts, preparation(subject), tally, watch, after)
        except BaseException:
            with suppress(OSError):
                counts.save(seconds())
            raise
        finally:
            reporter.end()
        return self.score(tally, seconds())

    def score(self, tally: Tally, seconds: Mapping[str, float]) -> RobustnessResult:
        """Return the result of complete counts, for the record."""
        machine = environment(self.subject.checked.device)
        return RobustnessResult(
            **vars(self.request.about()),
            count=tally.seen[tally.cells.index(CLEAN)],
            data_digest=self.subject.data.digest,
            weights={name: scores(tally.errors(name), self.request) for name in tally.weights},
            seconds=dict(seconds),
            environment=Machine(**{field.name: getattr(machine, field.name) for field in fields(Machine)}),
        )

    def digest(self) -> str:
        """Return the digest of all that the counts depend on: weights, network, images and protocol."""
        subject = self.subject
        trained = asdict(subject.trained)
        facts = {
            "asked": asdict(self.request.about()),
            "weights": {name: file_digest(file) for name, file in subject.files.items()},
            "network": {key: trained[key] for key in ("model", "tricks", "image_size")},
            "data": {**asdict(subject.settings.data), "digest": subject.data.digest},
            "frost": self.request.measured,
        }
        return blake2b(json.dumps(facts, sort_keys=True, default=str).encode(), digest_size=16).hexdigest()


def preparation(subject: Subject) -> Callable[[torch.Tensor], Images]:
    """Return the step from bytes to what the network sees."""
    channels_last = subject.settings.runtime.channels_last
    finish = Finish(subject.settings.data, subject.num_classes, subject.checked.device, channels_last=channels_last)
    return lambda images: finish(images, torch.zeros(len(images), dtype=torch.int64)).images


def scores(errors: Mapping[Cell, float], request: EvaluationRequest) -> RobustnessScores:
    """Return ``mce``, with ``relative_mce`` if it has a meaning, or ``mfr``; and the errors behind it, in percent."""
    corrupted, clean, over = by_corruption(errors), errors[CLEAN], request.normaliser
    score = mean_error(corrupted) if over is None else mce(corrupted, over)
    if request.protocol.sequences:
        return RobustnessScores(mfr=score, clean_error=clean, flips={name: flip for name, (flip,) in corrupted.items()})
    relative = None if over is None else relative_mce(corrupted, clean, over)
    by_severity = {name: tuple(of) for name, of in corrupted.items()}
    return RobustnessScores(mce=score, relative_mce=relative, clean_error=clean, errors=by_severity)


def rescored(known: RobustnessResult, request: EvaluationRequest) -> RobustnessResult:
    """Return the result of the same errors over another network's."""
    by_weights = {}
    for weights, found in known.weights.items():
        errors = {(name, s): error for name, of in found.parts.items() for s, error in enumerate(of, 1)}
        by_weights[weights] = scores({CLEAN: found.clean_error, **errors}, request)
    return replace(known, **vars(request.about()), weights=by_weights)


class Unfinished:
    """Counts on the disk, from which another process resumes if this one is killed."""

    def __init__(self, path: Path, digest: str, tally: Tally) -> None:
        self.path, self.digest, self.tally = path, digest, tally
        self.saved = time.monotonic()
        self.pieces = 0  # that are counted

    def load(self, reporter: Reporter) -> dict[str, float]:
        """Load the counts of an earlier process and return its seconds; drop counts of another evaluation."""
        if not self.path.is_file():
            return {}
        try:
            found, _ = unsealed(parse_json(read_file(self.path, PARTIAL_BYTES)))
            if found["digest"] != self.digest:
                raise ValueError("they belong to other weights, other images or another protocol")
            self.tally.load(Counts(**found["tally"]))
            self.pieces, seconds = int(found["pieces"]), dict(found["seconds"])
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            reporter.note(f"{self.path}: the unfinished counts are not used: {error}")
            self.path.unlink(missing_ok=True)
            return {}
        done, every = sum(self.tally.stop), max(self.tally.stop) * len(self.tally.cells)
        reporter.note(f"the evaluation resumes where it stopped ({done:,} of {every:,} images of begun batches)")
        return seconds

    def save(self, seconds: Mapping[str, float]) -> None:
        """Write the counts."""
        tally = asdict(self.tally.counts())
        found = {"digest": self.digest, "tally": tally, "pieces": self.pieces, "seconds": dict(seconds)}
        text = sealed_text(found)
        write_whole(self.path, lambda path: path.write_text(text, encoding="utf-8"))
        self.saved = time.monotonic()

    def save_now_and_then(self, seconds: Callable[[], Mapping[str, float]]) -> None:
        """Write the counts if the last time is long ago."""
        if time.monotonic() - self.saved >= SAVE_EVERY_S:
            self.save(seconds())
