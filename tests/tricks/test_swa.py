import pytest
import torch
from torch import nn
from torch.optim.swa_utils import update_bn

from bagoftricks.errors import UserError
from bagoftricks.run.execute import execute
from bagoftricks.settings import Settings, network_settings
from bagoftricks.training.averages import measure_norms
from bagoftricks.tricks.catalogue import card, create
from tests.helpers import batches, create_all, flat, make_batch, make_task, make_trainer, the_edit
from tests.run.test_execute import Quiet

EPOCH = 100


@pytest.mark.parametrize(
    ("epochs", "params", "first", "every", "samples"),
    [
        (120, {}, 90, 1, 31),
        (300, {"start": "161 epochs"}, 161, 1, 140),
        (10, {"start": "75%", "every": "1 epochs"}, 8, 1, 3),
        (10, {"start": "50%", "every": "20%"}, 6, 2, 3),
        (2, {}, 2, 1, 1),
    ],
)
def test_when_it_samples(epochs, params, first, every, samples):
    edit = the_edit("swa", make_task(steps_per_epoch=EPOCH, total_steps=epochs * EPOCH), **params)
    assert edit.times() == (first * EPOCH, every * EPOCH)
    assert (epochs - first) // every + 1 == samples
    assert edit.refresh_norms


def test_it_is_the_plain_mean_of_the_sampled_weights():
    trainer = make_trainer({"swa": create("swa", start="2 steps", every="2 steps")})
    seen = []
    for step in range(10):
        trainer.step(make_batch(step=step))
        seen.append(flat(trainer.model))
    torch.testing.assert_close(flat(trainer.weight_sets()["swa"]), torch.stack(seen[1::2]).mean(0))


def test_there_is_no_copy_before_the_first_sample():
    trainer = make_trainer({"swa": create("swa", start="50%", every="1 steps")})
    for step in range(4):
        trainer.step(make_batch(step=step))
    assert list(trainer.weight_sets()) == ["last"]
    trainer.refresh_norms(pytest.fail("a batch was read") for _ in range(1))
    trainer.step(make_batch(step=4))
    assert torch.equal(flat(trainer.weight_sets()["swa"]), flat(trainer.model))


def test_a_run_whose_copies_average_their_statistics_reads_no_batch():
    trainer = make_trainer(create_all(["ema"]))
    trainer.refresh_norms(pytest.fail("a batch was read") for _ in range(1))


@pytest.mark.parametrize("training", [True, False])
def test_the_statistics_are_those_of_pytorchs_update_bn(training):
    trainer = make_trainer({"swa": create("swa", start="1 steps", every="1 steps")})
    for step in range(3):
        trainer.step(make_batch(step=step))
    copy = trainer.weight_sets()["swa"]
    copy.train(training)
    images = [batch.images for batch in batches(4)]
    trainer.refresh_norms(batches(4))
    ours = {name: value.clone() for name, value in copy.state_dict().items()}
    assert all(module.training is training for module in copy.modules())
    momenta = [module.momentum for module in copy.modules() if hasattr(module, "momentum")]
    assert set(momenta) == {0.1}
    for buffer in copy.buffers():
        buffer.fill_(7)
    update_bn(images, copy)
    for name, value in copy.state_dict().items():
        assert torch.equal(ours[name], value), name


def test_the_statistics_of_two_copies_are_measured_on_the_same_batches():
    names = {name: create("swa", start="1 steps", every="1 steps") for name in ("one", "two")}
    trainer = make_trainer(names)
    trainer.step(make_batch())
    trainer.refresh_norms(batches(3))
    one, two = (trainer.weight_sets()[name].state_dict() for name in names)
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert any(name.endswith("num_batches_tracked") and value == 3 for name, value in one.items())


class Halves(nn.BatchNorm2d):
    """A norm of groups: each half of the batch by its own statistics, their mean kept at its own momentum."""

    def forward(self, x):
        if not self.training:
            return super().forward(x)
        means = [half.mean((0, 2, 3)) for half in x.chunk(2)]
        self.running_mean.lerp_(sum(means) / 2, self.momentum)
        return torch.cat([half - mean[:, None, None] for half, mean in zip(x.chunk(2), means, strict=True)])


def test_norms_of_groups_are_measured_too():
    norm, images = Halves(3), [batch.images for batch in batches(3)]
    measure_norms([norm], images)
    torch.testing.assert_close(norm.running_mean, torch.stack([i.mean((0, 2, 3)) for i in images]).mean(0))
    assert norm.momentum == 0.1


def test_nothing_is_dropped_while_statistics_are_measured():
    norm = nn.BatchNorm2d(3)
    model, image = nn.Sequential(nn.Dropout(0.9), norm), make_batch().images
    measure_norms([model], [image])
    torch.testing.assert_close(norm.running_mean, image.mean((0, 2, 3)))


def test_measuring_draws_nothing_and_leaves_the_trained_network_alone():
    def after(refresh):
        trainer = make_trainer({"swa": create("swa", start="1 steps", every="1 steps")})
        for step in range(4):
            trainer.step(make_batch(step=step))
            if refresh:
                trainer.refresh_norms(batches(2))
                assert trainer.model.training
        return trainer.model.state_dict()

    plain, refreshed = after(False), after(True)
    assert all(torch.equal(plain[name], refreshed[name]) for name in plain)


def test_a_run_evaluates_the_copy_and_evaluations_in_between_change_nothing(tmp_path):
    def record(name, eval_every):
        asked = Settings(
            tricks={"swa": {"start": "30%", "every": "1 epochs"}}, model=network_settings(depths=[1, 1], width=4),
            epochs=3, batch_size=256, lr=0.05, store=str(tmp_path / name),
        )  # fmt: skip
        asked.data.image_size, asked.data.pad = 8, 1
        asked.runtime.device, asked.runtime.eval_every = "cpu", eval_every
        return execute(asked, Quiet(), "")

    often, once = record("often", 1), record("once", 3)
    assert often.metrics == once.metrics
    assert often.metrics["swa"].loss != often.metrics["last"].loss


def test_beside_another_average_it_warns():
    assert set(card("swa").warns) == {"ema"}


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [("start", "late", "as '5 epochs', '500 steps' or '10%'"), ("every", "0 steps", "longer than 0")],
)
def test_values_that_are_no_lengths_are_refused(field, value, expected):
    with pytest.raises(UserError, match=rf"^tricks\.swa\.{field}={value}: must be {expected}$"):
        the_edit("swa", **{field: value})
