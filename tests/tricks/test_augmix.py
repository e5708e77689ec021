import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.stats import kstest

from bagoftricks.errors import UserError
from bagoftricks.image_ops import DO_NOTHING, Do, Op, perform
from bagoftricks.recipe.compose import compose
from bagoftricks.recipe.edits import AddLossTerm, Batch, MapImages
from bagoftricks.training.trainer import Trainer
from bagoftricks.tricks.catalogue import create
from bagoftricks.tricks.regularize.augmix import CORRUPTING, OPS, shares
from tests.helpers import CLASSES, KEY, Fake, make_batch, make_task, make_trainer, photographs

CONFLICTS = ["autoaugment", "mixup", "randaugment", "trivialaugment"]


def edits(**params):
    made = create("augmix", **params).edits(make_task())
    return next(e for e in made if isinstance(e, MapImages)), next(
        (e for e in made if isinstance(e, AddLossTerm)), None
    )


def divergence(logits, rows, weight=1.0):
    return edits(jsd_weight=weight)[1].term(logits, Batch(torch.zeros(3 * rows, 3, 1, 1), torch.zeros(rows, 4)))


def draws(policy, count):
    return torch.from_numpy(KEY.fold("augmix").uniform(np.arange(count), policy.draws)).float()


def row_of(weight, chains):
    """Return the draws of one mixture: weight, equal shares, and chains as lists of (operation, level draw, sign)."""
    row = [weight, *[0.5] * len(chains)]
    for chain in chains:
        steps = [((OPS.index(op) + 0.5) / len(OPS), level, sign) for op, level, sign in chain]
        steps += [(0.0, 0.0, 0.0)] * (3 - len(chain))
        row += [(len(chain) - 0.5) / 3, *[number for step in steps for number in step]]
    return row


def test_the_views_are_the_clean_images_then_a_mixture_of_each_then_another():
    policy, images = edits()[0], photographs(8, 32)
    clean, first, second = policy.apply(images, draws(policy, 8)).chunk(3)
    assert torch.equal(clean, images)
    mixture = create("augmix").mixture
    half = policy.draws // 2
    assert torch.equal(first, mixture(images, draws(policy, 8)[:, :half]))
    assert torch.equal(second, mixture(images, draws(policy, 8)[:, half:]))
    assert not torch.equal(first, second)


