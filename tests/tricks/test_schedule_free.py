import pytest
import torch

from bagoftricks.errors import UserError
from bagoftricks.recipe.schedule_free import averaged
from bagoftricks.tricks.catalogue import create
from tests.helpers import KEY, batches, create_all, descend, flat, goes_on_after_loading, make_trainer, optimizer_of

DECAYS = ["constant_lr", "cosine", "exponential_decay", "linear_decay", "polynomial_decay", "step_decay", "wsd"]
CONFLICTS = [*DECAYS, "sgd", "velocity_nag", "adamw", "muon", "schedule_free_adamw"]
SHAPES = [(4, 3), (5,), (2, 3, 3, 3)]


def weights():
    rng = KEY.fold("weights").generator()
    return [torch.randn(shape, generator=rng).requires_grad_() for shape in SHAPES]


def evaluated(optimizer, parameters, beta=0.9):
    return [averaged(beta).of(p.detach(), optimizer.state[p]) for p in parameters]


def test_two_steps_on_a_parabola():
    # w^2/2 from 1 at rate 0.5, momentum 0.8. z = 0.5, c = 1: x = y = 0.5; then z = 0.25, c = 1/2: x = 0.375 and
    # y = 0.2 * 0.25 + 0.8 * 0.375 = 0.35.
    w = torch.ones((), requires_grad=True)
    optimizer = optimizer_of("schedule_free", [{"params": [w], "lr": 0.5, "weight_decay": 0.0}], momentum=0.8)
    found = []
    for _ in range(2):
        w.grad = w.detach().clone()
        optimizer.step()
        (x,) = evaluated(optimizer, [w], 0.8)
        found.append((w.item(), optimizer.state[w]["z"].item(), x.item()))
    assert found == [pytest.approx((0.5, 0.5, 0.5)), pytest.approx((0.35, 0.25, 0.375))]


@pytest.mark.parametrize("momentum", [0.9, 0.6])
def test_it_is_the_authors_optimiser_with_a_rate_that_rises_and_falls(momentum):
    package = pytest.importorskip("schedulefree")
    ours, theirs = weights(), weights()
    group = {"lr": 0.1, "weight_decay": 0.01}
    mine = optimizer_of("schedule_free", [{"params": ours, **group}], momentum=momentum)
    other = package.SGDScheduleFree(theirs, momentum=momentum, warmup_steps=0, **group)
    other.train()
    for step in range(6):
        rate = [0.0, 0.05, 0.1, 0.2, 0.1, 0.02][step]
        descend(mine, ours, [step], lr=lambda _, rate=rate: rate)
        descend(other, theirs, [step], lr=lambda _, rate=rate: rate)
        torch.testing.assert_close(ours, theirs)
    other.eval()
    torch.testing.assert_close(evaluated(mine, ours, momentum), [p.detach() for p in theirs])


def test_the_rate_stays_and_a_warm_up_goes_with_it():
    plain, warm = (make_trainer(create_all(names)) for names in (["schedule_free"], ["schedule_free", "warmup"]))
    assert {plain.recipe.schedule(step) for step in range(10)} == {1.0}
    assert warm.recipe.schedule(0) < 1.0
    assert plain.optimizer.param_groups[0]["peak_lr"] == pytest.approx(10 * 0.1)


def test_the_evaluated_weights_are_the_average_of_the_steps_of_z():
    trainer = make_trainer({"schedule_free": create("schedule_free", lr_factor=0.1)})
    trained = [p for p in trainer.model.parameters() if p.requires_grad]
    seen = []
    for batch in batches(4):
        trainer.step(batch)
        seen.append(torch.cat([trainer.optimizer.state[p]["z"].flatten() for p in trained]))
    sets = trainer.weight_sets()
    torch.testing.assert_close(flat(sets["schedule_free"]), torch.stack(seen).mean(0), rtol=1e-4, atol=1e-5)
    between = 0.1 * seen[-1] + 0.9 * torch.stack(seen).mean(0)
    torch.testing.assert_close(flat(sets["last"]), between, rtol=1e-4, atol=1e-5)


def test_frozen_weights_are_evaluated_as_they_are():
    trainer = make_trainer(create_all(["schedule_free", "freeze"]))
    for batch in batches(2):
        trainer.step(batch)
    found = trainer.weight_sets()["schedule_free"].state_dict()
    frozen = [name for name, p in trainer.model.named_parameters() if not p.requires_grad]
    assert frozen
    assert all(torch.equal(found[name], trainer.model.state_dict()[name]) for name in frozen)


def test_the_statistics_of_norms_are_measured_at_the_evaluated_weights():
    assert averaged(0.9).refresh_norms


def test_it_goes_on_after_loading():
    assert goes_on_after_loading("schedule_free")


@pytest.mark.parametrize(
    ("field", "value", "expected"), [("momentum", 0.0, r"in \(0, 1\)"), ("lr_factor", 0.0, "posi")]
)
def test_values_out_of_range_are_refused(field, value, expected):
    with pytest.raises(UserError, match=rf"^tricks\.schedule_free\.{field}={value}: must be {expected}"):
        create("schedule_free", **{field: value})
