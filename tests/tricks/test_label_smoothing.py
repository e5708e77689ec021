import pytest
import torch
import torch.nn.functional as F

from bagoftricks.errors import UserError
from bagoftricks.recipe.edits import Batch
from bagoftricks.tricks.catalogue import create
from tests.helpers import KEY, make_task, the_edit

IDENTITIES = [{"epsilon": 0.0}, {"epsilon": 0.0, "form": "others"}]


def smooth(targets, **params):
    return the_edit("label_smoothing", make_task(num_classes=targets.shape[1]), **params).apply(targets)


@pytest.mark.parametrize(("form", "right", "wrong"), [("uniform", 0.92, 0.02), ("others", 0.9, 0.025)])
def test_a_tenth_over_five_classes(form, right, wrong):
    expected = torch.full((5, 5), wrong).fill_diagonal_(right)
    torch.testing.assert_close(smooth(torch.eye(5), epsilon=0.1, form=form), expected)


@pytest.mark.parametrize("form", ["uniform", "others"])
def test_a_mixed_target_stays_a_distribution(form):
    mixed = torch.tensor([[0.3, 0.7, 0.0, 0.0]])
    torch.testing.assert_close(smooth(mixed, form=form).sum(), torch.tensor(1.0))


@pytest.mark.parametrize(
    ("form", "classes", "floor"),
    [("uniform", 10, 0.50029), ("others", 10, 0.54481), ("uniform", 1000, 1.01485), ("others", 1000, 1.01576)],
)
def test_the_lowest_loss_is_the_entropy_of_the_target(form, classes, floor):
    target = smooth(torch.eye(classes)[:1], epsilon=0.1, form=form)
    assert F.cross_entropy(target.log(), target).item() == pytest.approx(floor, abs=1e-5)


def test_the_uniform_form_is_the_smoothing_of_pytorch():
    logits, labels = torch.randn(6, 7, generator=KEY.generator()), torch.arange(6)
    expected = F.cross_entropy(logits, labels, label_smoothing=0.1)
    torch.testing.assert_close(F.cross_entropy(logits, smooth(torch.eye(7)[labels], epsilon=0.1)), expected)


def test_the_two_forms_agree_when_the_uniform_share_is_larger_by_k_over_k_minus_one():
    torch.testing.assert_close(
        smooth(torch.eye(10), epsilon=1 / 9, form="uniform"), smooth(torch.eye(10), epsilon=0.1, form="others")
    )


@pytest.mark.parametrize("form", ["uniform", "others"])
@pytest.mark.parametrize("partner", ["batch", "second_batch"])
def test_smoothing_commutes_with_mixup(form, partner):
    mix, images = the_edit("mixup", alpha=1.0, partner=partner).apply, torch.zeros(8, 3, 2, 2)
    mixed_first = smooth(mix(Batch(images, torch.eye(8)), KEY).targets, form=form)
    smoothed_first = mix(Batch(images, smooth(torch.eye(8), form=form)), KEY).targets
    torch.testing.assert_close(mixed_first, smoothed_first)


def test_one_class_alone_keeps_all_its_mass():
    torch.testing.assert_close(smooth(torch.ones(1, 1), form="uniform"), torch.ones(1, 1))


@pytest.mark.parametrize("epsilon", [-0.1, 1.0])
def test_a_share_outside_its_range_is_refused(epsilon):
    with pytest.raises(UserError, match=rf"^tricks\.label_smoothing\.epsilon={epsilon}: must be in \[0, 1\)$"):
        create("label_smoothing", epsilon=epsilon)


@pytest.mark.usefixtures("unchecked")
def test_an_unknown_form_is_refused_with_a_suggestion():
    message = r"^tricks\.label_smoothing\.form=other: must be one of uniform, others; did you mean 'others'\?$"
    with pytest.raises(UserError, match=message):
        create("label_smoothing", form="other")
