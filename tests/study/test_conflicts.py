import pytest

from bagoftricks.cli.compose import compose_settings
from bagoftricks.errors import UserError
from bagoftricks.study.conflicts import require_compatible
from bagoftricks.study.planner import Planner

DIGITS = ["preset=digits", "model.depths=[1,1]"]


@pytest.fixture(scope="module")
def planner():
    return Planner(DIGITS, compose_settings)


def refused(planner, tricks, design="factorial", **options):
    with pytest.raises(UserError) as error:
        require_compatible(design, tricks, planner, **options)
    return str(error.value)


def test_factors_that_compose_are_accepted(planner):
    require_compatible("factorial", ["resnet_b|resnet_d", "mixup|cutmix", "cosine+ema"], planner)
    require_compatible("fractional", ["cosine"], planner)


def test_a_pair_that_conflicts_is_named_with_the_list_to_type(planner):
    assert refused(planner, ["resnet_b", "cosine", "resnet_d"]) == (
        "cannot be on together: 'resnet_b' with 'resnet_d' (both set part 'bottleneck stride' to the same thing); make "
        "them alternatives of one factor: 'tricks=[resnet_b|resnet_d,cosine]', or leave out what conflicts: "
        "'tricks=[resnet_b,cosine]'"
    )


def test_what_is_to_be_typed_is_accepted(planner):
    tricks = ["mixup(alpha=0.5)", "adamw+ema", "cosine", "cutmix", "muon", "sgd|velocity_nag"]
    message = refused(planner, tricks)
    assert "'mixup(alpha=0.5)' with 'cutmix' (both set the mixing of a batch)" in message
    assert "1 more pairs" in message
    merged = ["mixup(alpha=0.5)|cutmix", "adamw+ema|muon|sgd|velocity_nag", "cosine"]
    assert f"'tricks=[{','.join(merged)}]'" in message
    assert "'tricks=[mixup(alpha=0.5),adamw+ema,cosine]'" in message
    require_compatible("factorial", merged, planner)
    require_compatible("factorial", ["mixup(alpha=0.5)", "adamw+ema", "cosine"], planner)
    assert "alternatives" not in refused(planner, tricks, "fractional")  # four are too many for a fraction


def test_without_pairs_only_each_factor_alone_is_checked(planner):
    require_compatible("factorial", ["resnet_b", "resnet_d"], planner, pairs=False)


def test_a_trick_that_changes_nothing_or_cannot_run_is_named(planner):
    message = refused(planner, ["cosine", "warmup(epochs=0)|class_weights"])
    assert message.startswith("'warmup(epochs=0.0)' cannot run: tricks.warmup.epochs=0.0")
    assert message.endswith("or leave it out: 'tricks=[cosine]'")
    idle = refused(Planner([*DIGITS, "weight_decay=0"], compose_settings), ["cosine", "no_bias_decay"])
    assert idle.startswith("'no_bias_decay': no_bias_decay changes nothing: ")
    assert "; leave it out: 'tricks=[cosine]', or " in idle
    assert refused(planner, ["distill"]).endswith("or leave it out")


@pytest.mark.parametrize("setting", ["epochs=3", "seed=7"])
def test_a_setting_that_gives_the_baselines_own_run_is_no_factor(setting):
    planner = Planner([*DIGITS, "epochs=3"], compose_settings)
    message = refused(planner, ["cosine", setting], "fractional")
    assert message == f"'{setting}' changes nothing: it gives the baseline's own run; leave it out: 'tricks=[cosine]'"
    require_compatible("factorial", ["cosine", "epochs=4"], planner)


def test_a_factor_that_conflicts_with_what_every_arm_has_is_named():
    message = refused(Planner([*DIGITS, "+refine=mixup"], compose_settings), ["cosine", "cutmix"])
    assert message.startswith("'cutmix' cannot run: tricks 'cutmix' and 'mixup' both set the mixing of a batch")


def test_settings_that_no_arm_can_have_are_the_baselines_error():
    message = refused(Planner([*DIGITS, "batch_size=100000"], compose_settings), ["cosine", "mixup"])
    assert message.startswith("arm 'baseline' cannot run: batch_size=100000: there are only")


def test_networks_are_built_once_for_the_tricks_that_change_them(planner, monkeypatch):
    from bagoftricks.run import check

    built, build = [], check.build_model
    monkeypatch.setattr(check, "build_model", lambda *args, **kwargs: built.append(1) or build(*args, **kwargs))
    fresh = Planner(DIGITS, compose_settings)
    require_compatible("factorial", ["cosine", "mixup", "ema", "resnet_d", "gelu"], fresh)
    assert len(built) == 4  # with resnet_d and gelu, each on or off
