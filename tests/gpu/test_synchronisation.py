"""No training step waits for the device.

On a GPU, its debug mode raises at whatever waits. Without one, steps are taken on tensors that have shapes and no
numbers (the meta device): reading a number, or a shape that depends on numbers, raises there, and so does a copy from
the host that would wait.
"""

from contextlib import contextmanager, nullcontext
from dataclasses import replace

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from bagoftricks.cli.compose import compose_settings
from bagoftricks.cli.conf import conf_dir
from bagoftricks.run.loading import loaders
from bagoftricks.run.prepare import prepare
from bagoftricks.run.start import make_trainer
from bagoftricks.training.parameters import train_mode
from bagoftricks.training.recorded import UNRECORDED, CudaRecorder
from bagoftricks.tricks import FAMILY_OF
from tests.contract.test_resume import FULL
from tests.gpu.devices import CUDA, batches_on, trainer_on
from tests.helpers import create_all

STEPS = 2


class WaitingCopies(TorchDispatchMode):
    """Raise at a copy from the host to the device that waits for it."""

    def __enter__(self):
        self.patch = pytest.MonkeyPatch()
        for made in (torch.tensor, torch.as_tensor):
            self.patch.setattr(torch, made.__name__, self.from_values(made))
        return super().__enter__()

    def __exit__(self, *error):
        self.patch.undo()
        return super().__exit__(*error)

    def from_values(self, made):
        """Values of Python become a tensor of the device in a copy that is not seen here."""

        def make(values, *given, device=None, **how):
            if device is not None and torch.device(device).type == "meta" and not isinstance(values, torch.Tensor):
                raise RuntimeError(f"torch.{made.__name__} waits for a copy of {values}")
            return made(values, *given, device=device, **how)

        return make

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        given = [value for value in tree_leaves((args, kwargs)) if isinstance(value, torch.Tensor)]
        places = {t.device.type for t in [*given, *tree_leaves(result)] if isinstance(t, torch.Tensor)}
        at_once = kwargs.get("non_blocking") or (func is torch.ops.aten.copy_.default and args[2:] == (True,))
        if "meta" in places and not at_once and any(t.device.type == "cpu" and t.dim() for t in given):
            raise RuntimeError(f"{func} waits for a copy of {[tuple(t.shape) for t in given]}")
        return result


@pytest.fixture(params=["meta", CUDA])
def waiting(request, monkeypatch):
    """A device, and a context that raises at whatever waits for it."""
    device = torch.device(request.param)
    if device.type == "cuda":
        return device, debug_mode
    monkeypatch.setattr("bagoftricks.training.trainer.autocast", lambda *of: nullcontext())
    for kind in (torch.optim.SGD, torch.optim.AdamW):  # tensors without numbers have no fused optimiser
        made = kind.__init__
        plain = lambda self, *args, _made=made, fused=None, **more: _made(self, *args, **more)  # noqa: E731
        monkeypatch.setattr(kind, "__init__", plain)
    return device, WaitingCopies


@contextmanager
def debug_mode():
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


def steps_without_waiting(waiting, trainer):
    """A first step, which makes the moments, and others under watch."""
    device, watch = waiting
    train_mode(trainer.model)
    batches = batches_on(device, trainer, 1 + STEPS, channels_last=device.type == "cuda")
    trainer.step(batches[0])
    with watch():
        for batch in batches[1:]:
            trainer.step(batch)


@pytest.mark.parametrize("name", sorted(FAMILY_OF))
def test_a_step_of_a_trick_does_not_wait(name, waiting):
    steps_without_waiting(waiting, trainer_on(waiting[0], create_all([name])))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("names", FULL, ids="+".join)
def test_launching_a_recorded_step_does_not_wait(names):
    device = torch.device("cuda")
    trainer = trainer_on(device, create_all(names))
    notes: list[str] = []
    trainer.record_updates(CudaRecorder(device), notes.append)
    batches = batches_on(device, trainer, UNRECORDED + 1 + STEPS)
    list(trainer.epoch(batches[: UNRECORDED + 1]))
    with debug_mode():
        list(trainer.epoch(batches[UNRECORDED + 1 :]))
    assert notes == []


@pytest.mark.parametrize("preset", sorted(path.stem for path in (conf_dir() / "preset").glob("*.yaml")))
def test_the_first_epoch_of_a_preset_does_not_wait(preset, waiting):
    """With the batches that a run makes of small images, from memory."""
    device, watch = waiting
    small = ["data=digits", "data.flip=true", "data.limit=192", "image_size=64", "batch_size=64", "epochs=2"]
    given = [f"preset={preset}", "model.new_head=false", *small, "runtime.device=cpu"]
    prepared = prepare(compose_settings(given))
    prepared = replace(prepared, checked=replace(prepared.checked, device=device))
    train, _ = loaders(prepared)
    trainer = make_trainer(prepared, len(train), sample=train.sample)
    train_mode(trainer.model)
    epochs = [list(train.epoch(0)), train.epoch(1)]
    trainer.step(epochs[0][0])
    with watch():
        losses = [trainer.step(batch) for batch in epochs[1]]
    assert len(losses) == 3


@pytest.mark.parametrize(
    "wait",
    [
        lambda numbers: numbers.sum().item(),
        lambda numbers: numbers[numbers > 0],
        lambda numbers: numbers.copy_(torch.ones(3)),
        lambda numbers: numbers * torch.tensor([1.0, 2.0, 3.0], device=numbers.device),
    ],
    ids=["a number is read", "a shape depends on numbers", "a copy is waited for", "values are copied"],
)
def test_what_waits_is_found(wait, waiting):
    device, watch = waiting
    numbers = torch.ones(3, device=device)
    with watch(), pytest.raises((RuntimeError, NotImplementedError)):
        wait(numbers)
