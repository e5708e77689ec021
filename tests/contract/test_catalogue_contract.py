"""What every trick must keep to. Parametrised over the table of contents: a new trick is covered without an edit.

A trick's own test says with which others it must conflict (``CONFLICTS``), and which hyper-parameters make it change
nothing on the tiny task (``IDENTITIES``).
"""

import ast
import builtins
import dataclasses
import inspect
import random
import re
from collections.abc import Iterable, Iterator
from functools import cache
from importlib import import_module
from itertools import combinations, cycle
from pathlib import Path
from typing import Literal

import pytest
import torch
from torch import Tensor

import bagoftricks
from bagoftricks.errors import ConflictError, NoEffectError, TooSmall, UserError
from bagoftricks.recipe.compose import compose
from bagoftricks.recipe.edits import (
    AddLossTerm,
    AverageWeights,
    Batch,
    BatchPhase,
    Edit,
    InitParams,
    MapBatch,
    MapImages,
    Part,
    RepeatImages,
    SetDecay,
    SetFlip,
    SetOptimizer,
    SetPart,
    SetSampling,
    SetTestSize,
)
from bagoftricks.recipe.recipe import Recipe
from bagoftricks.recipe.trick import Trick
from bagoftricks.registry import TYPES
from bagoftricks.rng import Key
from bagoftricks.training.parameters import owned_parameters
from bagoftricks.training.trainer import predictor
from bagoftricks.tricks import FAMILIES, FAMILY_OF
from bagoftricks.tricks.catalogue import card, create
from tests.helpers import (
    Fake,
    Network,
    create_all,
    flat,
    make_batch,
    make_task,
    make_trainer,
    network_for,
    run,
    trained,
)

NAMES = sorted(FAMILY_OF)
PAIRS = list(combinations(NAMES, 2))
TASK = make_task()
ROUNDING = 1e-5  # two steps in fp32 that differ by their rounding alone are closer than this
PAIR_SEED, PAIR_SAMPLE = 13, 60  # the pairs that the default suite trains besides those that stand for their kinds
SLOW_PAIRS = 240  # the pairs that the slow tests add; -m long trains all


@cache
def edits_of(name: str) -> tuple[Edit, ...]:
    return tuple(create_all([name])[name].edits(TASK))


MIXERS = [n for n in NAMES if any(isinstance(e, MapBatch) for e in edits_of(n))]
CHOICES = [
    (name, f.name, choice)
    for name in NAMES
    for f in card(name).fields
    if f.annotation.startswith("Literal[")
    for choice in ast.literal_eval(f.annotation.removeprefix("Literal"))
]
FACTS = {name: import_module(f"tests.tricks.test_{name}") for name in NAMES}  # each trick has a test of its own
CONFLICTS = sorted({tuple(sorted((n, other))) for n in NAMES for other in getattr(FACTS[n], "CONFLICTS", ())})
IDENTITIES = [(name, params) for name in NAMES for params in getattr(FACTS[name], "IDENTITIES", ())]

every_trick = pytest.mark.parametrize("name", NAMES)


def the_class(name: str) -> type:
    found = card(name)
    return getattr(import_module(f"bagoftricks.tricks.{found.family}.{name}"), found.class_name)


def evaluated(tricks: dict[str, Trick], network: Network | None = None, steps: int = 2) -> Tensor:
    """All that some steps leave behind: every weight set, and the predictions of the last one."""
    trainer = trained(tricks, steps, network)
    predictions = predictor(trainer.recipe, trainer.model)(make_batch(step=99, pixels=trainer.pixels).images)
    return torch.cat([*(flat(model) for model in trainer.weight_sets().values()), predictions.flatten()])


def relative_difference(one: Tensor, other: Tensor) -> float:
    """Return the distance of two vectors, relative to the length of the second."""
    return float((one.double() - other.double()).norm() / other.double().norm())


def changes_the_images_alone(name: str) -> bool:
    """A trick of the data or of the evaluation: its own test shows its effect."""
    return all(
        isinstance(edit, MapImages | SetFlip | SetSampling | RepeatImages | SetTestSize) for edit in edits_of(name)
    )


def acts_late(name: str) -> bool:
    """Return True for a trick that may act only towards the end of the run, or once the learning rate has changed."""
    return any(isinstance(edit, SetDecay | AverageWeights | SetOptimizer) for edit in edits_of(name))


def meet(names: Iterable[str]) -> bool:
    """Whether one of the tiny networks has a use for all these tricks."""
    try:
        network_for(create_all(names))
    except (NoEffectError, TooSmall):
        return False
    return True


@cache
def compatible() -> list[str]:
    """As many tricks as go together, the first of each conflict."""
    chosen: list[str] = []
    for name in FAMILY_OF:
        if not any(tuple(sorted((name, other))) in CONFLICTS for other in chosen) and meet([*chosen, name]):
            chosen.append(name)
    return chosen


