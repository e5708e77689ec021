"""Layers of a network in the order in which they compute, and those that a trick changes."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import SequenceMatcher
from functools import cache
from typing import Any, NamedTuple

from torch import Tensor, nn

from bagoftricks.errors import UserError
from bagoftricks.models.shapes import forward_shapes
from bagoftricks.recipe.edits import SetPart, depth_of
from bagoftricks.tricks.catalogue import create
from docs.site.tricks.scene import NETWORKS, Shown, built, edits_of

MOST_LINES, MOST_PLACES = 16, 2


class Layer(NamedTuple):
    """Layer with its place in the network, what it is, and the shape of its output."""

    place: str
    text: str
    shape: tuple[int, ...]

    @property
    def line(self) -> str:
        """Layer with its output in one line."""
        return f"{self.text}: {' x '.join(map(str, self.shape))}"


@dataclass(frozen=True)
class Change:
    """Layers of one place without and with a trick, each with True if it is not among the others."""

    network: str
    place: str
    before: tuple[tuple[str, bool], ...]
    after: tuple[tuple[str, bool], ...]


def network_of(name: str) -> Shown | None:
    """Return the first network in which a trick that sets parts has an effect; None for another trick."""
    if not any(isinstance(edit, SetPart) for edit in edits_of(name)):
        return None
    for shown in NETWORKS:
        try:
            built({name: create(name)}, shown)
        except UserError:
            continue
        return shown
    return None


@cache
def layers_of(name: str, shown: Shown) -> tuple[Layer, ...]:
    """Return the layers of a network with one trick, or without one if the name is empty."""
    model = built({name: create(name)} if name else {}, shown)
    with _recorded(model) as found:
        forward_shapes(model, shown.pixels, "meta")
    return tuple(found)


@contextmanager
def _recorded(model: nn.Module) -> Iterator[list[Layer]]:
    """Collect the layers without layers inside, as they compute."""
    found: list[Layer] = []
    places = _places(model)

    def note(path: str, module: nn.Module) -> Any:
        def hook(_: nn.Module, given: object, made: object) -> None:
            if isinstance(made, Tensor) and not isinstance(module, nn.Identity):
                found.append(Layer(places[path], words(module), tuple(made.shape[1:])))

        return module.register_forward_hook(hook)

    leaves = [(path, module) for path, module in model.named_modules() if path and not list(module.children())]
    hooks = [note(path, module) for path, module in leaves]
    try:
        yield found
    finally:
        for hook in hooks:
            hook.remove()


def _places(model: nn.Module) -> dict[str, str]:
    """Return the stage and block of each module: its own, or those of the tensors nearest to it."""
    known: dict[str, str] = {}
    first: dict[int, int] = {}  # block of each stage
    for path, module in model.named_modules():
        tensors = [name for name, _ in module.named_parameters(recurse=False)]
        if tensors and (depth := depth_of(module, tensors[0])):
            block = 1 + depth.block - first.setdefault(depth.stage, depth.block)
            place = f"stage {depth.stage}, block {block}" if depth.stage else "the stem"
            known[path] = "the head" if depth.in_head else place
    places, last = {}, "the stem"
    for path, _ in model.named_modules():
        last = places[path] = known.get(path) or _inside(path, known) or last
    return places


def _inside(path: str, known: dict[str, str]) -> str:
    """Return the one place of the tensors in the nearest module around a layer, empty if they are of several."""
    while "." in path:
        path = path.rpartition(".")[0]
        if near := {place for other, place in known.items() if other.startswith(f"{path}.")}:
            return near.pop() if len(near) == 1 else ""
    return ""


def words(module: nn.Module) -> str:
    """Return a layer in words."""
    if isinstance(module, nn.Conv2d):
        k, stride = module.kernel_size[0], module.stride[0]
        groups = f", {module.groups} groups" if module.groups > 1 else ""
        return f"conv {k}x{k}" + (f", stride {stride}" if stride > 1 else "") + groups
    if isinstance(module, nn.Conv1d):
        return f"conv {module.kernel_size[0]} over channels"
    if isinstance(module, nn.Linear):
        return "linear"
    return type(module).__name__


def places_changed(name: str, shown: Shown) -> dict[str, tuple[list[Layer], list[Layer]]]:
    """Return the layers without and with a trick of each place in which they differ."""
    without, with_it = (_by_place(layers_of(of, shown)) for of in ("", name))
    return {
        place: (without.get(place, []), with_it.get(place, []))
        for place in dict.fromkeys([*with_it, *without])
        if [x[1:] for x in without.get(place, [])] != [x[1:] for x in with_it.get(place, [])]
    }


def _by_place(layers: tuple[Layer, ...]) -> dict[str, list[Layer]]:
    found: dict[str, list[Layer]] = {}
    for layer in layers:
        found.setdefault(layer.place, []).append(layer)
    return found


def changes_of(name: str) -> list[Change]:
    """Return the first places of a network that a trick changes in different ways, at most two."""
    shown = network_of(name)
    found: dict[frozenset[str], Change] = {}
    for place, (before, after) in (places_changed(name, shown) if shown else {}).items():
        texts = [layer.line for layer in before], [layer.line for layer in after]
        same = SequenceMatcher(None, *texts, autojunk=False).get_matching_blocks()
        kept = [{block[side] + i for block in same for i in range(block.size)} for side in (0, 1)]
        marked = [
            tuple((text, at not in of) for at, text in enumerate(lines)) for lines, of in zip(texts, kept, strict=True)
        ]
        kind = frozenset(text.partition(":")[0] for lines in marked for text, changed in lines if changed)
        if not any(kind <= known for known in found):
            found[kind] = Change(shown.title if shown else "", place, *(_shortened(lines) for lines in marked))
    return list(found.values())[:MOST_PLACES]


def _shortened(lines: tuple[tuple[str, bool], ...]) -> tuple[tuple[str, bool], ...]:
    """Return as many lines as a picture has room for, with those that changed among them."""
    changed = [at for at, (_, is_changed) in enumerate(lines) if is_changed]
    if len(lines) <= MOST_LINES:
        return lines
    first = max(0, (changed[0] if changed else 0) - 2)
    shown = lines[first : first + MOST_LINES - 2]
    left = len(lines) - first - len(shown)
    return (
        *([(f"{first} before", False)] if first else []),
        *shown,
        *([(f"{left} after", any(at >= first + len(shown) for at in changed))] if left else []),
    )
