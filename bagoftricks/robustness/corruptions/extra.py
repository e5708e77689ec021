"""Two of the four extra corruptions: spatter and saturate."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from bagoftricks.robustness.corruptions import pixels
from bagoftricks.robustness.corruptions.draws import Stream
from bagoftricks.robustness.corruptions.edges import canny, distance_to
from bagoftricks.robustness.corruptions.pixels import HAIR, ByteImages, to_columns, truncate

WATER, MUD = (175.0, 238.0, 238.0), (63.0, 42.0, 20.0)  # red, green, blue in grey levels
FARTHEST = 20  # largest distance from an edge, in pixels
BEVEL = ((-2, -1, 0), (-1, 1, 1), (0, 1, 2))
SpatterLayer = Float[Tensor, "n h w"]


class Spatter(NamedTuple):
    """Constants of spatter."""

    mean: float
    deviation: float
    sigma: float
    threshold: float
    amount: float  # of water, or the standard deviation by which mud is blurred
    mud: int


def draw_spatter(stream: Stream, images: ByteImages, row: Spatter) -> SpatterLayer:
    """Draw the layer of noise that becomes drops."""
    return stream.normal(0, *images.shape[2:]).mul_(row.deviation).add_(row.mean)


def spatter(images: ByteImages, layer: SpatterLayer, row: Spatter) -> ByteImages:
    """Add drops of water that shine on one side, or splashes of mud."""
    blurred = _blur(layer, row.sigma)
    blurred = torch.where(blurred < row.threshold, 0, blurred)
    values = images.float()
    if row.mud:
        cover = _blur((blurred > row.threshold).float(), row.amount)
        cover = torch.where(cover < 0.8, 0, cover)[:, None]
        return truncate(values.mul_(1 - cover).addcmul_(cover, _colour(MUD, images)).add_(HAIR))
    drops = blurred.mul_(255).floor_().clamp_(0, 255)
    light = drops * _bevel(drops)
    strength = row.amount / light.amax((1, 2), keepdim=True).clamp_(min=1)
    return truncate(values.addcmul_((light * strength)[:, None], _colour(WATER, images)))


def _colour(colour: tuple[float, float, float], images: ByteImages) -> Tensor:
    return torch.tensor(colour).to(images.device, non_blocking=True).view(1, 3, 1, 1)


def _blur(layer: SpatterLayer, sigma: float) -> SpatterLayer:
    height, width = layer.shape[1:]
    columns = pixels.blur_columns(to_columns(layer[:, None]), height, width, sigma)
    return pixels.turned(columns).view(layer.shape)


def _bevel(drops: SpatterLayer) -> SpatterLayer:
    """Return the distance to the drops' edges, its histogram flattened, lit from one side; 0 to 255."""
    distance = distance_to(canny(drops, 50, 150), FARTHEST)
    level = _equalised(_filtered(distance, ((1, 1, 1),) * 3).div_(9).add_(HAIR).floor_())
    lit = _filtered(level, BEVEL).clamp_(0, 255)
    return _filtered(lit, ((1, 1, 1),) * 3).div_(9).round_()


def _filtered(layer: SpatterLayer, weights: tuple[tuple[int, ...], ...]) -> SpatterLayer:
    """Apply a 3 x 3 filter of whole weights, borders mirrored."""
    height, width = layer.shape[1:]
    padded = F.pad(layer, (1, 1, 1, 1), mode="reflect")
    result = torch.zeros_like(layer)
    for y, line in enumerate(weights):
        for x, weight in enumerate(line):
            result.add_(padded[:, y : y + height, x : x + width], alpha=weight)
    return result


def _equalised(level: SpatterLayer) -> SpatterLayer:
    """Equalise the histogram of each image's whole levels up to FARTHEST, as OpenCV does."""
    flat = level.flatten(1).long()
    shares = torch.zeros((len(flat), FARTHEST + 1), device=level.device)
    shares = shares.scatter_add_(1, flat, torch.ones_like(level).flatten(1)).double()
    total = level[0].numel()
    reached = shares.cumsum(1)
    lowest = torch.where(reached > 0, reached, total).amin(1, keepdim=True)  # pixels at the lowest level
    table = ((reached - lowest).clamp_(min=0) * (255 / (total - lowest).clamp(min=1))).round_().float()
    return table.gather(1, flat).view(level.shape)


def spatter_side(row: Spatter) -> int:
    """Return the smallest side: mirrored borders need a neighbour."""
    return 2


class Saturation(NamedTuple):
    """Constants of saturate."""

    factor: float
    added: float


def saturate(images: ByteImages, draws: None, row: Saturation) -> ByteImages:
    """Scale and raise HSV's saturation, keep hue and value. Grey pixels have red's hue, as in scikit-image."""
    values = images.float()
    highest, lowest = values.amax(1, keepdim=True), values.amin(1, keepdim=True)
    span = highest - lowest
    saturation = (span / highest.clamp(min=1)).mul_(row.factor).add_(row.added).clamp_(0, 1)
    hue = (highest - values).div_(span.clamp(min=1))  # 0 where the channel is the brightest, 1 where the darkest
    red = torch.tensor([0.0, 1, 1]).to(images.device, non_blocking=True).view(1, 3, 1, 1)
    hue = torch.where(span > 0, hue, red)
    return truncate((highest - highest * saturation * hue).add_(HAIR))
