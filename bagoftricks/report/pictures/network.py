"""Diagram of a composed network: stem, blocks and head, and the layers that each trick replaced there."""

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from itertools import groupby

from torch import nn

from bagoftricks.recipe.compose import compose
from bagoftricks.recipe.edits import depth_of
from bagoftricks.report.pictures.drawing import Drawing, DrawnNumbers
from bagoftricks.report.pictures.style import BLACK, BLUE, GREY, SMALL, VERMILLION, drawn_text, new_figure
from bagoftricks.run.check import Checked

BlockPlace = tuple[int, int, str]  # stage, block, name
Layers = dict[BlockPlace, list[str]]
LINE, PADDING, GAP = 0.115, 0.07, 0.13  # inches
LETTERS_PER_INCH = 18.5  # of the small type


@dataclass(frozen=True)
class LayerBox:
    """Equal neighbouring blocks of a network: their layers, and those that differ from the network without tricks."""

    name: str
    layers: tuple[str, ...]
    added: tuple[str, ...]
    removed: tuple[str, ...]


def draw_network(checked: Checked, width: float) -> Drawing:
    """Draw the network from the image down to the logits, with what the tricks added and removed in each block."""
    boxes = network_boxes(checked)
    columns = int((width - 0.3) * LETTERS_PER_INCH)
    texts = [_lines(box, columns) for box in boxes]
    heights = [2 * PADDING + LINE * len(lines) for lines in texts]
    inches = sum(heights) + GAP * (len(boxes) - 1)
    figure = new_figure(width, inches + 0.1)
    figure.set_layout_engine("none")
    axes = figure.add_axes((0.02, 0.05 / (inches + 0.1), 0.96, inches / (inches + 0.1)))
    axes.set(xlim=(0, 1), ylim=(inches, 0))
    axes.axis("off")
    top = 0.0
    for box, lines, height in zip(boxes, texts, heights, strict=True):
        changed = bool(box.added or box.removed)
        edge, wide = (BLACK, 1.2) if changed else (GREY, 0.6)
        down = [top, top, top + height, top + height]
        axes.fill([0, 1, 1, 0], down, facecolor="white", edgecolor=edge, linewidth=wide)
        for at, (text, colour, weight) in enumerate(lines):
            y = top + PADDING + LINE * (at + 0.5)
            axes.text(0.02, y, text, va="center", color=colour, fontsize=SMALL, fontweight=weight)
        top += height
        if box is not boxes[-1]:
            arrow = {"arrowstyle": "-|>", "color": BLACK, "linewidth": 0.6, "shrinkA": 0, "shrinkB": 0}
            axes.annotate("", (0.5, top + GAP), (0.5, top), arrowprops=arrow)
        top += GAP
    name, tricks = checked.settings.model.name, " + ".join(checked.tricks) or "no tricks"
    pixels = checked.settings.pixels
    changed_places = [box.name for box in boxes if box.added or box.removed]
    return Drawing(
        figure=figure,
        title=f"Network {name} with {tricks}",
        description=f"Diagram of {name} at {pixels} pixels with {tricks}: {len(boxes)} boxes from the image to the "
        f"logits. Layers differ from the network without tricks in: {'; '.join(changed_places) or 'none of them'}.",
        caption=f"{name} at {pixels} pixels, built with {tricks} and without; nothing was trained. In black the "
        "convolutions and linear layers of each block (kernel, output channels, / stride), equal blocks in one box; "
        "+ and \N{MINUS SIGN}: the layers that the tricks added and removed there, and which tricks that takes.",
        numbers=DrawnNumbers(("place", "layers", "added", "removed"), tuple(map(_row, boxes))),
    )


def _row(box: LayerBox) -> tuple[str, str, str | None, str | None]:
    return box.name, ", ".join(box.layers), ", ".join(box.added) or None, ", ".join(box.removed) or None


def network_boxes(checked: Checked) -> list[LayerBox]:
    """Return the blocks of the network in order, equal neighbours in one."""
    whole, plain = _layers(checked.network), _layers(_with(checked, ()).network)
    without = {name: _layers(_with(checked, checked.tricks.keys() - {name}).network) for name in checked.tricks}
    boxes = []
    for place, layers in whole.items():
        boxes.append(_box(place, layers, plain.get(place, []), {n: of.get(place, []) for n, of in without.items()}))
    found = []
    for _, same in groupby(zip(whole, boxes, strict=True), key=lambda pair: (pair[0][0], replace(pair[1], name=""))):
        places, equal = zip(*same, strict=True)
        name = equal[0].name if len(equal) == 1 else f"{equal[0].name} to {places[-1][1]}"
        found.append(replace(equal[0], name=name))
    return found


