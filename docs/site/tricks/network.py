"""Table of the layers that a trick changes in a network, and what they cost."""

from functools import cache

from bagoftricks.measure.complexity import count_macs, count_params
from bagoftricks.tricks.catalogue import create
from docs.site.tricks.layers import Layer, network_of, places_changed
from docs.site.tricks.markdown import prose, table
from docs.site.tricks.scene import Shown, built


def changes_text(name: str) -> str:
    """Return what a trick changes in a network: its cost, and the layers of each place; empty if it sets no part."""
    shown = network_of(name)
    if shown is None:
        return ""
    before, after = costs_of("", shown), costs_of(name, shown)
    heads = ("parameters that are trained", "multiply-accumulates of an image")
    costs = [[head, *_cost(*pair)] for head, pair in zip(heads, zip(before, after, strict=True), strict=True)]
    places = places_changed(name, shown)
    rows = [[place, _listed(before, after), _listed(after, before)] for place, (before, after) in places.items()]
    parts = [
        f"In {prose(shown.title)}, built without and with the trick, not trained; layers with channels x height x "
        "width of their outputs:",
        table(["", "without", "with", "change"], costs),
    ]
    if rows:
        parts.append(table(["place", "layers only without it", "layers only with it"], _grouped(rows)))
    else:
        parts.append("The layers are the same.")
    return "\n\n".join(parts)


@cache
def costs_of(name: str, shown: Shown) -> tuple[int, int]:
    """Return the parameters and multiply-accumulates of a network with one trick, or without one."""
    model = built({name: create(name)} if name else {}, shown)
    return count_params(model), count_macs(model, shown.pixels)


def _cost(before: int, after: int) -> list[str]:
    change = 100 * (after - before) / before
    return [f"{before:,}", f"{after:,}", f"{change:+.2f} %".replace("-", "\N{MINUS SIGN}") if change else "none"]


def _listed(layers: list[Layer], others: list[Layer]) -> str:
    """Return the layers that are not among the others, equal ones counted."""
    left = [layer.line for layer in others]
    own: dict[str, int] = {}
    for layer in layers:
        if layer.line in left:
            left.remove(layer.line)
        else:
            own[layer.line] = own.get(layer.line, 0) + 1
    return "; ".join((f"{count} of " if count > 1 else "") + line for line, count in own.items())


def _grouped(rows: list[list[str]]) -> list[list[str]]:
    """Return the rows with equal neighbours in one."""
    made: list[list[str]] = []
    for place, before, after in rows:
        if made and made[-1][1:] == [before, after]:
            made[-1][0] = f"{made[-1][0].partition(' to ')[0]} to {place}"
        else:
            made.append([place, before, after])
    return made
