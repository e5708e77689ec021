import pytest
import torch
import torch.nn.functional as F

from bagoftricks.errors import UserError
from bagoftricks.recipe.compose import compose
from bagoftricks.recipe.edits import Batch
from bagoftricks.tricks.catalogue import create
from tests.helpers import KEY, make_task, the_edit

FORMS = ["batch", "second_batch", "halves"]
IDENTITIES = [{"unmixed_end": "100%"}, {"unmixed_end": "100%", "partner": "halves"}]


def numbered(rows: int) -> Batch:
    """Image i is filled with the value i and labelled i, so targets @ (0, 1, ...) must be the mean pixel."""
    return Batch(torch.arange(float(rows)).view(rows, 1, 1, 1).expand(rows, 3, 4, 4), torch.eye(rows))


@pytest.mark.parametrize("weight", [0.25, torch.tensor([0.25, 0.25])], ids=["batch", "rows"])
def test_the_weight_is_the_share_of_the_batch_that_is_blended(weight):
    ones, zeros = (Batch(torch.full((2, 3, 2, 2), v), torch.full((2, 2), v)) for v in (1.0, 0.0))
    blended = ones.blend(zeros, weight)
    assert (blended.images == 0.25).all()
    assert (blended.targets == 0.25).all()


@pytest.mark.parametrize("partner", FORMS)
@pytest.mark.parametrize("draw", range(10))
def test_mixed_targets_describe_the_mixed_pixels(partner, draw):
    mixed = the_edit("mixup", alpha=1.0, partner=partner).apply(numbered(6), KEY.fold(draw))
    torch.testing.assert_close(mixed.images.mean((1, 2, 3)), mixed.targets @ torch.arange(6.0))


@pytest.mark.parametrize("partner", FORMS)
def test_mixed_targets_are_distributions(partner):
    mixed = the_edit("mixup", alpha=1.0, partner=partner).apply(numbered(6), KEY)
    assert mixed.targets.min() >= 0
    torch.testing.assert_close(mixed.targets.sum(1), torch.ones(len(mixed)))


def test_within_a_batch_each_image_is_a_partner_once_with_the_same_weight():
    mixed = the_edit("mixup", alpha=1.0).apply(numbered(64), KEY).targets
    moved = mixed[mixed.diag() < 1]
    assert moved.max(1).values.unique().numel() == moved[moved > 0].unique().numel() - 1 == 1
    torch.testing.assert_close(mixed.sum(0), torch.ones(64))


def test_within_a_batch_the_partners_are_not_the_reversed_batch():
    mixed = the_edit("mixup", alpha=1.0).apply(numbered(64), KEY).targets
    partners = (mixed - torch.diag(mixed.diag())).argmax(1)
    assert not torch.equal(partners, torch.arange(64).flip(0))


def test_another_key_gives_other_partners_and_another_weight():
    apply = the_edit("mixup", alpha=1.0).apply
    first, second = (apply(numbered(64), KEY.fold(step)).targets for step in range(2))
    assert not torch.equal(first > 0, second > 0)
    assert first.diag().min() != second.diag().min()


def test_the_same_key_gives_the_same_batch():
    apply = the_edit("mixup").apply
    assert torch.equal(apply(numbered(8), KEY).images, apply(numbered(8), KEY).images)


def test_pairs_halve_the_batch_and_mix_row_k_with_row_b_plus_k_alone():
    mixed = the_edit("mixup", alpha=1.0, partner="second_batch").apply(numbered(12), KEY).targets
    own = torch.eye(12)[:6] + torch.eye(12)[6:]
    assert torch.equal(mixed > 0, own > 0)


def test_every_pair_has_its_own_weight():
    mixed = the_edit("mixup", alpha=1.0, partner="second_batch").apply(numbered(12), KEY)
    assert mixed.targets[:, :6].diag().unique().numel() == 6


def test_halves_keep_the_batch_and_mix_its_first_half_with_the_second_both_ways():
    mixed = the_edit("mixup", alpha=1.0, partner="halves").apply(numbered(12), KEY).targets
    own, other = torch.eye(12)[:6], torch.eye(12)[6:]
    assert torch.equal(mixed > 0, torch.cat([own + other, own + other.flip(0)]) > 0)
    assert mixed[:, :6].amax(1).unique().numel() == 12  # each with a weight of its own


def test_in_halves_a_sample_of_the_first_half_is_in_two_rows_alone():
    apply, batch, k = the_edit("mixup", partner="halves").apply, numbered(12), 2
    changed = Batch(batch.images.clone(), batch.targets)
    changed.images[k] += 100
    before, after = (apply(b, KEY).images.mean((1, 2, 3)) for b in (batch, changed))
    assert (before != after).nonzero().flatten().tolist() == [k, k + 6]


@pytest.mark.parametrize("partner", FORMS)
def test_what_a_teacher_said_is_mixed_as_the_targets_are(partner):
    batch = numbered(12)
    mixed = the_edit("mixup", alpha=1.0, partner=partner).apply(Batch(batch.images, batch.targets, batch.targets), KEY)
    assert torch.equal(mixed.teacher, mixed.targets)
    torch.testing.assert_close(mixed.teacher.sum(1), torch.ones(len(mixed)))


