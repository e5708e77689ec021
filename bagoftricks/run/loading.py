"""The batches of a prepared run, and the logits of its teacher."""

import torch

from bagoftricks.data import Dataset, Loader, eval_loader, find_dataset, train_loader
from bagoftricks.data.augment import Finish
from bagoftricks.data.loaders import EvalBatches, TrainBatches
from bagoftricks.data.preparation import Reading
from bagoftricks.data.shares import Shares
from bagoftricks.distributed import ALONE, World
from bagoftricks.models.weights import starts_backbone
from bagoftricks.recipe.edits import Predict
from bagoftricks.recipe.recipe import test_pixels
from bagoftricks.rng import Key
from bagoftricks.run.classes import class_names_of, order_notes
from bagoftricks.run.prepare import Prepared
from bagoftricks.run.teacher import Online, TeacherLogits, precompute_logits
from bagoftricks.settings import Settings


def loaders(prepared: Prepared, logits: TeacherLogits | None = None, world: World = ALONE) -> tuple[Loader, Loader]:
    """Return the loaders of this rank's training images, with the teacher's probabilities, and validation images."""
    settings, data, device = prepared.settings, prepared.data, prepared.checked.device
    runtime, size = settings.runtime, settings.pixels
    finish = finish_for(settings, prepared.num_classes, device, training=True)
    recipe, edit = prepared.recipe, prepared.recipe.teacher
    train = train_loader(
        data.train,
        settings.data,
        finish,
        TrainBatches(
            size=size,
            batch_size=settings.batch_size,
            reads=recipe.reads,
            policy=recipe.map_images,
            flips=recipe.flip[1] if recipe.flip else None,
            sampling=recipe.sampling[1] if recipe.sampling else None,
            repeats=recipe.repeats[1].times if recipe.repeats else 1,
            key=Key(settings.seed),
            teacher=logits.probabilities(edit.temperature, device) if logits and edit else None,
        ),
        Reading(
            workers=runtime.workers,
            on_device=runtime.data_on_device,
            shares=Shares(world, recipe.micro_batch, whole=world.size > 1 and bool(recipe.map_batch)),
        ),
    )
    short_side = recipe.test_size.short_side if recipe.test_size else None
    size = test_pixels(settings, recipe)
    finish = finish_for(settings, prepared.num_classes, device, training=False)
    return train, val_loader(settings, finish, data, size=size, short_side=short_side, world=world)


def finish_for(settings: Settings, num_classes: int, device: torch.device, *, training: bool) -> Finish:
    """Return the last steps of the preparation, with the targets of the task."""
    targets = settings.task.targets
    classes = targets == "classes" or (targets == "unseen" and training)  # of unseen ones, the network has no output
    outputs = num_classes if classes else None
    return Finish(settings.data, outputs, device, channels_last=settings.runtime.channels_last)


def val_loader(
    settings: Settings, finish: Finish, data: Dataset, *, size: int, short_side: int | None, world: World = ALONE
) -> Loader:
    """Return the loader of the validation images, cropped from ``short_side`` (default size / 0.875) to ``size``."""
    runtime = settings.runtime
    return eval_loader(
        data.val,
        settings.data,
        finish,
        EvalBatches(size=size, short_side=short_side, batch_size=runtime.eval_batch_size),
        Reading(workers=runtime.workers, on_device=runtime.data_on_device, shares=Shares(world)),
    )


def class_notes(prepared: Prepared) -> list[str]:
    """Return a note for a teacher, or a file of initial weights, without class names or with another order of them."""
    model, teacher, notes = prepared.settings.model, prepared.teacher, []
    if teacher is not None:
        notes += order_notes(f"the teacher {teacher.source}", teacher.class_names, teacher.order)
    if model.weights and not model.new_head and not starts_backbone(prepared.checked.network, model.weights):
        notes += order_notes(f"model.weights={model.weights}", class_names_of(model.weights), prepared.start_order)
    return notes


def teacher_online(prepared: Prepared) -> Predict | None:
    """Return the teacher that reads the training batches, None if it does not."""
    settings, device, teacher, edit = (
        prepared.settings,
        prepared.checked.device,
        prepared.teacher,
        prepared.recipe.teacher,
    )
    if teacher is None or edit is None or not edit.online:
        return None
    precision = teacher.precision_for(prepared.recipe.precision, device)
    return Online(teacher, settings.data, device, precision, channels_last=settings.runtime.channels_last)


def teacher_logits(prepared: Prepared, world: World = ALONE) -> TeacherLogits | None:
    """Return the logits of an offline teacher for each training image; rank 0 computes them, None without one."""
    settings, device, teacher, edit = (
        prepared.settings,
        prepared.checked.device,
        prepared.teacher,
        prepared.recipe.teacher,
    )
    if teacher is None or edit is None or edit.online:
        return None
    # Decoded images in a cache have the student's size: a teacher of another size reads them from their source.
    data = prepared.data if teacher.pixels == settings.pixels else find_dataset(settings.data)
    precision = teacher.precision_for(prepared.recipe.precision, device)

    def compute() -> TeacherLogits:
        result = precompute_logits(teacher, data, settings, device, precision, prepared.num_classes)
        return result if world.size == 1 else TeacherLogits(result.logits.cpu(), result.seconds)

    return world.broadcast_object(compute)
