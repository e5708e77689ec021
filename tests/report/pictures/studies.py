"""Studies of hand-made records, and what was drawn of them."""

from bagoftricks.report.dawnbench import NO_MEASURE
from bagoftricks.report.study_parts import SavedArm, SavedStudy
from bagoftricks.report.study_results import StudyResults
from tests.store.test_store import record


def run(seed, top1, **changes):
    """A record of one seed; ``curve``: the top-1 after each epoch, two seconds apart."""
    cost = {
        "infer_images_per_s": 100.0,
        "curve": [
            {"epoch": n, "steps": 10 * n, "weights": "last", "train_seconds": 2.0 * n, "score": point}
            for n, point in enumerate(changes.pop("curve", (top1,)), 1)
        ],
        **changes.pop("cost", {}),
    }
    values = {"id": f"r{seed}", "seed": seed, "epochs": 2, "metrics": {"top1": top1}, "cost": cost, **changes}
    values["data"] = {"train_images": 100, "val_images": 50, "image_size": 8, **changes.get("data", {})}
    return record(**values)


def study(tops, *, compare_to=None, arms=None, records=None, measure=NO_MEASURE, **about):
    """Results of a study: ``tops`` has the top-1 of each seed by label; each arm is compared with the first."""
    first = next(iter(tops), None)
    known = arms or [
        SavedArm(label=label, compare_to=(compare_to or {}).get(label, None if label == first else first))
        for label in tops
    ]
    found = {label: dict(enumerate(run(seed, top) for seed, top in enumerate(each))) for label, each in tops.items()}
    seeds = tuple(range(max(map(len, tops.values()), default=0)))
    saved = SavedStudy(name="s", command="bot-sweep", seeds=seeds, arms=tuple(known), whole={}, **about)
    return StudyResults(saved, records or found, measure)


THREE = {"plain": [70.0, 71.0, 72.0], "aug": [72.0, 73.0, 74.6], "odd": [70.5, 70.5, 72.6]}


def marks(axes, shape, filled=None):
    """The points (x, y) of the single marks of a shape, those with a filled inside or an open one."""
    lines = [line for line in axes.lines if line.get_marker() == shape and len(line.get_xdata()) == 1]
    chosen = [line for line in lines if filled is None or (line.get_markerfacecolor() != "white") == filled]
    return [(float(line.get_xdata()[0]), float(line.get_ydata()[0])) for line in chosen]


def dots(axes):
    """The x of the small dots of single seeds, by row."""
    return [list(map(float, line.get_xdata())) for line in axes.lines if line.get_marker() == "."]


def intervals(axes):
    """The ends of the intervals along x."""
    found = [line for line in axes.lines if line.get_marker() == "None" and len(set(line.get_ydata())) == 1]
    return [tuple(map(float, line.get_xdata())) for line in found if line.get_transform() == axes.transData]


def texts(drawing):
    """All texts of a figure."""
    from matplotlib.text import Text

    return [text.get_text() for text in drawing.figure.findobj(Text) if text.get_text()]