@pytest.mark.parametrize("weight", [1.0, torch.ones(6)], ids=["batch", "rows"])
def test_a_weight_of_one_gives_back_the_teachers_rows(weight):
    rows = torch.rand(6, 4, generator=KEY.generator()).softmax(1)
    batch = Batch(torch.zeros(6, 3, 1, 1), torch.eye(6, 4), rows)
    assert torch.equal(batch.blend(batch[torch.arange(6).flip(0)], weight).teacher, rows)


@pytest.mark.parametrize(("partner", "rows"), [("batch", 6), ("second_batch", 12), ("halves", 6)])
def test_the_end_of_the_run_is_unmixed(partner, rows):
    task = make_task(steps_per_epoch=100, total_steps=1000)
    apply = the_edit("mixup", task, alpha=1.0, partner=partner, unmixed_end="2 epochs").apply
    last = numbered(rows)
    for step, mixes in [(0, True), (799, True), (800, False), (999, False)]:
        task.clock.progress.fill_(step / 1000)
        out = apply(last, KEY)
        assert len(out) == 6
        assert torch.equal(out.images, last.images[:6]) != mixes


def test_by_default_the_last_step_is_mixed():
    task = make_task(total_steps=1000)
    apply = the_edit("mixup", task, alpha=1.0).apply
    task.clock.progress.fill_(0.999)
    assert not torch.equal(apply(numbered(6), KEY).images, numbered(6).images)


def test_every_boundary_of_a_long_run_is_met_to_the_step():
    task = make_task(steps_per_epoch=1251, total_steps=600 * 1251)
    apply = the_edit("mixup", task, unmixed_end="20 epochs").apply
    for step in (580 * 1251 - 1, 580 * 1251):
        task.clock.progress.fill_(step / task.clock.length.total_steps)
        assert (apply(batch := numbered(6), KEY) is batch) == (step == 580 * 1251)


def test_halves_of_an_odd_batch_are_refused():
    message = r"^tricks\.mixup\.partner=halves: must be batch or second_batch, for batch_size=7 is odd$"
    with pytest.raises(UserError, match=message):
        the_edit("mixup", make_task(batch_size=7), partner="halves")


def test_a_length_that_is_none_is_refused():
    with pytest.raises(
        UserError, match=r"^tricks\.mixup\.unmixed_end=soon: must be as '5 epochs', '500 steps' or '10%'$"
    ):
        the_edit("mixup", unmixed_end="soon")


@pytest.mark.parametrize(("partner", "reads"), [("batch", 1), ("second_batch", 2), ("halves", 1)])
def test_only_the_pair_form_reads_two_batches_for_one(partner, reads):
    assert compose({"mixup": create("mixup", partner=partner)}, make_task()).reads == reads


@pytest.mark.parametrize(("alpha", "variance"), [(0.2, 0.17857), (1.0, 0.08333)])
def test_the_weights_of_pairs_have_the_moments_of_the_beta_distribution(alpha, variance):
    pairs = 40_000
    which = torch.cat([torch.tensor([[1.0, 0.0]]).expand(pairs, 2), torch.tensor([[0.0, 1.0]]).expand(pairs, 2)])
    batch = Batch(torch.zeros(2 * pairs, 3, 1, 1), which)
    weights = the_edit("mixup", alpha=alpha, partner="second_batch").apply(batch, KEY).targets[:, 0]
    assert weights.mean().item() == pytest.approx(0.5, abs=0.01)
    assert weights.var().item() == pytest.approx(variance, abs=0.002)


@pytest.mark.slow
def test_the_weights_of_batches_have_the_moments_of_the_beta_distribution():
    # The weight is what an image keeps of itself; a batch that the permutation left alone shows nothing.
    apply, batch = the_edit("mixup", alpha=0.2).apply, Batch(torch.zeros(8, 3, 1, 1), torch.eye(8))
    mixed = [apply(batch, KEY.fold(step)).targets for step in range(1500)]
    weights = torch.stack([targets.diag().min() for targets in mixed if targets.diag().min() < 1])
    assert weights.mean().item() == pytest.approx(0.5, abs=0.03)
    assert weights.var().item() == pytest.approx(0.17857, abs=0.01)
    assert torch.maximum(weights, 1 - weights).mean().item() == pytest.approx(0.8989, abs=0.02)


def test_cross_entropy_of_mixed_targets_is_the_mixture_of_cross_entropies():
    logits = torch.randn(4, 4, generator=KEY.generator())
    batch = Batch(torch.zeros(8, 3, 1, 1), torch.cat([torch.eye(4), torch.eye(4).flip(0)]))
    mixed = the_edit("mixup", alpha=1.0, partner="second_batch").apply(batch, KEY).targets
    first, second = (F.cross_entropy(logits, t, reduction="none") for t in (torch.eye(4), torch.eye(4).flip(0)))
    expected = mixed.diag() * first + (1 - mixed.diag()) * second
    torch.testing.assert_close(F.cross_entropy(logits, mixed, reduction="none"), expected)


def test_an_alpha_of_zero_is_refused():
    message = r"^tricks\.mixup\.alpha=0\.0: must be positive \(leave mixup out to mix nothing\)$"
    with pytest.raises(UserError, match=message):
        create("mixup", alpha=0.0)


@pytest.mark.usefixtures("unchecked")
def test_a_misspelt_partner_is_refused_with_a_suggestion():
    choices = "must be one of batch, second_batch, halves; did you mean 'second_batch'"
    with pytest.raises(UserError, match=rf"^tricks\.mixup\.partner=second_bach: {choices}\?$"):
        create("mixup", partner="second_bach")
