"""The merge rule of each kind of edit, and the trainer's use of it, with fake tricks on a model of one number.

The model's loss is w^2/2 from w = 1, the learning rate 0.1 and the momentum 0.9: by hand, Nesterov's first step is
w = 1 - 0.1 (1 + 0.9) g = 1 - 0.19 g, so w = 0.81 for the gradient g = 1.
"""

from collections.abc import Callable
from itertools import permutations

import pytest
import torch
from torch import Tensor, nn, optim

from bagoftricks.errors import ConflictError, NoEffectError
from bagoftricks.recipe import edits as e
from bagoftricks.recipe.compose import compose
from bagoftricks.recipe.edits import Batch, Edit
from bagoftricks.recipe.trick import Task
from bagoftricks.rng import Key
from bagoftricks.training.trainer import Trainer, TrainerSetup, predictor
from bagoftricks.tricks.catalogue import create
from tests.helpers import KEY, Fake, create_all, make_batch, make_task, make_trainer, teacher


class Number(nn.Module):
    """Every logit is the weight w, so that a loss can be any function of w."""

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.ones(()))

    def forward(self, images: Tensor) -> Tensor:
        return self.w.expand(len(images), 5)


PARABOLA = e.SetLoss(loss=lambda logits, targets: logits[0, 0].square() / 2)


def number_trainer(*, weight_decay: float = 0.0, task: Task | None = None, **made: list[Edit]) -> Trainer:
    """A trainer of w^2/2; each keyword is a fake trick with its edits."""
    tricks = {name: Fake(edits) for name, edits in {"parabola": [PARABOLA], **made}.items()}
    task = task or make_task()
    return Trainer(
        compose(tricks, task),
        Number(),
        task,
        task.clock.length,
        TrainerSetup(key=KEY, lr=0.1, weight_decay=weight_decay),
    )


def weights(trainer: Trainer, steps: int) -> list[float]:
    found = []
    for step in range(steps):
        trainer.step(make_batch(step=step))
        found.append(trainer.model.w.item())
    return found


def recipe_of(**made: list[Edit]):
    return compose({name: Fake(edits) for name, edits in made.items()}, make_task())


def test_the_baseline_is_nesterov_momentum():
    # v = 1, then 0.9 + 0.81 = 1.71: w = 0.81 - 0.1 (0.81 + 0.9 * 1.71).
    assert weights(number_trainer(), 2) == pytest.approx([0.81, 0.5751])


def test_weight_decay_is_added_to_the_gradient():
    assert weights(number_trainer(weight_decay=0.1), 1) == pytest.approx([1 - 0.19 * 1.1])


def test_the_step_returns_the_loss_that_was_minimised():
    assert number_trainer().step(make_batch()).item() == 0.5


def test_the_baseline_minimises_cross_entropy():
    assert recipe_of().loss(torch.zeros(1, 5), torch.eye(5)[:1]).item() == pytest.approx(1.6094379)


def test_added_loss_terms_are_summed():
    double, triple = (e.AddLossTerm(term=lambda logits, batch, k=k: k * logits[0, 0]) for k in (2, 3))
    trainer = number_trainer(a=[double], b=[triple])
    assert trainer.step(make_batch()).item() == 5.5
    assert trainer.model.w.item() == pytest.approx(1 - 0.19 * 6)


def test_another_optimiser_gets_the_groups():
    halved = e.ScaleParams(select=lambda module, name: True, lr=0.5)
    trainer = number_trainer(plain=[e.SetOptimizer(build=optim.SGD)], half=[halved])
    assert weights(trainer, 1) == pytest.approx([0.95])


def sharpness_aware(model: nn.Module, backward: Callable[[], None]) -> None:
    """Climb to w + 0.5, take the gradient there, come back."""
    with torch.no_grad():
        model.w += 0.5
    backward()
    with torch.no_grad():
        model.w -= 0.5


def test_another_gradient_fills_grad():
    assert weights(number_trainer(sam=[e.SetGradient(compute=sharpness_aware)]), 1) == pytest.approx([1 - 0.19 * 1.5])


def test_a_gradient_that_evaluates_the_loss_twice_sees_the_same_mixed_batch():
    seen: list[Batch] = []

    def spy(logits: Tensor, batch: Batch) -> Tensor:
        seen.append(batch)
        return logits.new_zeros(())

    def twice(model: nn.Module, backward: Callable[[], None]) -> None:
        backward()
        backward()

    mixup = create("mixup").edits(make_task())
    number_trainer(mixup=mixup, spy=[e.AddLossTerm(term=spy)], twice=[e.SetGradient(compute=twice)]).step(make_batch())
    assert len(seen) == 2
    assert torch.equal(seen[0].images, seen[1].images)


