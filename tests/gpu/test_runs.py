"""Whole runs on the device: resumed, repeated, beside another, out of memory, and what they leave behind."""

import json
import os
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file

from bagoftricks.models import build_model
from bagoftricks.recipe.compose import compose
from bagoftricks.run.execute import execute
from bagoftricks.settings import RuntimeSettings
from bagoftricks.store.checkpoint_file import read_checkpoint, write_checkpoint
from bagoftricks.store.store import Store
from bagoftricks.tricks.catalogue import create
from tests.contract.test_resume import EARLY, FULL
from tests.gpu.devices import CUDA, advance_on, trainer_on, values_of
from tests.helpers import create_all, make_task
from tests.run.interrupted import MOST, Stopping, left_behind, same, stopped_and_continued, tiny

DOZEN = [
    *("adamw", "cutmix", "dropblock", "dropout", "ema", "ghost_norm"),
    *("lookahead", "mixup", "muon", "sam", "stochastic_depth", "velocity_nag"),
]
STACKS = [*FULL[1:], *([name] for name in DOZEN)]  # without anti_alias: reflected padding has no deterministic gradient


def tricks_of(names):
    return {**create_all(names), **{name: create(name, **EARLY[name]) for name in names if name in EARLY}}


@pytest.mark.usefixtures("deterministic")
@pytest.mark.parametrize("names", STACKS, ids=lambda names: names[0] if len(names) == 1 else "+".join(names[:3]))
def test_a_training_goes_on_from_a_file_bit_for_bit(names, device, tmp_path):
    straight = trainer_on(device, tricks_of(names))
    losses = advance_on(device, straight, 5)
    first = trainer_on(device, tricks_of(names), straight.network)
    advance_on(device, first, 3)
    write_checkpoint(tmp_path / "checkpoint", first.state())
    second = trainer_on(device, tricks_of(names), straight.network)
    second.load(read_checkpoint(tmp_path / "checkpoint"))
    assert torch.equal(advance_on(device, second, 2), losses[3:])
    ours, theirs = values_of(second), values_of(straight)
    assert [name for name, value in theirs.items() if not torch.equal(ours[name], value)] == []


def on(device, **changes):
    return RuntimeSettings(device=device.type, deterministic=True, progress=False, **changes)


@pytest.mark.usefixtures("untimed")
def test_a_deterministic_run_that_was_stopped_is_the_run_that_was_not(device, tmp_path):
    whole = execute(tiny(tmp_path / "one", tricks=MOST, runtime=on(device)), Stopping(), "bot-train")
    record, _ = stopped_and_continued(tiny(tmp_path / "two", tricks=MOST, runtime=on(device)), 7)
    assert record.environment.continuations == 1
    assert same(left_behind(tmp_path / "one", whole), left_behind(tmp_path / "two", record))


@pytest.mark.usefixtures("untimed")
def test_the_id_is_that_of_a_cpu_and_the_weights_are_read_there(device, tmp_path):
    settings = tiny(tmp_path / "here", tricks=["resnet_d"], runtime=on(device))
    record = execute(settings, Stopping(), "bot-train")
    cpu = execute(tiny(tmp_path / "cpu", tricks=["resnet_d"], epochs=2), Stopping(), "bot-train")
    assert record.id == cpu.id
    assert record.cost.peak_memory_mib > 0
    parts = compose({"resnet_d": create("resnet_d")}, make_task(num_classes=10)).parts
    model = build_model(settings.model, parts, num_classes=10, image_size=8)
    model.load_state_dict(load_file(Store(tmp_path / "here").weights(record.id, "last")))
    assert record.metrics["last"].loss == pytest.approx(cpu.metrics["last"].loss, rel=0.05)


PROGRAM = """
import json, sys
from dataclasses import asdict
from bagoftricks.run.execute import execute
from tests.gpu.test_runs import on
from tests.run.interrupted import Stopping, tiny
import torch
settings = tiny(sys.argv[1], tricks=["resnet_d", "mixup"], seed=int(sys.argv[2]), runtime=on(torch.device(sys.argv[3])))
print(json.dumps(asdict(execute(settings, Stopping(), "bot-train").metrics["last"])))
"""


@pytest.mark.parametrize("where", [pytest.param("cpu", marks=[pytest.mark.slow, pytest.mark.long]), CUDA])
def test_two_processes_on_one_device_have_the_results_of_each_alone(where, tmp_path):
    def start(name, seed):
        surroundings = {**os.environ, "CUBLAS_WORKSPACE_CONFIG": ":4096:8"}
        words = [sys.executable, "-c", PROGRAM, str(tmp_path / name), str(seed), where]
        return subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=surroundings)

    together = [start("together", seed) for seed in (0, 1)]
    found = [json.loads(process.communicate(timeout=120)[0]) for process in together]
    assert found[0] != found[1]
    for seed in (0, 1):
        runtime = on(torch.device(where))
        settings = tiny(tmp_path / "alone", tricks=["resnet_d", "mixup"], seed=seed, runtime=runtime)
        alone = execute(settings, Stopping(), "bot-train").metrics["last"]
        assert {key: value for key, value in found[seed].items() if value is not None} == {
            key: value for key, value in json.loads(json.dumps(vars(alone))).items() if value is not None
        }


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.usefixtures("untimed")
def test_a_run_out_of_memory_goes_on_with_smaller_parts_of_a_batch(tmp_path):
    cuda = torch.device("cuda")
    runtime = on(cuda, auto_micro_batch=True)
    settings = tiny(tmp_path, epochs=1, runtime=runtime, batch_size=128)
    settings.model.width, settings.image_size = 64, 96
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(cuda).total_memory
    torch.cuda.set_per_process_memory_fraction(600 * 2**20 / total)
    try:
        record = execute(settings, Stopping(), "bot-train")
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert record.environment.micro_batches
    assert record.environment.micro_batches[0][1] < 128
