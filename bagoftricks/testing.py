"""Contracts of tricks, networks, data sets, tasks, protocols, loggers and engines, for the tests of plug-ins.

    from bagoftricks.plugins import load_plugins
    from bagoftricks.testing import check_trick

    def test_focal_loss_keeps_the_contract_of_a_trick():
        load_plugins(["focal_loss.py"])
        check_trick("focal_loss")

Each check raises AssertionError with what is wrong. They take seconds on a CPU.
"""

import io
import math
import tempfile
from collections.abc import Mapping
from contextlib import redirect_stdout
from dataclasses import fields, replace
from typing import Any

import torch
from torch import Tensor, nn

from bagoftricks.cli.compose import compose_settings
from bagoftricks.data.finding import find_dataset
from bagoftricks.engines.base import Limits, make_engine
from bagoftricks.engines.supervisor import carry_out_study
from bagoftricks.errors import ConflictError, NoEffectError, TooSmall, UserError
from bagoftricks.loggers.base import RunFacts, make_logger
from bagoftricks.models import build_model
from bagoftricks.recipe.compose import compose
from bagoftricks.recipe.edits import Batch
from bagoftricks.recipe.recipe import Recipe
from bagoftricks.recipe.trick import Length, Task, Trick
from bagoftricks.registry import Card, all_cards, find_card
from bagoftricks.rng import Key
from bagoftricks.robustness.protocols import find_protocol
from bagoftricks.robustness.scoring import corruption_names
from bagoftricks.run.carry_out import carry_out
from bagoftricks.run.evaluation import evaluate, subject_of_run
from bagoftricks.run.reporter import EpochRow, SilentReporter
from bagoftricks.settings import ModelSettings, TaskSettings, dataset_settings, network_settings
from bagoftricks.store.store import RunState, Store
from bagoftricks.study.arms import Arm
from bagoftricks.study.plan import PlannedRun
from bagoftricks.study.planner import make_plan
from bagoftricks.training.parameters import check_selectors, initialise, owned_parameters
from bagoftricks.training.trainer import Trainer, TrainerSetup
from bagoftricks.tricks.catalogue import card, create, families

CLASSES, ROWS, STEPS = 5, 8, 3
NETWORKS = (({"depths": [1, 1], "width": 4}, "resnet", 16), ({"width": 4}, "resnet9", 32))
LINES_OF_TARGETS = {  # what a task needs of its data -> data that have it
    "classes": ("preset=digits", "model.depths=[1]"),
    "unseen": ("preset=digits", "model.depths=[1]", "data.zero_shot=5"),
    "masks": ("data=scenes", "data.scenes=32", "model.depths=[1,1]"),
    "boxes": ("data=scenes", "data.scenes=32", "data.targets=boxes"),
}
OF_TASKS = (
    "data.limit=32",
    "epochs=1",
    "batch_size=8",
    "lr=0.01",
    "model.width=4",
    "runtime.device=cpu",
    "runtime.workers=0",
)
EFFECT = 1e-6  # relative difference below which a trick changes nothing


# --- tricks ---


def check_trick(name: str, **params: Any) -> None:
    """Check that a trick agrees with its card, composes, changes something, and moves no draw of another."""
    check_card(card(name))
    trick = create(name, **params)
    for other in families():
        if other != name:
            composes_or_conflicts(name, trick, other)
    spec, pixels = network_with({name: trick})
    once, again = (trained({name: trick}, spec, pixels) for _ in range(2))
    assert torch.equal(once, again), f"{name}: the same run twice gives other weights: draw from the key that you get"
    plain = trained({}, spec, pixels)
    if once.shape == plain.shape:
        size = relative_difference(once, plain)
        assert size > EFFECT, f"{name}: changes the weights by {size:.1e} of their size: it has no effect"
    moves_no_other_start({name: trick}, spec, pixels)


