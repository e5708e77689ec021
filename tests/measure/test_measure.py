import math
from statistics import NormalDist

import numpy as np
import pytest
import timm
import torch
from torch import nn

from bagoftricks.distributed import World
from bagoftricks.measure.accuracy import accuracy, measure_images, soft_top1
from bagoftricks.measure.complexity import count_macs, count_params
from bagoftricks.measure.speed import Timing, peak_memory_mib, reset_peak_memory, time_inference
from bagoftricks.models.strided import strided_pointwise
from bagoftricks.recipe.edits import Batch
from bagoftricks.run.heap import return_freed_memory


def test_accuracy_by_hand():
    # Label 0 for all three: ranked first, second and last of six.
    logits = torch.tensor([[9.0, 1, 2, 3, 4, 5], [4.0, 1, 2, 3, 0, 5], [0.0, 1, 2, 3, 4, 5]])
    targets = torch.eye(6)[[0, 0, 0]]
    scores = accuracy(lambda images: logits[: len(images)], [Batch(torch.zeros(3, 3, 1, 1), targets)])
    assert scores["top1"] == pytest.approx(100 / 3)
    assert scores["top5"] == pytest.approx(200 / 3)
    by_hand = sum(math.log(sum(math.exp(z) for z in row)) - row[0] for row in logits.tolist()) / 3
    assert scores["loss"] == pytest.approx(by_hand, rel=1e-6)


def test_the_calibration_error_by_hand():
    # Confidences 0.9 (right), 0.9 (wrong) in the bin of (13/15, 14/15], and 0.6 (right) in that of (8/15, 9/15]:
    # (|2 * 0.9 - 1| + |0.6 - 1|) / 3 = 0.4.
    probabilities = torch.tensor([[0.9, 0.1], [0.9, 0.1], [0.4, 0.6]])
    batch = Batch(torch.zeros(3, 3, 1, 1), torch.eye(2)[[0, 1, 1]])
    assert accuracy(lambda images: probabilities.log(), [batch])["ece"] == pytest.approx(40, rel=1e-5)


def test_gaps_of_opposite_sign_cancel_within_a_bin_and_across_batches():
    # Nine of ten predictions of confidence 0.9 are right: calibrated, though no single one is.
    def predict(images):
        return torch.tensor([[0.9, 0.1]]).log().expand(len(images), 2)

    batches = [Batch(torch.zeros(n, 3, 1, 1), torch.eye(2)[labels]) for n, labels in ((9, [0] * 9), (1, [1]))]
    assert accuracy(predict, batches)["ece"] == pytest.approx(0, abs=1e-5)


def test_a_constant_prediction_of_one_class_in_two_has_no_calibration_error():
    batch = Batch(torch.zeros(4, 3, 1, 1), torch.eye(2)[[0, 1, 0, 1]])
    assert accuracy(lambda images: torch.zeros(len(images), 2), [batch])["ece"] == pytest.approx(0, abs=1e-6)


def test_every_image_weighs_the_same_in_batches_of_unequal_size():
    def batches(sizes):
        labels = torch.arange(7) % 3
        start = 0
        for size in sizes:
            rows = labels[start : start + size]
            yield Batch(rows.float().view(-1, 1, 1, 1).expand(-1, 3, 1, 1), torch.eye(3)[rows])
            start += size

    def predict(images):
        return torch.stack([images[:, 0, 0, 0], torch.ones(len(images)), torch.zeros(len(images))], 1)

    whole, parts = accuracy(predict, batches([7])), accuracy(predict, batches([4, 2, 1]))
    assert parts == pytest.approx(whole)
    assert whole["top5"] == 100  # fewer than five classes: all of them count


def test_soft_top1_by_hand():
    # Margins 4 - 2, 4 - 3 and 1 - 1: mean 1, variance 2/3; a third of a step of 0.3 standard deviations is 0.
    logits = torch.tensor([[4.0, 2, 0], [3.0, 4, 1], [1.0, 0, 1]])
    batch = Batch(torch.zeros(3, 3, 1, 1), torch.eye(3)[[0, 1, 2]])
    phi, width = NormalDist().cdf, 0.3 * math.sqrt(2 / 3)
    expected = 100 * (phi(2 / width) + phi(1 / width) + phi(0)) / 3
    assert accuracy(lambda images: logits, [batch])["soft_top1"] == pytest.approx(expected, rel=1e-12)
    assert 83.33 < expected < 83.34


def test_soft_top1_ignores_the_scale_of_the_logits_and_is_top1_where_margins_are_large():
    margins = np.random.default_rng(0).normal(0.5, 1, 500)
    assert soft_top1(1000 * margins) == pytest.approx(soft_top1(margins), rel=1e-12)
    two_heaps = np.array([5.0] * 30 + [-5.0] * 10)
    assert soft_top1(two_heaps) == pytest.approx(75, abs=0.02)


@pytest.mark.parametrize(("margins", "expected"), [([2.0] * 3, 100), ([0.0] * 3, 50), ([-0.1] * 3, 0), ([0.1], 100)])
def test_without_a_spread_soft_top1_has_a_sharp_step(margins, expected):
    assert soft_top1(np.array(margins)) == expected


