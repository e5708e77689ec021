"""Part of each arm in a selection, and which of its numbers are no results."""

from bagoftricks.report.study_parts import SavedStudy

TOO_HIGH = "selected by this number: too high"


def chosen_labels(study: SavedStudy) -> set[str]:
    """Return the labels of the arms whose numbers chose them."""
    rounds = study.selection.rounds if study.selection else ()
    if study.design == "halving":
        return {study.selection.result} if study.selection else set()
    return {label for done in rounds for label in done.chosen}


def part_of(study: SavedStudy, label: str) -> str:
    """Return the part of an arm in a selection: the last step or rung that it was in, and whether it was chosen."""
    found, word = "", "rung" if study.design == "halving" else "step"
    for number, done in enumerate(study.selection.rounds if study.selection else (), start=1):
        if label in done.arms:
            found = f"{word} {number}" + (": chosen" if label in done.chosen else "")
    return found


def selection_notes(study: SavedStudy) -> list[str]:
    """Return why what chose an arm is no result."""
    if study.selection is None or not study.selection.rounds:
        return []
    if study.design == "halving":
        return [
            "a rung's best arms by their mean go on with more seeds; the best of several is partly luck, so these "
            "means are no results: fresh seeds alone are compared"
        ]
    return [
        "a step adds the trick with the largest gain of those that help; the largest of several is partly luck, so "
        "this gain is too high and no result: that is the one on fresh seeds"
    ]
