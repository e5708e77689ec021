"""Faster R-CNN (Ren et al. 2015, arXiv:1506.01497) of torchvision's parts on a backbone of ours.

Shapes: B batch, H height and W width of the images, M places for objects in an image, D for detections, K classes.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor, nn

from bagoftricks.distributed.norms import exact
from bagoftricks.models.backbone import FeatureMaps
from bagoftricks.recipe.edits import Images, Role, mark

ANCHOR_SHARES = (0.04, 0.08, 0.16, 0.32, 0.64)  # of the image's side: 32 ... 512 of 800 pixels, as in the papers
MOST_DETECTIONS = 100  # of an image, in evaluation
FINEST_STRIDE = 4  # pixels of a side for a position of the finest map in a pyramid
Sampled: TypeAlias = tuple[list[Tensor], list[Tensor]]  # masks of positives and negatives, by image
POOLED = 7  # positions of a side of a proposal's map


@dataclass(frozen=True)
class DetectorSize:
    """Width of a detector; the values are those of torchvision's."""

    pyramid: bool = True
    channels: int = 256  # of the maps of a pyramid; the head of boxes has four times as many
    proposals: int = 1000  # of an image, that are judged in evaluation; in training, about half as many


USUAL_SIZE = DetectorSize()


@dataclass(frozen=True)
class Features:
    """Output of a detector in training: the maps from which its loss finds proposals, given the objects."""

    detector: "Detector"
    maps: Mapping[str, Tensor]
    images: Images


class Detector(nn.Module):
    """Faster R-CNN: proposals from maps, then a class and a box for each of them.

    With ``pyramid``, the maps are a feature pyramid of the stages of strides from FINEST_STRIDE on (Lin et al.
    2017, arXiv:1612.03144), and one smaller map. Without, they are the last stage's alone, and the head that He et al.
    2016 make of the last stage is the same two linear layers as with a pyramid. Images come normalised and of one size;
    anchors are scaled to ``image_size``.

    In training, it returns Features, for ``detection_loss``. In evaluation, (B D 6): rows (x1, y1, x2, y2, class,
    score), the surest first; rows of class -1 are padding.
    """

    def __init__(self, backbone: FeatureMaps, classes: int, image_size: int, size: DetectorSize = USUAL_SIZE) -> None:
        super().__init__()
        self.backbone, self.image_channels, self.size = backbone, backbone.image_channels, size
        last = len(backbone.strides) - 1
        coarse = [i for i, stride in enumerate(backbone.strides) if stride >= FINEST_STRIDE or i == last]
        self.levels = coarse if size.pyramid else coarse[-1:]
        channels = [backbone.channels[i] for i in self.levels]
        self.neck = _pyramid(channels, size.channels) if size.pyramid else _LastMap(channels[-1])
        self.rpn: Any
        self.roi_heads: Any
        self.rpn, self.roi_heads = _heads(self.neck.out_channels, classes, image_size, size, len(self.levels))

    def forward(self, images: Images) -> Features | Float[Tensor, "B D 6"]:
        stages = self.backbone(images)
        maps = self.neck({str(at): stages[i] for at, i in enumerate(self.levels)})
        if self.training:
            return Features(self, {name: exact(each) for name, each in maps.items()}, images)
        if images.is_meta:
            return self._shaped(maps, images)
        proposals, _ = self.rpn(_listed(images), maps)
        found, _ = self.roi_heads(maps, proposals, _sizes(images))
        return torch.stack([_padded(each) for each in found])

    def _shaped(self, maps: Mapping[str, Tensor], images: Images) -> Tensor:
        """Return detections without values, for counting: of as many proposals as there can be."""
        self.rpn.head(list(maps.values()))
        side, channels = POOLED, self.neck.out_channels
        cut = images.new_empty(len(images) * self.size.proposals, channels, side, side)
        self.roi_heads.box_predictor(self.roi_heads.box_head(cut))
        return images.new_empty(len(images), MOST_DETECTIONS, 6)