def test_a_gradient_that_evaluates_the_loss_twice_reports_the_first_value():
    def climb(model: nn.Module, backward: Callable[[], None]) -> None:
        backward()
        sharpness_aware(model, backward)

    assert number_trainer(sam=[e.SetGradient(compute=climb)]).step(make_batch()).item() == 0.5


def test_gradient_maps_run_by_phase_and_then_by_name():
    # 1 - 0.25 = 0.75, clipped at 0.5, times 3 = 1.5: any other order gives another gradient.
    def clip(grads: list[Tensor]) -> None:
        grads[0].clamp_(max=0.5)

    def centre(grads: list[Tensor]) -> None:
        grads[0].sub_(0.25)

    def triple(grads: list[Tensor]) -> None:
        grads[0].mul_(3)

    made = {
        "a": [e.MapGrads(phase=e.GradPhase.CLIP, apply=clip)],
        "b": [e.MapGrads(phase=e.GradPhase.CLIP, apply=triple)],
        "c": [e.MapGrads(phase=e.GradPhase.CENTRE, apply=centre)],
    }
    for order in permutations(made):
        assert weights(number_trainer(**{name: made[name] for name in order}), 1) == pytest.approx([0.715])


def test_a_gradient_map_that_selects_gets_gradients_and_their_parameters():
    seen: list[tuple[list[float], list[float]]] = []

    def double(grads: list[Tensor], params: list[Tensor]) -> None:
        seen.append(([float(g) for g in grads], [float(p.detach()) for p in params]))
        grads[0].mul_(2)

    edit = e.MapGrads(phase=e.GradPhase.CLIP, apply=double, select=lambda module, name: name == "w")
    assert weights(number_trainer(double=[edit]), 1) == pytest.approx([1 - 0.19 * 2])
    assert seen == [([1.0], [1.0])]


def test_a_gradient_map_that_selects_nothing_is_refused():
    nothing = e.MapGrads(phase=e.GradPhase.CLIP, apply=lambda grads, params: None, select=lambda module, name: False)
    with pytest.raises(NoEffectError, match=r"trick 'a' .* has no parameter for it to change the gradient of"):
        number_trainer(a=[nothing])


def moving(decay, start=0, every=1) -> e.AverageWeights:
    return e.AverageWeights(weight=lambda update: 1 - decay, times=lambda: (start, every))


def test_an_average_starts_at_the_initial_weights_and_moves_by_one_minus_its_decay():
    # rho^2 w0 + (1 - rho) (rho w1 + w2), with w = 1, 0.81, 0.5751.
    trainer = number_trainer(ema=[moving(0.5)])
    weights(trainer, 2)
    assert trainer.weight_sets()["ema"].w.item() == pytest.approx(0.25 + 0.25 * 0.81 + 0.5 * 0.5751)


def test_an_average_includes_the_statistics_of_norms():
    class Normed(Number):
        def __init__(self) -> None:
            super().__init__()
            self.norm = nn.BatchNorm2d(3)

        def forward(self, images: Tensor) -> Tensor:
            return super().forward(self.norm(images))

    task = make_task()
    recipe = compose({"ema": Fake([moving(0.5)])}, task)
    trainer = Trainer(recipe, Normed(), task, task.clock.length, TrainerSetup(key=KEY, lr=0.1, weight_decay=0.0))
    trainer.step(make_batch(step=0))
    average = trainer.weight_sets()["ema"].norm
    before = average.running_mean.clone()
    trainer.step(make_batch(step=1))
    torch.testing.assert_close(average.running_mean, (before + trainer.model.norm.running_mean) / 2)


def test_an_average_leaves_the_weights_alone():
    assert weights(number_trainer(ema=[moving(0.5)]), 3) == weights(number_trainer(), 3)


def test_each_average_is_a_copy_of_its_own():
    trainer = number_trainer(fast=[moving(0.1)], slow=[moving(0.9)])
    weights(trainer, 3)
    sets = trainer.weight_sets()
    assert list(sets) == ["last", "fast", "slow"]
    assert sets["last"] is trainer.model
    assert sets["fast"].w < sets["slow"].w


