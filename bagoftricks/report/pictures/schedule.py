"""The schedule of a run, from its composed recipe alone: learning rate, momentum, image size, and when tricks act."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from bagoftricks.recipe.edits import Batch
from bagoftricks.recipe.trick import Length
from bagoftricks.report.pictures.drawing import Drawing, DrawnNumbers
from bagoftricks.report.pictures.style import BLUE, GREEN, ORANGE, PURPLE, drawn_text, new_figure
from bagoftricks.rng import Key
from bagoftricks.run.check import Checked
from bagoftricks.training.parameters import param_groups

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_POINTS, PROBES = 400, 40  # steps of a line, and steps at which the maps of a batch are tried
PROBE_IMAGES, TRIES = 4, 8  # a batch of noise, and draws until a map that acts now and then is caught


@dataclass(frozen=True)
class TriedStep:
    """State of a batch after the maps of a recipe at one step."""

    step: int
    side: int  # pixels
    acting: frozenset[str]

    def differs(self, other: "TriedStep") -> bool:
        return (self.side, self.acting) != (other.side, other.acting)


@dataclass(frozen=True)
class Timeline:
    """Changes over a run, by epoch."""

    rates: list[tuple[float, float]]
    momentum: tuple[str, float] | None  # its name and value
    sides: list[tuple[float, int]]  # pixels from an epoch on; empty if they stay the same
    acting: list[tuple[str, float, float]]  # trick, and the epochs between which it acts

    @classmethod
    def of(cls, checked: Checked, length: Length) -> "Timeline":
        """Read the recipe and try it; nothing is trained."""
        checked.task.clock.begin(length)
        rates = [(step / length.steps_per_epoch, _rate(checked, step)) for step in _steps(length, MOST_POINTS)]
        probes = _probes(checked, length)
        sides = [(probe.step / length.steps_per_epoch, probe.side) for probe in probes]
        changing = len({side for _, side in sides}) > 1
        return cls(rates, _momentum(checked), sides if changing else [], _acting(checked, probes, length))

    def numbers(self) -> DrawnNumbers:
        rows: list[tuple[str | float | None, ...]] = [("learning rate", *point, None) for point in self.rates]
        rows += [(self.momentum[0], 0, self.momentum[1], None)] if self.momentum else []
        rows += [("pixels", *point, None) for point in self.sides]
        rows += [(name, start, None, end) for name, start, end in self.acting]
        return DrawnNumbers(("drawn", "epoch", "value", "until epoch"), tuple(rows))


def draw_schedule(checked: Checked, train_images: int, width: float) -> Drawing:
    """Draw what changes over a run; nothing is trained, and no image is read."""
    settings = checked.settings
    steps_per_epoch = max(train_images // settings.batch_size, 1)
    found = Timeline.of(checked, Length(steps_per_epoch, steps_per_epoch * settings.epochs))
    names = " + ".join(checked.tricks) or "baseline"
    acting = "; ".join(f"{name} from epoch {start:.3g} to {end:.3g}" for name, start, end in found.acting)
    values = [rate for _, rate in found.rates]
    return Drawing(
        figure=_figure(found, settings.epochs, width),
        title=f"Schedule of {names}",
        description=f"The learning rate begins at {values[0]:.3g}, is at most {max(values):.3g} and ends at "
        f"{values[-1]:.3g}. {f'Tricks act: {acting}' if acting else 'No trick changes batches or averages'}.",
        caption=f"Schedule of {names}: {settings.epochs} epochs of {steps_per_epoch:,} steps ({train_images:,} images, "
        f"batch {settings.batch_size}), computed from the composed recipe; nothing was trained, so there is no "
        "interval. Learning rate: of parameters whose rate no trick scales. Bars: the part of the run in which a trick "
        "changes batches (tried with noise for images) or averages weights.",
        numbers=found.numbers(),
    )


def _figure(found: Timeline, epochs: int, width: float) -> "Figure":
    """Draw a panel for each thing that changes."""
    rows = found.acting
    panels = 1 + (found.momentum is not None) + bool(found.sides)
    figure = new_figure(width, 0.6 + 1.1 * panels + bool(rows) * (0.4 + 0.22 * len(rows)))
    ratios = [1.0] * panels + ([0.3 + 0.2 * len(rows)] if rows else [])
    grid = figure.subplots(len(ratios), 1, sharex=True, squeeze=False, gridspec_kw={"height_ratios": ratios})
    axes = list(grid.flat)
    axes[0].plot(*zip(*found.rates, strict=True), color=BLUE)
    axes[0].set_ylabel("learning rate")
    if found.momentum is not None:
        name, momentum = found.momentum
        axes[1].plot([0, epochs], [momentum, momentum], color=ORANGE, linestyle="--")
        axes[1].set(ylabel=name, ylim=(min(0.8, momentum - 0.05), 1))
    if found.sides:
        starts, sides = zip(*found.sides, strict=True)
        axes[panels - 1].stairs(sides, [*starts, epochs], color=GREEN, baseline=None)
        axes[panels - 1].set_ylabel("pixels")
    if rows:
        _draw_acting(axes[-1], rows)
    axes[-1].set_xlabel("epoch")
    for each in axes[:panels]:
        each.grid(axis="y")
    return figure


def _rate(checked: Checked, step: int) -> float:
    return checked.settings.lr * checked.recipe.schedule(step)


def _steps(length: Length, most: int) -> list[int]:
    """Return steps of the whole run, evenly, the first and the last among them."""
    count = min(most, length.total_steps)
    return sorted({round(at * (length.total_steps - 1) / max(count - 1, 1)) for at in range(count)})


def _momentum(checked: Checked) -> tuple[str, float] | None:
    """Return the name and the value of the optimiser's momentum, None without one."""
    settings = checked.settings
    groups = param_groups(
        checked.network, checked.recipe.param_scales, lr=settings.lr, weight_decay=settings.weight_decay
    )
    group = checked.recipe.optimizer(groups).param_groups[0]
    if "betas" in group:
        return "beta 1", float(group["betas"][0])
    return ("momentum", float(group["momentum"])) if "momentum" in group else None


