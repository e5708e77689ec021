"""An evaluation on corrupted images, from the run to its record."""

import json
from dataclasses import asdict, replace

import pytest
import torch

from bagoftricks.data import find_dataset
from bagoftricks.data.augment import Finish
from bagoftricks.errors import RunElsewhere, UserError
from bagoftricks.robustness.corruptions import CorruptionOptions
from bagoftricks.robustness.scoring import alexnet, mce
from bagoftricks.run import corrupted as recording
from bagoftricks.run.corrupted_images import chosen_rows
from bagoftricks.run.evaluation import subject_of_run
from bagoftricks.store.lease import claim
from bagoftricks.store.store import Store
from bagoftricks.training.trainer import predictor
from tests.run.robustness.conftest import Said, darker

NAME = "small_c[limit=12]"


class StopAt(Said):
    """Interrupts the evaluation after so many pieces."""

    def step(self):
        super().step()
        if self.steps == self.stop_after:
            raise KeyboardInterrupt


def result_of(record, name=NAME):
    return record.robustness[name]


def without_times(result):
    return {name: value for name, value in vars(result).items() if name not in ("seconds", "environment")}


def test_the_errors_are_those_of_a_plain_loop_over_the_corrupted_images(evaluate, settings):
    record = evaluate()
    wanted = settings()
    subject = subject_of_run(record, wanted, wanted, None)
    predict = predictor(subject.recipe, subject.network("last"))
    val = find_dataset(wanted.data).val
    rows = chosen_rows(len(val.labels), 12)
    finish = Finish(wanted.data, 10, torch.device("cpu"), channels_last=True)
    labels = torch.from_numpy(val.labels[rows])
    for name, severity in (("gaussian_noise", 1), ("jpeg_compression", 5)):
        images = torch.stack([val.image(int(row)) for row in rows])
        batch = finish(darker(images, name, severity, rows, CorruptionOptions("cifar")), labels)
        wrong = (predict(batch.images).argmax(1) != labels).sum().item()
        assert result_of(record).weights["last"].errors[name][severity - 1] == 100 * wrong / 12
    last = result_of(record).weights["last"]
    assert last.mce == pytest.approx(sum(sum(e) for e in last.errors.values()) / 75)
    assert (len(last.errors), result_of(record).count) == (15, 12)


@pytest.mark.slow
def test_no_batch_size_changes_a_bit(evaluate):
    found = [without_times(result_of(evaluate(batch=batch, rerun=True))) for batch in (1, 7, 64)]
    assert found[0] == found[1] == found[2]


def test_it_is_not_part_of_the_runs_identity_and_is_added_without_training(evaluate, monkeypatch):
    plain = evaluate(protocol="none", limit=None)
    assert plain.robustness == {}
    monkeypatch.setattr("bagoftricks.run.execute.Run.train", lambda *args: pytest.fail("trained again"))
    record = evaluate()
    assert record.id == plain.id
    assert {k: v for k, v in asdict(record).items() if k != "robustness"} == {
        k: v for k, v in asdict(plain).items() if k != "robustness"
    }
    monkeypatch.setattr(recording, "count_errors", lambda *args: pytest.fail("evaluated again"))
    said = Said()
    assert evaluate(said).robustness == record.robustness
    assert f"run {record.id} has its errors of {NAME} in its record" in said.notes


def test_protocols_and_their_changes_stand_beside_each_other(evaluate):
    evaluate()
    evaluate(limit=6)
    record = evaluate(protocol="imagenet_c_lossless", limit=6)
    assert list(record.robustness) == [NAME, "small_c[limit=6]", "imagenet_c_lossless[limit=6]"]
    result = result_of(record, "imagenet_c_lossless[limit=6]")
    last = result.weights["last"]
    assert last.mce == pytest.approx(mce(last.errors, alexnet()))
    assert (result.normaliser, result.jpeg_quality) == ("AlexNet", None)
    assert (result.image_size, result.images, result.seed) == (8, "generated", 0)
    assert result.frost == "generated"


def test_the_published_protocol_saves_every_corrupted_image_as_jpeg_and_no_clean_one(evaluate, monkeypatch):
    from bagoftricks.run import corrupted_images as images

    qualities = []

    def resave(batch, quality):
        qualities.append((len(batch), quality))
        return batch

    monkeypatch.setattr(images, "resave_as_jpeg", resave)
    record = evaluate(protocol="imagenet_c", batch=16)
    assert qualities == [(12, 85)] * 75
    assert result_of(record, "imagenet_c[limit=12]").jpeg_quality == 85


def test_every_weight_set_is_evaluated_on_the_same_corrupted_images(evaluate, monkeypatch):
    from bagoftricks.run import corrupted_images as images

    calls = []
    monkeypatch.setattr(images, "corrupt", lambda *a, **k: calls.append(a[1:3]) or darker(*a, **k))
    record = evaluate(tricks={"ema": {"every": 1}}, batch=64)
    assert set(result_of(record).weights) == {"last", "ema"}
    assert len(calls) == len(set(calls)) == 75


def test_a_result_without_one_of_the_weight_sets_is_measured_again(evaluate, settings):
    record = evaluate(tricks={"ema": {"every": 1}})
    whole = result_of(record)
    damaged = replace(whole, weights={"last": whole.weights["last"]})
    Store(settings().store).write_record(replace(record, robustness={NAME: damaged}))
    again = evaluate(tricks={"ema": {"every": 1}})
    assert without_times(result_of(again)) == without_times(whole)


