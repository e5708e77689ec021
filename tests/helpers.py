"""A tiny task, network and data stream, on which every trick can be run in milliseconds."""

import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn, optim

from bagoftricks.errors import NoEffectError, TooSmall, UserError
from bagoftricks.models import build_model
from bagoftricks.models.layers import Site
from bagoftricks.models.parts import Parts
from bagoftricks.recipe.compose import compose
from bagoftricks.recipe.edits import Batch, Edit, Part, SetOptimizer
from bagoftricks.recipe.recipe import Recipe
from bagoftricks.recipe.trick import Length, Task, Trick
from bagoftricks.rng import Key
from bagoftricks.settings import ModelSettings, network_settings
from bagoftricks.store.json_fields import SEAL, sealed_text
from bagoftricks.store.store import RECORD, Store
from bagoftricks.training.parameters import check_selectors
from bagoftricks.training.trainer import Trainer, TrainerSetup
from bagoftricks.tricks.catalogue import create

CLASSES, PIXELS, BATCH = 5, 16, 8
TINY = network_settings(name="tiny", depths=[1, 1], width=4)
RESNET50 = network_settings(name="resnet50", depths=[3, 4, 6, 3], width=64)
TINY_BIG_LITTLE = network_settings(name="tiny_big_little", depths=[2, 2, 2, 1], width=4)
TINY9 = network_settings(name="tiny9", kind="resnet9", width=4)
KEY = Key(0)
Network = tuple[ModelSettings, int]
NETWORKS: list[Network] = [  # tiny networks with the size of their images: a trick must have an effect on one of them
    (TINY, PIXELS),
    (TINY_BIG_LITTLE, 64),
    (TINY9, 32),
]
FITTING = {"ghost_norm": {"splits": 4}}  # hyper-parameters whose defaults do not fit a tiny batch


@dataclass
class Fake:
    """A trick that returns the edits it is given."""

    made: list[Edit]

    def edits(self, task: Task) -> list[Edit]:
        return self.made


def make_task(*, steps_per_epoch: int = 5, total_steps: int = 10, **changes: Any) -> Task:
    """A task whose clock has begun, with classes of unequal size."""
    counts = tuple(range(changes.get("num_classes", CLASSES), 0, -1))
    task = Task(
        **{"num_classes": CLASSES, "batch_size": BATCH, "image_size": PIXELS, "class_counts": counts, **changes}
    )
    task.clock.begin(Length(steps_per_epoch, total_steps))
    return task


def create_all(names: Iterable[str]) -> dict[str, Trick]:
    """Tricks with the defaults, or what fits a tiny batch."""
    return {name: create(name, **FITTING.get(name, {})) for name in names}


def the_edit(name: str, /, task: Task | None = None, **params: Any) -> Any:
    """The one edit of a shipped trick."""
    (edit,) = create(name, **params).edits(task or make_task())
    return edit


def make_batch(rows: int = BATCH, step: int = 0, *, pixels: int = PIXELS, views: int = 1) -> Batch:
    rng = KEY.fold("batch", step).generator()
    labels = torch.randint(CLASSES, (rows,), generator=rng)
    images = [torch.randn(rows, 3, pixels, pixels, generator=rng) for _ in range(views)]
    return Batch(torch.cat(images), torch.eye(CLASSES)[labels])


def photographs(count: int, size: int) -> Tensor:
    """Images in bytes with edges, smooth colour, noise, and a range of values of their own, as photographs have."""
    rng = KEY.fold("photographs").generator()
    smooth = nn.functional.interpolate(torch.rand(count, 3, 5, 5, generator=rng), (size, size), mode="bilinear")
    smooth[:, :, : size // 3, size // 2 :] *= 0.4
    noisy = smooth + 0.05 * torch.randn(count, 3, size, size, generator=rng)
    low, span = torch.rand(2, count, 3, 1, 1, generator=rng).mul(torch.tensor([60.0, 90.0]).view(2, 1, 1, 1, 1))
    return (low + (220 - span) * noisy).clamp(0, 255).to(torch.uint8)


def batches(steps: int, reads: int = 1, *, pixels: int = PIXELS, views: int = 1) -> Iterator[Batch]:
    return (make_batch(BATCH * reads, step, pixels=pixels, views=views) for step in range(steps))


def make_model(recipe: Recipe, networks: Iterable[Network] = tuple(NETWORKS)) -> tuple[nn.Module, Network]:
    """The first of the tiny networks that the recipe's tricks all have an effect on."""
    refused: UserError | None = None
    for spec, pixels in networks:
        try:
            model = build_model(spec, recipe.parts, num_classes=CLASSES, image_size=pixels)
            check_selectors(model, recipe)
            return model, (spec, pixels)
        except (NoEffectError, TooSmall) as error:
            refused = refused or error
    assert refused is not None
    raise refused


def make_trainer(
    tricks: Mapping[str, Trick],
    *,
    lr: float = 0.1,
    weight_decay: float = 1e-3,
    network: Network | None = None,
    task: Task | None = None,
    **ranks: Any,
) -> Trainer:
    """A trainer of ``network``, else of the first tiny one that the tricks all have an effect on."""
    task = task or make_task()
    recipe = compose(tricks, task)
    model, found = make_model(recipe, [network] if network else NETWORKS)
    pixels = found[1]
    setup = TrainerSetup(
        key=KEY,
        lr=lr,
        weight_decay=weight_decay,
        sample=lambda count: make_batch(min(count, 64), step=1000, pixels=pixels).images,
        teacher=teacher,
        **ranks,
    )
    trainer = Trainer(recipe, model, task, task.clock.length, setup)
    trainer.network, trainer.pixels = found, pixels  # type: ignore[attr-defined]
    return trainer


def teacher(images: Tensor) -> Tensor:
    """Logits of a fixed linear map of the images."""
    seen = images.flatten(1)
    return seen @ torch.randn(seen.shape[1], CLASSES, generator=KEY.fold("teacher").generator()) / PIXELS


def site(**facts: Any) -> Site:
    """A place in a network of plain parts."""
    return Site(**{"parts": Parts({}), "image_size": PIXELS, **facts})


def network_for(tricks: Mapping[str, Trick]) -> Network:
    """The tiny network that ``make_trainer`` takes for these tricks."""
    return make_model(compose(tricks, make_task()))[1]


def trained(tricks: Mapping[str, Trick], steps: int, network: Network | None = None) -> Trainer:
    trainer = make_trainer(tricks, network=network)
    advance(trainer, steps)
    return trainer


def advance(trainer: Trainer, steps: int) -> list[Tensor]:
    """Train on the next ``steps`` batches of the stream; their losses."""
    first, pixels, seen = trainer.steps_done, trainer.pixels, views(trainer.recipe)  # type: ignore[attr-defined]
    rows = BATCH * trainer.recipe.reads
    made = (make_batch(rows, step, pixels=pixels, views=seen) for step in range(first, first + steps))
    return list(trainer.epoch(map(with_teacher, made) if trainer.recipe.teacher else made))


def views(recipe: Recipe) -> int:
    return recipe.map_images[1].views if recipe.map_images else 1


def with_teacher(batch: Batch) -> Batch:
    """The batch as a loader gives it whose teacher has seen every image before the run."""
    return Batch(batch.images, batch.targets, teacher(batch.images[: len(batch)]).softmax(1))


def flat(model: nn.Module) -> Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])