def composes_or_conflicts(name: str, trick: Trick, other: str) -> None:
    """Check that two tricks compose in either order, or that the conflict names both."""
    pair = {name: trick, other: create(other)}
    conflict = ""
    try:
        compose(pair, tiny_task())
    except ConflictError as error:
        conflict = f"{error}"
    except UserError:
        return  # a hyper-parameter of the other one does not fit the tiny task
    named = not conflict or (f"'{name}'" in conflict and f"'{other}'" in conflict)
    assert named, f"{name} with {other}: the conflict does not name both: {conflict}"


def moves_no_other_start(tricks: Mapping[str, Trick], spec: ModelSettings, pixels: int) -> None:
    """Check that parameters which the trick does not select start as they do without it."""
    (recipe, model), (_, plain) = started(tricks, spec, pixels), started({}, spec, pixels)
    before = {full: parameter for _, _, full, parameter in owned_parameters(plain)}
    for module, own, full, parameter in owned_parameters(model):
        if full in before and before[full].shape == parameter.shape:
            chosen = any(edit.select(module, own) for _, edit in recipe.inits)
            same = torch.equal(parameter, before[full])
            assert chosen or same or type(module).__module__ not in ("torch.nn.modules.conv",), (
                f"{next(iter(tricks))}: {full} starts from another value, though no edit selects it"
            )


# --- networks, data sets, protocols ---


def check_network(kind: str, *, image_size: int = 32, **values: Any) -> None:
    """Check that a network agrees with its card, maps images to logits, and can be trained."""
    check_card(find_card("network", kind))
    spec = network_settings(kind, **values)
    model = build_model(spec, {}, num_classes=CLASSES, image_size=image_size)
    logits = model(tiny_batch(image_size).images)
    assert logits.shape == (ROWS, CLASSES), f"{kind}: {tuple(logits.shape)} for {ROWS} images and {CLASSES} classes"
    logits.float().logsumexp(1).sum().backward()
    idle = [name for name, p in model.named_parameters() if p.grad is None]
    assert not idle, f"{kind}: {idle[0]} gets no gradient"
    with torch.device("meta"):
        shapes = build_model(spec, {}, num_classes=CLASSES, image_size=image_size).state_dict()
    assert shapes.keys() == model.state_dict().keys(), f"{kind}: is built in another way on the meta device"
    drop = [m for m in model.modules() if isinstance(m, nn.modules.dropout._DropoutNd) and m.p > 0]
    assert not drop, f"{kind}: has dropout of its own: the baseline has no tricks; use Part.HEAD_DROP"


def check_dataset(name: str, **values: Any) -> None:
    """Check that a data set agrees with its card, that labels fit its classes, and that its digest is stable."""
    check_card(find_card("dataset", name))
    settings = dataset_settings(name, **values)
    data, again = find_dataset(settings), find_dataset(settings)
    assert data.digest == again.digest, f"{name}: the digest differs when the data set is found again"
    assert len(set(data.classes)) == len(data.classes), f"{name}: two classes have one name"
    for split in (data.train, data.val):
        labels = split.labels
        assert len(labels), f"{name}: a split is empty"
        assert 0 <= labels.min() <= labels.max() < len(data.classes), f"{name}: a label is not one of the classes"
        image = split.image(0)
        assert (image.dtype, image.ndim, image.shape[0]) == (torch.uint8, 3, 3), (
            f"{name}: an image is {image.dtype} of shape {tuple(image.shape)}, not bytes of shape (3, H, W)"
        )


