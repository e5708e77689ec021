"""Plug-ins: files and modules of the user's that register tricks, networks, data sets, tasks and more.

``plugins=[my_tricks.py,package.module]`` on any command, ``BAGOFTRICKS_PLUGINS`` in the environment, ``plugins:`` in
bagoftricks.yaml, and the entry points of installed packages in the group ``bagoftricks.plugins`` name them. A plug-in
is read as text first; its code runs when one of its classes is used.

What a plug-in needs can be imported from here: ``from bagoftricks.plugins import trick, SetLoss``.
"""

import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import blake2b
from importlib import import_module
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from bagoftricks.errors import UserError, did_you_mean
from bagoftricks.folders import local_path, user_folders
from bagoftricks.registry import KINDS, PLUGIN_MODULES, Card, add_card, added_cards, cards_in, forget_cards

GROUP, VARIABLE = "bagoftricks.plugins", "BAGOFTRICKS_PLUGINS"
PUBLIC = (  # modules whose names plug-ins may import from here
    *("registry", "settings", "errors", "rng", "robustness.protocols", "recipe.trick", "recipe.edits"),
    *("models.layers", "models.parts", "data.sources", "loggers.base", "engines.base", "measure.accuracy"),
)
QUOTED = re.compile(r"'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"")
ITEM = re.compile(rf"\s*({QUOTED.pattern}|[^,]*?)\s*(?:,|\Z)")
UNQUOTED = re.compile(r"(?=[^\s'\"])[^,]*[^\s,]")  # an item that needs no quotes


@dataclass(frozen=True)
class Plugin:
    """One file or module, with the digest of its source."""

    name: str  # as it is recorded: the file's or the module's, without its place
    sources: tuple[Path, ...]
    digest: str


_loaded: dict[str, Plugin] = {}  # by what was typed, paths made absolute


def load_plugins(names: Iterable[str]) -> None:
    """Register everything in these files and modules. Raises UserError for one that cannot be read."""
    for typed in names:
        name = _absolute(typed)
        if name not in _loaded:
            _loaded[name] = _read(name)


def add_plugins(*names: str) -> list[str]:
    """Load files and modules for the rest of this session; return all that are loaded now.

    What was loaded before is read again, so that a file that was changed counts. An error changes nothing.
    """
    before = loaded_plugins()
    with unchanged_on_error():
        forget_plugins()
        load_plugins([*before, *names])
    return loaded_plugins()


load = add_plugins  # of the library: bot.plugins.load("my_tricks.py")


@contextmanager
def unchanged_on_error() -> Iterator[None]:
    """Go back to the plug-ins that were loaded before if the block raises."""
    plugins, cards = dict(_loaded), [card for kind in KINDS for card in added_cards(kind).values()]
    try:
        yield
    except BaseException:
        forget_plugins()
        _loaded.update(plugins)
        for card in cards:
            add_card(card)
        raise


def forget_plugins() -> None:
    """Forget all plug-ins, as at the start of a command."""
    _loaded.clear()
    forget_cards()


def __getattr__(name: str) -> Any:
    """Import what plug-ins are made of when they ask for it: torch takes seconds."""
    if not name.startswith("_"):
        for module in PUBLIC:
            found = getattr(import_module(f"bagoftricks.{module}"), name, None)
            if found is not None:
                return found
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def loaded_plugins() -> list[str]:
    """Return the loaded plug-ins as another process can load them: absolute paths and names of modules."""
    return list(_loaded)


def extension_arguments() -> list[str]:
    """Return the arguments that a recorded command needs for the same plug-ins and folders, as they are typed."""
    plugins = [f"plugins={join_list(_loaded)}"] if _loaded else []
    return plugins + [f"--config-dir={folder}" for folder in user_folders()]


def plugin_digests(cards: Iterable[Card]) -> dict[str, str]:
    """Return the digests of the plug-ins that these cards come from, by name."""
    sources = {card.source for card in cards}
    return {plugin.name: plugin.digest for plugin in _loaded.values() if sources & set(plugin.sources)}


def loaded_digests() -> dict[str, str]:
    """Return the digest of every loaded plug-in by its name."""
    return {plugin.name: plugin.digest for plugin in _loaded.values()}


def installed_plugins() -> list[str]:
    """Return the plug-ins of the environment variable and of installed packages."""
    named = split_list(os.environ.get(VARIABLE, ""))
    return named + [point.value.partition(":")[0] for point in entry_points(group=GROUP)]


def split_list(text: str) -> list[str]:
    """Return the texts of ``[a,b]`` as it is typed; the brackets may be left out."""
    return split_items(text[1:-1] if text.startswith("[") and text.endswith("]") else text)


def split_items(text: str) -> list[str]:
    """Return the texts between commas; one in quotes (doubled within) is taken with its commas and blanks."""
    items = [match[1] for match in ITEM.finditer(text)]
    plain = [item[1:-1].replace(2 * item[0], item[0]) if QUOTED.fullmatch(item) else item for item in items]
    return [text for text, item in zip(plain, items, strict=True) if item]


def join_list(texts: Iterable[str]) -> str:
    """Return texts as one list, as it is typed: the reverse of ``split_list``."""
    return (
        "["
        + ",".join(text if UNQUOTED.fullmatch(text) else "'" + text.replace("'", "''") + "'" for text in texts)
        + "]"
    )


def typed_text(value: object) -> str:
    """Return a value as it is typed: ``true``, ``null``, ``[1,2]``."""
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    return join_list(map(typed_text, value)) if isinstance(value, list | tuple) else str(value)


def _absolute(name: str) -> str:
    return str(local_path("plugins", name).resolve()) if _is_path(name) else name


def _is_path(name: str) -> bool:
    return name.endswith(".py") or os.sep in name


def _read(name: str) -> Plugin:
    files = [(Path(name), "")] if _is_path(name) else _files_of_module(name)
    digest, cards = blake2b(digest_size=10), list[Card]()
    for path, module in files:
        try:
            text = path.read_bytes()
            found = cards_in(path, module=module or f"{PLUGIN_MODULES}{path.stem}_{_short(text)}")
        except OSError as error:
            raise UserError(f"plugins={name}: cannot be read ({error.strerror}){_near(path)}") from error
        except (SyntaxError, ValueError) as error:
            line = f", line {error.lineno}" if isinstance(error, SyntaxError) else ""
            raise UserError(f"plugins={path}: is not a plug-in{line}: {str(error).partition(chr(10))[0]}") from error
        digest.update(text)
        cards += found
    if not cards:
        raise UserError(
            f"plugins={name}: registers nothing; mark a class with @trick, @network, @dataset, @task, @protocol or "
            "@logger (examples/ has one of each)"
        )
    for card in cards:
        add_card(card)
    stem = Path(name).stem if _is_path(name) else name
    return Plugin(stem, tuple(path for path, _ in files), digest.hexdigest())


def _files_of_module(name: str) -> list[tuple[Path, str]]:
    """Return the source files of a module, or of all modules of a package, with their dotted names."""
    try:
        spec = find_spec(name)
    except (ImportError, ValueError) as error:
        raise UserError(f"plugins={name}: cannot be imported ({error})") from error
    if spec is None or spec.origin is None:
        raise UserError(f"plugins={name}: there is no such module; a file is named by its path, as plugins=[{name}.py]")
    origin = Path(spec.origin)
    if origin.name != "__init__.py":
        return [(origin, name)]
    inside = [path for path in sorted(origin.parent.rglob("*.py")) if path.name != "__init__.py"]
    return [(path, ".".join([name, *path.relative_to(origin.parent).with_suffix("").parts])) for path in inside]


def _short(text: bytes) -> str:
    return blake2b(text, digest_size=4).hexdigest()


def _near(path: Path) -> str:
    return did_you_mean(path.name, [p.name for p in path.parent.glob("*.py")]) if path.parent.is_dir() else ""
