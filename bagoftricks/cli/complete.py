"""Completion of the command line in bash, zsh and fish: what fits the word at the cursor, and the shells' scripts.

A shell calls the command itself with ``--complete SHELL``, so that it is the environment of the command that answers.
Hydra's own completion knows neither our tricks' settings nor run ids, and takes seconds.
"""

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress

from bagoftricks.cli.commands import COMMANDS, COMPLETION
from bagoftricks.cli.conf import YAML_GROUPS, options
from bagoftricks.cli.pages import own_settings
from bagoftricks.cli.topics import all_settings, settings_of_card, topic_names, trick_settings
from bagoftricks.errors import UserError, did_you_mean
from bagoftricks.folders import experiment_files
from bagoftricks.registry import Card, all_cards
from bagoftricks.study.arms import DESIGNS
from bagoftricks.tricks import FAMILIES
from bagoftricks.tricks.catalogue import card, families

SHELLS = {
    "bash": """_bagoftricks() {{
    local line
    COMPREPLY=()
    while IFS= read -r line; do
        COMPREPLY+=("$line")
    done < <("${{COMP_WORDS[0]}}" --complete bash "${{COMP_LINE:0:COMP_POINT}}" "$2" 2>/dev/null)
    case "${{COMPREPLY[0]}}" in *[=./[]) compopt -o nospace 2>/dev/null ;; esac
}}
complete -o nosort -F _bagoftricks {commands} 2>/dev/null || complete -F _bagoftricks {commands}
""",
    "zsh": """_bagoftricks() {{
    local line
    local -a full open
    for line in "${{(@f)$("${{words[1]}}" --complete zsh "${{(@Q)words[2,CURRENT-1]}}" "$PREFIX" 2>/dev/null)}}"; do
        case "$line" in "") ;; *[=./\\[]) open+=("$line") ;; *) full+=("$line") ;; esac
    done
    compadd -a full
    compadd -S '' -a open
}}
compdef _bagoftricks {commands}
""",
    "fish": """function __bagoftricks
    set -l words (commandline -opc)
    $words[1] --complete fish $words[2..-1] (commandline -ct) 2>/dev/null
end
for command in {commands}
    complete -c $command -f -a '(__bagoftricks)'
end
""",
}
BOOLEANS = ("true", "false")
COMMON_FLAGS = ("--help", "--version", "--config-dir", "--cfg", "--multirun")
UNSAFE = re.compile(r"[\s\\$`\"'();&|<>*?!#{}~]")  # in a word of bash without quotes
FOLDERS_AND_FILES = (
    "root",
    "val_root",
    "file",
    "stored",
    "frost",
    "store",
    "weights",
    "image",
    "out",
    "export",
    "plugins",
    "images",
    "classes",
    "from",
    "figures",
    "compare",
)


def script(shell: str) -> str:
    """Return what a shell reads to complete the commands. Raises UserError for another shell."""
    if shell not in SHELLS:
        what = f"completion {shell}: is not known" if shell else "completion: name the shell"
        lines = "; ".join(f"{name}: {line}" for name, line in COMPLETION)
        raise UserError(f"{what}{did_you_mean(shell, SHELLS)} ({lines})")
    return SHELLS[shell].format(commands=" ".join([*COMMANDS, "bagoftricks"])).rstrip()


def complete(program: str, request: Sequence[str]) -> str:
    """Return what fits the last word, a line each: what replaces it in this shell."""
    shell, *words = request or [""]
    if shell != "bash":
        return "\n".join(candidates(program, [word.lstrip("'\"") for word in words] or [""]))
    line, replaced = (*words, "", "")[
        :2
    ]  # bash gives the line up to the cursor, and the part of its last word after = or :
    words, quote = split_line(line)
    plain = replaced if quote else split_line(replaced)[0][-1]
    cut = len(words[-1]) - len(plain) if words[-1].endswith(plain) else 0
    found = [each[cut:] for each in candidates(program, words[1:] or [""])]
    return "\n".join(found if quote else [re.sub(UNSAFE, r"\\\g<0>", each) for each in found])


