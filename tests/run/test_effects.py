"""A trick of a run must do something, by size: each example with a value that does and one that does nothing."""

import pytest
import torch

from bagoftricks.cli.compose import compose_settings
from bagoftricks.errors import NoEffectError
from bagoftricks.recipe.edits import MapImages, SetLoss
from bagoftricks.recipe.trick import Length
from bagoftricks.run import effects
from bagoftricks.run.effects import check_effects, sampled_steps
from bagoftricks.study.experiment import experiment_files, experiment_scales, load_experiment
from bagoftricks.study.overrides import arm_settings
from bagoftricks.tricks import FAMILY_OF
from bagoftricks.tricks.catalogue import create
from tests.helpers import Fake, make_task

RUN = Length(steps_per_epoch=5, total_steps=10)
FACTS = {"num_classes": 10, "batch_size": 128, "image_size": 32}
EXAMPLES = [  # trick, values that do something, values that do nothing
    ("label_smoothing", {"epsilon": 1e-3}, {"epsilon": 1e-12}),
    ("step_decay", {"boundaries": "9 steps"}, {"boundaries": "11 steps"}),
    ("exponential_decay", {"factor": 0.99, "every": "1 epochs"}, {"factor": 1.0}),
    ("exponential_decay", {"every": "9 steps"}, {"every": "10 steps"}),
    ("linear_decay", {"final": 0.9}, {"final": 1.0}),
    ("warmup", {"epochs": 0.5}, {"epochs": 1e-9}),
    ("mixup", {"alpha": 0.01}, {"alpha": 1e-12}),
    ("mixup", {"unmixed_end": "90%"}, {"unmixed_end": "100%"}),
    ("cutmix", {"probability": 0.1}, {"probability": 1e-12}),
    ("cutout", {"probability": 0.1}, {"probability": 1e-12}),
    ("random_erasing", {"probability": 0.1}, {"probability": 1e-12}),
    ("resizemix", {"probability": 0.1}, {"probability": 1e-12}),
    ("fmix", {"probability": 0.1}, {"probability": 1e-12}),
    ("logit_scale", {"factor": 1.01}, {"factor": 1.0}),
    ("dropout", {"rate": 0.01}, {"rate": 1e-12}),
    ("stochastic_depth", {"rate": 0.1}, {"rate": 1e-12}),
    ("dropblock", {"keep_prob": 0.9}, {"keep_prob": 1.0}),
    ("ema", {"every": 10}, {"every": 11}),
    ("ema", {"decay": 0.0, "every": 3}, {"decay": 0.0, "every": 5}),
    ("lookahead", {"every": 10}, {"every": 11}),
    ("lookahead", {"power": 3.0}, {"power": 300.0, "every": 3}),
    ("swa", {"start": "10 steps"}, {"start": "11 steps"}),
    ("clip_gradients", {"norm": 100.0}, {"norm": 1e30}),
    ("bias_scale", {"lr": 2.0, "decay": 1.0}, {"lr": 1.0, "decay": 1.0}),
    ("micro_batch", {"images": 127}, {"images": 128}),
    ("test_size", {"size": 40}, {"size": 32}),
    ("sam", {"rho": 0.01}, {"rho": 1e-12}),
    ("distill", {"soft_weight": 0.1}, {"soft_weight": 1e-12}),
    ("tta_shift", {"weight": 0.9}, {"weight": 1 - 1e-9}),
    ("celu", {"alpha": 0.01}, {"alpha": 1e-12}),
    ("gem", {"p": 2.0, "learnable": False}, {"p": 1.0, "learnable": False}),
    ("sgd", {"momentum": 0.8, "nesterov": True}, {"momentum": 0.9, "nesterov": True}),
    ("ghost_norm", {"splits": 2}, {"splits": 1}),
    ("head_lr", {"factor": 1.01}, {"factor": 1.0}),
    ("class_weights", {"beta": 0.5}, {"beta": 1e-12}),
    ("poly_loss", {"epsilon": 0.01}, {"epsilon": 1e-12}),
]


@pytest.fixture(autouse=True)
def nothing_judged(monkeypatch):
    monkeypatch.setattr(effects, "_JUDGED", {})  # a new lambda may have the address, and so the text, of an old one


def check(name, params, length=RUN, **facts):
    check_effects({name: create(name, **params)}, make_task(**{**FACTS, **facts}), length)


@pytest.mark.parametrize("name", ["class_weights", "balanced_sampling"])
def test_classes_of_equal_size_leave_nothing_to_balance(name):
    check(name, {}, class_counts=(7,) * 9 + (8,))
    with pytest.raises(NoEffectError, match=rf"^trick '{name}' changes nothing: "):
        check(name, {}, class_counts=(7,) * 10)


@pytest.mark.parametrize(("name", "some", "nothing"), EXAMPLES)
def test_a_value_that_does_nothing_is_refused_and_one_that_does_is_not(name, some, nothing):
    check(name, some)
    with pytest.raises(NoEffectError, match=rf"^trick '{name}' changes nothing: .*drop it with ~tricks\.{name}, or "):
        check(name, nothing)


def test_the_number_of_classes_decides():
    check("label_smoothing", {}, num_classes=2)
    with pytest.raises(NoEffectError, match=r"no target of 1 classes changes"):
        check("label_smoothing", {}, num_classes=1)


