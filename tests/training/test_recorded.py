"""Recorded updates, on a stand-in for CUDA graphs: the same bits as one operation after the other, for every trick."""

from dataclasses import replace

import pytest
import torch

from bagoftricks.cli.compose import compose_settings
from bagoftricks.recipe.edits import GradPhase, MapGrads, SetOptimizer
from bagoftricks.run.execute import execute
from bagoftricks.run.reporter import SilentReporter
from bagoftricks.run.start import record_steps
from bagoftricks.training.recorded import UNRECORDED, Rates, on_the_host, why_no_graph
from bagoftricks.tricks import FAMILY_OF
from tests.contract.test_resume import FULL, whole
from tests.helpers import Fake, advance, create_all, flat, make_batch, make_task, make_trainer
from tests.training.tape import TapeRecorder

REST = [  # the tricks that act in an update and are in no set of FULL
    ["lookahead", "velocity_nag", "class_weights", "head_lr", "eca", "gem", "frozen_norm_scale"],
    ["early_pool", "layer_decay", "exponential_decay", "dirac_init", "gelu"],
    ["freeze", "dropblock"],
]
STEPS = UNRECORDED + 3


def recorded(tricks, **given):
    """A trainer that records its updates, and what it notes."""
    made, notes = make_trainer(tricks, **given), []
    recorder = TapeRecorder()
    made.record_updates(recorder, notes.append)
    return made, recorder, notes


NO_GRAPH = "runtime.cuda_graph=true: trains without a graph, as this step cannot be recorded: "


def with_rates(tricks, **given):
    """A trainer whose learning rates are tensors, as those of recorded updates."""
    made = make_trainer(tricks, **given)
    made.set_rates = Rates(made.optimizer, made.device).set
    return made


def assert_same_bits(one, other):
    (tensors, values, _), (others, other_values, _) = whole(one), whole(other)
    assert values == other_values
    assert all(torch.equal(tensor, others[name]) for name, tensor in tensors.items())


def same_when_recorded(names, steps):
    tricks = create_all(names)
    eager, (fast, recorder, notes) = with_rates(tricks), recorded(tricks)
    assert torch.equal(torch.stack(advance(eager, steps)), torch.stack(advance(fast, steps)))
    assert_same_bits(eager, fast)
    assert notes == []
    return recorder.tapes


@pytest.mark.parametrize("names", [*FULL, *REST[:2]])
def test_replayed_updates_have_the_bits_of_updates_one_operation_after_the_other(names):
    assert len(same_when_recorded(names, STEPS)) == 1


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(set(FAMILY_OF) - {"soap"}))
def test_every_trick_is_recorded(name):
    assert len(same_when_recorded([name], 9)) == (2 if name == "progressive_size" else 1) or name == "progressive_size"


def test_an_optimiser_that_works_on_the_host_is_not_recorded():
    made, _, notes = recorded(create_all(["soap"]))
    advance(made, STEPS)
    assert notes == [f"{NO_GRAPH}the optimiser keeps 'steps' on the host"]


def test_each_shape_has_a_graph_of_its_own():
    tricks = create_all(REST[2])
    eager, (fast, recorder, notes) = with_rates(tricks), recorded(tricks)
    batches = [make_batch(step=step, pixels=fast.pixels - 4 * (step % 2)) for step in range(2 * STEPS)]
    assert torch.equal(torch.stack(list(eager.epoch(batches))), torch.stack(list(fast.epoch(batches))))
    assert_same_bits(eager, fast)
    assert (len(recorder.tapes), notes) == (2, [])


@pytest.mark.parametrize("names", [[], ["velocity_nag"], ["adamw"], ["muon", "layer_decay"]])
def test_tensors_as_learning_rates_change_the_weights_by_rounding_alone(names):
    plain, tensors = make_trainer(create_all(names)), with_rates(create_all(names))
    advance(plain, 6)
    advance(tensors, 6)
    torch.testing.assert_close(flat(tensors.model), flat(plain.model), rtol=1e-6, atol=1e-6)
    rates = [float(group["lr"]) for group in tensors.optimizer.param_groups]
    assert rates == pytest.approx([group["lr"] for group in plain.optimizer.param_groups], rel=1e-6)


def test_a_loss_that_was_returned_stays_what_it_was():
    made, _, _ = recorded({})
    losses = advance(made, UNRECORDED + 2)
    before = losses[-1].clone()
    advance(made, 1)
    assert torch.equal(losses[-1], before)