def test_an_average_can_begin_late_and_move_at_intervals():
    # w = 1, 0.81, 0.5751, ...: it begins with the weights after two steps and moves after four.
    trainer = number_trainer(late=[moving(0.5, start=2, every=2)])
    seen = []
    for step in range(5):
        trainer.step(make_batch(step=step))
        late = trainer.weight_sets().get("late")
        seen.append((trainer.model.w.item(), None if late is None else late.w.item()))
    w = [weight for weight, _ in seen]
    assert [average for _, average in seen] == [None, w[1], w[1], *[pytest.approx((w[1] + w[3]) / 2)] * 2]


@pytest.mark.parametrize("images", [1, 3, 8])
def test_micro_batches_give_the_gradient_of_the_whole_batch(images):
    whole, split = make_trainer({}), make_trainer({"split": Fake([e.SplitBatch(images=images)])})
    for trainer in (whole, split):
        for norm in trainer.model.modules():
            if isinstance(norm, nn.BatchNorm2d):
                norm.eval()
        trainer.backward(make_batch(), KEY)
    for one, other in zip(whole.model.parameters(), split.model.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad, rtol=1e-5, atol=1e-7)


def test_the_loss_of_micro_batches_is_that_of_the_whole_batch():
    # Targets count from 0 to 7 in their first column: their mean is 3.5, also in micro-batches of 3, 3 and 2.
    loss = e.SetLoss(loss=lambda logits, targets: targets[:, 0].mean() + 0 * logits.sum())
    task, batch = make_task(), Batch(torch.zeros(8, 3, 4, 4), torch.arange(8.0).view(8, 1).expand(8, 5))
    recipe = recipe_of(loss=[loss], split=[e.SplitBatch(images=3)])
    trainer = Trainer(recipe, Number(), task, task.clock.length, TrainerSetup(key=KEY, lr=0.1, weight_decay=0.0))
    assert trainer.backward(batch, KEY).item() == pytest.approx(3.5)


def test_the_weight_of_the_loss_leaves_the_added_terms_alone():
    half = e.ScaleLoss(factor=0.5)
    term = e.AddLossTerm(term=lambda logits, batch: logits.new_tensor(3.0))
    assert number_trainer(half=[half], term=[term]).step(make_batch()).item() == 0.25 + 3


def test_the_teacher_sees_the_mixed_batch_and_its_opinion_reaches_the_loss_as_probabilities():
    seen: list[Batch] = []

    def spy(logits: Tensor, batch: Batch) -> Tensor:
        seen.append(batch)
        return logits.new_zeros(())

    task = make_task()
    made = {
        "parabola": Fake([PARABOLA]),
        "mixup": create("mixup", alpha=1.0),
        "teacher": Fake([e.SetTeacher(source="x", temperature=2.0, online=True), e.AddLossTerm(term=spy)]),
    }
    trainer = Trainer(
        compose(made, task),
        Number(),
        task,
        task.clock.length,
        TrainerSetup(key=KEY, lr=0.1, weight_decay=0.0, teacher=teacher),
    )
    batch = make_batch()
    trainer.step(batch)
    assert not torch.equal(seen[0].images, batch.images)
    torch.testing.assert_close(seen[0].teacher, (teacher(seen[0].images) / 2).softmax(1))


def test_a_policy_with_several_views_conflicts_with_a_mixer():
    policy = e.MapImages(apply=lambda images, draws: images, draws=1, views=3)
    mixer = e.MapBatch(phase=e.BatchPhase.MIX, apply=lambda batch, key: batch)
    with pytest.raises(ConflictError, match=r"^tricks 'mix' and 'views' both set what becomes"):
        recipe_of(mix=[mixer], views=[policy])


def test_rows_of_a_batch_of_views_keep_their_views():
    images = torch.arange(6.0).view(6, 1, 1, 1).expand(6, 3, 1, 1)  # views 0 1 2 | 3 4 5 of three images
    rows = Batch(images, torch.eye(3))[1:]
    assert rows.views == 2
    assert rows.images[:, 0, 0, 0].tolist() == [1, 2, 4, 5]


def test_chained_parts_keep_both_tricks_in_name_order():
    gates = {name: [e.SetPart(part=e.Part.GATE, build=lambda channels, site: nn.Identity())] for name in "ba"}
    assert [name for name, _ in recipe_of(**gates).parts[e.Part.GATE]] == ["a", "b"]


def test_a_conflict_says_what_a_part_is_to_be_replaced_by():
    stems = [e.SetPart(part=e.Part.STEM, build=build, why=why) for build, why in ((nn.Identity, ""), (nn.ReLU, "mine"))]
    with pytest.raises(ConflictError, match=r"^tricks 'a' and 'b' both set part 'stem' \(mine\): run them"):
        recipe_of(a=stems[:1], b=stems[1:])


