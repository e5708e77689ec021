"""Topics of ``--help``, from the same cards, dataclasses and YAML files that the commands read."""

import ast
import re
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

from bagoftricks import settings
from bagoftricks.cli.commands import COMMANDS, COMPLETION
from bagoftricks.cli.conf import CARDS, YAML_GROUPS, options
from bagoftricks.cli.layout import entry_lines, example_lines, paragraph
from bagoftricks.cli.pages import is_of_designs, own_settings, page
from bagoftricks.errors import UserError, did_you_mean
from bagoftricks.folders import experiment_files, yaml_files
from bagoftricks.plugins import typed_text
from bagoftricks.registry import PREFIXES, Card, HyperParameter, all_cards, fields_of
from bagoftricks.tricks import FAMILIES
from bagoftricks.tricks.catalogue import card, cards, cards_that_name, families, family_of

GROUPS = {
    "": "Settings",
    "data.": "DataSettings",
    "model.": "ModelSettings",
    "runtime.": "RuntimeSettings",
    "corruptions.": "CorruptionSettings",
}

TYPED = {"logger": "logger=[{}]", "engine": "engine={}"}
OF_ENGINES = ("slots", "worker", "time_limit", "retry")
DESIGN_EXAMPLES = (
    ("bot-sweep design=stack 'tricks=[resnet_d,cosine,mixup(alpha=0.4)]' seeds=3", ""),
    ("bot-sweep design=factorial 'tricks=[mixup|cutmix,cosine,zero_gamma+ema]'", ""),
    ("bot-sweep extend=fractional fold=mixup", ""),
    ("bot-sweep design=greedy 'tricks=[cosine,mixup,ema]' seeds=5 confirm=5", ""),
)


class Setting(NamedTuple):
    """A setting as it is typed, with its default and the choice that has it."""

    name: str
    field: HyperParameter
    owner: str = ""  # group=choice of the data set or network that alone has it

    @property
    def entry(self) -> tuple[str, str]:
        """Its name with its default, and the text about it."""
        about, must = self.field.doc, self.field.must
        if must.startswith("must be ") and must.removeprefix("must be ") not in about:
            about = f"{about}; {must}"
        usual = typed(self.field.default)
        if preset := default_preset().get(self.name):
            about, usual = f"{about} ({usual} in a preset that does not set it)", preset
        return f"{self.name}={usual}", about + (f" ({self.owner})" if self.owner else "")


def typed(value: object) -> str:
    """Return a default as it is typed on the command line."""
    text = typed_text(value)
    return f"'{text}'" if " " in text else text


@cache
def default_preset() -> dict[str, str]:
    """Return what the preset sets that is chosen where none is typed."""
    (file,) = [file for file in yaml_files("preset") if file.stem == "digits"]
    return dict(re.findall(r"^(\w+): (\S+)$", file.read_text(encoding="utf-8"), re.MULTILINE))


@cache
def shared_settings() -> list[Setting]:
    """Return the settings that all runs have, by their dataclasses."""
    source = ast.parse(Path(settings.__file__).read_text(encoding="utf-8"))
    classes = {node.name: node for node in source.body if isinstance(node, ast.ClassDef)}
    return [Setting(prefix + f.name, f) for prefix, name in GROUPS.items() for f in fields_of(classes[name]) if f.doc]


def all_settings() -> list[Setting]:
    """Return all settings, those of single data sets and networks last."""
    own = [
        Setting(f"{group}.{field.name}", field, f"{group}={found.name}")
        for of, (group, _, _) in settings.CHOSEN_BY.items()
        for found in all_cards(of).values()
        for field in found.fields
    ]
    return [
        *shared_settings(),
        *own,
        *(setting for found in all_cards("logger").values() for setting in settings_of_card(found)),
    ]


def other_cards() -> list[Card]:
    """Return the cards of all loggers and engines."""
    return [found for kind in TYPED for found in all_cards(kind).values()]


def settings_of_card(found: Card) -> list[Setting]:
    """Return the settings of a logger or an engine."""
    return [Setting(PREFIXES[found.kind].format(found.name) + field.name, field) for field in found.fields]


def trick_settings(found: Card) -> list[Setting]:
    """Return the hyper-parameters of a trick."""
    return [Setting(f"tricks.{found.name}.{field.name}", field) for field in found.fields]


# --- topics ---


def topic_text(program: str, topic: str) -> str:
    """Return the help on a topic: on everything of that name. Raises UserError with the nearest name."""
    key, equals, value = topic.lstrip("+~").partition("=")
    group = key if equals and value and key in (*FAMILIES, *YAML_GROUPS, *TYPED) else ""
    name = value.strip("[]") if group else key
    sections = list(_exact(program, name, group)) or list(_by_ending(name))
    if not sections:
        known = [*GENERAL, *families(), *experiment_files(), *(s.name for s in all_settings()), *COMMANDS]
        known += [found.name for found in other_cards()]
        known += [option for of in YAML_GROUPS for option in options(of)] + [f.name for f in own_settings(program)]
        near = did_you_mean(name, known) or did_you_mean(name, [n.rpartition(".")[2] for n in known])
        raise UserError(f"there is no help on '{topic}'{near} ({program} --help lists the topics)")
    return "\n\n".join("\n".join(section) for section in sections)