def test_the_table_of_contents_lists_every_trick_file_under_its_family():
    folder = Path(bagoftricks.__file__).parent / "tricks"
    files = {(path.stem, path.parent.name) for path in folder.glob("*/*.py") if path.stem != "__init__"}
    assert files == set(FAMILY_OF.items())
    assert set(FAMILY_OF.values()) <= set(FAMILIES)


@every_trick
def test_the_card_names_the_fields_of_the_class_in_order(name):
    assert [f.name for f in card(name).fields] == [f.name for f in dataclasses.fields(the_class(name))]


@every_trick
def test_the_card_has_the_defaults_of_the_class(name):
    assert [f.default for f in card(name).fields] == [f.default for f in dataclasses.fields(the_class(name))]


@every_trick
def test_the_card_has_the_annotations_of_the_class(name):
    scope = {"Literal": Literal, **vars(builtins)}
    written = [eval(f.annotation, scope) for f in card(name).fields]
    assert written == [f.type for f in dataclasses.fields(the_class(name))]


@every_trick
def test_the_command_line_can_convert_every_field(name):
    assert all(f.annotation in TYPES or f.annotation.startswith("Literal[") for f in card(name).fields)


@every_trick
def test_the_card_cites_the_paper_of_the_class(name):
    assert card(name).paper == the_class(name).paper != ""


@every_trick
def test_the_summary_is_the_first_line_of_the_docstring_and_a_sentence(name):
    assert card(name).summary == inspect.getdoc(the_class(name)).splitlines()[0]
    assert card(name).summary.endswith(".")


@every_trick
def test_every_field_has_a_docstring(name):
    assert [f.name for f in card(name).fields if not f.doc] == []


@every_trick
def test_the_schema_makes_the_trick_its_defaults_make(name):
    params = dataclasses.asdict(card(name).schema()())
    assert create(name, **params) == create(name)


@every_trick
def test_the_default_trick_composes(name):
    assert isinstance(compose(create_all([name]), TASK), Recipe)


@pytest.mark.parametrize(("name", "field", "choice"), CHOICES)
def test_every_choice_composes(name, field, choice):
    assert isinstance(compose({name: create(name, **{field: choice})}, TASK), Recipe)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(("name", "field"), sorted({choice[:2] for choice in CHOICES}))
def test_a_choice_that_does_not_exist_is_refused_with_the_override_that_sets_it(name, field):
    with pytest.raises(UserError, match=rf"^tricks\.{name}\.{field}=nonsense: must be one of "):
        create(name, **{field: "nonsense"})


@every_trick
def test_the_default_trick_changes_something(name):
    if changes_the_images_alone(name):
        pytest.skip("shown by its own test")
    if (name, {}) in IDENTITIES:
        pytest.skip("its own test says that its defaults change nothing here")
    tricks, steps = create_all([name]), TASK.clock.length.total_steps if acts_late(name) else 2
    with_it, baseline = evaluated(tricks, None, steps), evaluated({}, network_for(tricks), steps)
    assert with_it.shape != baseline.shape or relative_difference(with_it, baseline) > ROUNDING


@every_trick
def test_the_same_run_twice_gives_the_same_bits(name):
    assert torch.equal(evaluated(create_all([name])), evaluated(create_all([name])))


def kinds(name: str) -> frozenset[type[Edit]]:
    """Return the kinds of edits that a trick makes."""
    return frozenset(type(edit) for edit in edits_of(name))


def parts(name: str) -> set[Part]:
    """Return the parts of a network that a trick builds."""
    return {edit.part for edit in edits_of(name) if isinstance(edit, SetPart)}


def representatives(pairs: list[tuple[str, str]]) -> set[tuple[str, str]]:
    """Return one pair of each pair of kinds, each pair that builds the same part, and a sample of the others."""
    draws = random.Random(PAIR_SEED)
    shuffled = draws.sample(pairs, len(pairs))
    first = {frozenset(map(kinds, pair)): pair for pair in reversed(shuffled)}
    same = [pair for pair in pairs if parts(pair[0]) & parts(pair[1])]
    return {*first.values(), *same, *shuffled[:PAIR_SAMPLE]}


ALLOWED = [pair for pair in PAIRS if pair not in CONFLICTS]
REPRESENTATIVES = representatives(ALLOWED)
OTHERS = [pair for pair in ALLOWED if pair not in REPRESENTATIVES]
SLOW = set(random.Random(PAIR_SEED).sample(OTHERS, SLOW_PAIRS))


def marks(pair: tuple[str, str]) -> list[pytest.MarkDecorator]:
    """Return when a pair is trained: always, with the slow tests, or with the long ones."""
    if pair in REPRESENTATIVES:
        return []
    return [pytest.mark.slow] if pair in SLOW else [pytest.mark.slow, pytest.mark.long]


