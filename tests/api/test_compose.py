"""``bot.compose``: a plain loop over its pieces has the weights of the run, bit for bit."""

import importlib.util
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import bagoftricks as bot
from bagoftricks.errors import UserError

TYPED = ["epochs=2", "batch_size=64", "data.limit=320", "model.depths=[1]", "model.width=4", "runtime.device=cpu"]
TYPED += ["runtime.progress=false", "runtime.threads=1"]
EXAMPLE = Path(__file__).parents[2] / "examples/own_loop.py"


@pytest.fixture(scope="session")
def own_loop():
    spec = importlib.util.spec_from_file_location("own_loop", EXAMPLE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    "tricks",
    [
        ["+refine=[cosine,mixup,ema]", "+regularize=dropout"],
        pytest.param(["+refine=[clip_gradients,label_smoothing,adamw]", "+regularize=augmix"], marks=pytest.mark.slow),
        pytest.param(["+refine=[swa,lookahead,cutmix]", "+efficiency=[warmup,no_bias_decay]"], marks=pytest.mark.slow),
    ],
)
def test_the_example_trains_the_weights_of_bot_train(own_loop, tricks):
    top1 = own_loop.train(*tricks, *TYPED)
    run = bot.train(*tricks, *TYPED)
    assert top1 == {name: scores.top1 for name, scores in run.record.metrics.items()}
    ours, theirs = load_file("weights.safetensors"), load_file(run.folder / "weights.safetensors")
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert len(EXAMPLE.read_text().splitlines()) <= 50


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["+refine=sam"], "trick 'sam': a plain loop would leave it out"),
        (["+efficiency=micro_batch", "tricks.micro_batch.images=32"], "trick 'micro_batch'"),
        (["+efficiency=mixed_precision"], "trick 'mixed_precision'"),
        (["runtime.devices=2"], "runtime.devices=2: a loop of one's own has one device"),
    ],
)
def test_what_a_plain_loop_would_leave_out_is_refused(arguments, message):
    with pytest.raises(UserError, match=message):
        bot.compose(*arguments, *TYPED)


def test_steps_come_in_their_order_and_the_callers_draws_stay():
    torch.manual_seed(0)
    before = torch.get_rng_state()
    work = bot.compose("+refine=cosine", *TYPED)
    assert (work.steps_per_epoch, work.epochs, len(work.classes)) == (5, 2, 10)
    rates = [work.optimizer.param_groups[0]["lr"] for batch in work.batches(0)]
    assert rates == [work.settings.lr * work.learning_rate_factor(step) for step in range(5)]
    with pytest.raises(UserError, match="epoch 0: begins at step 0, and 5 steps were taken"):
        next(work.batches(0))
    assert torch.equal(torch.get_rng_state(), before)
    assert "cosine: resnet14_laptop on digits, 2 epochs of 5 steps" in repr(work)
