from collections import OrderedDict

import pytest
import torch
from torch import Tensor, nn

from bagoftricks.errors import ConflictError, NoEffectError
from bagoftricks.models.layers import PlainStem
from bagoftricks.recipe.compose import compose
from bagoftricks.recipe.edits import FreezeParams, InitFromImages, InitParams, ScaleParams
from bagoftricks.rng import Key
from bagoftricks.training.parameters import check_selectors, freeze, initialise, initialise_from_images, param_groups
from tests.helpers import KEY, Fake, make_task, make_trainer, site

FORMATS = (torch.contiguous_format, torch.channels_last)


def every(module: nn.Module, name: str) -> bool:
    return True


def biases(module: nn.Module, name: str) -> bool:
    return name == "bias"


def nothing(module: nn.Module, name: str) -> bool:
    return False


def to_one(parameter, key):
    nn.init.ones_(parameter)


def initialised(model: nn.Module, *inits: tuple[str, InitParams], key: Key = KEY) -> nn.Module:
    initialise(model, inits, key)
    return model


def linears(*names: str) -> nn.Sequential:
    return nn.Sequential(OrderedDict((name, nn.Linear(3, 3)) for name in names))


def groups(model: nn.Module, *scales: ScaleParams) -> list[dict]:
    return param_groups(model, [(f"scale{i}", s) for i, s in enumerate(scales)], lr=0.1, weight_decay=1e-4)


def test_the_stem_of_imagenet_starts_within_the_bound_of_xavier():
    # fan_in = 3 * 49 = 147, fan_out = 64 * 49 = 3136, so a = sqrt(6 / 3283) = 0.0427.
    weight = initialised(PlainStem(64, 2, site()))[0].weight
    assert 0.042 < weight.abs().max().item() < 0.04276
    assert weight.var().item() == pytest.approx(2 / 3283, rel=0.05)


def normal(parameter, key):
    nn.init.normal_(parameter, generator=key.generator())


@pytest.mark.parametrize("inits", [(), [("mine", InitParams(select=every, init=normal))]])
def test_the_memory_format_changes_no_initial_value(inits):
    first, last = (initialised(nn.Conv2d(3, 4, 3).to(memory_format=order), *inits).weight for order in FORMATS)
    assert torch.equal(first, last)
    assert last.is_contiguous(memory_format=torch.channels_last)


def test_the_head_starts_within_the_bound_of_xavier():
    weight = initialised(nn.Linear(200, 100)).weight
    assert 0.141 < weight.abs().max().item() < 0.141422
    assert weight.var().item() == pytest.approx(2 / 300, rel=0.05)


def test_biases_start_at_zero():
    model = initialised(nn.Sequential(nn.Conv2d(3, 4, 1), nn.Linear(4, 4)))
    assert not model[0].bias.any()
    assert not model[1].bias.any()


def test_norms_start_with_gamma_one_and_beta_zero():
    norms = [m for m in make_trainer({}).model.modules() if isinstance(m, nn.BatchNorm2d)]
    assert all((norm.weight == 1).all() and not norm.bias.any() for norm in norms)


def test_a_starting_value_depends_on_the_name_and_not_on_the_other_layers():
    assert torch.equal(initialised(linears("a", "b")).b.weight, initialised(linears("b")).b.weight)


def test_two_names_start_with_different_values():
    model = initialised(linears("a", "b"))
    assert not torch.equal(model.a.weight, model.b.weight)


def test_two_seeds_start_with_different_values():
    assert not torch.equal(initialised(linears("a")).a.weight, initialised(linears("a"), key=Key(1)).a.weight)


def test_the_global_generator_has_no_say():
    starts = []
    for seed in range(2):
        torch.manual_seed(seed)
        starts.append(initialised(linears("a")).a.weight)
    assert torch.equal(*starts)


def test_the_inits_of_tricks_come_after_the_baseline_and_touch_what_they_select():
    model = initialised(linears("a"), ("ones", InitParams(select=biases, init=to_one)))
    assert (model.a.bias == 1).all()
    assert torch.equal(model.a.weight, initialised(linears("a")).a.weight)