def test_an_epoch_trains_in_training_mode_even_after_a_prediction():
    trainer = number_trainer()
    predictor(trainer.recipe, trainer.model)
    modes = [trainer.model.training for _ in trainer.epoch([make_batch()])]
    assert modes == [True]


def test_predictions_are_wrapped_in_name_order():
    double = [e.WrapPredict(wrap=lambda predict: lambda images: 2 * predict(images))]
    add_one = [e.WrapPredict(wrap=lambda predict: lambda images: predict(images) + 1)]
    for recipe in (recipe_of(a=double, b=add_one), recipe_of(b=add_one, a=double)):
        assert (predictor(recipe, Number())(torch.zeros(1, 3, 4, 4)) == 3).all()


def test_predicting_changes_no_statistic_and_keeps_no_graph():
    norm = nn.BatchNorm2d(3)
    predict = predictor(recipe_of(), nn.Sequential(norm, nn.AdaptiveAvgPool2d(1), nn.Flatten()))
    assert not predict(make_batch().images).requires_grad
    assert not norm.running_mean.any()


def test_target_maps_run_in_name_order_whatever_order_they_are_given_in():
    double, add_one = [e.MapTargets(apply=lambda t: 2 * t)], [e.MapTargets(apply=lambda t: t + 1)]
    for recipe in (recipe_of(a=double, b=add_one), recipe_of(b=add_one, a=double)):
        targets = torch.full((1, 5), 3.0)
        for apply in recipe.map_targets:
            targets = apply(targets)
        assert (targets == 7).all()


def test_initialisations_run_in_name_order():
    ones, zeros = (
        [e.InitParams(select=lambda m, n: True, init=lambda p, key, value=value: nn.init.constant_(p, value))]
        for value in (1.0, 0.0)
    )
    assert number_trainer(a=ones, b=zeros).model.w == 0
    assert number_trainer(b=zeros, a=ones).model.w == 0


def batch_map(phase: e.BatchPhase, apply: Callable[[Batch], Batch] = lambda batch: batch, reads: int = 1) -> list[Edit]:
    return [e.MapBatch(phase=phase, apply=lambda batch, key: apply(batch), reads=reads)]


def test_batch_maps_run_by_phase_and_then_by_name():
    made = {
        "a": batch_map(e.BatchPhase.MIX),
        "b": batch_map(e.BatchPhase.ERASE),
        "c": batch_map(e.BatchPhase.ERASE),
    }
    for order in permutations(made):
        recipe = recipe_of(**{name: made[name] for name in order})
        assert [name for name, _ in recipe.map_batch] == ["b", "c", "a"]


def test_the_loss_sees_the_targets_after_the_batch_maps_and_the_target_maps():
    seen: list[Tensor] = []

    def loss(logits: Tensor, targets: Tensor) -> Tensor:
        seen.append(targets)
        return logits.sum()

    doubled = batch_map(e.BatchPhase.ERASE, lambda batch: Batch(batch.images, 2 * batch.targets))
    plus_one = [e.MapTargets(apply=lambda targets: targets + 1)]
    number_trainer(parabola=[e.SetLoss(loss=loss)], doubled=doubled, plus_one=plus_one).step(make_batch())
    assert torch.equal(seen[0], 2 * make_batch().targets + 1)


def test_the_batches_that_maps_read_for_one_multiply():
    recipe = recipe_of(a=batch_map(e.BatchPhase.ERASE, reads=2), b=batch_map(e.BatchPhase.MIX, reads=3))
    assert recipe.reads == 6


def test_a_batch_map_has_a_key_for_its_name_and_the_step():
    seen: list[Key] = []

    def spy(batch: Batch, key: Key) -> Batch:
        seen.append(key)
        return batch

    weights(number_trainer(spy=[e.MapBatch(phase=e.BatchPhase.ERASE, apply=spy)]), 3)
    assert seen == [KEY.fold("spy", step) for step in range(3)]


def test_the_clock_is_the_share_of_the_run_that_is_done():
    task, seen = make_task(total_steps=4), []
    spy = batch_map(e.BatchPhase.ERASE, lambda batch: seen.append(float(task.clock)) or batch)
    weights(number_trainer(task=task, spy=spy), 4)
    assert seen == [0.0, 0.25, 0.5, 0.75]