def test_a_weight_of_zero_gives_the_clean_image():
    policy, images = edits()[0], photographs(8, 32)
    numbers = draws(policy, 8)
    numbers[:, [0, policy.draws // 2]] = 0
    for view in policy.apply(images, numbers).chunk(3):
        assert torch.equal(view, images)


@pytest.mark.parametrize("weight", [0.25, 0.5, 0.999])
def test_a_mixture_is_the_weighted_sum_of_the_image_and_its_chains_rounded(weight):
    images = photographs(1, 33)
    chains = [
        [(Op.EQUALIZE, 0.0, 0.0)],
        [(Op.ROTATE, 0.9, 0.8), (Op.SOLARIZE, 0.9, 0.8)],
        [(Op.TRANSLATE_X, 0.9, 0.2), (Op.SHEAR_Y, 0.5, 0.8), (Op.POSTERIZE, 0.99, 0.0)],
    ]
    done = [  # level 0.1 + 2.9 u of 10; a translation is of 11 pixels at level 10
        [Do(Op.EQUALIZE)],
        [Do(Op.ROTATE, 8), Do(Op.SOLARIZE, 256 - 69)],
        [Do(Op.TRANSLATE_X, -2), Do(Op.SHEAR_Y, 0.3 * 0.155), Do(Op.POSTERIZE, 3)],
    ]
    expected = torch.zeros(images.shape, dtype=torch.float64)
    for chain in done:
        made = images
        for do in chain:
            made = perform(made, [do], fill=0, bilinear=True)
        expected += made.double() / 3
    expected = (1 - weight) * images.double() + weight * expected
    mixed = create("augmix").mixture(images, torch.tensor([row_of(weight, chains)]))
    assert (mixed - expected).abs().max() <= 0.5 + 1e-3


def test_the_weights_of_the_chains_are_uniform_on_the_simplex():
    drawn = KEY.fold("shares").uniform(np.arange(5000), 3)
    weights = np.array([shares(row) for row in drawn.tolist()])
    assert weights.min() > 0
    assert weights.sum(1) == pytest.approx(1)
    for weight in weights.T:
        assert kstest(weight, "beta", args=(1, 2)).pvalue > 0.01  # the margin of Dirichlet(1, 1, 1)
    assert np.corrcoef(weights.T)[0, 1] == pytest.approx(-0.5, abs=0.03)


@pytest.mark.parametrize("extreme", [0.0, 1 - 2.0**-24])
def test_extreme_draws_still_make_weights(extreme):
    assert shares([extreme] * 3) == pytest.approx([1 / 3] * 3)


def test_a_chain_has_one_to_three_operations_equally_often():
    trick = create("augmix")
    rows = KEY.fold("chains").uniform(np.arange(1500), trick.draws).tolist()
    lengths = [sum(do is not DO_NOTHING for do in trick.chain(row, 1, trick.ranges(32, 32))) for row in rows]
    assert np.bincount(lengths)[1:] / 1500 == pytest.approx([1 / 3] * 3, abs=0.03)


@pytest.mark.parametrize(("all_ops", "count"), [(False, 9), (True, 13)])
def test_the_operations_leave_out_those_of_imagenet_c_unless_asked(all_ops, count):
    trick = create("augmix", all_ops=all_ops)
    rows = KEY.fold("ops").uniform(np.arange(500), trick.draws).tolist()
    found = {do.op for row in rows for i in range(3) for do in trick.chain(row, i, trick.ranges(32, 32))}
    assert len(found - {Op.IDENTITY}) == count
    assert bool(found & set(CORRUPTING)) == all_ops


@pytest.mark.parametrize(("severity", "degrees", "bits"), [(3.0, 8, 3), (1.0, 2, 4), (10.0, 29, 1)])
def test_the_severity_bounds_the_amounts(severity, degrees, bits):
    trick = create("augmix", severity=severity)
    rows = KEY.fold("severity").uniform(np.arange(600), trick.draws).tolist()
    todo = [do for row in rows for i in range(3) for do in trick.chain(row, i, trick.ranges(32, 32))]
    angles = [do.amount for do in todo if do.op is Op.ROTATE]
    assert (min(angles), max(angles)) == (-degrees, degrees)
    assert min(do.amount for do in todo if do.op is Op.POSTERIZE) == bits


def test_the_divergence_of_three_certain_and_different_predictions_is_ln_3():
    logits = 1000 * torch.eye(4)[:3]
    assert divergence(logits, rows=1).item() == pytest.approx(math.log(3), abs=1e-5)
    assert divergence(logits, rows=1, weight=12.0).item() == pytest.approx(12 * math.log(3), abs=1e-4)


def test_the_divergence_is_at_most_ln_3():
    logits = 20 * torch.randn(300, 4, generator=KEY.generator())
    assert 0 < divergence(logits, rows=100) <= math.log(3)


def test_equal_predictions_have_no_divergence():
    logits = torch.randn(5, 4, generator=KEY.generator()).repeat(3, 1)
    assert divergence(logits, rows=5).item() == pytest.approx(0, abs=1e-6)


def test_the_divergence_compares_the_views_of_one_image():
    logits = torch.randn(5, 4, generator=KEY.generator()).repeat_interleave(3, 0)
    assert divergence(logits, rows=5) > 0.05


def test_the_divergence_is_that_of_the_references_formula():
    logits = torch.randn(12, 4, generator=KEY.generator())
    p = logits.softmax(1).chunk(3)
    log_mean = (sum(p) / 3).clamp(1e-7, 1).log()
    expected = sum(F.kl_div(log_mean, view, reduction="batchmean") for view in p) / 3
    torch.testing.assert_close(divergence(logits, rows=4), expected)


def test_the_gradient_of_certain_predictions_is_finite():
    logits = (1000 * torch.eye(4)[:3]).requires_grad_()
    divergence(logits, rows=1).backward()
    assert logits.grad.isfinite().all()


def test_with_equal_views_the_loss_is_the_cross_entropy_of_the_clean_images():
    batch = make_batch(views=1)
    three = Batch(batch.images.repeat(3, 1, 1, 1), batch.targets)
    trainer = make_trainer({"augmix": create("augmix")})
    trainer.model.eval()
    expected = F.cross_entropy(trainer.model(batch.images), batch.targets)
    torch.testing.assert_close(trainer.objective(three), expected)


def test_the_loss_is_the_cross_entropy_of_the_first_view_and_the_weighted_divergence():
    batch = make_batch(views=3)
    trainer = make_trainer({"augmix": create("augmix", jsd_weight=2.0)})
    logits = trainer.model(batch.images)
    rows = len(batch)
    p = logits.softmax(1).view(3, rows, CLASSES)
    entropy = torch.special.entr
    jsd = (entropy(p.mean(0)).sum(1) - entropy(p).sum(2).mean(0)).mean()
    torch.testing.assert_close(trainer.objective(batch), F.cross_entropy(logits[:rows], batch.targets) + 2 * jsd)


def test_the_network_sees_all_views_at_once():
    seen = []
    trainer: Trainer = make_trainer({"augmix": create("augmix"), "spy": Fake([])})
    trainer.model.register_forward_pre_hook(lambda module, args: seen.append(len(args[0])))
    trainer.step(make_batch(views=3))
    assert seen == [3 * len(make_batch())]


def test_without_the_divergence_it_trains_on_one_mixture_and_may_be_mixed():
    policy, term = edits(jsd_weight=0.0)
    images = photographs(4, 32)
    assert term is None
    assert policy.apply(images, draws(policy, 4)).shape == images.shape
    compose({"augmix": create("augmix", jsd_weight=0.0), "mixup": create("mixup")}, make_task())


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"severity": 0.0}, r"severity=0\.0: must be in \[0\.1, 10\]"),
        ({"chains": 0}, r"chains=0: must be in 1..100"),
        ({"depth": 0}, r"depth=0: must be in 1..100"),
        ({"jsd_weight": -1.0}, r"jsd_weight=-1\.0: must be at least 0"),
    ],
)
def test_what_is_out_of_range_is_refused(params, message):
    with pytest.raises(UserError, match=rf"^tricks\.augmix\.{message}$"):
        create("augmix", **params)
