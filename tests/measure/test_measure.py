import math

import pytest
import timm
import torch
from torch import nn

from bagoftricks.measure.accuracy import accuracy
from bagoftricks.measure.complexity import count_macs, count_params
from bagoftricks.measure.speed import Timing, peak_memory_mib, time_inference
from bagoftricks.models.strided import strided_pointwise
from bagoftricks.recipe.edits import Batch


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
