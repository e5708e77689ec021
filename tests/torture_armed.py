"""Arms the processes of a study for tests/torture.py: each tells what it is at, and some kill themselves while writing.

Imported by the processes themselves. What is drawn is keyed by the number of the draw, which a folder counts.
"""

import errno
import os
import signal
from pathlib import Path

from bagoftricks.rng import Key
from bagoftricks.run import execute as run
from bagoftricks.store import checkpoints, correctness, files, lease, place, store
from bagoftricks.tasks.classification import Classification
from bagoftricks.training.trainer import Trainer

FOLDER, SEED = Path(os.environ["TORTURE_FOLDER"]), int(os.environ["TORTURE_SEED"])
RATES = {"checkpoint": 0.14, "record": 0.4, "metrics": 0.2, "weights": 0.25, "store": 0.05}
MOMENTS = ("before", "half written", "written", "renamed")


def number(what: str) -> int:
    """0, 1, 2, ... over all processes."""
    counted = len(os.listdir(FOLDER / what))
    while True:
        try:
            (FOLDER / what / str(counted)).mkdir()
            return counted
        except FileExistsError:
            counted += 1


def log(*words: str) -> None:
    with open(FOLDER / "log", "a", encoding="utf-8") as file:
        file.write("\t".join(words) + "\n")  # short lines are appended whole


def at(phase: str) -> None:
    (FOLDER / "phases" / str(os.getpid())).write_text(phase)


def die(phase: str, moment: str) -> None:
    log("kill", phase, moment)
    os.kill(os.getpid(), signal.SIGKILL)


def doom(phase: str) -> str | None:
    """The moment of the death that is drawn for this write, or None."""
    draw = Key(SEED).fold("write", number("draws")).numpy()
    return str(draw.choice(MOMENTS)) if draw.random() < RATES[phase] and (FOLDER / "armed").exists() else None


def phase_of(path: Path) -> str:
    if path.parent.name == checkpoints.FOLDER:
        return "checkpoint"
    for phase, part in (("record", store.RECORD), ("metrics", store.METRICS), ("weights", store.WEIGHTS)):
        if path.name.endswith(part):
            return phase
    return "store"


def write_whole(path, write, *, before=None):
    """As ``files.write_whole``, with a death in the middle."""
    phase = phase_of(path)
    moment = doom(phase)
    at(phase)
    if moment == "before":
        die(phase, moment)

    def write_half(temporary):
        write(temporary)
        if moment == "half written":
            os.truncate(temporary, os.path.getsize(temporary) // 2)
            die(phase, moment)

    def guarded():
        if moment == "written":
            die(phase, moment)
        if before is not None:
            before()

    whole(path, write_half, before=guarded)
    if phase == "record":
        log("record", path.parent.name)
    if moment == "renamed":
        die(phase, moment)
    at("training")


def telling(phase, function, *, deadly=False):
    """``function``, which tells that it is at work, and dies before or after it where it is drawn so."""

    def called(*args, **kwargs):
        moment = doom("store") if deadly else None
        at(phase)
        if moment in ("before", "half written"):
            die(phase, "before")
        result = function(*args, **kwargs)
        if moment is not None:
            die(phase, "after")
        at("training")
        return result

    return called


def no_link(*args, **kwargs):
    raise OSError(errno.EPERM, os.strerror(errno.EPERM))


if not os.environ["TORTURE_LINKS"]:
    os.link = no_link
whole = files.write_whole
for module in (files, run, store, correctness):
    module.write_whole = write_whole
checkpoints.write_checkpoint = lambda path, state, *, before=None: write_whole(
    path, lambda file: file.write_bytes(encoded(state)), before=before
)
from bagoftricks.store.checkpoint_file import encoded  # noqa: E402

Classification.measure = telling("evaluation", Classification.measure)
lease.claim = place.claim = telling("store", lease.claim, deadly=True)
store.Store.clear_marks = telling("store", store.Store.clear_marks, deadly=True)
checkpoints.Checkpoints.clear = telling("store", checkpoints.Checkpoints.clear, deadly=True)
checkpoints.Checkpoints._prune = telling("checkpoint", checkpoints.Checkpoints._prune, deadly=True)
Trainer.load = telling("loading", Trainer.load)
