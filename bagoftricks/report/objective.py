"""The number of a run that a search improves, and whether more of it is better."""

import math
from typing import get_type_hints

from bagoftricks.errors import UserError, did_you_mean
from bagoftricks.registry import score_names
from bagoftricks.report.dawnbench import TIME, seconds_to
from bagoftricks.robustness.scoring import corruption_names
from bagoftricks.settings import Settings
from bagoftricks.store.record import Cost, Record
from bagoftricks.store.robustness import ROBUSTNESS_SCORES

BETTER_IF_HIGHER = ("top1", "top5", "soft_top1", "train_images_per_s", "infer_images_per_s")
COSTS = tuple(name for name, kind in get_type_hints(Cost).items() if kind in (int, float) and name != "infer_spread")


def objectives() -> tuple[str, ...]:
    """Return the names of all results and costs."""
    return (*score_names(), *COSTS, TIME, *_of_robustness())


def better_if_higher(objective: str) -> bool:
    """Return True if a larger number is a better one. Raises UserError for a name that is no result or cost."""
    if objective not in objectives():
        near = did_you_mean(objective, objectives())
        raise UserError(
            f"objective={objective}: is no result or cost{near} ({', '.join([*score_names(), *COSTS, TIME])}; mce)"
        )
    return objective in BETTER_IF_HIGHER or objective in set(score_names()) - {"loss", "ece"}


def worst_value(objective: str) -> float:
    """Return the number of a run that failed: worse than any other."""
    return -math.inf if better_if_higher(objective) else math.inf


def depends_on_images(objective: str) -> bool:
    """Return True for a number that is measured on the validation images, so that choosing by it makes it too good."""
    return objective not in COSTS


def best_of_note(sort: str, count: int) -> list[str]:
    """Return that the first of ``count`` runs sorted by ``sort`` (``-top1``) is too good, if the best one stands first.

    A cost is no matter of luck, and nothing is chosen by the worse end of a score.
    """
    key = sort.removeprefix("-")
    best_is_first = sort.startswith("-") == (key in objectives() and better_if_higher(key))
    if count < 2 or key not in objectives() or not depends_on_images(key) or not best_is_first:
        return []
    return [
        f"the best of {count:,} by {key} is partly luck: its number is too good; confirm it with fresh seeds next to "
        "the baseline (bot-sweep design=arms 'tricks=[baseline,BEST]' seeds=[100,101,102])"
    ]


def require_objective(settings: Settings) -> None:
    """Raise UserError, before the training, for an objective that the run will not have."""
    better_if_higher(settings.objective)
    if settings.objective in _of_robustness() and settings.corruptions.protocol == "none":
        raise UserError(f"objective={settings.objective}: is of corrupted images: add corruptions=NAME")
    if settings.objective == TIME and settings.metric != TIME:
        raise UserError(f"objective={TIME}: add metric={TIME}, and target= if it is not {settings.target:g}")


def objective_value(record: Record, settings: Settings) -> float:
    """Return the objective of the reported weight set, in the record's units; the worst if the run has none."""
    name, asked, weights = settings.objective, settings.corruptions, record.reported
    found: float | None = None
    if name in score_names():
        found = record.metrics[weights].values().get(name)
    elif name in COSTS:
        found = getattr(record.cost, name)
    elif name == TIME:
        found = seconds_to(record, settings.target, weights)
    else:
        for result in record.robustness.values():
            if (result.protocol, result.limit) == (asked.protocol, asked.limit) and weights in result.weights:
                found = result.weights[weights].score(name)
    return worst_value(name) if found is None else float(found)


def _of_robustness() -> tuple[str, ...]:
    return (*ROBUSTNESS_SCORES, "relative_mce", *corruption_names())
