"""Arguments of commands that compose no settings: each is a text, ``key=value``."""

from collections.abc import Iterable

from bagoftricks.errors import UserError, did_you_mean


def set_texts(chosen: object, program: str, arguments: Iterable[str]) -> None:
    """Set the attributes of ``chosen`` to what is typed. Raises UserError for another key, with the nearest one."""
    known = vars(chosen)
    for argument in arguments:
        key, equals, value = argument.partition("=")
        if not equals or key not in known:
            raise UserError(f"'{argument}' is not a setting{did_you_mean(key, known)} ({program} --help)")
        setattr(chosen, key, value)
