"""The page of each command, which fits a screen, and the list of all commands."""

import ast
from pathlib import Path

from bagoftricks.cli.commands import COMMANDS, SYNTAX, TOPICS
from bagoftricks.cli.layout import entry_lines, example_lines, paragraph
from bagoftricks.registry import HyperParameter, fields_of
from bagoftricks.study.arms import DESIGNS

ABOUT = "ablation tables for image classifiers: compose tricks, run what is missing, tabulate what was measured"


def overview() -> str:
    """Return the commands with a line each, and what to type first."""
    lines = [*paragraph(f"bagoftricks: {ABOUT}"), ""]
    lines += entry_lines((name, command.about) for name, command in COMMANDS.items())
    first = [
        ("bot-train +tweak=resnet_d +refine=mixup", "a first run, in a minute, on handwritten digits"),
        ("bot-table", "its record"),
        ("bot-sweep experiment=demo", "a first study, in a minute, with its table and its page"),
        ("bot-train --help", "its page; --help TOPIC: tricks, mixup, data, lr, ..."),
        ("bagoftricks completion bash", "completion of the command line; also zsh and fish"),
        ("bagoftricks schema", "JSON Schema of settings, tricks and records, for programs"),
    ]
    return "\n".join([*lines, "", "Type first:", *entry_lines(first)])


def page(program: str) -> str:
    """Return the page of a command, which fits a screen."""
    command = COMMANDS[program]
    lines = [*paragraph(f"{program}: {command.about}"), "", *example_lines(command.examples), ""]
    if command.words:
        lines += [*entry_lines(command.words), ""]
    own = command.arguments[0]
    if own:
        shown = [field for field in own_settings(program) if not is_of_designs(field)]
        lines += [*entry_lines((f"{field.name}=", field.doc) for field in shown), ""]
    elif command.settings:
        lines += [*entry_lines(SYNTAX), ""]
    topics = TOPICS if command.settings else TOPICS[3:]
    lines += [f"More: {program} --help TOPIC", *entry_lines(topics)]
    for note in command.notes:
        lines += ["", *paragraph(note)]
    return "\n".join(lines)


def is_of_designs(field: HyperParameter) -> bool:
    """Return True for an argument of single designs, which its text names first: the topic designs has it."""
    return {name.strip() for name in field.doc.partition(":")[0].split(",")} <= DESIGNS.keys()


def own_settings(program: str) -> list[HyperParameter]:
    """Return the arguments of a command that are not settings of a run."""
    file, name = COMMANDS[program].arguments if program in COMMANDS else ("", "")
    if not file:
        return []
    source = ast.parse(Path(__file__).with_name(file).read_text(encoding="utf-8"))
    (found,) = [node for node in source.body if isinstance(node, ast.ClassDef) and node.name == name]
    return [field._replace(name=field.name.rstrip("_")) for field in fields_of(found) if field.doc]  # from_ is from=