def test_a_random_init_of_a_trick_is_keyed_by_trick_and_parameter():
    seen = {}
    edit = InitParams(select=biases, init=lambda parameter, key: seen.setdefault(key.path, parameter))
    initialised(linears("a", "b"), ("mine", edit))
    assert list(seen) == [("mine", "a.bias"), ("mine", "b.bias")]


def test_without_a_scale_there_is_one_group_with_every_parameter():
    model = linears("a", "b")
    (group,) = groups(model)
    assert (group["lr"], group["peak_lr"], group["weight_decay"]) == (0.1, 0.1, 1e-4)
    assert list(map(id, group["params"])) == list(map(id, model.parameters()))


def test_the_groups_are_disjoint_and_complete():
    model = make_trainer({}).model
    found = groups(model, ScaleParams(select=biases, lr=2.0), ScaleParams(select=every, weight_decay=0.5))
    grouped: list[Tensor] = [parameter for group in found for parameter in group["params"]]
    assert len(found) == 2
    assert sorted(map(id, grouped)) == sorted(map(id, model.parameters()))


def test_scales_multiply():
    (group,) = groups(
        linears("a"),
        ScaleParams(select=every, lr=2.0, weight_decay=0.5),
        ScaleParams(select=every, lr=3.0, weight_decay=0.5),
    )
    assert group["lr"] == group["peak_lr"] == pytest.approx(0.6)
    assert group["weight_decay"] == pytest.approx(2.5e-5)


def test_a_scale_touches_what_it_selects():
    model = linears("a")
    rates = {id(p): group["lr"] for group in groups(model, ScaleParams(select=biases, lr=2.0)) for p in group["params"]}
    assert rates == {id(model.a.weight): 0.1, id(model.a.bias): 0.2}


@pytest.mark.parametrize(
    ("edit", "verb"),
    [(InitParams(select=nothing, init=to_one), "initialise"), (ScaleParams(select=nothing, lr=2.0), "scale")],
    ids=["init", "scale"],
)
def test_an_edit_that_selects_nothing_is_refused(edit, verb):
    message = (
        rf"^trick 'idle' changes nothing: ResNet has no parameter for it to {verb}; "
        r"drop it with ~tricks\.idle, or choose another model=$"
    )
    with pytest.raises(NoEffectError, match=message):
        make_trainer({"idle": Fake([edit])})


def test_edits_that_select_something_are_not_refused():
    made = {"ones": InitParams(select=biases, init=to_one), "twice": ScaleParams(select=biases, lr=2.0)}
    check_selectors(nn.Linear(2, 2), compose({name: Fake([edit]) for name, edit in made.items()}, make_task()))


def test_a_frozen_parameter_keeps_its_value_and_is_in_no_group():
    model = linears("a")
    freeze(model, compose({"still": Fake([FreezeParams(select=biases)])}, make_task()))
    (group,) = groups(model)
    assert [parameter.requires_grad for parameter in (model.a.weight, model.a.bias)] == [True, False]
    assert list(map(id, group["params"])) == [id(model.a.weight)]


def test_freezing_what_another_trick_starts_from_its_own_value_is_a_conflict():
    made = {"still": FreezeParams(select=every), "ones": InitParams(select=biases, init=to_one)}
    message = (
        r"^tricks 'ones' and 'still' both set the same parameters "
        r"\(still freezes what ones starts from another value\): "
        r"run them in separate arms, or drop one with ~tricks\.ones or ~tricks\.still$"
    )
    with pytest.raises(ConflictError, match=message):
        make_trainer({name: Fake([edit]) for name, edit in made.items()})


def test_a_trick_may_freeze_what_it_starts_itself():
    make_trainer({"mine": Fake([FreezeParams(select=biases), InitParams(select=biases, init=to_one)])})


def test_a_parameter_can_be_made_of_training_images():
    brightness = InitFromImages(select=biases, images=3, init=lambda bias, images: bias.fill_(images.mean()))
    model = linears("a")
    initialise_from_images(model, [("bright", brightness)], lambda count: torch.full((count, 3, 2, 2), float(count)))
    assert model.a.bias.tolist() == [3.0, 3.0, 3.0]
    assert not (model.a.weight == 3).any()
