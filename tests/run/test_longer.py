"""A finished run that goes on to more epochs is, but for the clock, the run that had them from the start."""

import pytest

from bagoftricks.errors import Interrupted, UserError
from bagoftricks.recipe.trick import Length
from bagoftricks.run.check import check
from bagoftricks.run.execute import execute
from bagoftricks.run.longer import longer_settings, shared_steps, step_to_keep
from bagoftricks.settings import RuntimeSettings, Settings
from bagoftricks.store.checkpoint_header import read_values
from bagoftricks.store.record import ParentFacts, read_record, settings_of
from bagoftricks.store.store import RECORD, Store
from tests.run.interrupted import Stopping, left_behind, same, tiny

pytestmark = pytest.mark.usefixtures("untimed")

KEEP = RuntimeSettings(device="cpu", keep_state=True)
WSD = {"wsd": {"decay": "50%"}, "warmup": {"epochs": 0.5, "max_share": 1.0}}
STEPS = 11  # in an epoch of ``tiny``


def extended(store, parent, epochs, typed=(), **changes):
    settings = Settings(store=str(store), extend=parent.id[:8], epochs=epochs, **changes)
    return longer_settings(settings, ["epochs", *typed])


def shorter_run(store, tricks, **changes):
    return execute(tiny(store, tricks=tricks, runtime=KEEP, **changes), Stopping(), "bot-train")


@pytest.fixture(scope="module")
def constant(tmp_path_factory):
    """A short run at a constant rate that kept its state."""
    store = tmp_path_factory.mktemp("constant")
    return store, shorter_run(store, ["constant_lr"], epochs=1)


@pytest.mark.parametrize(
    ("tricks", "at"),
    [
        (["constant_lr", "mixup", "ema", "mixed_precision", "ghost_norm"], 2 * STEPS),
        ({"step_decay": {"boundaries": "1 epochs"}}, 2 * STEPS),
        (WSD, 12),  # 6 steps of warm-up; the 11 that fall begin with the peak, at step 11 from 0
    ],
    ids=["constant", "steps", "wsd"],
)
def test_a_longer_run_is_that_of_all_its_epochs_bit_for_bit(tmp_path, tricks, at):
    whole = execute(tiny(tmp_path / "one", tricks=tricks, epochs=4), Stopping(), "bot-train")
    short, last = shorter_run(tmp_path / "two", tricks), Stopping()
    record = execute(extended(tmp_path / "two", short, 4), last, "bot-train")
    assert last.began == [at]
    assert f"continuing run {short.id} as run {record.id} at step {at} of 44" in last.notes
    assert same(left_behind(tmp_path / "one", whole), left_behind(tmp_path / "two", record))
    assert record.parent == ParentFacts(short.id, 2, exact=True)
    assert read_record(Store(tmp_path / "two").folder(record.id) / RECORD).parent == record.parent
    assert whole.parent is None


def test_runs_that_are_stopped_keep_and_continue_the_same_state(tmp_path):
    whole = execute(tiny(tmp_path / "one", tricks=WSD, epochs=4), Stopping(), "bot-train")
    settings = tiny(tmp_path / "two", tricks=WSD, runtime=KEEP)
    for after in (12, 3):
        with pytest.raises(Interrupted):
            execute(settings, Stopping(after), "bot-train")
    short = execute(settings, Stopping(), "bot-train")
    assert read_values(Store(tmp_path / "two").kept_state(short.id))["trainer"]["steps"] == 12
    longer = extended(tmp_path / "two", short, 4)
    with pytest.raises(Interrupted):
        execute(longer, Stopping(5), "bot-train")
    record = execute(longer, last := Stopping(), "bot-train")
    assert last.began == [17]
    assert same(left_behind(tmp_path / "one", whole), left_behind(tmp_path / "two", record))


@pytest.mark.slow
def test_a_longer_run_goes_on_again(tmp_path):
    whole = execute(tiny(tmp_path / "one", tricks=WSD, epochs=6), Stopping(), "bot-train")
    store = tmp_path / "two"
    short = shorter_run(store, WSD)
    longer = execute(extended(store, short, 3), Stopping(), "bot-train")
    record = execute(extended(store, longer, 6), last := Stopping(), "bot-train")
    assert last.began == [18]  # of 33 steps, 16 fall
    assert same(left_behind(tmp_path / "one", whole), left_behind(store, record))


