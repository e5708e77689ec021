"""``bot.train``: the run of the command, from Python values, without a trace in the caller's process."""

import os
import random
import shlex
import signal
import subprocess
import sys
import threading
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra

import bagoftricks as bot
from bagoftricks.api.arguments import typed_arguments
from bagoftricks.api.session import callers_state, composed, typed_request
from bagoftricks.cli import train as command
from bagoftricks.errors import UserError
from bagoftricks.store.store import Store
from tests.api.conftest import FAST

TYPED = ["epochs=1", "batch_size=64", "data.limit=320", "model.depths=[1]", "model.width=4", "runtime.device=cpu"]
TYPED += ["runtime.progress=false"]


def test_values_are_typed_as_on_the_command_line():
    values = {"seed": np.int64(3), "lr": 1e-5, "flip": True, "limit": None, "shape": [1, 2], "store": Path("a b")}
    assert typed_arguments({**values, "data": {"mean": (0.5, np.float32(2))}, "refine": ["mixup"]}) == {
        "seed": "3",
        "lr": "1e-05",
        "flip": "true",
        "limit": None,
        "shape": "[1,2]",
        "store": "a b",
        "data.mean": "[0.5,2.0]",
        "refine": "[mixup]",
    }
    with pytest.raises(UserError, match="seed=<object"):
        typed_arguments({"seed": object()})


def test_texts_are_taken_letter_for_letter_and_none_takes_a_value_back(here):
    text = "it's ${odd} [a,b] null"
    settings = composed(*typed_request("bot-train", (), {"store": text, "data.limit": None}))
    assert (settings.store, settings.data.limit) == (text, None)
    (here / "my_conf/preset").mkdir(parents=True)
    (here / "my_conf/preset/mine.yaml").write_text("# @package _global_\nmodel:\n  weights: some.pth\n")
    asked = {"config_dir": "my_conf", "preset": "mine"}
    assert composed(*typed_request("bot-train", (), {**asked, "model.weights": "None"})).model.weights == "None"
    with pytest.raises(UserError, match=r"model.weights=None: .* sets it to 'some.pth'"):
        bot.train(model={"weights": None}, **asked)


def test_a_run_has_the_id_the_files_and_the_record_of_the_command(trained, capsys):
    words = shlex.split(trained.record.command)
    for typed in (words[1:], ["+refine=[mixup,ema,tta_flip]", f"store={trained.store}", *TYPED]):
        assert command.main(typed) == 0
        assert f"run {trained.id} is finished" in capsys.readouterr().err
    assert words[0] == "bot-train"
    assert trained.folder == Path(trained.store) / trained.id
    files = ["correct.safetensors", "ema.weights.safetensors", "metrics.csv", "record.json", "weights.safetensors"]
    assert sorted(path.name for path in trained.folder.iterdir()) == files
    assert Store(trained.store).record(trained.id) == trained.record


def test_a_finished_run_is_read_and_shows_itself(trained, capsys):
    again = bot.train("+refine=[mixup,ema,tta_flip]", store=trained.store, **FAST)
    assert again == trained
    assert "is finished" in capsys.readouterr().err
    assert f"id='{trained.id}', top1={trained.record.metrics['ema'].top1:.2f}" in repr(trained)
    assert trained.id[:8] in trained._repr_html_()


@pytest.mark.parametrize(
    ("overrides", "settings", "message"),
    [
        ((), {"epoch": 3}, "there is no setting or group 'epoch'; did you mean 'epochs=3'"),
        (("+refine=mixupp",), {}, "refine has no option 'mixupp'; did you mean 'mixup'"),
        (("seed=1",), {"seed": 2}, "both set seed"),
        ((), {"epochs": None}, "epochs=null: needs a value"),
        ((), {"lr": "fast"}, "lr=fast: must be a number"),
        (("tricks.mixup.alpha=1",), {}, "trick 'mixup' is not switched on"),
        (("-m", "seed=1,2"), {}, "-m: has no meaning here"),
        ((), {"plugins": ["none.py"]}, "plugins=.*none.py: cannot be read"),
        ((), {"config_dir": "none"}, "no such folder"),
    ],
)
def test_bad_input_is_one_line(overrides, settings, message):
    with pytest.raises(UserError, match=message) as caught:
        bot.train(*overrides, **settings)
    assert "\n" not in str(caught.value)


def state_of_the_process():
    repo = ConfigStore.instance().repo
    return {
        "argv": list(sys.argv),
        "environment": dict(os.environ),
        "folder": os.getcwd(),
        "hydra": GlobalHydra.instance().is_initialized(),
        "hydra's groups": {name: sorted(node) if isinstance(node, dict) else "" for name, node in repo.items()},
        "threads": torch.get_num_threads(),
        "filters": list(warnings.filters),
        "torch": torch.get_rng_state().tolist(),
        "numpy": np.random.get_state()[1].tolist(),  # noqa: NPY002
        "signals": {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)},
        "main": sys.modules["__main__"],
        "deterministic": torch.are_deterministic_algorithms_enabled(),
    }


