"""Carry out an evaluation on corrupted images, survive being killed, and write its result into the run's record."""

import functools
import json
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from hashlib import blake2b
from pathlib import Path
from typing import Any

import torch

from bagoftricks.data.augment import Finish
from bagoftricks.errors import RunElsewhere
from bagoftricks.models.weights import file_digest
from bagoftricks.recipe.edits import Images
from bagoftricks.recipe.recipe import test_pixels
from bagoftricks.robustness.overlaps import overlaps
from bagoftricks.robustness.request import EvaluationRequest, is_recorded, request_from
from bagoftricks.robustness.result import Result, of_copy, parts
from bagoftricks.robustness.scoring import mce, mean_error, relative_mce
from bagoftricks.robustness.stopwatch import Stopwatch
from bagoftricks.robustness.tally import CLEAN, Cell, Counts, Tally, by_corruption, count_errors
from bagoftricks.run.corrupted_images import piece_count, pieces
from bagoftricks.run.environment import environment
from bagoftricks.run.evaluation import Subject
from bagoftricks.run.reporter import Reporter
from bagoftricks.store.files import write_whole
from bagoftricks.store.lease import require_held
from bagoftricks.store.record import Record
from bagoftricks.store.store import Store
from bagoftricks.training.trainer import predictor

SAVE_EVERY_S = 20.0  # between two writings of the unfinished counts
PARTIAL = "partial.json"


def asked_of(subject: Subject) -> EvaluationRequest | None:
    """What the evaluation of these networks asks for beside their accuracy."""
    recipe = subject.recipe
    return request_from(subject.settings, recipe, subject.size, test_pixels(subject.trained, recipe))


def add_to_record(subject: Subject, record: Record, reporter: Reporter) -> Record:
    """The record with the result, evaluated where it is missing; the file is replaced whole, at the end.

    Raises RunElsewhere while another process works on the run.
    """
    settings = subject.settings
    asked = asked_of(subject)
    assert asked is not None
    store = Store(settings.store)
    if is_recorded(asked, record) and not settings.rerun:
        reporter.note(f"run {record.id} has its errors of {asked.name} in its record")
        return record
    lease = store.claim(record.id)
    if lease is None:
        raise RunElsewhere(f"run {record.id} is worked on by another process: wait for it")
    with lease:
        record = store.record(record.id) or record  # another evaluation may have come in between
        known = None if settings.rerun else record.robustness.get(asked.measured)
        partial = store.folder(record.id) / f"{asked.protocol.name}.{PARTIAL}"
        result = (
            rescored(known, asked)
            if known
            else evaluate_corruptions(subject, asked, partial, reporter, doubts_of(subject, record))
        )
        record = replace(record, robustness={**record.robustness, asked.name: result})
        store.write_record(record, before=functools.partial(require_held, lease, record.id))
        store.clear_marks(record.id)
        partial.unlink(missing_ok=True)
    return record


def robustness_rows(
    subject: Subject, asked: EvaluationRequest, record: Record | None, reporter: Reporter
) -> dict[str, Result]:
    """What tables show of an evaluation, for each copy of the weights.

    It is added to ``record`` if ``belongs`` says so; without a record nothing is kept.
    """
    if record is not None and belongs(subject, record):
        result = add_to_record(subject, record, reporter).robustness[asked.name]
    else:
        store = Store(subject.settings.store)
        partial = store.root / "unfinished" / f"{evaluation_digest(subject, asked)}.{PARTIAL}"
        result = evaluate_corruptions(subject, asked, partial, reporter, doubts_of(subject, record))
        partial.unlink(missing_ok=True)
    doubts = doubts_of(subject, record)
    return {copy: {"robustness": {asked.name: of_copy(result, copy)}, "overlaps": doubts} for copy in result["copies"]}


def doubts_of(subject: Subject, record: Record | None) -> list[str]:
    """Why the robustness is no surprise; of a file of weights, nobody says how it was trained."""
    trained = subject.trained
    return [] if record is None else overlaps(trained.tricks, trained.data, trained.pixels)


def belongs(subject: Subject, record: Record) -> bool:
    """Whether the images are the run's own, so that their errors belong into its record."""
    return bool(subject.data.digest == record.data.digest)


def evaluate_corruptions(
    subject: Subject, asked: EvaluationRequest, partial: Path, reporter: Reporter, doubts: Sequence[str]
) -> Result:
    """Errors and scores of every copy of the weights. The counts lie in ``partial`` until the caller has the result."""
    for reason in doubts:
        reporter.note(f"warning: {reason}")
    device = subject.checked.device
    tally = Tally(asked.cells, tuple(subject.files), device)
    counts = Unfinished(partial, evaluation_digest(subject, asked), tally)
    spent = counts.load(reporter)
    watch, started = Stopwatch(device), time.perf_counter()

    def seconds() -> dict[str, float]:
        parts = {**watch.seconds(), "total": time.perf_counter() - started}
        return {part: parts.get(part, 0.0) + spent.get(part, 0.0) for part in {**spent, **parts}}

    def after() -> None:
        counts.pieces += 1
        reporter.step()
        counts.save_now_and_then(seconds)

    predicts = {copy: predictor(subject.recipe, subject.network(copy)) for copy in subject.files}
    left, done = piece_count(subject, asked, tally), counts.pieces
    reporter.begin(asked.protocol.name, left + done, done)
    try:
        count_errors(pieces(subject, asked, tally, watch), predicts, preparation(subject), tally, watch, after)
    except BaseException:
        with suppress(OSError):
            counts.save(seconds())
        raise
    finally:
        reporter.end()
    return make_result(asked, tally, subject, seconds())