def _with(checked: Checked, names: Collection[str]) -> Checked:
    tricks = {name: trick for name, trick in checked.tricks.items() if name in names}
    return Checked(checked.settings, tricks, checked.device, checked.task, compose(tricks, checked.task))


def _box(place: BlockPlace, whole: list[str], plain: list[str], without: Mapping[str, list[str]]) -> LayerBox:
    added, removed = Counter(whole) - Counter(plain), Counter(plain) - Counter(whole)

    def told(layer: str, count: int, sign: int) -> str:
        tricks = [name for name, of in without.items() if sign * (whole.count(layer) - of.count(layer)) > 0]
        return f"{f'{count} ' if count > 1 else ''}{layer}" + (f" ({', '.join(tricks)})" if tricks else "")

    return LayerBox(
        place[2],
        tuple(layer for layer in whole if layer.startswith(("conv", "linear"))),
        tuple(told(layer, count, 1) for layer, count in added.items()),
        tuple(told(layer, count, -1) for layer, count in removed.items()),
    )


def _layers(network: nn.Module) -> Layers:
    """Return the layers of each block, in the order in which they were built, without those that do nothing."""
    places: dict[str, BlockPlace] = {}
    first: dict[int, int] = {}  # block of each stage
    leaves = [(name, module) for name, module in network.named_modules() if not list(module.children())]
    for name, module in network.named_modules():
        tensors = [*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)]
        if tensors and (depth := depth_of(module, tensors[0][0])):
            block = 1 + depth.block - first.setdefault(depth.stage, depth.block)
            title = f"stage {depth.stage}, block {block}" if depth.stage else "stem"
            title = "head" if depth.in_head else title
            places[name] = (depth.stage, depth.block, title)
    found: Layers = {place: [] for place in sorted(set(places.values()))}
    last = next(iter(found), (0, 0, "network"))
    for name, module in leaves:
        if isinstance(module, nn.Identity):
            continue
        last = places.get(name) or _inside(name, places) or last
        found.setdefault(last, []).append(_layer(module))
    return found


def _inside(name: str, places: Mapping[str, BlockPlace]) -> BlockPlace | None:
    """Return the one block that the nearest module around a layer without weights is in, None if there are several."""
    while "." in name:
        name = name.rpartition(".")[0]
        near = {place for other, place in places.items() if other.startswith(f"{name}.")}
        if near:
            return near.pop() if len(near) == 1 else None
    return None


def _layer(module: nn.Module) -> str:
    """Return a layer in words."""
    if isinstance(module, nn.Conv2d):
        stride = f" /{module.stride[0]}" if module.stride[0] > 1 else ""
        groups = f" in {module.groups} groups" if module.groups > 1 else ""
        return f"conv {module.kernel_size[0]}x{module.kernel_size[1]} {module.out_channels}{groups}{stride}"
    if isinstance(module, nn.Linear):
        return f"linear {module.out_features}"
    return type(module).__name__


def _lines(box: LayerBox, columns: int) -> list[tuple[str, str, str]]:
    """Return the lines of a box with their colours and weights."""
    counted = [f"{n} {name}" if (n := len(list(of))) > 1 else name for name, of in groupby(box.layers)]
    lines = [(drawn_text(box.name, columns), BLACK, "bold")]
    for sign, of, colour in (
        ("", counted, BLACK),
        ("+ ", box.added, BLUE),
        ("\N{MINUS SIGN} ", box.removed, VERMILLION),
    ):
        line = sign
        for at, layer in enumerate(of):
            text = layer + ("," if at < len(of) - 1 else "")
            if line.strip() and line != sign and len(line) + len(text) > columns:
                lines.append((drawn_text(line.rstrip(), columns + 8), colour, "normal"))
                line = "  " if sign else ""
            line += f"{text} "
        if of:
            lines.append((drawn_text(line.rstrip(), columns + 8), colour, "normal"))
    return lines
