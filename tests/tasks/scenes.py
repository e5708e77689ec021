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


def scene_settings(task, store, *more):
    return compose_settings([*TINY, *TASKS[task], f"store={store}", *more])
