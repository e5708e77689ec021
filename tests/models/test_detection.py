"""Faster R-CNN, against torchvision's with the same weights."""

import pytest
import torch
import torchvision
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection._utils import BalancedPositiveNegativeSampler
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.backbone_utils import BackboneWithFPN
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead

from bagoftricks.models import build_model
from bagoftricks.models.backbone import feature_maps
from bagoftricks.models.detection import (
    ANCHOR_SHARES,
    MOST_DETECTIONS,
    POOLED,
    Detector,
    DetectorSize,
    SeededSampler,
    detection_loss,
)
from bagoftricks.settings import network_settings
from tests.helpers import KEY
from tests.models.test_resnet import copy_in_order, randomise, resnet

CLASSES, PIXELS, SEEDS = 3, 64, (5, 6)
SMALL = DetectorSize(channels=16)
SPEC = network_settings(name="small", depths=[1, 1, 1, 1], width=8, stem="imagenet")
TARGETS = torch.tensor(
    [
        [[4.0, 6, 30, 40, 2], [20, 20, 60, 50, 0], [-1, -1, -1, -1, -1]],
        [[-1.0, -1, -1, -1, -1], [10, 10, 50, 60, 1], [-1, -1, -1, -1, -1]],
    ]
)


def images(pixels=PIXELS):
    return torch.randn(2, 3, pixels, pixels, generator=KEY.fold("images").generator())


def detector(*, pyramid=True):
    backbone = feature_maps(build_model(SPEC, {}, num_classes=5, image_size=PIXELS))
    return randomise(Detector(backbone, CLASSES, PIXELS, DetectorSize(pyramid, channels=16)))


def torchvision_detector(pixels):
    body = torchvision.models.resnet18(weights=None)
    stages = {f"layer{i + 1}": str(i) for i in range(4)}
    levels = tuple((pixels * share,) for share in ANCHOR_SHARES)
    return randomise(
        FasterRCNN(
            BackboneWithFPN(body, stages, [64, 128, 256, 512], 16),
            box_head=TwoMLPHead(16 * POOLED**2, 64),
            box_predictor=FastRCNNPredictor(64, 1 + CLASSES),
            min_size=pixels,
            max_size=pixels,
            image_mean=[0, 0, 0],
            image_std=[1, 1, 1],
            rpn_anchor_generator=AnchorGenerator(levels, ((0.5, 1.0, 2.0),) * 5),
        )
    )


def test_detections_and_losses_are_those_of_torchvision():
    source = torchvision_detector(PIXELS)
    ours = copy_in_order(source, Detector(feature_maps(resnet(18, "")), CLASSES, PIXELS, SMALL))
    with torch.inference_mode():
        expected, found = source(list(images())), ours(images())
    assert found.shape == (2, MOST_DETECTIONS, 6)
    for theirs, rows in zip(expected, found, strict=True):
        real = rows[rows[:, 4] >= 0]
        assert len(real) == len(theirs["boxes"]) > 0
        torch.testing.assert_close(real[:, :4], theirs["boxes"], rtol=1e-4, atol=1e-3)
        torch.testing.assert_close(real[:, 5], theirs["scores"], rtol=1e-4, atol=1e-5)
        assert real[:, 4].tolist() == (theirs["labels"] - 1).tolist()
        assert (rows[len(real) :] == -1).all()
    real = [rows[rows[:, 4] >= 0] for rows in TARGETS]
    objects = [{"boxes": rows[:, :4], "labels": rows[:, 4].long() + 1} for rows in real]
    for module in (source, ours):  # the statistics of evaluation
        for part in (module, module.rpn, module.roi_heads):
            part.training = True
    for part in (source.rpn, source.roi_heads):
        part.fg_bg_sampler = SeededSampler(part.fg_bg_sampler)
        part.fg_bg_sampler.seeds = SEEDS
    losses = source(list(images()), objects)
    torch.testing.assert_close(
        detection_loss(ours(images()), TARGETS, SEEDS), sum(losses.values()), rtol=1e-4, atol=1e-4
    )


@pytest.mark.parametrize("pyramid", [True, False])
def test_the_seeds_alone_decide_which_proposals_are_sampled(pyramid):
    net = detector(pyramid=pyramid).train()
    outputs, state = net(images(160)), torch.get_rng_state()
    first = detection_loss(outputs, TARGETS, SEEDS)
    assert torch.equal(torch.get_rng_state(), state)
    torch.rand(3, generator=torch.default_generator)
    assert detection_loss(outputs, TARGETS, SEEDS) == first
    assert detection_loss(outputs, TARGETS, (5, 7)) != first


def test_an_images_sample_does_not_depend_on_the_others():
    matched = [torch.arange(40) % 3 - 1, torch.arange(60) % 2]
    sampler = SeededSampler(BalancedPositiveNegativeSampler(16, 0.5))
    sampler.seeds = SEEDS
    both = sampler(matched)
    sampler.seeds = SEEDS[1:]
    alone = sampler(matched[1:])
    assert all(torch.equal(whole[1], part[0]) for whole, part in zip(both, alone, strict=True))
    assert both[0][1].sum() == 8


@pytest.mark.parametrize("pyramid", [True, False])
def test_every_parameter_is_trained(pyramid):
    net = detector(pyramid=pyramid).train()
    detection_loss(net(images()), TARGETS, SEEDS).backward()
    assert [name for name, p in net.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_images_without_objects_have_a_finite_loss():
    net = detector().train()
    loss = detection_loss(net(images()), torch.full((2, 3, 5), -1.0), SEEDS)
    assert loss.isfinite()
    loss.backward()


def test_anchors_follow_the_size_of_the_images():
    for pixels in (64, 800):
        backbone = feature_maps(build_model(SPEC, {}, num_classes=5, image_size=pixels))
        generator = Detector(backbone, CLASSES, pixels, SMALL).rpn.anchor_generator
        assert generator.sizes == tuple((share * pixels,) for share in ANCHOR_SHARES)
    assert generator.sizes == ((32,), (64,), (128,), (256,), (512,))
