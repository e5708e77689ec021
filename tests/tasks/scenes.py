"""Tiny runs on scenes, of the tasks on pixels and on objects."""

from bagoftricks.cli.compose import compose_settings

SMALL = [
    *("model.depths=[1,1]", "model.width=4", "image_size=32", "batch_size=8", "epochs=2", "lr=0.02"),
    *("runtime.progress=false", "runtime.threads=1", "runtime.device=cpu"),
]
TINY = ["data=scenes", "data.scenes=32", "data.val_scenes=24", *SMALL]
TASKS = {
    "retrieval": ["task=retrieval", "task.embedding=6"],
    "segmentation": ["task=segmentation"],
    "detection": ["task=detection", "task.channels=8", "task.proposals=20", "data.targets=boxes"],
}


class OneOfTwo:
    """A rank of two, with what the other one sends."""

    size = 2

    def __init__(self, theirs):
        self.theirs = theirs

    def all_gather_object(self, mine):
        return [mine, self.theirs]

    def broadcast_object(self, make):
        return make()


def scene_settings(task, store, *more):
    return compose_settings([*TINY, *TASKS[task], f"store={store}", *more])
