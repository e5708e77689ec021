"""Result of a selection in one sentence: the gain on fresh seeds, or why there is none."""

from bagoftricks.report.study_results import StudyResults, difference
from bagoftricks.statistics.paired import two_digits
from bagoftricks.study.selection import FRESH, Selection


def selection_line(results: StudyResults) -> str:
    """Return the result of a selection in one sentence; empty for other studies."""
    selection = results.study.selection
    if selection is None:
        return ""
    if not selection.over:
        return "The selection is not finished: type the same command again."
    if not selection.result:
        return _nothing_line(results, selection)
    if not selection.confirm:
        unknown = "what it gains is not known, as the numbers that chose it are too high"
        return f"Not confirmed: '{selection.result}' was chosen; {unknown}. Type confirm=5 for fresh seeds."
    return _confirmed_line(results, selection)


def _confirmed_line(results: StudyResults, selection: Selection) -> str:
    label = FRESH.format(selection.result)
    compared = results.comparisons.get(label)
    if compared is None or compared.n < 2:
        if compared and selection.confirm == 1:
            return f"Not confirmed: one fresh seed of '{selection.result}' gives no interval. Type confirm=2 or more."
        done = f"{compared.n if compared else 0} of {selection.confirm} fresh seeds"
        return f"Not confirmed yet: {done} of '{selection.result}' and its baseline are there."
    baseline = compared.against.removesuffix(FRESH.format(""))
    fresh = f"on {compared.n} fresh seeds, which had no part in the selection"
    gain = f"{difference(compared)} {results.score.of_differences}, {compared.verdict}"
    return f"Result: '{selection.result}' against {baseline} {fresh}: {gain}."


def _nothing_line(results: StudyResults, selection: Selection) -> str:
    """Return what a selection without a choice was able to see."""
    last = selection.rounds[-1]
    if results.study.design == "halving":
        return "No arm is better than the baseline in the last rung: nothing is chosen, and nothing to confirm."
    sees = [c.sees for label in last.arms if (c := results.comparisons.get(label)) and c.sees is not None]
    seen = f"; with {last.seeds} seeds the study sees gains of {two_digits(max(sees))} {results.score.of_differences}, "
    smaller = f"{seen}and there may be smaller ones" if sees else ""
    return f"No trick stands: none of {len(last.arms)} candidates helps{smaller}."
