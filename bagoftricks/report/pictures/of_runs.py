"""Pictures of a run's settings: nothing is trained, and but for sample images no image is read."""

from bagoftricks.data import find_dataset
from bagoftricks.errors import UserError, did_you_mean
from bagoftricks.report.pictures.drawing import Drawing
from bagoftricks.report.pictures.kinds import RUN_KINDS
from bagoftricks.report.pictures.network import draw_network
from bagoftricks.report.pictures.schedule import draw_schedule
from bagoftricks.report.pictures.seen_images import draw_images
from bagoftricks.report.pictures.style import COLUMN, fix_layout, require_matplotlib, styled
from bagoftricks.run.check import check
from bagoftricks.run.inspection import look
from bagoftricks.settings import Settings


def draw_run(kind: str, settings: Settings, width: float = COLUMN, train_images: int | None = None) -> Drawing:
    """Return the picture of that kind of a run with these settings.

    ``train_images``: their number if it is known, else the data set is looked up. Raises UserError for an unknown kind.
    """
    if kind not in RUN_KINDS:
        raise UserError(f"plot={kind}: must be one of {', '.join(RUN_KINDS)}{did_you_mean(kind, RUN_KINDS)}")
    require_matplotlib(f"plot={kind}: ")
    with styled():
        if kind == "images":
            drawing = draw_images(look(settings), width)
        elif kind == "network":
            drawing = draw_network(check(settings, train=False), width)
        else:
            images = train_images or len(find_dataset(settings.data).train.labels)
            drawing = draw_schedule(check(settings, train=False), images, width)
        fix_layout(drawing.figure)
    return drawing
