"""Studies of the GPU benchmark, a seed of all arms at a time, so that what is there when the time is up is balanced."""

from typing import Any

from on_gpu.ledger import Work

import bagoftricks as bot


def sweep_by_seed(work: Work, name: str, seeds: int, about: dict[str, Any], *overrides: str) -> bool:
    """Train what is missing, seed by seed, in the store FOLDER/name; add its runs; return True when all are there.

    The seeds are studies of their own until all are there: the whole study is looked at once.
    """
    own = {"store": str(work.out / name), "runtime": {"progress": False}, "retry": "failed", **about}
    took = 0.0
    for seed in range(seeds):
        if work.done(seed=str(seed)):
            continue
        if work.left < took:
            return False
        before = work.left
        study = bot.sweep(*overrides, name=f"{name}-{seed}", seeds=[seed], **own)
        took = before - work.left
        runs = study.runs[["arm", "top1_percent", "train_seconds"]]
        work.add(*[
            {"arm": arm, "seed": f"{seed}", "top-1 %": top1, "training, s": seconds}
            for arm, top1, seconds in runs.itertuples(index=False)
        ])  # fmt: skip
    study = bot.sweep(*overrides, name=name, seeds=seeds, **own)
    work.add(text="\n" + study.table("markdown"))
    return True
