"""Edits of tricks that make no sense where the targets are pixels or objects instead of the class of an image."""

from bagoftricks.recipe.edits import (
    AddLossTerm,
    BatchPhase,
    Edit,
    MapBatch,
    MapImages,
    MapTargets,
    SetLoss,
    SetSampling,
    SetTeacher,
    SetTestSize,
    WrapPredict,
)

OF_CLASSES = (MapTargets, SetLoss, AddLossTerm, SetTeacher, SetSampling)


def why_not_of_parts(edit: Edit) -> str | None:
    """Return why an edit makes no sense with targets of pixels or objects, None if it does."""
    if isinstance(edit, OF_CLASSES):
        return "it is of the classes of whole images"
    if isinstance(edit, MapBatch) and edit.phase is not BatchPhase.ERASE:
        return "it mixes or resizes images, and their targets would have to follow"
    if isinstance(edit, MapImages):
        return "it moves pixels, and the targets would have to follow"
    if isinstance(edit, WrapPredict | SetTestSize):
        return "it evaluates other images than the targets are of"
    return None
