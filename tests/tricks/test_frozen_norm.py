import pytest
import torch
import torch.nn.functional as F

from bagoftricks.cli.compose import compose_settings
from bagoftricks.models import build_model
from bagoftricks.models.depth import set_depths
from bagoftricks.run.check import check
from bagoftricks.tricks.refine.frozen_norm import of_backbone_norm
from tests.helpers import TINY, advance, create_all, make_batch, make_trainer

LINES = {
    "segmentation": ["task=segmentation", "task.head=psp", "data=scenes"],
    "detection": ["task=detection", "task.channels=8", "data=scenes", "data.targets=boxes"],
}


def test_norms_keep_their_numbers_and_all_else_is_trained():
    trainer = make_trainer(create_all(["frozen_norm"]), network=(TINY, 16), weight_decay=0.1)
    start = {name: tensor.clone() for name, tensor in trainer.model.state_dict().items()}
    advance(trainer, 2)
    kept = {name for name, tensor in trainer.model.state_dict().items() if torch.equal(tensor, start[name])}
    norms = {name for name, module in trainer.model.named_modules() if isinstance(module, torch.nn.BatchNorm2d)}
    assert norms
    assert kept == {name for name in start if name.rpartition(".")[0] in norms}


def test_a_norm_is_a_fixed_scale_and_shift_in_training():
    trainer = make_trainer(create_all(["frozen_norm"]), network=(TINY, 16))
    norm, seen = trainer.model.stem[1], []
    with torch.no_grad():
        norm.running_mean.fill_(0.5)
        norm.running_var.fill_(4.0)
        norm.weight.fill_(3.0)
        norm.bias.fill_(-1.0)
    norm.register_forward_hook(lambda module, inputs, out: seen.append((inputs[0].clone(), out.clone())))
    advance(trainer, 1)
    (given, out), *_ = seen
    torch.testing.assert_close(out, 1.5 * (given - 0.5) - 1, rtol=1e-4, atol=1e-4)  # 3 / sqrt(4)
    assert not torch.allclose(out, F.batch_norm(given, None, None, norm.weight, norm.bias, training=True), atol=0.1)
    assert make_batch().images.shape[0] > 1


@pytest.mark.parametrize("task", ["segmentation", "detection"])
def test_only_the_norms_of_the_backbone_are_frozen(task):
    settings = compose_settings([*LINES[task], "model.depths=[1,1]", "model.width=4"])
    checked = check(settings)
    model = set_depths(
        build_model(settings.model, checked.recipe.parts, num_classes=11, image_size=64, task=settings.task)
    )
    frozen = {name for name, module in model.named_modules() if of_backbone_norm(module, "weight")}
    norms = {name for name, module in model.named_modules() if isinstance(module, torch.nn.BatchNorm2d)}
    assert frozen == {name for name in norms if name.startswith("backbone.")}
    assert (norms > frozen) == (task == "segmentation")