def test_nothing_of_the_callers_process_is_changed():
    import sklearn.datasets  # noqa: F401  (sets variables of OpenMP when it is imported)

    with pytest.raises(UserError):
        bot.train(epochs=0)  # whatever is loaded first
    torch.manual_seed(3)
    before = state_of_the_process()
    bot.train("+regularize=dropout", **{**FAST, "runtime": {**FAST["runtime"], "threads": 2}})
    after = state_of_the_process()
    for name, value in before.items():
        assert after[name] == value, name


def test_draws_of_others_within_a_call_are_taken_back():
    before = random.getstate(), torch.get_rng_state().tolist()  # beartype draws while the tests run
    with callers_state():
        random.random()
        torch.rand(1)
    assert (random.getstate(), torch.get_rng_state().tolist()) == before


def test_another_thread_trains_as_well(here):
    done = []
    thread = threading.Thread(target=lambda: done.append(bot.train(seed=2, **FAST)))
    thread.start()
    thread.join()
    assert done[0].folder.is_dir()


def test_overrides_in_a_list_are_refused_with_what_to_type():
    with pytest.raises(UserError, match=r"must be text, as '\+refine=mixup'; a list of overrides is typed \*list"):
        bot.train(["+refine=mixup"])


@pytest.fixture
def ctrl_c():
    """Python's own handler: a program that a shell started in the background ignores Ctrl-C."""
    earlier = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, earlier)


def test_an_interrupted_run_is_saved_and_the_same_call_resumes_it(here, monkeypatch, capsys, ctrl_c):
    from bagoftricks.training.trainer import Trainer

    step = Trainer.step

    def interrupted_at_3(trainer, batch):
        if trainer.steps_done == 3:
            os.kill(os.getpid(), signal.SIGINT)
        return step(trainer, batch)

    whole = bot.train(store="whole", **FAST)
    handler = signal.getsignal(signal.SIGINT)
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "step", interrupted_at_3)
        with pytest.raises(KeyboardInterrupt, match="step 4"):
            bot.train(**FAST)
    assert signal.getsignal(signal.SIGINT) is handler
    run = bot.train(**FAST)
    assert "at step 4 of" in capsys.readouterr().err
    assert run.record.metrics == whole.record.metrics


TRICK = '''
from bagoftricks.plugins import ScaleLoss, trick

@trick(paper="mine", family="refine")
class Half:
    """Halve the loss."""

    factor: float = FACTOR
    """factor of the loss"""

    def edits(self, task):
        return [ScaleLoss(factor=self.factor)]
'''


def test_plugins_stay_loaded_and_a_changed_file_is_read_again(here):
    Path("half.py").write_text(TRICK.replace("FACTOR", "0.5"))
    first = bot.train("+refine=half", plugins=["half.py"], **FAST)
    assert bot.plugins.loaded_plugins() == [str(here / "half.py")]
    assert bot.train("+refine=half", **FAST) == first
    Path("half.py").write_text(TRICK.replace("FACTOR", "0.25"))
    assert bot.plugins.load() == [str(here / "half.py")]
    assert bot.train("+refine=half", **FAST).record.tricks == {"half": {"factor": 0.25}}
    Path("half.py").write_text("no python")
    with pytest.raises(UserError, match="is not a plug-in"):
        bot.plugins.load()
    with pytest.raises(UserError, match="is not a plug-in"):
        bot.train(**FAST)
    assert bot.plugins.loaded_plugins() == [str(here / "half.py")]


WITHOUT_A_GUARD = """
import multiprocessing
import sys
multiprocessing.set_start_method(sys.argv[1])
import bagoftricks as bot
print("the program")
images = {"data": "imagefolder", "data.root": "photos", "data.cache": "none", "image_size": 70, "batch_size": 4}
network = {"model": {"depths": [1], "width": 4}, "epochs": 1, "runtime": {"workers": 1, "progress": False}}
print(bot.train(**images, **network).id)
"""


@pytest.mark.slow
@pytest.mark.serial
@pytest.mark.parametrize("method", ["spawn", pytest.param("fork", marks=pytest.mark.long)])
def test_a_program_without_a_guard_is_run_once(here, photos, method):
    (here / "program.py").write_text(WITHOUT_A_GUARD)
    done = subprocess.run([sys.executable, "program.py", method], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("the program") == 1


@pytest.mark.slow
@pytest.mark.serial
def test_two_ranks_train_from_a_program_without_a_guard(here):
    program = "import bagoftricks as bot\nprint('the program')\n"
    program += "run = bot.train(epochs=1, batch_size=128, model={'depths': [1], 'width': 4}, runtime={'devices': 2})\n"
    (here / "program.py").write_text(program + "print(run.record.environment.devices)")
    done = subprocess.run([sys.executable, "program.py"], capture_output=True, text=True, timeout=180)
    assert done.stdout.split() == ["the", "program", "2"], done.stderr