def split_line(line: str) -> tuple[list[str], str]:
    """Return the words of an unfinished line without quotes, the last one empty after a blank; and the open quote."""
    words, quote, escaped, started = [""], "", False, False
    for character in line:
        if escaped:
            words[-1] += character
            escaped = False
        elif character == "\\" and quote != "'":
            escaped = True
        elif character == quote:
            quote = ""
        elif not quote and character in "'\"":
            quote, started = character, True
        elif quote or not character.isspace():
            words[-1] += character
        elif words[-1] or started:
            words.append("")
            started = False
    return words, quote


def candidates(program: str, words: Sequence[str]) -> list[str]:
    """Return all that the last word can become."""
    from bagoftricks.cli.extend import extend

    *before, word = words
    with suppress(UserError):  # of a plug-in; the command itself will say so
        extend([each for each in before if each.startswith("plugins=")])
    return list(dict.fromkeys(found for found in _fitting(program, before, word) if found.startswith(word)))


def _fitting(program: str, before: Sequence[str], word: str) -> Iterable[str]:
    if before and before[-1] in ("--help", "-h", "help"):
        return topic_names(program)
    if program == "bagoftricks":
        return (
            SHELLS
            if before[-1:] == ["completion"]
            else []
            if before
            else [*COMMANDS, "completion", "schema", "--version"]
        )
    if before and before[-1] in ("--config-dir", "-cd"):
        return _paths("", word)
    key, equals, value = word.partition("=")
    if not equals:
        return _keys(program, before, word)
    if key == "where":
        others, blank, _ = value.rpartition(" ")
        return [f"where={others}{blank}{name}=" for name in _row_keys(before)]
    listed = re.match(r"\[?(.*[,|+])?" if key == "tricks" else r"\[?(.*,)?", value)
    assert listed is not None
    first, start = f"{key}={listed[0]}", value[len(listed[0]) :]
    taken = set(re.findall(r"\w+", listed[0]))
    values = _values(program, key.lstrip("+~"), start, before)
    found = [name for name in values if name not in taken and name.startswith(start)]
    if value.startswith("[") and len(found) == 1:
        found = [f"{found[0]}]", f"{found[0]},"]  # the list may go on: no shell is to end the word
    return [first + name for name in found]


def _keys(program: str, before: Sequence[str], word: str) -> Iterator[str]:
    """Yield what can stand before ``=``: hyper-parameters of the tricks on the line, settings, groups, flags."""
    yield from _words(program, before, word)
    yield from (f"{field.name}=" for field in own_settings(program) if field.name != "rest")
    if not COMMANDS[program].settings:
        yield from COMMON_FLAGS[:2]
        return
    if word.startswith("~"):
        yield from (f"~tricks.{name}" for name in families())
    elif word.startswith("tricks."):
        name = word.split(".")[1]
        if name in families() and word.count(".") > 1:
            yield from (f"{setting.name}=" for setting in trick_settings(card(name)))
        else:
            on_line = [name for name in families() if re.search(rf"\b{name}\b", " ".join(before))]
            yield from (f"tricks.{name}." for name in on_line or families())
    elif word.startswith("+"):
        yield from (f"+{family}=" for family in FAMILIES)
    elif word.startswith("engine.") and program == "bot-sweep":
        yield from (f"{setting.name}=" for found in chosen_engine(before) for setting in settings_of_card(found))
    elif "." in word:
        yield from (f"{setting.name}=" for setting in all_settings())
    else:
        yield from (f"{group}=" for group in YAML_GROUPS)
        yield from (f"{setting.name}=" for setting in all_settings() if "." not in setting.name)
        yield from ("data.", "model.", "runtime.", "corruptions.", "loggers.", "tricks.")
        yield from (f"+{family}=" for family in FAMILIES)
        yield from ("plugins=", "experiment=", *COMMON_FLAGS) if program == "bot-bench" else ("plugins=", *COMMON_FLAGS)


def chosen_engine(before: Sequence[str]) -> list[Card]:
    """Return the card of the engine on the line, those of all engines without one."""
    known = all_cards("engine")
    names = [word.removeprefix("engine=") for word in before if word.startswith("engine=")]
    return [known[name] for name in names if name in known] or list(known.values())


