"""Reference pages, generated from what the commands themselves read: settings, help, choices, experiments."""

from collections.abc import Iterable, Iterator
from itertools import groupby

from bagoftricks.cli import topics
from bagoftricks.cli.commands import COMMANDS
from bagoftricks.cli.conf import YAML_GROUPS, options
from bagoftricks.cli.pages import overview, page
from bagoftricks.folders import experiment_files
from bagoftricks.registry import all_cards
from bagoftricks.study.experiment import experiment_scales, load_experiment
from docs.site.library import api_page, plugins_page, testing_page
from docs.site.text import cell, code, table

FOLDER = "docs/reference"
PARTS = {
    "": "Run",
    "data": "Data",
    "model": "Network",
    "task": "Task",
    "runtime": "Runtime: changes speed, never a run's id",
    "corruptions": "Corruptions",
    "loggers": "Loggers",
}


def reference_pages() -> Iterator[tuple[str, str]]:
    """Yield (path in the repository, content) of each generated page."""
    yield f"{FOLDER}/commands.md", commands_page()
    yield f"{FOLDER}/settings.md", settings_page()
    yield f"{FOLDER}/choices.md", choices_page()
    yield f"{FOLDER}/experiments.md", experiments_page()
    yield f"{FOLDER}/api.md", api_page()
    yield f"{FOLDER}/plugins.md", plugins_page()
    yield f"{FOLDER}/testing.md", testing_page()


def commands_page() -> str:
    """Return the help page of each command."""
    pages = [f"# Commands\n\n```text\n{overview()}\n```"]
    pages += [f"## {name}\n\n{code(page(name))}" for name in COMMANDS]
    return "\n\n".join(pages) + "\n"


def settings_page() -> str:
    """Return all settings, a table for each part and for each data set, network, task or logger with its own."""
    parts = ["# Settings\n\nTyped as `name=value` on the command line, after any command that trains or evaluates."]
    for part, title in PARTS.items():
        of_part = [s for s in topics.all_settings() if s.name.rpartition(".")[0].partition(".")[0] == part]
        if not of_part:
            continue
        parts.append(f"## {title}")
        for owner, owned in groupby(of_part, key=lambda setting: setting.owner):
            parts += [f"### `{owner}`"] * bool(owner) + [settings_table(owned)]
    return "\n\n".join(parts) + "\n"


def settings_table(settings: Iterable[topics.Setting]) -> str:
    """Return a table of settings: type, default and meaning."""
    rows = [
        (f"`{s.name}`", field_type(s.field.annotation), f"`{topics.typed(s.field.default)}`", s.field.doc)
        for s in settings
    ]
    return table(("setting", "type", "default", "meaning"), rows)


def field_type(annotation: str) -> str:
    """Return an annotation in words."""
    kind = annotation.replace("Optional[", "").rstrip("]") if annotation.startswith("Optional[") else annotation
    words = {"str": "text", "int": "whole number", "float": "number", "bool": "true or false"}
    return words.get(kind, f"`{kind}`") + (" or null" if kind != annotation else "")


def choices_page() -> str:
    """Return what there is to choose: data sets, networks, tasks, presets, protocols, loggers and engines."""
    parts = ["# Choices\n\nEach is typed as `group=name`. [Settings](settings.md) has the settings of each."]
    for group, about in YAML_GROUPS.items():
        rows = [(f"`{group}={name}`", text) for name, text in options(group).items()]
        parts.append(f"## `{group}=`: {about}\n\n{table(('choice', 'what it is'), rows)}")
    for kind, form in topics.TYPED.items():
        rows = [(f"`{form.format(name)}`", card.summary) for name, card in all_cards(kind).items()]
        parts.append(f"## `{kind}=`\n\n{table(('choice', 'what it is'), rows)}")
    return "\n\n".join(parts) + "\n"


def experiments_page() -> str:
    """Return each shipped experiment: its source, scales, rows and columns."""
    parts = ["# Experiments in full\n\n[Experiments](../../experiments/README.md) says how they are run and written."]
    for name in experiment_files():
        scales = experiment_scales(name)
        found = load_experiment(name, scales[0])
        rows = [(cell(arm.label), " ".join(f"`{trick}`" for trick in arm.tricks)) for arm in found.arms]
        facts = (
            f"{found.title}. Source: {found.source}. Scales: {', '.join(scales)}. Columns: {', '.join(found.columns)}."
        )
        command = code(f"bot-sweep experiment={name} scale={scales[-1]} seeds=3", "sh")
        parts.append(f"## `{name}`\n\n{facts}\n\n{command}\n\n{table(('row', 'tricks'), rows)}")
    return "\n\n".join(parts) + "\n"