@pytest.mark.parametrize("broken", [math.nan, math.inf, -math.inf])
def test_margins_that_are_not_finite_have_no_soft_top1(broken):
    assert math.isnan(soft_top1(np.array([1.0, broken, 2.0, -math.inf])))


class OneOfTwo(World):
    """One of two ranks, whose peer has measured what is given."""

    def __init__(self, peer=()):
        self.peer, self.sent = list(peer), []

    def all_gather_object(self, value):
        self.sent = value
        return [value, self.peer]


def test_images_are_in_the_order_of_the_split_on_several_ranks_even_where_a_batch_is_missing():
    # The second of five batches could not be read: the ranks have the batches 0, 2, 4 and 3.
    labels = torch.tensor([0, 0, 1, 0, 0, 1, 1, 1])
    batches = [
        (number, Batch(labels[2 * at : 2 * at + 2].float().view(-1, 1, 1, 1).expand(-1, 3, 1, 1), torch.eye(2)[[0, 0]]))
        for at, number in enumerate((0, 2, 3, 4))
    ]

    def predict(images):  # class 1 where the first pixel is 1
        return torch.stack([torch.full((len(images),), 0.5), images[:, 0, 0, 0] * (1 + torch.arange(len(images)))], 1)

    alone = measure_images(predict, batches)
    assert alone.correct.tolist() == (labels == 0).tolist()
    other = OneOfTwo()
    measure_images(predict, [batches[2]], other)
    both = measure_images(predict, [batches[0], batches[1], batches[3]], OneOfTwo(other.sent))
    assert both.correct.tolist() == alone.correct.tolist()
    assert both.scores == alone.scores


def test_an_image_is_right_exactly_where_top1_counts_it():
    # Equal logits: top-1 takes one of them, soft top-1 a half.
    batch = Batch(torch.zeros(4, 3, 1, 1), torch.eye(2)[[0, 1, 0, 1]])
    found = measure_images(lambda images: torch.zeros(4, 2), [(0, batch)])
    assert 100 * found.correct.mean() == found.scores["top1"] == 50
    assert found.scores["soft_top1"] == 50


def test_macs_and_parameters_by_hand():
    # 3x3 convolution of 3 -> 4 channels on 8x8 outputs, then 4 -> 5: 8*8*9*3*4 + 4*5.
    with torch.device("meta"):
        net = nn.Sequential(
            nn.Conv2d(3, 4, 3, 2, 1), nn.BatchNorm2d(4), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 5)
        )
    assert count_macs(net, 16) == 8 * 8 * 9 * 3 * 4 + 4 * 5
    assert count_params(net) == 9 * 3 * 4 + 4 + 8 + 4 * 5 + 5


def test_frozen_parameters_do_not_count():
    net = nn.Linear(3, 2)
    net.bias.requires_grad_(False)
    assert count_params(net) == 6


def test_a_prediction_of_several_passes_is_timed_as_such():
    net, seen = nn.Sequential(nn.Flatten(), nn.Linear(12, 2)), []

    def twice(predict):
        return lambda images: predict(images) + predict(images)

    net.register_forward_hook(lambda *_: seen.append(1))
    timing = time_inference(net, 2, batch=1, budget_s=0, wrap_predict=[twice])
    assert len(seen) == 2 * (2 + timing.repeats)


def test_timing_reports_the_median_and_its_spread():
    timing = Timing(batch=64, seconds=0.5, low=0.4, high=0.6, repeats=9)
    assert timing.images_per_s == 128
    assert timing.spread == pytest.approx(0.4)


def test_inference_is_timed_in_inference_mode_on_the_asked_batch():
    calls = []

    class Probe(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(1))

        def forward(self, images):
            calls.append((tuple(images.shape), self.training, torch.is_inference_mode_enabled()))
            return images.sum() * self.weight

    timing = time_inference(Probe(), 8, batch=4, budget_s=0.0)
    assert timing.repeats == 5
    assert len(calls) == 7  # two warm-up passes
    assert set(calls) == {((4, 3, 8, 8), False, True)}


def test_peak_memory_of_a_process_is_plausible():
    assert 50 < peak_memory_mib(torch.device("cpu")) < 100_000


def test_networks_whose_class_token_is_the_input_of_a_layer_are_counted():
    with torch.device("meta"):
        net = timm.create_model("pit_ti_224")
    assert count_macs(net, 224) > 5e8
    assert strided_pointwise(net, 224) == []


def test_the_peak_of_a_run_is_not_that_of_an_earlier_run_of_the_process():
    cpu = torch.device("cpu")
    return_freed_memory()  # of earlier tests: a block would be taken from it
    reset_peak_memory(cpu)
    before = peak_memory_mib(cpu)
    torch.ones(2**26)  # 256 MiB, that are freed again
    assert peak_memory_mib(cpu) > before + 200
    return_freed_memory()
    reset_peak_memory(cpu)
    assert peak_memory_mib(cpu) < before + 100
