import pytest
import torch
from torch import nn

from bagoftricks.errors import UserError
from bagoftricks.tricks.catalogue import create
from tests.helpers import TINY, advance, create_all, flat, make_batch, make_trainer

NETWORK = (TINY, 16)


def trained_parts(trainer) -> set[str]:
    """Return the parts of the tiny network whose parameters are trained."""
    names = [name for name, parameter in trainer.model.named_parameters() if parameter.requires_grad]
    return {name.rpartition(".")[0] if name.startswith("head") else ".".join(name.split(".")[:2]) for name in names}


@pytest.mark.parametrize(
    ("until", "left"),
    [
        ("stem", {"stages.0", "stages.1", "head"}),
        ("1", {"stages.1", "head"}),
        ("2", {"head"}),
        ("head", {"head"}),
    ],
)
def test_everything_up_to_a_depth_keeps_its_start_and_the_rest_is_trained(until, left):
    trainer = make_trainer({"freeze": create("freeze", until=until)}, network=NETWORK, weight_decay=0.1)
    start = {name: tensor.clone() for name, tensor in trainer.model.state_dict().items()}
    advance(trainer, 2)
    changed = {n for n, tensor in trainer.model.state_dict().items() if not torch.equal(tensor, start[n])}
    assert trained_parts(trainer) == left
    assert changed == {name for name in start if name.startswith(tuple(left))}  # statistics too


def test_frozen_norms_normalise_by_the_statistics_of_the_start():
    trainer = make_trainer(create_all(["freeze"]), network=NETWORK)
    with torch.no_grad():
        trainer.model.stem[1].running_mean += 3
    features, images = [], make_batch().images
    trainer.model.head_pool.register_forward_hook(lambda module, inputs, out: features.append(out))
    trainer.model.eval()
    trainer.model(images)
    advance(trainer, 1)
    assert torch.equal(features[0], features[1])  # the batch of step 0, in training


def test_norms_train_averages_on_and_normalises_by_the_batch():
    trainer = make_trainer({"freeze": create("freeze", norms="train")}, network=NETWORK)
    plain = make_trainer({}, network=NETWORK)
    for made in (trainer, plain):
        advance(made, 1)
    assert not trainer.model.stem[1].weight.requires_grad
    assert torch.equal(trainer.model.stem[1].running_mean, plain.model.stem[1].running_mean)


def test_frozen_norms_stay_frozen_after_an_evaluation_and_where_an_average_measures_its_statistics():
    trainer = make_trainer(create_all(["freeze", "swa"]), network=NETWORK)
    start = trainer.model.stem[1].running_mean.clone()
    for _ in range(2):
        advance(trainer, 5)
        trainer.model.eval()
    trainer.refresh_norms(make_batch(step=step) for step in range(2))
    for model in trainer.weight_sets().values():
        assert torch.equal(model.stem[1].running_mean, start)
    assert len(trainer.weight_sets()) == 2


@pytest.mark.parametrize(
    "other", ["ema", "swa", "lookahead", "muon", "sam", "clip_gradients", "adamw", "no_bias_decay", "zero_gamma"]
)
def test_a_frozen_layer_keeps_its_start_with(other):
    trainer = make_trainer(create_all(["freeze", other]), network=NETWORK, weight_decay=0.1)
    start = flat(trainer.model.stages)
    advance(trainer, 10)
    for model in trainer.weight_sets().values():
        assert torch.equal(flat(model.stages), start)
        assert not torch.equal(flat(model.head), flat(nn.Linear(32, 5)))


@pytest.mark.parametrize("until", ["trunk", "0", "-1", "1.5", "²"])
def test_a_depth_that_is_none_is_refused(until):
    with pytest.raises(UserError, match=r"^tricks\.freeze\.until=.*: must be stem, head, or the number of a stage$"):
        create("freeze", until=until)


def test_a_stage_that_the_network_lacks_is_refused():
    with pytest.raises(UserError, match=r"^tricks\.freeze\.until=3: this network has 2 stages; type a number up to 2"):
        make_trainer({"freeze": create("freeze", until="3")}, network=NETWORK)