@pytest.mark.parametrize(
    "stop", [pytest.param(1, marks=pytest.mark.slow), 77, pytest.param(199, marks=pytest.mark.slow)]
)
def test_a_killed_evaluation_goes_on_where_it_stopped(evaluate, stop, monkeypatch, tmp_path):
    whole = result_of(evaluate(batch=4, rerun=True))
    evaluate(protocol="none", limit=None, rerun=True)
    with pytest.raises(KeyboardInterrupt):
        evaluate(StopAt(stop), batch=4)
    assert len(list((tmp_path / "store").glob("*/small_c.partial.json"))) == 1
    said = Said()
    again = evaluate(said, batch=7)  # of another batch size
    assert any("resumes where it stopped" in note for note in said.notes)
    assert without_times(result_of(again)) == without_times(whole)
    assert said.steps == said.totals[-1] <= 76 * 2
    assert list((tmp_path / "store").glob("*/*.partial.json")) == []


def test_the_record_is_whole_while_the_evaluation_is_not(evaluate, tmp_path):
    plain = evaluate(protocol="none", limit=None)
    with pytest.raises(KeyboardInterrupt):
        evaluate(StopAt(100))
    assert Store(tmp_path / "store").record(plain.id) == plain


def test_counts_of_other_weights_or_of_a_broken_file_are_dropped_with_a_note(evaluate, tmp_path):
    record = evaluate()
    whole = without_times(result_of(record))
    folder = tmp_path / "store" / record.id
    for text, why in (
        (json.dumps({"digest": "0" * 32, "tally": {}, "seconds": {}}), "other weights, other images"),
        ("{", "not used"),
        (json.dumps([]), "not used"),
    ):
        (folder / "small_c.partial.json").write_text(text)
        said = Said()
        Store(tmp_path / "store").write_record(replace(record, robustness={}))
        assert without_times(result_of(evaluate(said))) == whole
        assert any(why in note for note in said.notes)


def test_counts_are_written_now_and_then(evaluate, monkeypatch, tmp_path):
    evaluate(protocol="none", limit=None)
    monkeypatch.setattr(recording, "SAVE_EVERY_S", 0.0)
    seen = []

    class Watching(Said):
        def step(self):
            seen.extend(json.loads(p.read_text())["tally"] for p in (tmp_path / "store").glob("*/*.partial.json"))

    evaluate(Watching(), batch=64)
    assert [sum(tally["stop"]) for tally in seen] == [12 * n for n in range(1, 76)]


def test_a_baseline_runs_errors_take_alexnets_place(evaluate):
    base = evaluate()
    record = evaluate(seed=1, normalise_by=base.id[:6])
    name = f"small_c[limit=12, normalise_by={base.id[:8]}]"
    last, over = result_of(record, name).weights["last"], result_of(base).weights["last"]
    ratios = [sum(last.errors[c]) / sum(over.errors[c]) for c in over.errors]
    assert last.mce == pytest.approx(100 * sum(ratios) / 15)
    assert result_of(record, name).normaliser == f"run {base.id[:8]}"


@pytest.mark.slow
def test_known_errors_are_not_counted_again_for_another_normaliser(evaluate, monkeypatch):
    base, record = evaluate(), evaluate(seed=1)
    monkeypatch.setattr(recording, "count_errors", lambda *args: pytest.fail("evaluated again"))
    again = evaluate(seed=1, normalise_by=base.id)
    assert set(again.robustness) == {NAME, f"small_c[limit=12, normalise_by={base.id[:8]}]"}
    assert again.robustness[NAME] == record.robustness[NAME]


def test_a_baseline_without_these_errors_is_named_before_anything_is_computed(evaluate):
    base = evaluate(protocol="none", limit=None)
    with pytest.raises(UserError, match=rf"bot-eval run={base.id[:8]} corruptions=small_c corruptions.limit=12 adds"):
        evaluate(seed=1, normalise_by=base.id)
    with pytest.raises(UserError, match=r"corruptions.normalise_by: run=zz"):
        evaluate(normalise_by="zz")


def test_images_that_are_too_small_are_refused_before_the_training(evaluate, monkeypatch):
    from bagoftricks.robustness import request as asked

    monkeypatch.setattr("bagoftricks.run.execute.Run.train", lambda *args: pytest.fail("trained"))
    small = {"imagenet": 32, "cifar": 2}
    monkeypatch.setattr(asked, "smallest_side", lambda name, constants: small[constants] if name == "frost" else 1)
    with pytest.raises(
        UserError,
        match=r"corruptions=photos_c: frost needs images of 32 pixels or more, and these have 8: "
        r"type corruptions=small_c, whose constants are CIFAR's, or image_size=32",
    ):
        evaluate(protocol="photos_c")


def test_two_processes_do_not_evaluate_one_run(evaluate, tmp_path):
    plain = evaluate(protocol="none", limit=None)
    lease = claim(tmp_path / "store" / plain.id)
    with lease, pytest.raises(RunElsewhere, match="worked on by another process"):
        evaluate()


def test_the_limit_takes_a_fixed_part_of_a_larger_limit():
    rows = chosen_rows(1000, 50)
    assert len(set(rows)) == 50
    assert list(rows) == sorted(rows)
    assert set(chosen_rows(1000, 20)) <= set(rows)
    assert list(chosen_rows(5, 7)) == [0, 1, 2, 3, 4]
    assert set(rows) != set(range(50))


def test_a_warning_says_that_the_training_overlaps(evaluate):
    said = Said()
    evaluate(said, tricks={"randaugment": {}}, limit=6)
    assert any(note.startswith("warning: randaugment: its operations change brightness") for note in said.notes)