def detection_loss(outputs: Features, targets: Float[Tensor, "B M 5"], seeds: Sequence[int]) -> Float[Tensor, ""]:
    """Return the sum of the four losses of Faster R-CNN: objectness, class, and both regressions of boxes.

    ``targets`` are rows (x1, y1, x2, y2, class) in pixels; rows of a class below 0 are padding. ``seeds``, one for each
    image, decide which of its anchors and proposals are sampled, whatever other images are in the batch and whatever
    was drawn before; no generator is moved.
    """
    rows = [each[each[:, 4] >= 0] for each in targets]
    objects = [{"boxes": each[:, :4].float(), "labels": 1 + each[:, 4].long()} for each in rows]  # 0: background
    detector, maps, images = outputs.detector, outputs.maps, outputs.images
    with torch.random.fork_rng(devices=[images.device] if images.is_cuda else []):
        for part in (detector.rpn, detector.roi_heads):
            part.fg_bg_sampler.seeds = seeds
        proposals, losses = detector.rpn(_listed(images), maps, objects)
        _, more = detector.roi_heads(maps, proposals, _sizes(images), objects)
    return torch.stack([*losses.values(), *more.values()]).sum()


class SeededSampler:
    """Torchvision's sampler of anchors or proposals, with a seed for each image of the next batch."""

    def __init__(self, sampler: Callable[[list[Tensor]], Sampled]) -> None:
        self.sampler = sampler
        self.seeds: Sequence[int] = ()

    def __call__(self, matched: list[Tensor]) -> Sampled:
        found = [self._of_image(seed, one) for seed, one in zip(self.seeds, matched, strict=True)]
        return [positive for positive, _ in found], [negative for _, negative in found]

    def _of_image(self, seed: int, matched: Tensor) -> tuple[Tensor, Tensor]:
        torch.manual_seed(seed)
        (positive,), (negative,) = self.sampler([matched])
        return positive, negative


class _LastMap(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.out_channels = channels

    def forward(self, maps: dict[str, Tensor]) -> dict[str, Tensor]:
        return {"0": list(maps.values())[-1]}


def _pyramid(channels: list[int], width: int) -> Any:
    from torchvision.ops.feature_pyramid_network import FeaturePyramidNetwork, LastLevelMaxPool

    neck = FeaturePyramidNetwork(channels, width, extra_blocks=LastLevelMaxPool())
    neck.out_channels = width
    return neck


def _heads(channels: int, classes: int, image_size: int, size: DetectorSize, maps: int) -> tuple[nn.Module, nn.Module]:
    """Return torchvision's network of proposals and its heads; a class more is the background."""
    from torchvision.models.detection import FasterRCNN
    from torchvision.models.detection.anchor_utils import AnchorGenerator
    from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
    from torchvision.ops import MultiScaleRoIAlign

    sides = tuple(image_size * share for share in ANCHOR_SHARES)
    levels = tuple((side,) for side in sides[-maps - 1 :]) if size.pyramid else (sides,)
    names = [str(level) for level in range(maps)]
    parts = FasterRCNN(
        _LastMap(channels),
        num_classes=None,
        rpn_anchor_generator=AnchorGenerator(levels, ((0.5, 1.0, 2.0),) * len(levels)),
        box_roi_pool=MultiScaleRoIAlign(names, output_size=POOLED, sampling_ratio=2),
        box_head=TwoMLPHead(channels * POOLED**2, 4 * size.channels),
        box_predictor=FastRCNNPredictor(4 * size.channels, 1 + classes),
        box_detections_per_img=MOST_DETECTIONS,
        box_batch_size_per_image=max(1, 512 * size.proposals // 1000),
        rpn_post_nms_top_n_test=size.proposals,
        rpn_pre_nms_top_n_test=size.proposals,
        rpn_post_nms_top_n_train=2 * size.proposals,
        rpn_pre_nms_top_n_train=2 * size.proposals,
    )
    for part in (parts.rpn, parts.roi_heads):
        part.fg_bg_sampler = SeededSampler(part.fg_bg_sampler)
    near_zero = [parts.rpn.head.conv, parts.rpn.head.cls_logits, parts.rpn.head.bbox_pred]
    near_zero += [parts.roi_heads.box_predictor.cls_score, parts.roi_heads.box_predictor.bbox_pred]
    for part in near_zero:
        for module in part.modules():
            mark(module, Role.SMALL_START)
    return parts.rpn, parts.roi_heads


def _sizes(images: Tensor) -> list[tuple[int, int]]:
    return [(images.shape[2], images.shape[3])] * len(images)


def _listed(images: Tensor) -> Any:
    from torchvision.models.detection.image_list import ImageList

    return ImageList(images, _sizes(images))


def _padded(found: Mapping[str, Tensor]) -> Float[Tensor, "D 6"]:
    rows = torch.cat([found["boxes"], found["labels"][:, None] - 1, found["scores"][:, None]], 1)
    padding = rows.new_full((MOST_DETECTIONS - len(rows), 6), -1)
    return torch.cat([rows, padding])
