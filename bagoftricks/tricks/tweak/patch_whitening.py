import torch
from jaxtyping import Float
from torch import Tensor, nn

from bagoftricks.edits import FreezeParams, Images, InitFromImages, Part, SetPart
from bagoftricks.layers import ConvNorm, Site
from bagoftricks.trick import Task, require, trick

CHANNELS, KERNEL = 3, 3
PATCH = CHANNELS * KERNEL**2
POSITIONS = 2**18  # pixels whose patches are held at a time: 57 MB in fp64


class PatchConv(nn.Conv2d):
    """The fixed 3x3 convolution whose filters are made of training images: (B 3 H W) -> (B 27 H/stride W/stride)."""

    def __init__(self, stride: int) -> None:
        super().__init__(CHANNELS, PATCH, KERNEL, stride, KERNEL // 2, bias=False)


class PatchStem(nn.Sequential):
    """Whitened patches, then a learned 1x1, norm and activation: (B 3 H W) -> (B width H/stride W/stride)."""

    def __init__(self, width: int, stride: int, site: Site) -> None:
        super().__init__(PatchConv(stride), *ConvNorm(PATCH, width, 1, 1, site, act=True))


@trick(
    paper="Page 2019, How to Train Your ResNet 8: Bag of Tricks, input patch whitening",
    warns={
        "autoaugment": "the filters whiten images that are not augmented",
        "randaugment": "the filters whiten images that are not augmented",
        "trivialaugment": "the filters whiten images that are not augmented",
        "augmix": "the filters whiten images that are not augmented",
    },
)
class PatchWhitening:
    """Begin with a fixed 3x3 convolution that whitens the images' patches, then a learned 1x1.

    S = X'X / (n - 1), not centred, over all 3x3 patches X (n x 27) of the first training images as the network sees
    them, without augmentation and without padding; S = V L V' in fp64, eigenvalues descending. Filter k is
    V_k / sqrt(L_k + eps), with its largest component positive (Page leaves the sign to the solver). Patches at the
    border overlap the convolution's zero padding, so they are not white. A stride of the stem goes to the fixed
    convolution. The filters are computed anew for each run: they follow the data and its normalisation.
    """

    images: int = 10_000
    """training images looked at (all, where there are fewer)"""
    eps: float = 1e-2
    """added to the eigenvalues: a floor under which a direction is not raised to unit variance"""

    def __post_init__(self) -> None:
        require(self, "images", self.images >= 1, "1 or more")
        require(self, "eps", self.eps > 0, "positive")

    def edits(self, task: Task) -> list[SetPart | InitFromImages | FreezeParams]:
        return [
            SetPart(part=Part.STEM, build=PatchStem),
            InitFromImages(select=is_filter, images=self.images, init=self.whiten),
            FreezeParams(select=is_filter),
        ]

    def whiten(self, filters: Float[Tensor, "27 3 3 3"], images: Images) -> None:
        """Fill ``filters`` in place."""
        values, vectors = torch.linalg.eigh(patch_covariance(images))
        values, vectors = values.flip(0).clamp(min=0), vectors.flip(1)
        largest = vectors.gather(0, vectors.abs().argmax(0, keepdim=True))
        rows = (vectors * largest.sign() / (values + self.eps).sqrt()).T
        filters.copy_(rows.reshape(filters.shape))


def is_filter(module: nn.Module, name: str) -> bool:
    return name == "weight" and isinstance(module, PatchConv)


def patch_covariance(images: Images) -> Float[Tensor, "27 27"]:
    """Uncentred covariance of all patches, in fp64; components in the order of a filter's (channel, row, column)."""
    height, width = images.shape[2:]
    total = torch.zeros(PATCH, PATCH, dtype=torch.float64, device=images.device)
    for chunk in torch.split(images, max(1, POSITIONS // (height * width))):
        windows = chunk.double().unfold(2, KERNEL, 1).unfold(3, KERNEL, 1)
        patches = windows.permute(1, 4, 5, 0, 2, 3).reshape(PATCH, -1)
        total += patches @ patches.T
    return total / (len(images) * (height - KERNEL + 1) * (width - KERNEL + 1) - 1)