def _probes(checked: Checked, length: Length) -> list[TriedStep]:
    """Try the maps of a batch at steps of the whole run, and find the very steps at which something changes."""
    found = [_probe(checked, 0)]
    for step in _steps(length, PROBES)[1:]:
        later = [_probe(checked, step)]
        while found[-1].differs(later[-1]) and later[-1].step - found[-1].step > 1:
            middle = _probe(checked, (found[-1].step + later[-1].step) // 2)
            if found[-1].differs(middle):
                later.append(middle)
            else:
                found.append(middle)
        found += reversed(later)
    return found


def _probe(checked: Checked, step: int) -> TriedStep:
    """Try the maps of a batch at one step, with noise for images."""
    recipe, task, settings = checked.recipe, checked.task, checked.settings
    side, count = settings.pixels, PROBE_IMAGES * checked.recipe.reads
    noise = torch.rand(count, settings.data.channels, side, side, generator=Key(0).generator())
    targets = torch.eye(task.num_classes)[torch.arange(count) % task.num_classes]
    task.clock.set(step)
    acting: set[str] = set()
    for attempt in range(TRIES if recipe.map_batch else 0):
        batch = Batch(noise, targets)
        for name, apply in recipe.map_batch:
            changed = apply(batch, Key(attempt).fold(name, step))
            same = changed.images.shape == batch.images.shape and torch.equal(changed.images, batch.images)
            acting |= set() if same else {name}
            batch = changed
        side = batch.images.shape[-1]
        if len(acting) == len(recipe.map_batch):
            break
    return TriedStep(step, side, frozenset(acting))


def _acting(checked: Checked, probes: Sequence[TriedStep], length: Length) -> list[tuple[str, float, float]]:
    """Return the name of each trick that acts in a part of the run, and the epochs where the part begins and ends."""
    per_epoch, last = length.steps_per_epoch, length.total_steps
    rows = []
    for name in dict.fromkeys(name for name, _ in checked.recipe.map_batch):
        begin: int | None = None
        for probe in [*probes, TriedStep(last, 0, frozenset())]:
            if name in probe.acting and begin is None:
                begin = probe.step
            elif name not in probe.acting and begin is not None:
                rows.append((name, begin / per_epoch, probe.step / per_epoch))
                begin = None
    for name, average in checked.recipe.averages:
        rows.append((f"{name} (average)", min(average.times()[0], last) / per_epoch, last / per_epoch))
    return rows


def _draw_acting(axes: "Axes", rows: Sequence[tuple[str, float, float]]) -> None:
    names = list(dict.fromkeys(name for name, _, _ in rows))
    for name, start, end in rows:
        axes.barh(names.index(name), end - start, left=start, height=0.5, color=PURPLE)
    axes.set_yticks(range(len(names)), [drawn_text(name, 20, 2) for name in names])
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
