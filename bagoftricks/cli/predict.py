"""bot-predict: the classes that a network sees in images, or their nearest neighbours."""

import re
import sys
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from bagoftricks.cli.app import DONE, run_command
from bagoftricks.cli.arguments import shortened
from bagoftricks.cli.finished import BESIDE_A_RUN, FinishedRun, finished_run, parsed_overrides
from bagoftricks.cli.layout import terminal_fit
from bagoftricks.cli.neighbours import NeighbourRequest, require_predictable, show_neighbours
from bagoftricks.cli.streams import say, show_result
from bagoftricks.errors import UserError

if TYPE_CHECKING:
    from bagoftricks.run.evaluation import Subject
    from bagoftricks.settings import Settings

PREDICT_PROGRAM = "bot-predict"
UNSEEN = {"data.on_error": "skip"}  # settings of images that nobody has looked at yet, unless others are typed
TEXTS = ("run", "weights", "classes", "weight_set", "show")


@dataclass
class PredictArguments:
    """Arguments of the command that are not settings."""

    run: str | None = None
    """run of store=, by the start of its id: its network, image size and normalisation"""
    weights: str | None = None
    """file of weights instead, with model= and tricks, and data= for image size and normalisation"""
    images: list[str] = field(default_factory=list)
    """file or folder of images, at any depth; several as [a,b]"""
    top: int | None = None
    """number of classes for each image, the most probable ones (default 1), or of its nearest neighbours (default 5)"""
    gallery: list[str] = field(default_factory=list)
    """for a run of task=retrieval: file or folder of images in which neighbours are found; default: the run's
    validation images"""
    weight_set: str | None = None
    """weight set of the run, as ema; default: last, the trained one"""
    classes: str | None = None
    """file with a class name on each line, for weights= without names"""
    show: str | None = None
    """file of a sheet of the images with their predictions (.png)"""
    rest: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, arguments: list[str]) -> "PredictArguments":
        from bagoftricks.plugins import split_list

        asked = cls()
        for argument in arguments:
            key, equals, value = argument.partition("=")
            if equals and key in TEXTS:
                setattr(asked, key, value)
            elif equals and key in ("images", "gallery"):
                setattr(asked, key, split_list(value) if value.startswith("[") else [value])
            elif equals and key == "top":
                if not re.fullmatch(r"0*[1-9]\d{0,5}", value):
                    raise UserError(f"top={shortened(value)}: must be a whole number, 1 or more")
                asked.top = int(value)
            else:
                asked.rest.append(argument)
        asked.check()
        return asked

    def check(self) -> None:
        if self.run is not None and self.weights is not None:
            raise UserError("run= and weights= are two networks: type one of them")
        if self.run is None and self.weights is None:
            raise UserError("which network? type run=ID (bot-table lists them), or weights=FILE model=NAME data=NAME")
        if not self.images:
            raise UserError("which images? type images=FOLDER or images=FILE, several as images=[a,b]")
        if self.run is not None and self.classes is not None:
            raise UserError("classes= is for weights=: the classes of run= are in its record; leave it out")
        if self.weights is not None and self.gallery:
            raise UserError("gallery= is for run=: a file of weights predicts classes; leave it out")
        if self.weights is not None and self.weight_set is not None:
            raise UserError("weight_set= is for run=: a file has one set of weights; leave it out")
        if self.show is not None and not self.show.lower().endswith(".png"):
            raise UserError(f"show={self.show}: the name must end in .png")


def main(argv: list[str] | None = None) -> int:
    return run_command(PREDICT_PROGRAM, argv, predict)


def predict(arguments: list[str]) -> int:
    """Predict the classes of the images, or find their neighbours, and print them; return the exit status."""
    asked = PredictArguments.of(arguments)
    run = None if asked.run is None else _run(asked, asked.run)
    if run is not None and run.trained.task.targets == "unseen":
        request = NeighbourRequest(asked.images, asked.gallery, asked.top, asked.weight_set, asked.show)
        show_neighbours(PREDICT_PROGRAM, request, run)
    else:
        _predict_classes(asked, _subject_of_file(asked) if run is None else _subject_of_run(asked, run))
    return DONE


def _predict_classes(asked: PredictArguments, subject: "Subject") -> None:
    from bagoftricks.report.predictions import prediction_table, prediction_text, write_prediction_sheet
    from bagoftricks.run.predicting import chosen_weight_set, predict_images
    from bagoftricks.run.threads import choose_threads, use_threads

    def note(line: str) -> None:
        say(PREDICT_PROGRAM, line)

    use_threads(choose_threads(subject.checked, None, note))
    weight_set = chosen_weight_set(subject, asked.weight_set, note)
    for line in subject.data.notes():
        note(line)
    if not subject.names:
        note("the names of the classes are not known: they are numbered from 0 (classes=FILE names them, a line each)")
    found = predict_images(subject, weight_set, asked.top or 1)
    for broken in found.skipped:
        note(f"skipped: {broken}")
    table = prediction_table(subject, found, weight_set, subject.run)
    if found.skipped:
        images = f"{len(found.skipped):,} image{'s' if len(found.skipped) > 1 else ''}"
        note(f"skipped {images} that cannot be read; {len(table.images):,} are predicted")
    show_result(prediction_text(table, subject.settings.format, terminal_fit()))
    if asked.show is not None:
        note(write_prediction_sheet(subject, found, table, asked.show))


def _run(asked: PredictArguments, prefix: str) -> FinishedRun:
    typed = parsed_overrides(asked.rest, BESIDE_A_RUN, ("images", "gallery", "top", "weight_set", "show"))
    run = finished_run(prefix, UNSEEN | typed)
    require_predictable(prefix, asked.gallery, run)
    return run


def _subject_of_run(asked: PredictArguments, run: FinishedRun) -> "Subject":
    from bagoftricks.run.predicting import subject_of_run_on_images

    return subject_of_run_on_images(run.record, run.trained, _uncached(run.settings), run.size, asked.images)


def _subject_of_file(asked: PredictArguments) -> "Subject":
    """Return the network of a file; its images have the size and normalisation of a data set that is typed."""
    names = [argument.lstrip("+").partition("=")[0] for argument in asked.rest]
    if not {"data", "preset"} & set(names):
        raise UserError(
            f"weights={asked.weights}: which size and normalisation had its images? type the data set, as "
            "data=imagenet (224 pixels) or data=cifar10; image_size=, data.mean= and data.std= change them"
        )
    from bagoftricks.cli.compose import compose_settings
    from bagoftricks.run.predicting import subject_of_file_on_images

    unseen = [f"{name}={value}" for name, value in UNSEEN.items() if name not in names]
    settings = compose_settings([*asked.rest, *unseen, f"model.weights={asked.weights}"])
    if settings.task.targets != "classes":
        raise UserError(f"task={settings.task.name}: weights= predicts classes of images; type run=ID for this task")
    return subject_of_file_on_images(_uncached(settings), asked.images, asked.classes)


def _uncached(settings: "Settings") -> "Settings":
    """Return the settings without a cache of images that are read once."""
    return replace(settings, data=replace(settings.data, cache="none"))


if __name__ == "__main__":
    sys.exit(main())
