"""Page of one trick: what it is, in numbers and in a picture, what it goes with, and what was measured here."""

import ast
from collections.abc import Iterator

from bagoftricks.cli.topics import discouraged, typed
from bagoftricks.registry import Card, HyperParameter
from bagoftricks.tricks import FAMILIES
from docs.site.tricks.markdown import paragraphs, prose, signed, table
from docs.site.tricks.measured import ROOT, Finding, findings_of
from docs.site.tricks.network import changes_text
from docs.site.tricks.pictures import picture_of
from docs.site.tricks.scene import NETWORKS
from docs.site.tricks.slots import conflicts_of, refused_networks, refusing_tasks, slots_of


def page_text(card: Card) -> str:
    """Return the page of a trick as Markdown."""
    return "\n\n".join(_blocks(card)) + "\n"


def _blocks(card: Card) -> Iterator[str]:
    first, *rest = paragraphs(docstring_of(card))
    yield f"# `{card.name}`"
    yield first
    yield facts(card)
    if picture := picture_of(card.name):
        yield f"![{picture.alt}]({card.name}.svg)"
        yield f"*{picture.caption}*"
    if rest:
        yield "## Definition, and differences from the paper"
        yield from rest
    yield "## Hyper-parameters"
    yield hyper_parameters(card)
    if changes := changes_text(card.name):
        yield "## What changes in the network"
        yield changes
    yield "## What it goes with"
    yield from together(card)
    yield "## Where it applies"
    yield from places(card)
    yield "## Measured here"
    yield from measured(card.name)


def docstring_of(card: Card) -> str:
    """Return the docstring of a trick's class, from its source."""
    for node in ast.parse(card.source.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ClassDef) and node.name == card.class_name:
            return ast.get_docstring(node) or ""
    raise ValueError(f"{card.source} has no class {card.class_name}")


def facts(card: Card) -> str:
    """Return the table of how to switch a trick on, and of its source."""
    slots = slots_of(card.name)
    return table(
        ["switch on", f"`+{card.family}={card.name}`"],
        [
            ["switch off", f"`~tricks.{card.name}`"],
            ["group", f"`{card.family}`: tricks {FAMILIES[card.family]}"],
            ["takes alone", prose("; ".join(slots)) if slots else "nothing: it is merged with other tricks' changes"],
            ["paper", prose(card.paper)],
            ["source", source_link(card)],
        ],
    )


def source_link(card: Card) -> str:
    """Return a link to the file of a trick of the package, the path of a plug-in's."""
    if not card.source.is_relative_to(ROOT):
        return f"`{card.source.name}`"
    path = card.source.relative_to(ROOT).as_posix()
    return f"[{path}](../../../{path})"


def hyper_parameters(card: Card) -> str:
    """Return the table of hyper-parameters."""
    if not card.fields:
        return "None."
    return table(["name", "type", "default", "range", "meaning"], [_row(card.name, field) for field in card.fields])


def _row(trick: str, field: HyperParameter) -> list[str]:
    default = "none" if field.default == "" else typed(field.default)
    limits = field.must.removeprefix("must be ")
    return [f"`tricks.{trick}.{field.name}`", _type(field), f"`{default}`", prose(limits), prose(field.doc)]


def _type(field: HyperParameter) -> str:
    if field.annotation.startswith("Literal["):
        return "one of " + ", ".join(f"`{choice}`" for choice in field.choices)
    return field.annotation.replace(" | None", " or null")


def together(card: Card) -> Iterator[str]:
    """Yield the conflicts of a trick, and the tricks that it should not be combined with."""
    conflicts = conflicts_of(card.name)
    if conflicts:
        rows = [[link(other), prose(slot)] for other, slot in conflicts.items()]
        yield "Refused together at the defaults, as both set the same thing:"
        yield table(["trick", "what both set"], rows)
    else:
        yield "At the defaults it goes with every other trick of the package."
    if warned := discouraged(card):
        yield "Accepted with a warning:"
        yield table(["trick", "reason"], [[link(other), prose(reason)] for other, reason in warned.items()])
    if card.overlaps:
        condition = f", with `tricks.{card.name}.{card.overlaps_if}=true`" if card.overlaps_if else ""
        yield f"It trains for corruptions that robustness is measured on{condition}: {prose(card.overlaps)}."


def link(trick: str) -> str:
    """Return a link to the page of another trick."""
    return f"[`{trick}`]({trick}.md)"


def places(card: Card) -> Iterator[str]:
    """Yield the networks and tasks that a trick applies to, as found by building and asking them."""
    networks, tasks = refused_networks(card.name), refusing_tasks(card.name)
    fitting = [shown.title for shown in NETWORKS if shown.title not in networks]
    yield f"Networks that were tried and have a use for it: {', '.join(fitting) or 'none'}."
    if networks:
        rows = [[network, prose(reason)] for network, reason in networks.items()]
        yield table(["refused in", "reason"], rows)
    if tasks:
        yield table(["refused by", "reason"], [[f"`task={task}`", prose(why)] for task, why in tasks.items()])
    else:
        yield "No task refuses it."


def measured(trick: str) -> Iterator[str]:
    """Yield what the committed studies found about a trick."""
    found = findings_of(trick)
    if not found:
        yield "Not measured here yet."
        return
    yield "Each row is a difference with its 95 % interval, corrected for all comparisons of its study."
    yield table(["what was changed", "effect", "verdict", "study", "scale"], [_finding(each) for each in found])


def _finding(found: Finding) -> list[str]:
    interval = ""
    if found.low is not None and found.high is not None:
        interval = f" [{signed(found.low)}, {signed(found.high)}]"
    effect = f"{signed(found.estimate)}{interval} {found.table.unit}"
    return [found.what, effect, prose(found.verdict), study_link(found), prose(found.table.scale)]


def study_link(found: Finding) -> str:
    """Return a link to the text about a study, or to its table."""
    folder = f"results/{found.table.folder}"
    file = next((file for file in ("README.md", "table.md") if (ROOT / folder / file).exists()), "table.json")
    return f"[{prose(found.table.study.name)}](../../../{folder}/{file})"
