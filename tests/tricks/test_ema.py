import pytest
import torch
from torch import nn

from bagoftricks.errors import UserError
from bagoftricks.run.identity import run_id, run_identity
from bagoftricks.settings import Settings
from bagoftricks.training.averages import Average
from bagoftricks.tricks.catalogue import create
from tests.helpers import create_all, flat, make_batch, make_trainer, run, the_edit, trained


def weights_of_each_step(trainer, steps):
    found = [flat(trainer.model)]
    for step in range(steps):
        trainer.step(make_batch(step=step))
        found.append(flat(trainer.model))
    return found


@pytest.mark.parametrize(("decay", "every"), [(0.5, 1), (0.9, 2), (0.95099, 3)])
def test_the_closed_form(decay, every):
    trainer = make_trainer({"ema": create("ema", decay=decay, every=every)})
    theta = weights_of_each_step(trainer, 8)[::every]
    n = len(theta) - 1
    expected = decay**n * theta[0] + (1 - decay) * sum(decay ** (n - i) * theta[i] for i in range(1, n + 1))
    torch.testing.assert_close(flat(trainer.weight_sets()["ema"]), expected)


def test_pages_numbers_are_the_defaults():
    edit = the_edit("ema")
    assert edit.times() == (0, 5)
    assert 1 - edit.weight(1) == pytest.approx(0.99**5, abs=1e-5)
    assert edit.refresh_norms is False


def test_constant_weights_are_their_own_average():
    trainer = make_trainer({"ema": create("ema", every=1)}, lr=0.0, weight_decay=0.0)
    for step in range(5):
        trainer.step(make_batch(step=step))
    assert torch.equal(flat(trainer.weight_sets()["ema"]), flat(trainer.model))


def test_running_statistics_are_averaged_and_counts_are_copied():
    trainer = make_trainer({"ema": create("ema", decay=0.5, every=1)})
    for step in range(3):
        trainer.step(make_batch(step=step))
    norms = [[m for m in model.modules() if isinstance(m, nn.BatchNorm2d)] for model in trainer.weight_sets().values()]
    for last, average in zip(*norms, strict=True):
        assert average.num_batches_tracked == last.num_batches_tracked == 3
        assert not torch.equal(average.running_var, last.running_var)


def test_a_copy_of_whole_numbers_moves_with_the_network():
    model = nn.Linear(1, 1)
    model.register_buffer("count", torch.tensor(2))
    average = Average(model, the_edit("ema", every=1))
    model.count += 5
    average.update(1)
    assert average.model.count == 7


def test_the_optimiser_and_the_training_never_see_the_average():
    trainer = trained(create_all(["ema"]), 6)
    average = trainer.weight_sets()["ema"]
    trained_ones = {p.data_ptr() for group in trainer.optimizer.param_groups for p in group["params"]}
    assert not any(p.requires_grad or p.data_ptr() in trained_ones for p in average.parameters())
    assert torch.equal(flat(trainer.model), run({}, 6))


def test_a_warm_up_keeps_less_of_the_first_averages():
    weight = the_edit("ema", decay=0.5, warmup=True).weight
    assert [1 - weight(n) for n in (1, 2, 5, 8, 9)] == pytest.approx([2 / 11, 3 / 12, 6 / 15, 0.5, 0.5])


def test_with_a_warm_up_the_closed_form():
    trainer = make_trainer({"ema": create("ema", decay=0.3, every=1, warmup=True)})
    theta = weights_of_each_step(trainer, 4)
    expected = theta[0]
    for kept, weights in zip([2 / 11, 3 / 12, 0.3, 0.3], theta[1:], strict=True):
        expected = kept * expected + (1 - kept) * weights
    torch.testing.assert_close(flat(trainer.weight_sets()["ema"]), expected)


def test_a_run_without_a_warm_up_keeps_the_id_that_it_had_before_there_was_one():
    def named(**params):
        return run_identity(Settings(), {"ema": create("ema", **params)}, "digest", 10)

    assert named()["tricks"] == {"ema": {"decay": 0.95099, "every": 5}}
    assert run_id(named()) == run_id(named(warmup=False)) != run_id(named(warmup=True))
    assert named(warmup=True)["tricks"]["ema"]["warmup"] is True


@pytest.mark.parametrize(("field", "value", "expected"), [("decay", 1.0, r"in \[0, 1\)"), ("every", 0, "positive")])
def test_values_out_of_range_are_refused(field, value, expected):
    with pytest.raises(UserError, match=rf"^tricks\.ema\.{field}={value}: must be {expected}$"):
        create("ema", **{field: value})
