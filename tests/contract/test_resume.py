"""A run that goes on from a checkpoint's file is bit for bit the run that was never stopped: for every trick."""

import pytest
import torch

from bagoftricks.store.checkpoint_file import read_checkpoint, write_checkpoint
from bagoftricks.training.state import TrainingState
from bagoftricks.tricks import FAMILY_OF
from bagoftricks.tricks.catalogue import create
from tests.contract.test_catalogue_contract import acts_late, compatible
from tests.helpers import advance, create_all, make_trainer

FULL = [  # what Assembled-CNN, Page and the tests of this file ask for, in sets that go together
    ["big_little", "sk", "anti_alias", "dropblock", "mixup", "label_smoothing", "distill", "ema", "mixed_precision"],
    [
        "resnet_d",
        "se",
        "ghost_norm",
        "cutmix",
        "sam",
        "micro_batch",
        "swa",
        "ema",
        "clip_gradients",
        "warmup",
        "cosine",
    ],
    ["muon", "ema", "swa", "mixed_precision", "stochastic_depth", "zero_gamma", "no_bias_decay", "dropout", "augmix"],
    ["adamw", "mixed_precision", "micro_batch", "sam", "ema", "patch_whitening", "celu", "mixup", "bias_scale"],
]


EARLY = {"swa": {"start": "2 steps", "every": "3 steps"}}  # within the steps that are taken here


def tricks_of(names):
    return {**create_all(names), **{name: create(name, **EARLY[name]) for name in names if name in EARLY}}


def whole(trainer):
    """Everything that the next steps and the evaluation depend on, as comparable values."""
    state = trainer.state()
    sets = {f"{name}/{k}": v for name, model in trainer.weight_sets().items() for k, v in model.state_dict().items()}
    return {**state.tensors, **sets}, state.values, [t.stride() for t in state.tensors.values()]


def assert_same(one, other):
    (tensors, values, strides), (others, other_values, other_strides) = whole(one), whole(other)
    assert values == other_values
    assert list(tensors) == list(others)
    assert strides == other_strides
    for name, tensor in tensors.items():
        assert tensor.dtype == others[name].dtype, name
        assert torch.equal(tensor, others[name]), name
    assert not [name for name, tensor in tensors.items() if not tensor.isfinite().all()]


def resumes_exactly(tricks, path, before, after):
    """Whether ``before`` steps, a file, a fresh trainer and ``after`` steps are as many steps on end."""
    straight = make_trainer(tricks)
    losses = advance(straight, before + after)
    first = make_trainer(tricks, network=straight.network)
    advance(first, before)
    write_checkpoint(path, first.state())
    advance(first, 1)  # the file does not follow
    second = make_trainer(tricks, network=straight.network)
    second.load(read_checkpoint(path))
    assert second.steps_done == before
    assert advance(second, after) == losses[before:]
    assert_same(second, straight)


@pytest.mark.parametrize("name", sorted(FAMILY_OF))
def test_a_trick_goes_on_from_a_file_bit_for_bit(name, tmp_path):
    late = acts_late(name)
    resumes_exactly(tricks_of([name]), tmp_path / "checkpoint", *((8, 2) if late else (2, 2)))


@pytest.mark.parametrize("names", [*FULL, None], ids=lambda names: "+".join(names or ["all that go together"]))
def test_full_stacks_go_on_from_a_file_bit_for_bit(names, tmp_path):
    resumes_exactly(tricks_of(names or compatible()), tmp_path / "checkpoint", 6, 2)


def test_a_run_goes_on_from_before_its_first_step(tmp_path):
    resumes_exactly(tricks_of(FULL[1]), tmp_path / "checkpoint", 0, 2)


def test_a_trainer_refuses_the_state_of_another_network():
    trainer = make_trainer({})
    with pytest.raises(ValueError, match="are not of this network, as "):
        trainer.load(make_trainer(create_all(["resnet_d"]), network=trainer.network).state())


def test_the_scale_of_the_loss_goes_on():
    trainer = make_trainer({})
    trainer.scaler = torch.amp.GradScaler("cpu", init_scale=8.0)
    trainer.scaler.scale(torch.ones(()))  # makes its tensors
    trainer.scaler._scale.fill_(4.0)
    trainer.scaler._growth_tracker.fill_(17)
    other = make_trainer({})
    other.scaler = torch.amp.GradScaler("cpu", init_scale=8.0)
    other.load(TrainingState({k: v.clone() for k, v in trainer.state().tensors.items()}, trainer.state().values))
    other.scaler.scale(torch.ones(()))
    assert other.scaler.state_dict() == trainer.scaler.state_dict()
