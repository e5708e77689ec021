"""Preparation of the batches of a split, and the processes that read it."""

from dataclasses import dataclass

from bagoftricks.data.augment import Augment, Finish
from bagoftricks.data.plan import StepPlan, Table
from bagoftricks.data.shares import UNSHARED, Shares


@dataclass(frozen=True)
class Preparation:
    """Path of the images of a split to batches."""

    plan: StepPlan  # samples of each step
    augment: Augment
    finish: Finish  # bytes to floats on the device
    teacher: Table | None = None  # a teacher's probabilities: row i belongs to image i of the split


@dataclass(frozen=True)
class Reading:
    """Carrying out of the preparation: it changes the speed, never the batches."""

    workers: int = 0  # processes that decode images; -1: one per core, at most 8
    on_device: bool = True  # keep small images on the device, if they fit
    on_error: str = "fail"  # fail, or skip: at a broken file
    on_gpu: bool = False  # decode on the GPU
    shares: Shares = UNSHARED
