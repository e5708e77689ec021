"""``last`` in place of an id, replaced by the id before a command reads it: what is recorded can be typed again."""

import re
from collections.abc import Sequence

from bagoftricks.cli.streams import say

DEFAULT_STORE = "results/runs"
NAMES_A_RUN = re.compile(
    r"(\+*(?:run|extend|corruptions\.normalise_by|tricks\.distill\.teacher)=)(run:)?(last(?:~\d{1,9})?)(@[\w.-]+)?"
)


def with_ids(program: str, arguments: Sequence[str]) -> list[str]:
    """Return the arguments with the id of the run that ``last`` or ``last~2`` names in the store of the line."""
    if not any(NAMES_A_RUN.fullmatch(argument) for argument in arguments):
        return list(arguments)
    from bagoftricks.store.store import Store

    store = Store(next((word[6:] for word in arguments if word.startswith("store=")), DEFAULT_STORE))

    def with_id(argument: str) -> str:
        named = NAMES_A_RUN.fullmatch(argument)
        found = store.matching(named[3]) if named and store.root.is_dir() else []
        if named is None or not found:
            return argument  # whoever reads it knows what to type instead
        if program in ("bot-train", "bot-sweep"):
            say(program, f"{named[3]} is run {found[0]}: type this id to start or resume the same run later")
        kind = "run:" if "teacher" in named[1] else ""
        return f"{named[1]}{kind}{found[0]}{named[4] or ''}"

    return [with_id(argument) for argument in arguments]
