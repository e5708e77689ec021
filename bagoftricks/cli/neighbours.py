"""bot-predict with the run of a retrieval task: the nearest neighbours of images instead of their classes."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bagoftricks.cli.layout import terminal_fit
from bagoftricks.cli.streams import say, show_result
from bagoftricks.errors import UserError

if TYPE_CHECKING:
    from bagoftricks.cli.finished import FinishedRun

NEAREST = 5  # neighbours, unless top= is typed


@dataclass(frozen=True)
class NeighbourRequest:
    """Images whose ``count`` nearest neighbours are found, where, by which weights, and the file of a sheet."""

    images: Sequence[str]
    gallery: Sequence[str]
    count: int | None
    weight_set: str | None
    sheet: str | None


def show_neighbours(program: str, asked: NeighbourRequest, run: "FinishedRun") -> None:
    """Print the nearest neighbours of the images among those of the gallery."""
    from dataclasses import replace

    from bagoftricks.data.unlabelled import find_images
    from bagoftricks.report.neighbours import query_table, query_text, write_query_sheet
    from bagoftricks.run.evaluation import subject_of_run
    from bagoftricks.run.predicting import chosen_weight_set
    from bagoftricks.run.retrieving import find_neighbours, gallery_of, known_classes, own_gallery
    from bagoftricks.run.threads import choose_threads, use_threads

    def note(line: str) -> None:
        say(program, line)

    images = replace(find_images(asked.images, run.settings.data.max_pixels), targets="unseen")
    subject = subject_of_run(run.record, run.trained, run.settings, run.size, images)
    use_threads(choose_threads(subject.checked, None, note))
    weight_set = chosen_weight_set(subject, asked.weight_set, note)
    for line in images.notes():
        note(line)
    gallery = gallery_of(asked.gallery, run.settings) if asked.gallery else own_gallery(run.settings)
    found = find_neighbours(subject, gallery, weight_set, asked.count or NEAREST)
    for broken in found.skipped:
        note(f"skipped: {broken}")
    queries = query_table(found, images.val, known_classes(images.val, gallery), gallery)
    network = {"run": subject.run, "model": subject.trained.model.name, "weights": weight_set}
    about = {**network, "gallery": len(gallery.classes), "skipped": list(found.skipped)}
    show_result(query_text(queries, about, subject.settings.format, terminal_fit()))
    if asked.sheet is not None:
        note(write_query_sheet(queries, found, (images.val, gallery.split), subject.augment, asked.sheet))


def require_predictable(typed: str, gallery: Sequence[str], run: "FinishedRun") -> None:
    """Raise UserError for the run of a task whose predictions have no text, and for a gallery without neighbours.

    ``typed`` is the run as it was typed.
    """
    task = run.trained.task
    if task.targets not in ("classes", "unseen"):
        raise UserError(
            f"run={typed}: its task is {task.name}, and bot-predict shows classes or neighbours of whole images: "
            f"bot-eval run={typed} gives its scores"
        )
    if gallery and task.targets == "classes":
        raise UserError(f"gallery= is for a run of task=retrieval, and this one is of {task.name}: leave it out")
