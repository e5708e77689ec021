"""Segmentation heads, against torchvision's, and the loss of pixels."""

import pytest
import torch
import torch.nn.functional as F
from torchvision.models.segmentation import deeplabv3, fcn

from bagoftricks.models import build_model
from bagoftricks.models.backbone import dilate, feature_maps
from bagoftricks.models.segmentation import (
    DeepLabHead,
    FCNHead,
    PSPHead,
    SegmentationNet,
    enlarged,
    pixel_loss,
)
from bagoftricks.recipe.edits import NO_CLASS
from bagoftricks.settings import network_settings
from tests.helpers import KEY
from tests.models.test_resnet import copy_in_order, randomise

CLASSES = 7
SPEC = network_settings(name="small", depths=[1, 1, 1, 1], width=8, stem="imagenet")


def drawn(*shape, name="map"):
    return torch.randn(*shape, generator=KEY.fold(name).generator())


def make_net(head=FCNHead, *, aux=True):
    backbone = feature_maps(build_model(SPEC, {}, num_classes=5, image_size=65))
    dilate(backbone, 8)
    return randomise(SegmentationNet(backbone, head, CLASSES, aux=aux))


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (FCNHead, fcn.FCNHead),
        (DeepLabHead, deeplabv3.DeepLabHead),
        (lambda c, k: DeepLabHead(c, k, (6, 12, 18)), lambda c, k: deeplabv3.DeepLabHead(c, k, (6, 12, 18))),
    ],
)
@torch.inference_mode()
def test_a_head_computes_what_torchvision_computes(ours, theirs):
    source = randomise(theirs(64, CLASSES))
    head = copy_in_order(source, ours(64, CLASSES))
    expected = source(drawn(2, 64, 13, 15))
    assert expected.std() > 0.1
    torch.testing.assert_close(head(drawn(2, 64, 13, 15)), expected, rtol=1e-5, atol=1e-5)


@torch.inference_mode()
def test_pyramid_pooling_by_another_route():
    head, x = randomise(PSPHead(32, CLASSES)), drawn(2, 32, 12, 12)
    pooled = [x]
    for pool, bins in zip(head.pools, (1, 2, 3, 6), strict=True):
        means = x.view(2, 32, bins, 12 // bins, bins, 12 // bins).mean((3, 5))
        features = pool[1](means)
        assert features.shape == (2, 8, bins, bins)
        pooled.append(enlarged(features, (12, 12)))
    torch.testing.assert_close(head(x), head.fuse(torch.cat(pooled, 1)), rtol=1e-4, atol=1e-5)
    assert [head.fuse[0][0].in_channels, head.fuse[0][0].out_channels] == [64, 8]


def test_a_mean_over_the_map_reaches_every_pixel():
    for head in (PSPHead(32, CLASSES), DeepLabHead(32, CLASSES, width=16)):
        x = drawn(1, 32, 90, 90).requires_grad_()
        randomise(head)(x)[0, :, 0, 0].sum().backward()
        assert x.grad[0, :, -1, -1].abs().sum() > 0


@pytest.mark.parametrize("head", [FCNHead, PSPHead, DeepLabHead])
def test_logits_have_the_size_of_the_images_and_the_auxiliary_ones_come_second(head):
    net, images = make_net(head), drawn(2, 3, 65, 49)
    assert net(images).shape == (2, CLASSES, 65, 49)
    *_, middle, last = net.backbone(images)
    torch.testing.assert_close(net(images), enlarged(net.head(last), (65, 49)))
    for module in net.modules():  # training, with the statistics and without the draws of evaluation
        module.training = module is net
    torch.testing.assert_close(net(images)[:, 0], enlarged(net.head(last), (65, 49)))
    torch.testing.assert_close(net(images)[:, 1], enlarged(net.aux(middle), (65, 49)))


def test_without_an_auxiliary_head_training_has_the_shape_of_evaluation():
    net, images = make_net(aux=False), drawn(2, 3, 65, 65)
    assert net.train()(images).shape == net.eval()(images).shape == (2, CLASSES, 65, 65)


def test_every_parameter_is_trained():
    net = make_net(PSPHead).train()
    masks = torch.randint(CLASSES, (2, 65, 65), generator=KEY.generator())
    pixel_loss(net(drawn(2, 3, 65, 65)), masks).backward()
    assert [name for name, p in net.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_the_loss_is_the_mean_over_pixels_that_count():
    logits, masks = drawn(2, CLASSES, 3, 4), torch.arange(24).view(2, 3, 4) % CLASSES
    masks[0, :2] = NO_CLASS
    rows = logits.permute(0, 2, 3, 1)[masks != NO_CLASS]
    expected = F.cross_entropy(rows, masks[masks != NO_CLASS])
    torch.testing.assert_close(pixel_loss(logits, masks.to(torch.uint8)), expected)
    both = torch.stack([logits, torch.zeros_like(logits)], 1)
    torch.testing.assert_close(pixel_loss(both, masks, 0.3), expected + 0.3 * torch.tensor(CLASSES).log())


def test_a_batch_of_void_pixels_has_no_loss_and_no_gradient():
    logits = drawn(1, CLASSES, 2, 2).requires_grad_()
    loss = pixel_loss(logits, torch.full((1, 2, 2), NO_CLASS))
    loss.backward()
    assert loss == 0
    assert not logits.grad.any()
