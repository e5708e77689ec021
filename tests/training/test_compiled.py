"""Compiled training passes: slow to make on a CPU, so one network each and few of them."""

from dataclasses import replace

import pytest
import torch

from bagoftricks.errors import UserError
from bagoftricks.models import build_model, to_device
from bagoftricks.recipe.compose import compose
from bagoftricks.recipe.edits import Batch
from bagoftricks.settings import RuntimeSettings, network_settings
from bagoftricks.training.compiled import compile_on, compiled, grey_images
from bagoftricks.training.trainer import Trainer, TrainerSetup
from tests.helpers import CLASSES, KEY, create_all, make_task

CPU = torch.device("cpu")
NETWORK = network_settings(name="one_block", block="basic", depths=[1], width=4)
DRAWING = ("dropout", "stochastic_depth", "dropblock", "sam", "micro_batch", "ema", "label_smoothing")


def trainer(tricks):
    task = make_task(total_steps=4)
    recipe = compose(create_all(tricks), task)
    recipe = replace(recipe, micro_batch=4) if "micro_batch" in tricks else recipe
    model = to_device(build_model(NETWORK, recipe.parts, num_classes=CLASSES, image_size=8), CPU, channels_last=True)
    return Trainer(recipe, model, task, task.clock.length, TrainerSetup(key=KEY, lr=0.05, weight_decay=1e-3))


def steps(made, count=4):
    draw = torch.Generator().manual_seed(3)
    images = torch.randn(count, 8, 3, 8, 8, generator=draw)
    targets = torch.eye(CLASSES)[torch.randint(CLASSES, (count, 8), generator=draw)]
    made.model.train()
    batches = [Batch(i.contiguous(memory_format=torch.channels_last), t) for i, t in zip(images, targets, strict=True)]
    return torch.stack([made.step(batch) for batch in batches])


def test_compiling_leaves_the_network_as_it_was():
    made = trainer(["ema"])
    before = {name: value.clone() for name, value in made.model.state_dict().items()}
    assert compile_on(made.model, made.model, grey_images(8, 8, CPU, channels_last=True)) > 0
    assert all(torch.equal(before[name], value) for name, value in made.model.state_dict().items())
    assert all(parameter.grad is None for parameter in made.model.parameters())


def test_a_missing_compiler_is_one_line():
    def fail(images):
        raise torch._dynamo.exc.BackendCompilerFailed(lambda: None, RuntimeError("no g++ in the path\nmore"), None)

    model = trainer([]).model
    with pytest.raises(
        UserError, match=r"runtime\.compile=true: .*no g\+\+ in the path.* or type runtime\.compile=false"
    ):
        compile_on(fail, model, torch.zeros(1, 3, 8, 8))


def test_what_is_wrong_in_the_network_itself_is_not_taken_for_a_missing_compiler():
    def fail(images):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        compile_on(fail, trainer([]).model, torch.zeros(1, 3, 8, 8))


def test_a_mode_that_does_not_exist_is_refused():
    with pytest.raises(UserError, match=r"runtime\.compile_mode=fast"):
        RuntimeSettings(compile_mode="fast")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # TorchDynamo looks at gradients of tensors that have none
@pytest.mark.parametrize("tricks", [[], DRAWING])
def test_a_compiled_run_is_the_eager_one_to_rounding(tricks, unchecked):
    """Every draw in the network, each micro-batch, both passes of SAM and the average are those of the eager run."""
    eager, fast = trainer(tricks), trainer(tricks)
    fast.forward = compiled(fast.model, "default")
    compile_on(fast.forward, fast.model, grey_images(4 if tricks else 8, 8, CPU, channels_last=True))
    torch.testing.assert_close(steps(fast), steps(eager), rtol=1e-5, atol=1e-5)
    assert list(fast.model.state_dict()) == list(eager.model.state_dict())
    for name, model in eager.weight_sets().items():
        torch.testing.assert_close(fast.weight_sets()[name].state_dict(), model.state_dict(), rtol=1e-4, atol=1e-5)
    assert fast.forward is not fast.model
    images = torch.randn(8, 3, 8, 8, generator=KEY.generator())
    for made in (eager, fast):
        made.model.eval()
    torch.testing.assert_close(fast.model(images), eager.model(images), rtol=1e-4, atol=1e-4)