def run(tricks: Mapping[str, Trick], steps: int, network: Network | None = None) -> Tensor:
    """The weights of the tiny network after ``steps`` steps, in one vector."""
    return flat(trained(tricks, steps, network).model)


def parts_of(*names: str, **params: Any) -> Mapping[Part, Sequence[tuple[str, Callable[..., Any]]]]:
    """The parts of shipped tricks, as ``build_model`` takes them; ``params`` go to the first. Empty names are none."""
    made = {name: create(name, **(params if name == names[0] else {})) for name in names if name}
    return compose(made, make_task()).parts


def optimizer_of(name: str, groups: list[dict[str, Any]], **params: Any) -> optim.Optimizer:
    """The optimiser of a shipped trick over these parameter groups."""
    (edit,) = [edit for edit in create(name, **params).edits(make_task()) if isinstance(edit, SetOptimizer)]
    return edit.build([{"peak_lr": group["lr"], **group} for group in groups])


def descend(
    optimizer: optim.Optimizer, parameters: Sequence[Tensor], steps: Iterable[int], *, lr: Callable[[int], float]
) -> None:
    """Set each gradient to a draw of its own plus the parameter, and step, with the learning rate ``lr(step)``."""
    for step in steps:
        for group in optimizer.param_groups:
            group["lr"] = lr(step)
        for i, parameter in enumerate(parameters):
            rng = KEY.fold("gradient", step, i).generator()
            parameter.grad = parameter.detach() + torch.randn(parameter.shape, generator=rng)
        optimizer.step()


def goes_on_after_loading(name: str, **params: Any) -> bool:
    """Whether two steps, saving, loading and two more give the bits of four steps."""

    def fresh() -> tuple[list[Tensor], optim.Optimizer]:
        rng = KEY.fold("weights").generator()
        made = [torch.randn(shape, generator=rng).requires_grad_() for shape in [(3, 2, 3, 3), (4, 3), (5,)]]
        return made, optimizer_of(name, [{"params": made, "lr": 0.1, "weight_decay": 0.01}], **params)

    (whole, one), (first, before) = fresh(), fresh()
    descend(one, whole, range(4), lr=lambda step: 0.1 / (step + 1))
    descend(before, first, range(2), lr=lambda step: 0.1 / (step + 1))
    saved = io.BytesIO()
    torch.save([before.state_dict(), [p.detach() for p in first]], saved)
    saved.seek(0)
    state, weights = torch.load(saved, weights_only=True)
    second, after = fresh()
    for parameter, weight in zip(second, weights, strict=True):
        parameter.data.copy_(weight)
    after.load_state_dict(state)
    descend(after, second, range(2, 4), lr=lambda step: 0.1 / (step + 1))
    same_groups = [set(group) for group in after.param_groups] == [set(group) for group in one.param_groups]
    return same_groups and all(torch.equal(a, b) for a, b in zip(whole, second, strict=True))


def rewrite_record(folder: Path, change: Callable[[dict[str, Any]], object] = lambda values: None) -> None:
    """Change a run's record as if the run had ended so, with the digests of the files that are next to it."""
    values = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    values.pop(SEAL, None)
    change(values)
    files = Store(folder.parent).digests(folder.name)
    text = sealed_text({**values, "files": files} if "files" in values else values)
    (folder / RECORD).write_text(text, encoding="utf-8")
