"""Flips within sequences of perturbed images, from the run to its record and its row."""

import numpy as np
import pytest
import torch

from bagoftricks.data import find_dataset
from bagoftricks.data.augment import Finish
from bagoftricks.errors import UserError
from bagoftricks.report.robustness import error_report, robustness_columns
from bagoftricks.report.study_robustness import robustness
from bagoftricks.report.table import record_rows
from bagoftricks.robustness import request as asked
from bagoftricks.robustness.perturbations import frames, smallest_frame
from bagoftricks.robustness.protocols import SEQUENCES
from bagoftricks.robustness.scoring import alexnet_flips
from bagoftricks.run import corrupted_images as images
from bagoftricks.run.corrupted_images import chosen_rows
from bagoftricks.run.evaluation import subject_of_run
from bagoftricks.training.trainer import predictor
from tests.run.robustness.conftest import Said
from tests.run.robustness.test_recording import StopAt, without_times

NAME = "cifar10_p[limit=12]"


def flips_of(record, name=NAME):
    return record.robustness[name].weights["last"].flips


def test_the_flips_are_those_of_a_plain_loop_over_the_frames(evaluate, settings):
    record = evaluate(protocol="cifar10_p")
    wanted = settings("cifar10_p")
    subject = subject_of_run(record, wanted, wanted, None)
    predict, val = predictor(subject.recipe, subject.network("last")), find_dataset(wanted.data).val
    rows = chosen_rows(len(val.labels), 12)
    clean = torch.stack([val.image(int(row)) for row in rows])
    finish, labels = Finish(wanted.data, 10, torch.device("cpu"), channels_last=True), torch.zeros(12).long()

    def classes(frame):
        return predict(finish(frame, labels).images).argmax(1)

    for name, reference in (("brightness", "before"), ("shot_noise", "first")):
        found = [classes(frame) for frame in frames(clean, name, torch.from_numpy(rows), constants="cifar")]
        others = found[:-1] if reference == "before" else [found[0]] * (len(found) - 1)
        flips = sum(a.ne(b).sum().item() for a, b in zip(found[1:], others, strict=True))
        assert flips_of(record)[name] == pytest.approx(100 * flips / (12 * 30))
    assert sum(flips_of(record).values()) > 0
    assert tuple(flips_of(record)) == SEQUENCES


@pytest.mark.slow
def test_a_killed_count_goes_on_where_it_stopped_and_no_batch_size_changes_a_flip(evaluate):
    name = "cifar10_p[limit=5]"
    evaluate(protocol="none")
    with pytest.raises(KeyboardInterrupt):
        evaluate(StopAt(13), protocol="cifar10_p", limit=5)
    said = Said()
    whole = without_times(evaluate(said, protocol="cifar10_p", limit=5).robustness[name])
    assert (said.steps, whole["count"]) == (2 * (1 + len(SEQUENCES)) - 13, 5)
    for batch in (1, 7):
        again = evaluate(protocol="cifar10_p", limit=5, rerun=True, batch=batch)
        assert without_times(again.robustness[name]) == whole


@pytest.mark.slow
def test_the_score_is_the_mean_over_alexnets_and_the_row_says_what_it_is_of(evaluate):
    name = "imagenet_p[limit=5]"
    record = evaluate(protocol="imagenet_p", limit=5)
    last = record.robustness[name].weights["last"]
    rates = [100 * flip / alexnet_flips().errors[perturbation][0] for perturbation, flip in last.flips.items()]
    assert last.mfr == pytest.approx(sum(rates) / 10)
    columns = robustness_columns(record_rows(record))
    assert [(c.key, c.heading) for c in columns] == [(f"mfr:{name}", f"mFR % ({name})")]
    report = error_report(name, record.robustness[name], "last", "text")
    assert report.splitlines()[0].split("  ")[0] == "perturbation"
    assert f"mFR % ({name}): {last.mfr:.2f}" in report
    assert "10 perturbations, over AlexNet's flips; 5 sequences made of images" in report
    assert "frost" not in report


def test_a_baseline_runs_flips_take_alexnets_place(evaluate):
    flipping = {"protocol": "cifar10_p", "limit": None, "batch": 360, "seed": 1}  # every kind flips some class
    record = evaluate(**flipping)
    found = evaluate(**flipping, normalise_by=record.id).robustness
    (own,) = (result for name, result in found.items() if "normalise_by" in name)
    assert own.weights["last"].mfr == pytest.approx(100)
    assert own.weights["last"].flips == flips_of(record, "cifar10_p")


def test_a_table_of_errors_shows_the_flips_of_the_same_run(evaluate):
    errors = evaluate(protocol="small_c")
    assert robustness(errors, "mfr", "small_c[limit=12]") is None
    both = evaluate(protocol="cifar10_p")
    assert len(both.robustness) == 2
    assert robustness(both, "mfr", "small_c[limit=12]") == both.robustness[NAME].reported.mfr
    assert robustness(both, "mce", "small_c[limit=12]") == both.robustness["small_c[limit=12]"].reported.mce


def test_frames_are_cut_out_of_the_whole_photograph_with_black_around_it(evaluate, monkeypatch):
    """At 8 pixels: the short side resized to 9, in a square of 20, as 256 is to 224 and to what scale 0.4 shows."""
    seen = []

    def watched(whole, name, *args, **about):
        seen.append((whole.clone(), about["side"]))
        return frames(whole, name, *args, **about)

    def single(number, stop, batch, labels):
        clean.append(batch.clone())
        return make(number, stop, batch, labels)

    clean, make = [], images._single
    monkeypatch.setattr(images, "frames", watched)
    monkeypatch.setattr(images, "_single", single)
    evaluate(protocol="imagenet_p", limit=4)
    whole, side = seen[0]
    assert torch.equal(clean[0], whole[..., 6:14, 6:14])
    assert (whole.shape[1:], side) == ((3, 20, 20), 8)
    lit = np.flatnonzero(whole.amax((0, 1, 3)).numpy())
    assert 5 <= lit[0] <= lit[-1] <= 13


@pytest.mark.parametrize("change", [{"stored": "somewhere"}, {"frost": "somewhere"}])
def test_what_has_no_meaning_for_sequences_is_refused(evaluate, change):
    with pytest.raises(UserError, match="no meaning for cifar10_p"):
        evaluate(protocol="cifar10_p", **change)


def test_frames_that_would_move_out_of_view_are_refused_before_the_training(evaluate, monkeypatch):
    monkeypatch.setattr(asked, "smallest_frame", smallest_frame)
    with pytest.raises(UserError, match=r"translate needs images of 21 pixels or more, and these have 8: .*cifar10_p"):
        evaluate(protocol="imagenet_p")
