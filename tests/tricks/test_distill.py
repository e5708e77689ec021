import math

import pytest
import torch
import torch.nn.functional as F

from bagoftricks.errors import UserError
from bagoftricks.recipe.compose import compose
from bagoftricks.recipe.edits import AddLossTerm, Batch, SetTeacher
from bagoftricks.tricks.catalogue import create
from tests.helpers import (
    CLASSES,
    KEY,
    Fake,
    create_all,
    make_batch,
    make_task,
    make_trainer,
    run,
    teacher,
    with_teacher,
)

IDENTITIES = [{"soft_weight": 0.0}]
ROWS = 6


def normal(*shape, part=0, dtype=torch.float32):
    return torch.randn(*shape, generator=KEY.fold("logits", part).generator(), dtype=dtype)


def edits(kind, **params):
    return [edit for edit in create("distill", **params).edits(make_task()) if isinstance(edit, kind)]


def term(**params):
    """Return the soft term as a function of the student's logits and the teacher's probabilities."""
    (edit,) = edits(AddLossTerm, **params)

    def soft(logits, probabilities):
        batch = Batch(torch.zeros(len(probabilities), 3, 1, 1), probabilities, probabilities)
        return edit.term(logits, batch)

    return soft


def objective(tricks, batch):
    """Return the loss of the composed recipe for a network whose logits are the first columns of the pixels."""
    trainer = make_trainer(tricks)
    trainer.forward = lambda images: images.flatten(1)[:, :CLASSES]
    return trainer.objective(batch)


def test_a_uniform_student_of_a_uniform_teacher_has_the_loss_t_squared_log_k():
    uniform = torch.full((4, 1000), 1e-3)
    assert term()(torch.zeros(4, 1000), uniform).item() == pytest.approx(2763.10, abs=0.005)
    assert 400 * math.log(1000) == pytest.approx(2763.10, abs=0.005)


def test_at_a_temperature_of_one_the_two_terms_are_twice_the_loss_on_averaged_targets():
    made = make_batch()
    batch, averaged = with_teacher(made), (made.targets + with_teacher(made).teacher) / 2
    loss = objective({"distill": create("distill", temperature=1.0)}, batch)
    logits = batch.images.flatten(1)[:, :CLASSES]
    assert loss.item() == pytest.approx(2 * F.cross_entropy(logits, averaged).item(), abs=1e-6)


@pytest.mark.parametrize("temperature", [1.0, 2.0, 20.0])
def test_a_student_that_says_what_its_teacher_says_gets_no_gradient(temperature):
    z = normal(ROWS, 10, dtype=torch.float32).requires_grad_()
    term(temperature=temperature)(z, (z.detach() / temperature).softmax(1)).backward()
    assert z.grad.abs().max() < 1e-6


def test_at_a_high_temperature_the_gradient_matches_centred_logits():
    (z, r), t = (normal(1, 1000, part=part) for part in (1, 2)), 200.0
    z.requires_grad_()
    term(temperature=t)(z, (r / t).softmax(1)).backward()
    limit = (z.detach() - z.detach().mean() - r + r.mean()) / 1000
    assert ((z.grad - limit).norm() / limit.norm()).item() < 0.004


@pytest.mark.parametrize(("temperature", "hard", "soft"), [(20.0, 1.0, 1.0), (20.0, 0.5, 0.5), (3.0, 0.25, 2.0)])
def test_the_loss_is_the_weighted_sum_of_both_terms(temperature, hard, soft):
    batch = with_teacher(make_batch())
    chosen = create("distill", temperature=temperature, hard_weight=hard, soft_weight=soft)
    logits = batch.images.flatten(1)[:, :CLASSES]
    divergence = F.kl_div((logits / temperature).log_softmax(1), batch.teacher, reduction="batchmean")
    entropy = -(batch.teacher * batch.teacher.log()).sum(1).mean()
    expected = hard * F.cross_entropy(logits, batch.targets) + soft * temperature**2 * (divergence + entropy)
    assert objective({"distill": chosen}, batch).item() == pytest.approx(expected.item(), rel=1e-5)


def test_label_smoothing_touches_the_hard_term_alone():
    batch = with_teacher(make_batch())
    logits = batch.images.flatten(1)[:, :CLASSES]
    smooth = batch.targets * 0.9 + 0.1 / CLASSES
    expected = F.cross_entropy(logits, smooth) + term()(logits, batch.teacher)
    found = objective(create_all(["distill", "label_smoothing"]), batch)
    assert found.item() == pytest.approx(expected.item(), rel=1e-6)


def test_the_soft_term_is_in_fp32_whatever_the_logits():
    uniform = torch.full((2, 1000), 1e-3)
    loss = term(temperature=200.0)(torch.zeros(2, 1000, dtype=torch.float16), uniform)
    assert loss.item() == pytest.approx(40_000 * math.log(1000), rel=1e-5)  # above the largest fp16


def test_of_several_views_the_first_one_is_compared():
    views, said = normal(2 * ROWS, CLASSES), normal(ROWS, CLASSES, part=1).softmax(1)
    assert torch.equal(term()(views, said), term()(views[:ROWS], said))


def spied(tricks, batch):
    seen = []
    spy = AddLossTerm(term=lambda logits, batch: (seen.append(batch), logits.new_zeros(()))[1])
    make_trainer({**tricks, "spy": Fake([spy])}).step(batch)
    return seen[0]


@pytest.mark.parametrize("mixer", ["mixup", "cutmix"])
def test_an_online_teacher_sees_the_mixed_images(mixer):
    seen = spied(create_all(["distill", mixer]), make_batch())
    assert not torch.equal(seen.images, make_batch().images)
    torch.testing.assert_close(seen.teacher, (teacher(seen.images) / 20).softmax(1))


@pytest.mark.parametrize("mixer", ["mixup", "cutmix"])
def test_what_an_offline_teacher_said_is_mixed_as_the_targets_are(mixer):
    batch = make_batch()
    said = Batch(batch.images, batch.targets, batch.targets)  # a teacher that knows the labels
    seen = spied({"distill": create("distill", mode="offline"), **create_all([mixer])}, said)
    assert not torch.equal(seen.targets, batch.targets)
    torch.testing.assert_close(seen.teacher, seen.targets)
    torch.testing.assert_close(seen.teacher.sum(1), torch.ones(len(seen)))


def test_the_modes_ask_for_their_teacher():
    assert edits(SetTeacher, teacher="run:abc") == [SetTeacher(source="run:abc", temperature=20.0, online=True)]
    (offline,) = edits(SetTeacher, mode="offline", temperature=1.0)
    assert (offline.online, offline.temperature) == (False, 1.0)


def test_the_modes_train_differently_beside_mixup():
    runs = [
        run({"distill": create("distill", mode=mode), **create_all(["mixup"])}, 2) for mode in ("online", "offline")
    ]
    assert not torch.equal(*runs)


def test_the_paper_weighs_both_terms_with_one():
    recipe = compose(create_all(["distill"]), make_task())
    assert (recipe.loss_weight, create("distill").soft_weight) == (1.0, 1.0)


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [("temperature", 0.0, "positive"), ("hard_weight", -0.1, "0 or more"), ("soft_weight", -1.0, "0 or more")],
)
def test_a_number_out_of_range_is_refused(field, value, expected):
    with pytest.raises(UserError, match=rf"^tricks\.distill\.{field}={value}: must be {expected}$"):
        create("distill", **{field: value})
