import pytest
import torch

from bagoftricks.errors import UserError
from bagoftricks.tricks.catalogue import create
from tests.helpers import create_all, flat, make_batch, make_task, make_trainer, the_edit


def weights_after(trainer, steps):
    seen = []
    for step in range(steps):
        trainer.step(make_batch(step=step))
        seen.append(flat(trainer.model))
    return seen


@pytest.mark.parametrize(("steps", "samples"), [(4, [1, 3]), (6, [1, 3, 5]), (9, [3, 5, 7]), (10, [5, 7, 9])])
def test_it_is_the_mean_of_the_latest_samples(steps, samples):
    trainer = make_trainer({"lawa": create("lawa", samples=3, every="2 steps")})
    seen = weights_after(trainer, steps)
    torch.testing.assert_close(flat(trainer.weight_sets()["lawa"]), torch.stack([seen[i] for i in samples]).mean(0))


def test_before_the_end_of_the_first_epoch_there_is_none():
    trainer = make_trainer(create_all(["lawa"]))
    weights_after(trainer, 4)
    assert list(trainer.weight_sets()) == ["last"]
    trainer.step(make_batch(step=4))
    assert torch.equal(flat(trainer.weight_sets()["lawa"]), flat(trainer.model))


def test_a_window_as_long_as_the_run_is_the_mean_of_all_samples_as_in_swa():
    trainer = make_trainer(
        {"lawa": create("lawa", samples=50, every="1 steps"), "swa": create("swa", start="1 steps", every="1 steps")}
    )
    weights_after(trainer, 8)
    sets = trainer.weight_sets()
    torch.testing.assert_close(flat(sets["lawa"]), flat(sets["swa"]))


def test_the_network_trains_as_without_it():
    plain, trainer = make_trainer({}), make_trainer({"lawa": create("lawa", samples=2, every="1 steps")})
    assert all(map(torch.equal, weights_after(plain, 4), weights_after(trainer, 4)))


def test_a_sample_is_taken_after_each_epoch():
    edit = the_edit("lawa", make_task(steps_per_epoch=7, total_steps=70))
    assert (edit.times(), edit.window, edit.refresh_norms) == ((7, 7), 6, True)
    assert [edit.weight(n) for n in (1, 5, 6, 60)] == pytest.approx([1 / 2, 1 / 6, 1 / 6, 1 / 6])


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"samples": 1}, r"samples=1: must be in 2\.\.1000"),
        ({"every": "now"}, "every=now: must be as '5 epochs', '500 steps' or '10%'"),
    ],
)
def test_values_out_of_range_are_refused(params, message):
    with pytest.raises(UserError, match=rf"^tricks\.lawa\.{message}$"):
        the_edit("lawa", **params)
