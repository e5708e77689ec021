"""Looks at a study: the numbers of seeds that it was judged at, and those that it is planned to be."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from bagoftricks.store.files import read_file
from bagoftricks.store.json_fields import from_json, parse_json, unsealed
from bagoftricks.store.store import STUDY_BYTES, Store
from bagoftricks.study.arms import CROSSED
from bagoftricks.study.plan import Plan, study_path

LOOK_GROWTH = 1.5  # from one planned look to the next, at least


def planned_looks(fewest: int, most: int) -> tuple[int, ...]:
    """Return numbers of seeds from ``fewest`` to ``most`` in equal ratios of 1.5 or more: 3, 5, 8, 12, 20."""
    steps = max(1, math.floor(math.log(most / fewest) / math.log(LOOK_GROWTH)))
    return tuple(dict.fromkeys(round(fewest * (most / fewest) ** (step / steps)) for step in range(steps + 1)))


@dataclass(frozen=True)
class Looks:
    """Numbers of seeds at which a study is judged; ``judged`` is the last that it was judged at, 0 before the first.

    ``extensions``: looks at a factorial design before arms were added to it, whose effects are judged again.
    """

    looks: tuple[int, ...] = ()
    judged: int = 0
    extensions: int = 0

    def planned(self, numbers: Sequence[int]) -> "Looks":
        """Return the looks with these to come. Looks that were planned before stay: what they cost is spent."""
        former = self.looks if self.judged else ()
        return replace(self, looks=tuple(sorted({*former, *(n for n in numbers if n > self.judged)})))

    def after(self, number: int) -> "Looks":
        """Return the looks once the study was judged with that many seeds."""
        return replace(self, judged=max(self.judged, number))


def former_looks(store: Store, name: str, plan: Plan) -> Looks:
    """Return the looks at the study that has this name so far; none if its arms or their settings are others.

    Of a factorial design that gained arms, as by a fold, their number remains. A study without looks in its file, as
    earlier versions saved it, was judged once.
    """
    try:
        saved, _ = unsealed(parse_json(read_file(study_path(store, name), STUDY_BYTES)))
        former = {str(arm["label"]): from_json(dict[str, str], arm["runs"], "runs") for arm in saved["arms"]}
        seeds = len(saved["seeds"])
        looks = from_json(tuple[int, ...], saved.get("looks", [seeds]), "looks")
        judged = from_json(int, saved.get("judged", seeds), "judged")
        extensions = from_json(int, saved.get("extensions", 0), "extensions")
    except (OSError, ValueError, KeyError, TypeError, AttributeError):  # none, or damaged
        return Looks()
    ids = {label: {str(seed): run for seed, run in of.items()} for label, of in plan.ids().items()}
    shared = [(run, ids.get(label, {}).get(seed)) for label, of in former.items() for seed, run in of.items()]
    kept = any(now for _, now in shared) and all(now in (run, None) for run, now in shared)
    labels = {arm.label for arm in plan.arms}
    if kept and set(former) == labels:
        return Looks(looks, judged, extensions)
    if kept and set(former) < labels and saved.get("design") in CROSSED and judged:
        return Looks(extensions=extensions + max(1, sum(n <= judged for n in looks)))
    return Looks()