@pytest.mark.parametrize(
    ("tricks", "shared"),
    [
        ({"constant_lr": {}, "ema": {}}, 20),
        ({"exponential_decay": {}}, 20),
        ({"step_decay": {"boundaries": "15 steps"}}, 20),
        ({"wsd": {}}, 17),  # the first of the last four steps still has the peak
        ({"wsd": {"decay": "7 steps"}}, 14),
        ({}, 5),  # the baseline's first quarter
        ({"cosine": {}}, 1),
        ({"linear_decay": {}}, 1),
        ({"polynomial_decay": {}}, 1),
        ({"constant_lr": {}, "warmup": {}}, 0),  # a fifth of the run
        ({"constant_lr": {}, "warmup": {"epochs": 1, "max_share": 1.0}}, 20),
        ({"constant_lr": {}, "swa": {"start": "50%", "every": "1 epochs"}}, 9),  # from step 10 of 20, 20 of 40
        (
            {"constant_lr": {}, "swa": {"start": "2 epochs", "every": "1 epochs"}},
            20,
        ),  # every epoch of 5 steps, from step 10
        ({"constant_lr": {}, "lookahead": {}}, 4),  # its first update has a share of its own
    ],
    ids=str,
)
def test_the_steps_that_a_run_shares_with_a_longer_one(tmp_path, tricks, shared):
    checked = check(tiny(tmp_path, tricks=tricks))
    assert shared_steps(checked, Length(5, 20), Length(5, 40)) == shared
    assert step_to_keep(checked, Length(5, 20))[0] == (shared if shared >= 10 else None)


@pytest.mark.parametrize("trick", ["cosine", "progressive_size"])
def test_a_run_that_no_longer_one_can_continue_keeps_no_state_and_says_why(tmp_path, trick):
    tricks = ["cosine"] if trick == "cosine" else ["constant_lr", "progressive_size"]
    reporter = Stopping()
    record = execute(tiny(tmp_path, tricks=tricks, runtime=KEEP, epochs=1), reporter, "bot-train")
    assert not Store(tmp_path).kept_state(record.id).exists()
    (said,) = [note for note in reporter.notes if "keep_state" in note]
    why = "shares only the first 1 of its 11 steps" if trick == "cosine" else "follows the share of the run"
    assert why in said
    with pytest.raises(UserError, match="shares only the first 1" if trick == "cosine" else "has kept no state") as no:
        execute(extended(tmp_path, record, 2), Stopping(), "bot-train")
    assert "restart=true" in str(no.value)


@pytest.mark.parametrize(
    ("typed", "changes", "epochs", "message"),
    [
        (["lr"], {"lr": 0.2}, 4, "lr: makes another run than {id}, which has its own: .* restart=true for a new run"),
        (["refine"], {}, 4, "refine: makes another run than {id}, .* model.weights=.*{id}.weights.safetensors"),
        (["refine"], {"restart": True}, 4, "refine: makes another run than {id}"),
        ([], {}, 1, "epochs=1: run {id} has 1 epochs already: type more, in all"),
    ],
)
def test_another_run_than_the_longer_one_is_refused(constant, typed, changes, epochs, message):
    store, record = constant
    with pytest.raises(UserError, match=f"^{message.format(id=record.id)}"):
        extended(store, record, epochs, typed, **changes)


def test_epochs_must_be_typed(constant):
    store, record = constant
    with pytest.raises(UserError, match=r"needs epochs=N \(more than its 1, in all\)$"):
        longer_settings(Settings(store=str(store), extend=record.id), [])


def test_the_state_of_other_settings_is_refused_with_what_differs(constant):
    store, record = constant
    settings = extended(store, record, 2)
    settings.seed = 7  # as in a program that makes its settings itself
    with pytest.raises(UserError, match=r"another run would go on \(seed: 0 there, 7 here\)"):
        execute(settings, Stopping(), "bot-train")


def test_a_restart_is_the_run_from_the_last_weights_and_names_its_parent(constant, tmp_path):
    store, record = constant
    settings = extended(store, record, 1, ["lr"], restart=True, lr=0.01)
    assert (settings.lr, settings.batch_size, settings.tricks) == (0.01, 16, {"constant_lr": {}})
    restarted = execute(settings, Stopping(), "bot-train")
    assert restarted.parent == ParentFacts(record.id, 1, exact=False)
    from_file = tiny(tmp_path, tricks=["constant_lr"], epochs=1)
    from_file.lr, from_file.model.weights = 0.01, str(Store(store).weights(record.id))
    same_run = execute(from_file, Stopping(), "bot-train")
    assert (same_run.id, same_run.metrics, same_run.parent) == (restarted.id, restarted.metrics, None)
    assert settings_of(restarted).restart


def test_a_restart_without_a_run_is_refused():
    with pytest.raises(UserError, match=r"^restart=true: name the finished run that it starts from with extend=ID$"):
        Settings(restart=True)