def check_task(name: str, *overrides: str) -> None:
    """Check that a task agrees with its card, judges every trick, trains, and measures the scores that it names.

    It is trained on digits or drawn scenes, by what the task needs; ``overrides`` are settings as they are typed.
    """
    known = find_card("task", name)
    check_card(known)
    assert known.scores, f"{name}: names no score: @task(name=..., scores={{key: name in tables}})"
    with tempfile.TemporaryDirectory() as folder:
        line = [*LINES_OF_TARGETS[known.load().targets], f"task={name}", f"store={folder}", *OF_TASKS, *overrides]
        settings = compose_settings(line)
        judges_every_trick(name, settings.task)
        record = carry_out(settings, SilentReporter(), "check_task")
        assert record.first == next(iter(known.scores)), f"{name}: runs are compared in {record.first}"
        scores = record.metrics["last"].values()
        unknown = scores.keys() - known.scores.keys()
        assert not unknown, f"{name}: measures {', '.join(unknown)}, which its decorator does not name"
        assert scores[record.first] is not None, f"{name}: {record.first} is no finite number"
        smaller = replace(settings, runtime=replace(settings.runtime, eval_batch_size=7))
        (again,) = evaluate(subject_of_run(record, settings, smaller, None), lambda line: None)
        for key in scores:
            one, other = scores[key] or 0.0, again.scores.get(key)
            assert math.isclose(one, other, rel_tol=1e-3, abs_tol=1e-9), (
                f"{name}: {key} is {other} in batches of 7 images, and {one} in one"
            )


def judges_every_trick(name: str, task: TaskSettings) -> None:
    """Check that the task takes or refuses every edit, the latter with a reason."""
    for trick in families():
        try:
            edits = create(trick).edits(tiny_task())
        except UserError:
            continue  # it needs a setting, as the teacher of distill
        for edit in edits:
            why = task.refuses(edit)
            assert why is None or why, f"{name}: refuses {trick} without a reason"


def check_protocol(name: str) -> None:
    """Check that a protocol agrees with its card and measures corruptions that exist."""
    check_card(find_card("protocol", name))
    found = find_protocol(name)
    assert found.corruptions, f"{name}: measures nothing"
    assert found.sequences or set(found.corruptions) <= set(corruption_names()), f"{name}: an unknown corruption"
    assert found.constants in ("imagenet", "cifar"), f"{name}: constants must be imagenet or cifar"


def check_logger(name: str, **values: Any) -> None:
    """Check that a logger agrees with its card, takes a run that is interrupted and goes on, and prints nothing.

    It writes where its settings say: name a folder of the test's.
    """
    check_card(find_card("logger", name))
    figures = {"train/loss": 1.5, "train/lr": 0.1, "val/last/top1": 50.0}
    for done, outcome in ((0, "interrupted"), (2, "failed"), (2, "done")):
        facts = RunFacts(id="0" * 20, label="baseline seed 0", group="study", config={"seed": 0}, steps=4, done=done)
        made, given, printed = make_logger(name, values), dict(figures), io.StringIO()
        with redirect_stdout(printed):
            made.start(facts)
            for step in range(done + 1, 4):
                made.log(step, given)
            made.log(4, {"train/loss": math.nan})
            made.finish(outcome)
        assert given == figures, f"{name}: changes the figures that it gets, which are other loggers' too"
        assert not printed.getvalue(), f"{name}: prints on standard output, which has the result alone"