def _exact(program: str, name: str, group: str) -> Iterator[list[str]]:
    if name in GENERAL and not group:
        yield GENERAL[name]()
    if name in families():
        yield trick_lines(card(name))
    yield from (card_lines(found) for found in other_cards() if found.name == name.removeprefix("loggers."))
    for of in YAML_GROUPS if group not in YAML_GROUPS else (group,):
        if name in options(of) and group not in FAMILIES:
            yield option_lines(of, name)
    if group:
        return
    yield from (
        entry_lines([(f"{program} {word}", about)])
        for word, about in (COMMANDS[program].words if program in COMMANDS else ())
        if word == name
    )
    if name in experiment_files():
        yield experiment_lines(name)
    yield from (entry_lines([(f"{f.name}=", f.doc)]) for f in own_settings(program) if f.name == name)
    known = all_settings() if "." in name else shared_settings()  # those of one data set or network have a dot
    if found := [s for s in known if s.name == name or name == s.name.partition(".")[0] + "."]:
        yield entry_lines(setting.entry for setting in found)
    of_tricks = re.fullmatch(r"(?:tricks\.)?(\w+)\.(\w+)", name)
    if of_tricks and of_tricks[1] in families():
        found = [s for s in trick_settings(card(of_tricks[1])) if s.name.endswith(f".{of_tricks[2]}")]
        if found:
            yield entry_lines(setting.entry for setting in found)
    if name in COMMANDS or (f"bot-{name}" in COMMANDS and name not in YAML_GROUPS):  # data is bot-data's and a group's
        yield page(name if name in COMMANDS else f"bot-{name}").split("\n")


def _by_ending(name: str) -> Iterator[list[str]]:
    """Yield the help on experiments and settings whose names end in it."""
    yield from (experiment_lines(known) for known in experiment_files() if known.endswith(f"/{name}"))
    every = [*all_settings(), *(setting for found in cards() for setting in trick_settings(found))]
    if found := [setting for setting in every if setting.name.endswith(f".{name}")]:
        yield entry_lines(setting.entry for setting in found)


def trick_lines(found: Card) -> list[str]:
    """Return the help on one trick."""
    lines = [*paragraph(f"{found.name}: {found.summary}"), ""]
    facts = [("switch on", f"+{found.family}={found.name}"), ("off", f"~tricks.{found.name}"), ("paper", found.paper)]
    lines += entry_lines((what, fact) for what, fact in facts if fact)
    for other, reason in discouraged(found).items():
        lines += ["", *paragraph(f"Discouraged with {other}: {reason}.")]
    if found.overlaps:
        condition = f" (with {found.overlaps_if}=true)" if found.overlaps_if else ""
        lines += [
            "",
            *paragraph(f"Trains for corruptions that robustness is measured on{condition}: {found.overlaps}."),
        ]
    if found.fields:
        lines += ["", *entry_lines(setting.entry for setting in trick_settings(found))]
    return lines


def discouraged(found: Card) -> dict[str, str]:
    """Return the tricks that a trick should not be combined with, from its own card and from theirs."""
    others = cards_that_name(found.name)
    return {**{other.name: other.warns[found.name] for other in others if found.name in other.warns}, **found.warns}


def card_lines(found: Card) -> list[str]:
    """Return the help on one logger or engine."""
    lines = [*paragraph(f"{TYPED[found.kind].format(found.name)}: {found.summary}"), ""]
    return lines + entry_lines(setting.entry for setting in settings_of_card(found))


def option_lines(group: str, name: str) -> list[str]:
    """Return the help on one choice: its own settings, and those that its YAML file sets."""
    lines = paragraph(f"{group}={name}: {options(group)[name]}")
    known = all_cards(CARDS[group]) if group in CARDS else {}
    file = next((file for file in yaml_files(group) if file.stem == name), None)
    text = file.read_text(encoding="utf-8") if file else ""
    kind = re.search(r"^kind: *(\w+)", text, re.MULTILINE)
    default = settings.CHOSEN_BY["network"][2] if group == "model" and file else name
    if (found := known.get(kind[1] if kind else default)) and found.fields:
        prefix = f"{group}." if group in ("data", "model") else ""
        lines += ["", *entry_lines(Setting(prefix + field.name, field).entry for field in found.fields)]
    sets = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return [*lines, "", "It sets:", *(f"  {line}" for line in sets)] if sets else lines