EVERY_PAIR = [pytest.param(pair, id="+".join(pair), marks=marks(pair)) for pair in ALLOWED]


def test_the_pairs_of_the_default_suite_stand_for_all_pairs_of_kinds():
    assert {frozenset(map(kinds, p)) for p in REPRESENTATIVES} == {frozenset(map(kinds, p)) for p in ALLOWED}
    assert {pair for pair in ALLOWED if parts(pair[0]) & parts(pair[1])} <= REPRESENTATIVES


@pytest.mark.parametrize("pair", EVERY_PAIR)
def test_every_pair_trains(pair):
    if not meet(pair):
        pytest.skip("no network has a use for both")
    assert run(create_all(pair), 1).isfinite().all()


@pytest.mark.parametrize("pair", CONFLICTS, ids="+".join)
def test_a_conflict_names_both_tricks_the_slot_and_the_way_out(pair):
    first, second = pair
    message = f"tricks '{first}' and '{second}' both set .*: .* drop one with ~tricks.{first} or ~tricks.{second}"
    with pytest.raises(ConflictError, match=f"^{message}$"):
        make_trainer(create_all(pair))


@pytest.mark.parametrize("seed", range(4))
def test_the_order_of_the_tricks_changes_no_bit(seed):
    names = compatible()
    shuffled = random.Random(seed).sample(names, len(names))
    assert shuffled != names
    assert torch.equal(run(create_all(shuffled), 2), run(create_all(names), 2))


@every_trick
def test_a_trick_moves_no_initial_weight_but_its_own(name):
    own = [edit.select for edit in edits_of(name) if isinstance(edit, InitParams)]
    trainer = make_trainer(create_all([name]))
    baseline = {full: p for _, _, full, p in owned_parameters(make_trainer({}, network=trainer.network).model)}
    shared = [
        (full, parameter)
        for module, local, full, parameter in owned_parameters(trainer.model)
        if full in baseline and parameter.shape == baseline[full].shape and not any(s(module, local) for s in own)
    ]
    assert len(shared) > len(baseline) / 2
    assert [full for full, parameter in shared if not torch.equal(parameter, baseline[full])] == []


@every_trick
def test_a_trick_moves_no_draw_of_another_batch_map(name):
    seen: list[int] = []

    def spy(batch: Batch, key: Key) -> Batch:
        seen.append(key.bits())
        return batch

    trained({**create_all([name]), "spy": Fake([MapBatch(phase=BatchPhase.ERASE, apply=spy)])}, 2)
    assert seen == [Key(0).fold("spy", step).bits() for step in range(2)]


def in_turn() -> Iterator[tuple[str, str]]:
    """Return each trick with one that mixes batches: these take turns."""
    turns = cycle(MIXERS)
    for name in sorted(set(NAMES) - set(MIXERS)):
        yield next((name, mixer) for mixer in turns if tuple(sorted((name, mixer))) not in CONFLICTS)


@pytest.mark.parametrize(("name", "mixer"), list(in_turn()))
def test_a_trick_leaves_the_batches_that_another_one_mixes(name, mixer):
    network = network_for(create_all([mixer, name]))

    def mixed(names: list[str]) -> list[Batch]:
        seen: list[Batch] = []

        def spy(logits: Tensor, batch: Batch) -> Tensor:
            if not any(batch is other for other in seen):  # a gradient may evaluate the loss of a batch twice
                seen.append(batch)
            return logits.new_zeros(())

        trained({**create_all(names), "spy": Fake([AddLossTerm(term=spy)])}, 2, network)
        return seen

    for alone, together in zip(mixed([mixer]), mixed([mixer, name]), strict=True):
        assert torch.equal(alone.images, together.images[: len(alone.images)])  # the first views
        assert torch.equal(alone.targets, together.targets)


@pytest.mark.parametrize(("name", "params"), IDENTITIES, ids=lambda value: str(value))
def test_identity_hyper_parameters_reproduce_the_baseline(name, params):
    tricks = {name: create(name, **params)}
    assert torch.equal(run(tricks, 2), run({}, 2, network_for(tricks)))


@every_trick
def test_a_trick_that_trains_for_corruptions_says_so(name):
    """Known by the names of its operations in the source."""
    source = inspect.getsource(inspect.getmodule(the_class(name)))
    found = card(name)
    assert bool(found.overlaps) == bool(re.search(r"Op\.BRIGHTNESS|Op\.CONTRAST|ENHANCEMENTS|BLUR", source))
    assert found.overlaps_if in ("", *(field.name for field in found.fields))
    made = the_class(name)
    assert (made.overlaps, made.overlaps_if) == (found.overlaps, found.overlaps_if)
