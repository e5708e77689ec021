import torch

from bagoftricks.models import build_model
from bagoftricks.recipe.compose import compose
from bagoftricks.training.parameters import param_groups
from tests.helpers import RESNET50, create_all, make_task, make_trainer


def test_resnet50_has_exactly_54120_undecayed_numbers():
    # 26,560 channels of norm with a gamma and a beta each, and 1000 biases of the head.
    recipe = compose(create_all(["no_bias_decay"]), make_task(num_classes=1000))
    with torch.device("meta"):
        model = build_model(RESNET50, {}, num_classes=1000, image_size=224)
    sizes = {
        group["weight_decay"]: sum(parameter.numel() for parameter in group["params"])
        for group in param_groups(model, recipe.param_scales, lr=0.1, weight_decay=1e-4)
    }
    assert sizes == {1e-4: 25_557_032 - 54_120, 0.0: 54_120}


def test_the_learning_rate_is_left_alone():
    assert {group["lr"] for group in make_trainer(create_all(["no_bias_decay"])).optimizer.param_groups} == {0.1}


def test_a_step_without_gradient_changes_only_the_weights_of_convolutions_and_of_the_head():
    trainer = make_trainer(create_all(["no_bias_decay"]))
    with torch.no_grad():
        for parameter in trainer.model.parameters():
            parameter.fill_(1.0)
            parameter.grad = torch.zeros_like(parameter)
    trainer.optimizer.step()
    shrunk = {name for name, parameter in trainer.model.named_parameters() if (parameter < 1).all()}
    assert shrunk == {name for name, parameter in trainer.model.named_parameters() if parameter.ndim > 1}