def _values(program: str, key: str, start: str, before: Sequence[str]) -> Iterable[str]:
    """Return the values of a key."""
    if key in FAMILIES or key in YAML_GROUPS:
        return options(key)
    if key in ("logger", "engine"):
        return list(all_cards(key))
    if key == "experiment":
        return [*experiment_files(), *_paths("", start, ".yaml")]
    if key == "run" or (key == "tricks.distill.teacher" and start.startswith("run:")):
        prefix = "run:" * (key != "run")
        return [prefix + run for run in _runs(before, start.removeprefix(prefix))]
    if key == "state" and program == "bot-runs":
        from bagoftricks.store.survey import FolderState

        return [state.value for state in FolderState]
    if key == "plot":
        from bagoftricks.report.pictures.kinds import RUN_KINDS, STUDY_KINDS

        return list(RUN_KINDS if program == "bot-report" else STUDY_KINDS)
    if key == "study":
        return _studies(before)
    if key == "columns" or (key == "sort" and not start.startswith("-")):
        return _row_keys(before)
    if key == "sort":
        return [f"-{name}" for name in _row_keys(before)]
    if key == "tricks" and program == "bot-sweep":
        return families()
    if key == "design":
        return list(DESIGNS)
    if key == "extend":
        return _studies(before)
    if key == "fold":
        of_tricks = next((each for each in before if each.startswith("tricks=")), "")
        return [*(name for name in families() if re.search(rf"\b{name}\b", of_tricks)), "all"]
    fields = {setting.name: setting.field for setting in all_settings()}
    fields |= {field.name: field for field in own_settings(program)}
    name = key.split(".")[1] if key.count(".") == 2 and key.startswith("tricks.") else ""
    fields |= {setting.name: setting.field for setting in trick_settings(card(name))} if name in families() else {}
    if key.rpartition(".")[2] in FOLDERS_AND_FILES:
        return _paths("", start)
    field = fields.get(key)
    return () if field is None else BOOLEANS if field.annotation == "bool" else field.choices


def _row_keys(before: Sequence[str]) -> list[str]:
    """Return the keys of a table's rows: those of a study's arms, or results, costs and settings of runs."""
    from bagoftricks.report.table import ROW_KEYS

    if any(word.startswith(("study=", "experiment=")) for word in before):
        from bagoftricks.report.study_results import COLUMNS

        return list(COLUMNS)
    tricks = [name for name in families() if re.search(rf"tricks\.{name}\b", " ".join(before))]
    settings = [s.name for s in all_settings() if s.name not in ROW_KEYS]
    return [*ROW_KEYS, *settings, *(s.name for name in tricks for s in trick_settings(card(name)))]


def _store(before: Sequence[str]) -> str:
    return next((word[6:] for word in before if word.startswith("store=")), "results/runs")


def _words(program: str, before: Sequence[str], word: str) -> Iterable[str]:
    """Return the words of a command; after one, the ids of the store that it takes."""
    words = [name for name, _ in COMMANDS[program].words]
    plain = [each for each in before if "=" not in each]
    if not plain or not words:
        return words
    return _runs(before, word, finished=plain[0] == "repeat") if plain[0] not in ("list", "prune") else []


def _runs(before: Sequence[str], start: str, *, finished: bool = True) -> list[str]:
    """Return the ids of the runs in the store of the line, and ``last``."""
    store = os.path.expanduser(_store(before))
    known = ("record.json",) if finished else ("record.json", "run.json", "failure.json", "lease.json", "checkpoints")
    found = [n for n in _names_in(store) if any(os.path.exists(os.path.join(store, n, file)) for file in known)]
    return [name for name in [*found, *["last"] * bool(found)] if name.startswith(start)]


def _studies(before: Sequence[str]) -> list[str]:
    found = _names_in(os.path.join(os.path.expanduser(_store(before)), "studies"))
    return [name.removesuffix(".json") for name in found if name.endswith(".json")]


def _names_in(folder: str) -> list[str]:
    """Return the names in a folder that a shell can take as they are: no control characters, nothing hidden."""
    try:
        names = sorted(os.listdir(folder or "."))
    except OSError:
        return []
    return [name for name in names if name.isprintable() and not name.startswith(".")]


def _paths(before: str, start: str, suffix: str = "") -> list[str]:
    """Return folders, with a slash, and files that a path can become."""
    folder = start.rpartition("/")[0]
    folder += "/" * ("/" in start)
    found = []
    for name in _names_in(os.path.expanduser(folder)):
        path = os.path.join(os.path.expanduser(folder), name)
        if os.path.isdir(path):
            found.append(f"{before}{folder}{name}/")
        elif name.endswith(suffix):
            found.append(f"{before}{folder}{name}")
    return found
