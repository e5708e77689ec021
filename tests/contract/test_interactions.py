"""Which tricks do not go together, which should not, and what a combination means.

The numbers are those of the rules; what a rule refuses is a ConflictError or a NoEffectError, what it calls legal but
of another meaning is a warning of ``Checked.warnings``. Pairs that simply compose are in the contract tests.
"""

import pytest
import torch

from bagoftricks.errors import ConflictError, NoEffectError
from bagoftricks.models import build_model
from bagoftricks.recipe.compose import compose
from bagoftricks.recipe.edits import Batch
from bagoftricks.run.check import discouraged_pairs
from bagoftricks.settings import network_settings
from bagoftricks.training.parameters import check_selectors
from bagoftricks.tricks import FAMILY_OF
from bagoftricks.tricks.catalogue import card, create
from tests.helpers import CLASSES, create_all, make_task, make_trainer

WARNED = [
    ("16: SE on SK loses accuracy and speed", "se", "sk"),
    ("17: two gates of the same channels", "se", "eca"),
    ("17: two gates of the same channels", "eca", "sk"),
    ("35: statistics of images that are not augmented", "patch_whitening", "autoaugment"),
    ("35: statistics of images that are not augmented", "patch_whitening", "randaugment"),
    ("35: statistics of images that are not augmented", "patch_whitening", "trivialaugment"),
    ("35: statistics of images that are not augmented", "patch_whitening", "augmix"),
    ("2: the teacher's opinion is of another image", "distill", "autoaugment"),
    ("53: two averages", "swa", "ema"),
]
REFUSED = [
    ("11: views are not mixed", {"augmix": {}, "mixup": {}}),
    ("11: views are not mixed", {"augmix": {}, "cutmix": {}}),
    ("18: Big-Little has its own stem", {"big_little": {}, "resnet_c": {}}),
    ("18: Big-Little has its own stem", {"big_little": {}, "resnet_d": {}}),
    ("19: one shortcut", {"anti_alias": {"projection": True}, "resnet_d": {}}),
    ("19: one shortcut", {"anti_alias": {"projection": True}, "big_little": {}}),
    ("20: Big-Little has no max-pool to blur", {"anti_alias": {"max_pool": True}, "big_little": {}}),
    ("23: a frozen gamma cannot start at zero", {"frozen_norm_scale": {}, "zero_gamma": {}}),
    ("10: a batch is mixed once", {"mixup": {}, "cutmix": {}}),
]
SPECS = {
    "mobilenet_v1": network_settings(name="mobilenet", kind="mobilenet_v1", width=4),
    "resnet9": network_settings(name="resnet9", kind="resnet9", width=4),
    "basic": network_settings(name="basic", block="basic", depths=[1, 1], width=4),
}


@pytest.mark.parametrize(("rule", "name", "other"), WARNED)
def test_a_combination_that_is_known_to_hurt_or_to_mean_less_is_a_warning_with_its_reason(rule, name, other):
    (warning,) = discouraged_pairs([name, other])
    assert warning == f"trick '{name}' with '{other}': {card(name).warns[other]}"


@pytest.mark.parametrize("name", [n for n in FAMILY_OF if card(n).warns])
def test_a_card_warns_of_tricks_that_exist_and_that_it_goes_with(name):
    for other in card(name).warns:
        make_trainer(create_all([name, other]))


@pytest.mark.parametrize(("rule", "tricks"), REFUSED)
def test_what_contradicts_itself_is_refused_with_both_names(rule, tricks):
    first, second = sorted(tricks)
    with pytest.raises(ConflictError, match=f"^tricks '{first}' and '{second}' both set .*~tricks.{first} or"):
        make_trainer({name: create(name, **params) for name, params in tricks.items()})


def test_the_conflict_of_big_little_and_resnet_d_says_what_to_do():
    with pytest.raises(ConflictError, match="its own stem and pooled shortcut"):
        compose(create_all(["big_little", "resnet_d"]), make_task())


@pytest.mark.parametrize("kind", ["mobilenet_v1", "resnet9"])
def test_zero_gamma_needs_residual_branches(kind):
    recipe = compose(create_all(["zero_gamma"]), make_task())
    model = build_model(SPECS[kind], recipe.parts, num_classes=CLASSES, image_size=32)
    with pytest.raises(NoEffectError, match=r"^trick 'zero_gamma' changes nothing: "):
        check_selectors(model, recipe)


@pytest.mark.parametrize("name", ["resnet_b", "resnet_d", "sk", "anti_alias", "big_little", "early_pool"])
def test_a_part_that_a_network_does_not_build_is_refused(name):
    with pytest.raises(NoEffectError, match=f"^trick '{name}' changes nothing: mobilenet builds no "):
        build_model(
            SPECS["mobilenet_v1"], compose(create_all([name]), make_task()).parts, num_classes=CLASSES, image_size=64
        )


@pytest.mark.parametrize("name", ["zero_gamma", "resnet_d", "se", "dropblock"])
def test_basic_blocks_take_what_bottlenecks_take(name):
    recipe = compose(create_all([name]), make_task())
    check_selectors(build_model(SPECS["basic"], recipe.parts, num_classes=CLASSES, image_size=32), recipe)


def test_smoothing_touches_the_hard_term_alone():
    logits, teacher = torch.zeros(2, CLASSES), torch.eye(CLASSES)[:2]
    batch = Batch(torch.zeros(2, 3, 1, 1), torch.eye(CLASSES)[:2], teacher)
    recipe = compose(create_all(["distill", "label_smoothing"]), make_task())
    (term,) = recipe.loss_terms
    (alone,) = compose(create_all(["distill"]), make_task()).loss_terms
    assert torch.equal(term(logits, batch), alone(logits, batch))
    assert recipe.map_targets[0](batch.targets).max() < 1


def test_the_soft_loss_is_fp32_whatever_the_network_computes_in():
    # At T = 20 and 1000 classes the loss is 2763: times a scale of 128 it would overflow fp16.
    (term,) = compose(create_all(["distill"]), make_task(num_classes=1000)).loss_terms
    uniform = torch.full((4, 1000), 1e-3)
    loss = term(torch.zeros(4, 1000, dtype=torch.float16), Batch(torch.zeros(4, 3, 1, 1), uniform, uniform))
    assert loss.dtype is torch.float32
    assert (128 * loss).isfinite()


def test_micro_batches_do_not_change_the_learning_rate_of_linear_scaling():
    rates = [
        make_trainer(create_all(names)).optimizer.param_groups[0]["peak_lr"]
        for names in (["linear_scaling"], ["linear_scaling", "micro_batch"])
    ]
    assert rates[0] == rates[1]