@pytest.mark.parametrize(("counts", "refused"), [((50, 50), True), ((50, 49), False)])
def test_adjusting_the_logits_to_balanced_classes_is_refused(counts, refused):
    prior = torch.tensor(counts).float().log()
    adjusted = Fake([SetLoss(loss=lambda logits, t: torch.nn.functional.cross_entropy(logits + prior, t))])
    task = make_task(num_classes=2)
    if refused:
        with pytest.raises(NoEffectError, match="its gradient is that of the cross entropy"):
            check_effects({"adjusted": adjusted}, task, RUN)
    else:
        check_effects({"adjusted": adjusted}, task, RUN)


def test_alternating_flips_need_a_second_pass_of_the_data():
    flips = {"alternating_flip": create("alternating_flip")}
    check_effects(flips, make_task(), Length(5, 6))
    check_effects(flips, make_task(), Length(5, 5), reads=2)
    with pytest.raises(NoEffectError, match=r"in the first 1 passes of the data, and this run has no more"):
        check_effects(flips, make_task(), Length(5, 5))


def test_a_factor_of_the_weight_decay_needs_a_weight_decay():
    check_effects({"no_bias_decay": create("no_bias_decay")}, make_task(), RUN, weight_decay=1e-5)
    check_effects({"bias_scale": create("bias_scale", lr=2.0, decay=3.0)}, make_task(), RUN, weight_decay=0)
    with pytest.raises(NoEffectError, match=r"there is no weight decay to multiply \(weight_decay=0\)"):
        check_effects({"no_bias_decay": create("no_bias_decay")}, make_task(), RUN, weight_decay=0)


@pytest.mark.parametrize("lit", [0, 1])
def test_a_policy_must_change_an_image(lit):
    def rarely(images, draws):
        return images + (draws[:, :1, None, None] > 1 - lit / 128).byte()

    policy = {"policy": Fake([MapImages(apply=rarely, draws=1)])}
    if lit:
        check_effects(policy, make_task(), RUN)
    else:
        with pytest.raises(NoEffectError, match=r"it left 512 images as they were"):
            check_effects(policy, make_task(), RUN)


@pytest.mark.parametrize("name", sorted(FAMILY_OF))
def test_the_defaults_pass_in_three_epochs_of_the_digits(name):
    check(name, {}, Length(11, 33), image_size=32)


def test_a_decay_that_never_comes_is_refused_with_its_defaults_too():
    with pytest.raises(NoEffectError, match=r"the learning rate keeps its peak in all 22 steps of this run"):
        check("exponential_decay", {}, Length(11, 22))


def test_a_decay_needs_more_than_one_step():
    check("cosine", {}, Length(1, 2))
    with pytest.raises(NoEffectError, match=r"a run of one step has no time for a decay; .*, or change the run"):
        check("cosine", {}, Length(1, 1))


@pytest.mark.parametrize("batch", [128, 256])
def test_linear_scaling_passes_at_its_base_batch_as_in_rows_of_the_papers(batch):
    check("linear_scaling", {"base_batch": batch}, batch_size=batch)


def test_a_warm_up_needs_more_than_one_step():
    check("warmup", {}, Length(1, 2))
    with pytest.raises(NoEffectError, match=r"a run of one step has no time for a warm-up"):
        check("warmup", {}, Length(1, 1))


def test_a_batch_of_one_image_has_no_partner():
    check("mixup", {"partner": "batch"}, batch_size=2)
    with pytest.raises(NoEffectError, match=r"it left 512 batches as they were"):
        check("mixup", {"partner": "batch"}, batch_size=1)


def test_the_clock_of_the_run_stays_as_it_is():
    task = make_task()
    check_effects({"mixup": create("mixup")}, task, Length(3, 7))
    assert (task.clock.length.total_steps, float(task.clock)) == (10, 0.0)


def scales() -> list:
    """Return each shipped experiment at its last scale, where tricks have the fewest steps, and at others with long."""
    every = [
        (name, scale, experiment_scales(name)[-1]) for name in experiment_files() for scale in experiment_scales(name)
    ]
    return [
        pytest.param(name, at, marks=[] if at == last and not load_experiment(name, at).design else pytest.mark.long)
        for name, at, last in every
    ]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "scale"), scales())
def test_each_trick_of_a_shipped_row_does_something(name, scale):
    found, composed = load_experiment(name, scale), {}

    def compose(overrides):
        return composed.get(key := tuple(overrides)) or composed.setdefault(key, compose_settings(overrides))

    for arm in found.arms:
        if not arm.needs:
            check_settings(arm_settings(arm, found.overrides, compose))


@pytest.mark.parametrize("preset", ["bag_of_tricks", "cifar_laptop", "digits", "fast", "fast_gpu", "page"])
def test_each_trick_of_a_preset_does_something(preset):
    check_settings(compose_settings([f"preset={preset}"]))


def check_settings(settings):
    steps = 50_000 // settings.batch_size
    tricks = {name: create(name, **params) for name, params in settings.tricks.items()}
    task = make_task(num_classes=10, batch_size=settings.batch_size, image_size=settings.pixels)
    check_effects(tricks, task, Length(steps, steps * settings.epochs))


def test_a_long_run_is_judged_by_some_of_its_steps():
    assert sampled_steps(5) == [0, 1, 2, 3, 4, 4]
    assert sampled_steps(0) == []
    assert len(sampled_steps(10**8)) == 10_001
    assert sampled_steps(10**8)[-1] == 10**8 - 1