EXCLUSIVE = {
    "the loss": lambda: e.SetLoss(loss=lambda logits, targets: logits.sum()),
    "the precision": lambda: e.SetPrecision(dtype=torch.bfloat16),
    "the gradient": lambda: e.SetGradient(compute=lambda model, backward: backward()),
    "the optimiser": lambda: e.SetOptimizer(build=lambda groups: optim.SGD(groups)),
    "the decay of the learning rate": lambda: e.SetDecay(decay=lambda step, steps: 1.0, origin=e.Origin.RUN_START),
    "the momentum of norms": lambda: e.SetNormMomentum(share=0.5),
    "the warm-up": lambda: e.SetWarmup(steps=lambda: 1, factor=lambda step, steps: 1.0),
    "the mixing of a batch": lambda: e.MapBatch(phase=e.BatchPhase.MIX, apply=lambda batch, key: batch),
    "part 'stem'": lambda: e.SetPart(part=e.Part.STEM, build=lambda *args: nn.Identity()),
}


@pytest.mark.parametrize("slot", EXCLUSIVE)
def test_two_claims_on_an_exclusive_slot_are_a_conflict(slot):
    one, other = ([EXCLUSIVE[slot]()] for _ in range(2))
    same = " to the same thing" if one == other else ""
    way_out = "run them in separate arms, or drop one with ~tricks.a or ~tricks.b"
    with pytest.raises(ConflictError, match=f"^tricks 'a' and 'b' both set {slot}{same}: {way_out}$"):
        recipe_of(b=other, a=one)


def test_a_conflict_says_when_both_tricks_set_the_same_thing():
    with pytest.raises(ConflictError, match="both set the loss to the same thing: run them"):
        recipe_of(a=[PARABOLA], b=[PARABOLA])


def test_two_parts_are_two_slots():
    stem, shortcut = (e.SetPart(part=part, build=nn.Identity) for part in (e.Part.STEM, e.Part.SHORTCUT))
    owners = {part: trick for part, ((trick, _),) in recipe_of(a=[stem], b=[shortcut]).parts.items()}
    assert owners == {e.Part.STEM: "a", e.Part.SHORTCUT: "b"}


EPOCH = 5004  # steps in an epoch of ImageNet at 256 images


@pytest.mark.parametrize(
    ("epoch", "expected"),
    [(4, 0.1), (29, 0.1), (30, 0.01), (59, 0.01), (60, 0.001), (89, 0.001), (90, 1e-4), (119, 1e-4)],
)
@pytest.mark.parametrize("names", [[], ["warmup"]], ids=["plain", "warmup"])
def test_the_baseline_decays_tenfold_at_epochs_30_60_and_90(names, epoch, expected):
    schedule = compose(create_all(names), make_task(steps_per_epoch=EPOCH, total_steps=120 * EPOCH)).schedule
    last_step_of_the_epoch = (epoch + 1) * EPOCH - 1
    assert 0.1 * schedule(last_step_of_the_epoch) == pytest.approx(expected)


@pytest.mark.parametrize("epoch", [30, 60, 90])
def test_the_baseline_decays_at_the_first_step_of_the_epoch(epoch):
    schedule = compose({}, make_task(steps_per_epoch=EPOCH, total_steps=120 * EPOCH)).schedule
    assert schedule(epoch * EPOCH) == pytest.approx(schedule(epoch * EPOCH - 1) / 10)


@pytest.mark.parametrize(
    ("origin", "expected"), [(e.Origin.RUN_START, [0.2, 0.3, 0.9]), (e.Origin.WARMUP_END, [0.0, 0.125, 0.875])]
)
def test_a_decay_counts_its_progress_from_its_origin(origin, expected):
    schedule = recipe_of(
        decay=[e.SetDecay(decay=lambda step, steps: step / steps, origin=origin)],
        warmup=[e.SetWarmup(steps=lambda: 2, factor=lambda step, steps: 7.0)],
    ).schedule
    assert [schedule(step) for step in (0, 1, 2, 3, 9)] == pytest.approx([7.0, 7.0, *expected])


def test_the_schedule_multiplies_the_peak_rate_of_each_group():
    halved = [e.SetDecay(decay=lambda step, steps: 0.5, origin=e.Origin.RUN_START)]
    thrice = [e.ScaleParams(select=lambda m, n: True, lr=3.0)]
    trainer = number_trainer(halved=halved, thrice=thrice)
    weights(trainer, 2)
    assert [group["lr"] for group in trainer.optimizer.param_groups] == pytest.approx([0.15])