def experiment_lines(name: str) -> list[str]:
    """Return the help on one experiment."""
    from bagoftricks.study.experiment import experiment_arguments, experiment_scales, load_experiment

    scales = experiment_scales(name)
    found = load_experiment(name, scales[0])
    lines = [*paragraph(f"{name}: {found.title} ({found.source})"), ""]
    rows = {"rows": "; ".join(arm.label for arm in found.arms)}
    if found.design:
        rows = {"arms": f"{len(found.arms)}, {found.design.name} of {', '.join(found.design.tricks)}"}
    facts = {**rows, "columns": ", ".join(found.columns)}
    lines += [*entry_lines([*facts.items(), ("scales", ", ".join(scales))]), ""]
    seeds = "" if "seeds" in experiment_arguments(name) else " seeds=3"
    return lines + example_lines([(f"bot-sweep experiment={name} scale={scales[-1]}{seeds}", "")])


def _tricks() -> list[str]:
    lines = []
    for family, about in FAMILIES.items():
        lines += paragraph(f"+{family}=  tricks {about}")
        lines += [*entry_lines((c.name, c.summary) for c in cards() if c.family == family), ""]
    return [*lines, *paragraph("--help mixup: one trick, its hyper-parameters and its paper")]


def _family(family: str) -> list[str]:
    return entry_lines((c.name, c.summary) for c in cards() if family_of(c.name) == family)


def _options(group: str) -> list[str]:
    lines = [*paragraph(f"{group}=  {YAML_GROUPS[group]}"), *entry_lines(options(group).items())]
    found = [setting.entry for setting in shared_settings() if setting.name.startswith(f"{group}.")]
    return [*lines, "", *entry_lines(found)] if found else lines


def _settings() -> list[str]:
    top = [setting.entry for setting in shared_settings() if "." not in setting.name]
    return [*entry_lines(top), "", *paragraph("Also --help data, model, runtime and corruptions: those of the parts.")]


def _runtime() -> list[str]:
    return entry_lines(setting.entry for setting in shared_settings() if setting.name.startswith("runtime."))


def _loggers() -> list[str]:
    own = [setting.entry for setting in shared_settings() if setting.name in settings.OF_LOGGERS]
    lines = [*entry_lines(own), "", *_of_kind("logger")]
    return [*lines, "", *paragraph("--help wandb: one logger with its settings; docs/logging.md: what is logged")]


def _of_kind(kind: str) -> list[str]:
    return entry_lines((TYPED[kind].format(name), found.summary) for name, found in all_cards(kind).items())


def _engines() -> list[str]:
    own = [(f"{field.name}=", field.doc) for field in own_settings("bot-sweep") if field.name in OF_ENGINES]
    lines = [*_of_kind("engine"), "", *entry_lines(own)]
    return [*lines, "", *paragraph("--help local: one engine with its settings; docs/cluster.md: step by step")]


def _experiments() -> list[str]:
    titles = [
        (name, found[1].strip("\"'") if (found := re.search(r"^title: *(.*)", text, re.MULTILINE)) else "")
        for name, file in experiment_files().items()
        for text in [file.read_text(encoding="utf-8", errors="replace")]
    ]
    return [*entry_lines(titles), "", *paragraph("bot-sweep experiment=NAME trains the rows that are missing.")]


def _designs() -> list[str]:
    from bagoftricks.study.arms import DESIGNS

    return [
        *entry_lines((f"design={name}", about) for name, about in DESIGNS.items()),
        "",
        *entry_lines((f"{field.name}=", field.doc) for field in own_settings("bot-sweep") if is_of_designs(field)),
        "",
        *example_lines(DESIGN_EXAMPLES),
        "",
        *paragraph(
            "a+b: two tricks on together. a|b, in factorial and fractional: one factor, which is off or one of the "
            "two; their conflicts are found before the design is made. fold=: the whole fraction again with this "
            "factor switched, or all; with extend=STUDY, added to a study that exists (docs/designs.md). greedy and "
            "halving: the result is the gain on fresh seeds; what chose an arm is too high (docs/evidence.md)."
        ),
    ]


def completion_lines() -> list[str]:
    """Return the lines to type for completion."""
    return [*paragraph("Tab completes commands, tricks, settings, experiments and run ids:"), *entry_lines(COMPLETION)]


GENERAL: dict[str, Callable[[], list[str]]] = {
    "tricks": _tricks,
    "settings": _settings,
    "runtime": _runtime,
    "loggers": _loggers,
    "engines": _engines,
    "experiments": _experiments,
    "designs": _designs,
    "completion": completion_lines,
    **{family: lambda family=family: _family(family) for family in FAMILIES},  # type: ignore[misc]
    **{group: lambda group=group: _options(group) for group in YAML_GROUPS},  # type: ignore[misc]
}


def topic_names(program: str) -> Iterable[str]:
    """Return the topics that completion offers."""
    choices = [name for group in YAML_GROUPS for name in options(group)]
    choices += [found.name for found in other_cards()]
    return dict.fromkeys([*GENERAL, *families(), *choices, *experiment_files(), *(s.name for s in all_settings())])
