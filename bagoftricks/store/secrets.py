"""Values that no file of a store may hold: those of settings whose names look secret, and passwords in addresses."""

import re
import shlex
from collections.abc import Iterator, Mapping
from hashlib import blake2b
from typing import Any

from bagoftricks.errors import UserError

HIDDEN = "***"
SEVERAL = r"(?:password|passwd|pwd|passphrase|secret|credential|authorization|(?:api|access|auth|private)_?key)s?"
SECRET_WORD = rf"\w*(?:token|{SEVERAL})"  # tokens are words of a text
SECRET_NAME = rf"(?:{SECRET_WORD}|(?:\w*_)?key)"
IS_SECRET = re.compile(SECRET_NAME, re.IGNORECASE)
QUOTED_TEXT = r"'[^']*'|\"[^\"]*\""
IN_TEXT = re.compile(rf"(\b{SECRET_NAME}\s*=\s*)(?:{QUOTED_TEXT}|[^\s,;()\[\]{{}}]+)", re.IGNORECASE)
IN_OBJECT = re.compile(
    rf"([{{,]\s*['\"]?{SECRET_WORD}['\"]?\s*:\s*)(?:{QUOTED_TEXT}|[^,}}]+)", re.IGNORECASE
)  # as {token: x}
IN_ADDRESS = re.compile(r"(?<=://)[^/\s@]+(?=@)")
SHORTEST = 4  # characters of a value that is also hidden in the middle of a text


def hide(value: Any, name: str = "") -> Any:
    """Return JSON values without secrets; ``name``: of the value."""
    if isinstance(value, Mapping):
        return {
            key: hide(held, name if name == "commands" or is_secret(name) else str(key)) for key, held in value.items()
        }
    if isinstance(value, list | tuple):
        return [hide(held, name) for held in value]
    if not isinstance(value, str):
        return value
    if name in ("command", "commands"):
        return hide_command(value)
    return HIDDEN if value and is_secret(name) else _hide_override(value)


def fingerprinted(value: Any, name: str = "") -> Any:
    """Return the values of an identity with a digest in the place of each secret: another one is another run."""
    if isinstance(value, Mapping):
        return {key: fingerprinted(held, name if is_secret(name) else str(key)) for key, held in value.items()}
    if isinstance(value, list | tuple) and is_secret(name):
        return [fingerprinted(held, name) for held in value]
    if isinstance(value, str) and value and is_secret(name):
        return HIDDEN + blake2b(value.encode(), digest_size=8).hexdigest()
    return value


def hide_text(text: str, settings: Any = None) -> str:
    """Return a text without secrets: those that it names, and those among the values of ``settings``."""
    for _, value in secrets_in(settings):
        text = text.replace(value, HIDDEN) if len(value) >= SHORTEST else text
    for pattern in (IN_TEXT, IN_OBJECT):
        text = pattern.sub(rf"\g<1>{HIDDEN}", text)
    return IN_ADDRESS.sub(HIDDEN, text)


def hide_command(command: str) -> str:
    """Return a command as it is typed, without secrets."""
    try:
        words = shlex.split(command)
    except ValueError:
        return hide_text(command)
    return shlex.join(_hide_override(word) for word in words)


def _hide_override(word: str) -> str:
    key, equals, _ = word.partition("=")
    return f"{key}={HIDDEN}" if equals and is_secret(key.rpartition(".")[2]) else hide_text(word)


def is_secret(name: str) -> bool:
    """Return True if a setting of this name holds a secret."""
    return IS_SECRET.fullmatch(name) is not None


def secrets_in(values: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """Yield the dotted name and the value of every secret text."""
    if isinstance(values, str) and values and any(map(is_secret, name.split("."))):
        yield name, values
    for key, held in values.items() if isinstance(values, Mapping) else ():
        yield from secrets_in(held, f"{name}.{key}" if name else str(key))
    for held in values if isinstance(values, list | tuple) else ():
        yield from secrets_in(held, name)


def require_secrets(values: Any) -> None:
    """Raise UserError if a secret is missing among settings that come from a record."""
    for name, value in secrets_in(values):
        if value == HIDDEN:
            raise UserError(f"{name} is not kept in records: type it again, as {name}=VALUE")
