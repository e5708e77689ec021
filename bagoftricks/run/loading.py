"""What a prepared run reads: its batches, and what its teacher says of them."""

from bagoftricks.data import Dataset, Loader, eval_loader, find_dataset, train_loader
from bagoftricks.data.augment import Finish
from bagoftricks.data.shares import Shares
from bagoftricks.distributed import ALONE, World
from bagoftricks.recipe.edits import Predict
from bagoftricks.recipe.recipe import test_pixels
from bagoftricks.rng import Key
from bagoftricks.run.prepare import Prepared
from bagoftricks.run.teacher import Online, TeacherLogits, precompute_logits
from bagoftricks.settings import Settings


def loaders(prepared: Prepared, said: TeacherLogits | None = None, world: World = ALONE) -> tuple[Loader, Loader]:
    """The training batches, with what a teacher said of them, and the validation batches: this rank's share."""
    settings, data, device = prepared.settings, prepared.data, prepared.checked.device
    runtime, size = settings.runtime, settings.pixels
    finish = Finish(settings.data, prepared.num_classes, device, channels_last=runtime.channels_last)
    recipe, asked = prepared.recipe, prepared.recipe.teacher
    train = train_loader(
        data.train,
        settings.data,
        finish,
        size=size,
        batch_size=settings.batch_size,
        reads=recipe.reads,
        policy=recipe.map_images,
        flips=recipe.flip[1] if recipe.flip else None,
        key=Key(settings.seed),
        workers=runtime.workers,
        teacher=said.probabilities(asked.temperature, device) if said and asked else None,
        on_device=runtime.data_on_device,
        shares=Shares(world, recipe.micro_batch, whole=world.size > 1 and bool(recipe.map_batch)),
    )
    short_side = recipe.test_size.short_side if recipe.test_size else None
    size = test_pixels(settings, recipe)
    return train, val_loader(settings, finish, data, size=size, short_side=short_side, world=world)


def val_loader(
    settings: Settings, finish: Finish, data: Dataset, *, size: int, short_side: int | None, world: World = ALONE
) -> Loader:
    """The validation images, each of them once, cropped from ``short_side`` (by default size / 0.875) to ``size``."""
    runtime = settings.runtime
    return eval_loader(
        data.val,
        settings.data,
        finish,
        size=size,
        short_side=short_side,
        batch_size=runtime.eval_batch_size,
        workers=runtime.workers,
        on_device=runtime.data_on_device,
        world=world,
    )


def teacher_warnings(prepared: Prepared) -> list[str]:
    teacher = prepared.teacher
    if teacher is None or teacher.data in (None, prepared.data.digest):
        return []
    return [f"the teacher {teacher.source} was trained on other data: its classes must be in the same order"]


def teacher_online(prepared: Prepared) -> Predict | None:
    """The teacher that sees the training batches."""
    settings, device, teacher, asked = (
        prepared.settings,
        prepared.checked.device,
        prepared.teacher,
        prepared.recipe.teacher,
    )
    if teacher is None or asked is None or not asked.online:
        return None
    precision = teacher.precision_for(prepared.recipe.precision, device)
    return Online(teacher, settings.data, device, precision, channels_last=settings.runtime.channels_last)


def teacher_logits(prepared: Prepared, world: World = ALONE) -> TeacherLogits | None:
    """What the teacher says of each training image, before the run. Rank 0 asks it."""
    settings, device, teacher, asked = (
        prepared.settings,
        prepared.checked.device,
        prepared.teacher,
        prepared.recipe.teacher,
    )
    if teacher is None or asked is None or asked.online:
        return None
    # Kept decoded, images have the student's size: those of another size are read again.
    data = prepared.data if teacher.pixels == settings.pixels else find_dataset(settings.data)
    precision = teacher.precision_for(prepared.recipe.precision, device)

    def ask() -> TeacherLogits:
        said = precompute_logits(teacher, data, settings, device, precision, prepared.num_classes)
        return said if world.size == 1 else TeacherLogits(said.logits.cpu(), said.seconds)

    return world.broadcast_object(ask)