def test_a_run_goes_on_with_a_graph_after_its_state_was_loaded():
    tricks = create_all(["muon", "dropout", "ema"])
    eager, before, (after, recorder, _) = with_rates(tricks), with_rates(tricks), recorded(tricks)
    advance(eager, 2 + STEPS)
    advance(before, 2)
    after.load(before.state())
    advance(after, STEPS)
    assert_same_bits(eager, after)
    assert len(recorder.tapes) == 1


def refused(tricks, **given):
    """The note of a step that cannot be recorded, after steps that are those of a run without."""
    eager, (fast, _, notes) = with_rates(tricks, **given), recorded(tricks, **given)
    assert torch.equal(torch.stack(advance(eager, STEPS)), torch.stack(advance(fast, STEPS)))
    assert_same_bits(eager, fast)
    (note,) = notes
    assert note.startswith(NO_GRAPH)
    return note


def maps(apply):
    return {"mine": Fake([MapGrads(phase=GradPhase.CLIP, apply=apply)])}


def test_a_trick_that_waits_for_the_device_is_not_recorded():
    def halve(grads):
        if grads[0].norm() > 0:
            torch._foreach_mul_(grads, 0.5)

    assert "waits for the device" in refused(maps(halve))


def test_a_trick_that_reads_the_clock_on_the_host_is_not_recorded():
    def made():
        task = make_task()
        return maps(lambda grads: torch._foreach_mul_(grads, 1 - task.clock.progress)), task

    (tricks, task), (again, other) = made(), made()
    eager = with_rates(tricks, task=task)
    fast, notes = make_trainer(again, task=other), []
    fast.record_updates(TapeRecorder(), notes.append)
    assert torch.equal(torch.stack(advance(eager, STEPS)), torch.stack(advance(fast, STEPS)))
    assert "a trick reads the clock on the host" in notes[0]


def test_an_optimiser_that_counts_on_the_host_is_not_recorded():
    tricks = {"mine": Fake([SetOptimizer(build=lambda groups: torch.optim.RMSprop(groups, capturable=False))])}
    made = make_trainer(tricks)
    advance(made, 1)
    state = next(iter(made.optimizer.state.values()))
    assert not on_the_host(made.optimizer)  # on a CPU, its count lies where the weights do
    state["step"] = 1
    assert on_the_host(made.optimizer) == "the optimiser keeps 'step' on the host"


def test_a_run_that_logs_gradients_is_not_recorded():
    made, recorder, notes = recorded({})
    made.optimizer.register_step_pre_hook(lambda *given: None)
    advance(made, STEPS)
    assert not recorder.tapes
    assert "log_every and loggers" in notes[0]


def test_reasons_that_are_known_before_the_first_step():
    recipe = make_trainer(create_all(["mixed_precision"])).recipe
    cuda = torch.device("cuda")
    assert why_no_graph(recipe, cuda, ranks=1, compile_records=False) == ""
    assert "GPU" in why_no_graph(recipe, torch.device("cpu"), ranks=1, compile_records=False)
    assert "devices" in why_no_graph(recipe, cuda, ranks=2, compile_records=False)
    assert "compile_mode" in why_no_graph(recipe, cuda, ranks=1, compile_records=True)
    scaled = replace(recipe, precision=replace(recipe.precision, loss_scale=0))
    assert "scale of the loss" in why_no_graph(scaled, cuda, ranks=1, compile_records=False)


def test_a_run_without_a_gpu_says_that_it_trains_without_a_graph():
    made, notes = make_trainer({}), []
    record_steps(compose_settings(["runtime.cuda_graph=true"]), made, notes.append)
    assert notes == ["runtime.cuda_graph=true: trains without a graph: that needs a GPU"]
    assert made.recorded is None


def test_a_whole_run_with_a_graph_has_the_scores_of_a_run_without(tmp_path, monkeypatch):
    """Loaders, evaluations, averages and checkpoints between recorded steps, on the stand-in."""
    made = []
    monkeypatch.setattr("bagoftricks.run.start.why_no_graph", lambda *given, **more: "")
    monkeypatch.setattr("bagoftricks.run.start.CudaRecorder", lambda device: made.append(TapeRecorder()) or made[0])
    tricks = ["+regularize=dropout", "+refine=[mixup,cosine,ema]", "runtime.checkpoint_steps=3", "runtime.threads=1"]
    small = ["data=digits", "data.limit=96", "batch_size=16", "epochs=2", "seed=3"]
    graph, plain = (
        execute(compose_settings([*small, *tricks, f"store={tmp_path / str(on)}", *on]), SilentReporter(), "test")
        for on in (["runtime.cuda_graph=true"], [])
    )
    assert graph.id == plain.id
    assert len(made[0].tapes) == 1
    assert graph.metrics == plain.metrics