class Witness:
    """A view that keeps how each run ended."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.ended: dict[str, RunState] = {}

    def started(self, run: PlannedRun) -> None:
        self.begun.append(run.label)

    def progress(self, run: PlannedRun, steps_done: int, steps: int, row: EpochRow | None) -> None: ...

    def postponed(self, run: PlannedRun, *, elsewhere: bool) -> None: ...

    def finished(self, run: PlannedRun, state: RunState, seconds: float) -> None:
        self.ended[run.label] = state


def check_engine(name: str, **values: Any) -> None:
    """Check that an engine agrees with its card, carries out three runs once each, and keeps the error of one."""
    check_card(find_card("engine", name))
    engine, witness = make_engine(name, values), Witness()
    with tempfile.TemporaryDirectory() as folder:
        typed = ["data=digits", "model.depths=[1]", "model.width=4", "epochs=1", "runtime.device=cpu"]
        arms = [Arm(label=label, settings=(f"lr={label}",)) for label in ("0.05", "1e30", "0.06")]
        runs = make_plan(arms, [0], [*typed, f"store={folder}"], compose_settings).runs
        carry_out_study(runs, witness, engine, Limits(time_limit=600.0))
        store = Store(folder)
        wanted = {"0.05": RunState.DONE, "1e30": RunState.FAILED, "0.06": RunState.DONE}
        assert witness.ended == wanted, f"{name}: the runs ended as {witness.ended}"
        assert sorted(witness.begun) == sorted(wanted), f"{name}: started {witness.begun}"
        assert all(store.state(run.id) is wanted[run.label] for run in runs), f"{name}: the store has other states"
        assert "loss" in store.failure(runs[1].id)["error"], f"{name}: the error of a run is lost"
        assert not list(store.root.glob("*/lease.json")), f"{name}: leaves a lease behind"


def check_card(known: Card) -> None:
    """Check that a card, read from the source, says what the class says, and that every field has a help text."""
    cls = known.load()
    defaults = {f.name: f for f in fields(cls)}
    assert known.summary, f"{known.name}: needs a docstring; its first line is the help text"
    for field in known.fields:
        assert field.doc or known.kind == "protocol", f"{known.name}.{field.name}: needs a docstring under it"
        of_class = defaults[field.name]
        made = of_class.default_factory() if callable(of_class.default_factory) else of_class.default
        assert made == field.default, (
            f"{known.name}.{field.name}: the card reads {field.default!r}, the class has {made!r}"
        )
        assert field.type is not None
    assert known.name in all_cards(known.kind) or known.kind == "trick"


# --- a tiny task ---


def tiny_task() -> Task:
    """Return a task of a few images whose clock has begun."""
    task = Task(CLASSES, ROWS, 16, class_counts=tuple(range(1, CLASSES + 1)))
    task.clock.begin(Length(STEPS, STEPS))
    return task


def tiny_batch(pixels: int, step: int = 0) -> Batch:
    """Return a batch of noise with one-hot targets."""
    rng = Key(0).fold("batch", step).generator()
    labels = torch.randint(CLASSES, (ROWS,), generator=rng)
    return Batch(torch.randn(ROWS, 3, pixels, pixels, generator=rng), torch.eye(CLASSES)[labels])


def network_with(tricks: Mapping[str, Trick]) -> tuple[ModelSettings, int]:
    """Return the first tiny network on which the tricks have an effect, and its pixels."""
    refused: UserError | None = None
    for values, kind, pixels in NETWORKS:
        try:
            spec = network_settings(kind, **values)
            started(tricks, spec, pixels)
            return spec, pixels
        except (NoEffectError, TooSmall) as error:
            refused = error
    raise AssertionError(f"no tiny network takes a part from the trick: {refused}")


def started(tricks: Mapping[str, Trick], spec: ModelSettings, pixels: int) -> tuple[Recipe, nn.Module]:
    """Return the recipe and the initialised network."""
    recipe = compose(tricks, tiny_task())
    model = build_model(spec, recipe.parts, num_classes=CLASSES, image_size=pixels)
    check_selectors(model, recipe)
    initialise(model, recipe.inits, Key(0).fold("init"))
    return recipe, model


def trained(tricks: Mapping[str, Trick], spec: ModelSettings, pixels: int) -> Tensor:
    """Return the weights after a few steps, in one vector."""
    task = tiny_task()
    recipe = compose(tricks, task)
    model = build_model(spec, recipe.parts, num_classes=CLASSES, image_size=pixels)
    setup = TrainerSetup(key=Key(0), lr=0.1, weight_decay=1e-3, sample=lambda count: tiny_batch(pixels).images[:count])
    trainer = Trainer(recipe, model, task, task.clock.length, setup)
    for step in range(STEPS):
        batches = [tiny_batch(pixels, step * recipe.reads + read) for read in range(recipe.reads)]
        images, targets = (torch.cat([getattr(b, part) for b in batches]) for part in ("images", "targets"))
        trainer.step(Batch(images, targets))
    return torch.cat([p.detach().flatten() for p in trainer.weight_sets().popitem()[1].parameters()])


def relative_difference(one: Tensor, other: Tensor) -> float:
    """Return the size of the difference over the size of what is compared with."""
    return float((one - other).norm() / other.norm())
