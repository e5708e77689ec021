"""How many threads a run computes with."""

from types import SimpleNamespace

import pytest
import torch

from bagoftricks.errors import UserError
from bagoftricks.run import bench, threads
from bagoftricks.run.execute import execute
from bagoftricks.run.prepare import prepare
from bagoftricks.run.reporter import SilentReporter
from bagoftricks.settings import RuntimeSettings, Settings, network_settings


@pytest.fixture
def digits(tmp_path):
    def make(**runtime):
        settings = Settings(
            model=network_settings(depths=[1, 1], width=4), epochs=1, batch_size=64, image_size=8,
            store=str(tmp_path / "store"), runtime=RuntimeSettings(device="cpu", checkpoint_steps=5, **runtime),
        )  # fmt: skip
        settings.data.pad, settings.data.limit = 1, 640  # ten steps
        return settings

    return make


@pytest.fixture
def cores(monkeypatch):
    def have(usable, free):
        monkeypatch.setattr(threads, "thread_limit", lambda: usable)
        monkeypatch.setattr(threads, "free_cores", lambda: free)

    return have


@pytest.mark.parametrize(
    ("macs", "usable", "free", "chosen"),
    [
        (1_458_176, 2, 2, 1),  # the default run: a second thread gains nothing
        (26_657_408, 2, 2, 2),
        (26_657_408, 2, 1, 1),
        (26_657_408, 1, 2, 1),
        (10**12, 16, 16, 16),
        (10**12, 16, 5, 5),
    ],
)
def test_as_many_as_pay_and_are_idle(digits, cores, monkeypatch, macs, usable, free, chosen):
    cores(usable, free)
    monkeypatch.setattr(threads, "count_macs", lambda network, pixels: macs)
    notes = []
    assert threads.choose_threads(prepare(digits()).checked, None, notes.append) == chosen
    assert len(notes) == (chosen == free < usable)


def test_a_number_is_taken_and_a_resumed_run_keeps_its_own(digits, cores):
    cores(4, 4)
    assert threads.choose_threads(prepare(digits(threads="3")).checked, 2, print) == 3
    assert threads.choose_threads(prepare(digits()).checked, 2, print) == 2
    assert threads.choose_threads(prepare(digits()).checked, 9, print) == 4


@pytest.mark.parametrize("text", ["0", "-1", "1.5", "many", "", "99999"])
def test_anything_else_is_refused(text):
    with pytest.raises(UserError, match=r"runtime.threads=.*: must be auto, or a number"):
        RuntimeSettings(threads=text)


def test_a_run_computes_with_it_and_goes_on_with_it(digits, untimed, monkeypatch):
    class Stop(SilentReporter):
        def step(self):
            self.steps = getattr(self, "steps", 0) + 1
            if self.steps == 8:
                raise KeyboardInterrupt

    before, notes = torch.get_num_threads(), []
    try:
        with pytest.raises(KeyboardInterrupt):
            execute(digits(threads="2"), Stop(), "bot-train")
        monkeypatch.setattr(threads, "thread_limit", lambda: 4)
        reporter = SilentReporter()
        reporter.note = notes.append
        record = execute(digits(), reporter, "bot-train")
    finally:
        torch.set_num_threads(before)
    assert record.environment.continuations == 1
    assert record.environment.threads == 2
    assert not [note for note in notes if "last bits" in note]


def test_a_cost_is_measured_with_the_threads_of_a_run(digits, monkeypatch):
    used = []

    def timed(*arguments, **more):
        used.append(torch.get_num_threads())
        return SimpleNamespace(images_per_s=1.0, spread=None, seconds=1.0)

    monkeypatch.setattr(bench, "time_inference", timed)
    before = torch.get_num_threads()
    try:
        bench.measure(digits(threads=str(before + 1)), print)
    finally:
        torch.set_num_threads(before)
    assert used == [before + 1] * 2