def preparation(subject: Subject) -> Callable[[torch.Tensor], Images]:
    """Bytes as the network sees them."""
    channels_last = subject.settings.runtime.channels_last
    finish = Finish(subject.settings.data, subject.num_classes, subject.checked.device, channels_last=channels_last)
    return lambda images: finish(images, torch.zeros(len(images), dtype=torch.int64)).images


def make_result(asked: EvaluationRequest, tally: Tally, subject: Subject, seconds: Mapping[str, float]) -> Result:
    everywhere = environment(subject.checked.device)
    return {
        **asked.about(),
        "count": tally.seen[tally.cells.index(CLEAN)],
        "data_digest": subject.data.digest,
        "copies": {copy: scores(tally.errors(copy), asked) for copy in tally.weights},
        "seconds": dict(seconds),
        "environment": {
            key: getattr(everywhere, key) for key in ("device", "threads", "torch", "torchvision", "bagoftricks")
        },
    }


def scores(errors: Mapping[Cell, float], asked: EvaluationRequest) -> Result:
    """``mce``, and ``relative_mce`` where it has a meaning, or ``mfr``; and what they are made of, in percent."""
    corrupted, clean, normaliser = by_corruption(errors), errors[CLEAN], asked.normaliser
    if asked.protocol.sequences:
        rate = mean_error(corrupted) if normaliser is None else mce(corrupted, normaliser)
        return {"mfr": rate, "clean_error": clean, "flips": {name: flip for name, (flip,) in corrupted.items()}}
    if normaliser is None:
        return {"mce": mean_error(corrupted), "clean_error": clean, "errors": corrupted}
    return {
        "mce": mce(corrupted, normaliser),
        "relative_mce": relative_mce(corrupted, clean, normaliser),
        "clean_error": clean,
        "errors": corrupted,
    }


def rescored(known: Mapping[str, Any], asked: EvaluationRequest) -> Result:
    """The same errors over another network's."""
    copies = {}
    for copy, found in known["copies"].items():
        errors = {(name, s): error for name, of in parts(found).items() for s, error in enumerate(of, 1)}
        copies[copy] = scores({CLEAN: found["clean_error"], **errors}, asked)
    return {**known, **asked.about(), "copies": copies}


class Unfinished:
    """Counts on the disk, for the process that goes on when this one is killed."""

    def __init__(self, path: Path, digest: str, tally: Tally) -> None:
        self.path, self.digest, self.tally = path, digest, tally
        self.saved = time.monotonic()
        self.pieces = 0  # that are counted

    def load(self, reporter: Reporter) -> dict[str, float]:
        """Go on where an earlier process stopped: the seconds that it took. Counts of something else are dropped."""
        if not self.path.is_file():
            return {}
        try:
            found = json.loads(self.path.read_text(encoding="utf-8"))
            if found["digest"] != self.digest:
                raise ValueError("they are of other weights, other images or another protocol")
            self.tally.load(Counts(**found["tally"]))
            self.pieces, seconds = int(found["pieces"]), dict(found["seconds"])
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            reporter.note(f"{self.path}: the unfinished counts are not used: {error}")
            self.path.unlink(missing_ok=True)
            return {}
        done, every = sum(self.tally.stop), max(self.tally.stop) * len(self.tally.cells)
        reporter.note(f"the evaluation goes on where it stopped ({done:,} of {every:,} images of begun batches)")
        return seconds

    def save(self, seconds: Mapping[str, float]) -> None:
        tally = asdict(self.tally.counts())
        found = {"digest": self.digest, "tally": tally, "pieces": self.pieces, "seconds": dict(seconds)}
        text = json.dumps(found)
        write_whole(self.path, lambda path: path.write_text(text, encoding="utf-8"))
        self.saved = time.monotonic()

    def save_now_and_then(self, seconds: Callable[[], Mapping[str, float]]) -> None:
        if time.monotonic() - self.saved >= SAVE_EVERY_S:
            self.save(seconds())


def evaluation_digest(subject: Subject, asked: EvaluationRequest) -> str:
    """Names all that the counts depend on: the weights, the network around them, the images and the protocol."""
    trained = asdict(subject.trained)
    facts = {
        "asked": asked.about(),
        "weights": {copy: file_digest(file) for copy, file in subject.files.items()},
        "network": {key: trained[key] for key in ("model", "tricks", "image_size")},
        "data": {**asdict(subject.settings.data), "digest": subject.data.digest},
        "frost": asked.measured,
    }
    return blake2b(json.dumps(facts, sort_keys=True, default=str).encode(), digest_size=16).hexdigest()
