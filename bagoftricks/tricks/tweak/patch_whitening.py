import torch
from jaxtyping import Float
from torch import Tensor, nn

from bagoftricks.errors import UserError
from bagoftricks.models.layers import ConvNormAct, Site
from bagoftricks.recipe.edits import FreezeParams, Images, InitFromImages, Part, SetPart
from bagoftricks.recipe.trick import Task, require, trick

POSITIONS = 2**18  # pixels whose patches are held in memory at a time: 57 MB in fp64 for 3x3


class PatchConv(nn.Conv2d):
    """Fixed convolution with filters computed from training images: (B C H W) -> (B n H/stride W/stride).

    An odd kernel is padded to keep the size at stride 1; an even one is not padded and takes kernel - 1 pixels.
    """

    def __init__(self, channels: int, filters: int, kernel: int, stride: int, *, bias: bool) -> None:
        super().__init__(channels, filters, kernel, stride, kernel // 2 if kernel % 2 else 0, bias=bias)


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
    """Patch whitening: a fixed first convolution that whitens image patches, then a learned 1x1.

    S = X'X / (n - 1), not centred, over all patches X (n x 27 for 3x3) of the first training images, normalised as the
    network sees them, without augmentation and without padding; S = V L V' in fp64, eigenvalues descending. Filter k is
    V_k / sqrt(L_k + eps), with its largest component positive (Page leaves the sign to the solver). Patches at the
    border overlap the convolution's zero padding, so they are not white. A stride of the stem goes to the fixed
    convolution. Each run computes its own filters: they follow the data and its normalisation. Grey images
    (data.channels=1) have 9.

    airbench (Jordan 2024, section 3.2) has kernel=2, mirrored=true, project=false, images=5000 and eps=5e-4: 12 filters
    and their negatives, a learned bias and the activation, without 1x1 and norm, so that model.widths begins with 24.
    Its bias is trained in the first three epochs only; ours always.
    """

    images: int = 10_000
    """number of training images that are used (all, if there are fewer)"""
    eps: float = 1e-2
    """constant added to the eigenvalues: directions of less variance are not raised to unit variance"""

    kernel: int = 3
    """side of a patch in pixels; an even one shrinks the map by kernel - 1"""
    mirrored: bool = False
    """negatives of the filters too, since an activation passes one side only"""
    project: bool = True
    """learned 1x1, norm and activation after the filters; false: a bias and the activation"""

    def __post_init__(self) -> None:
        require(self, "kernel", 1 <= self.kernel <= 32, "in 1..32")
        require(self, "images", self.images >= 1, "1 or more")
        require(self, "eps", self.eps > 0, "positive")

    def edits(self, task: Task) -> list[SetPart | InitFromImages | FreezeParams]:
        return [
            SetPart(part=Part.STEM, build=self.stem),
            InitFromImages(select=is_filter, images=self.images, init=self.whiten),
            FreezeParams(select=is_filter),
        ]

    def stem(self, width: int, stride: int, site: Site) -> nn.Sequential:
        """Return a module that maps (B C H W) to (B width H/stride W/stride), kernel - 1 less for an even kernel."""
        filters = site.channels * self.kernel**2 * (2 if self.mirrored else 1)
        conv = PatchConv(site.channels, filters, self.kernel, stride, bias=not self.project)
        if self.project:
            return nn.Sequential(conv, *ConvNormAct(filters, width, 1, 1, site))
        if width != filters:
            raise UserError(
                f"tricks.patch_whitening.project=false: gives {filters} channels to a stem of {width}; type "
                f"tricks.patch_whitening.project=true, or model=cifarnet with {filters} as the first of model.widths"
            )
        return nn.Sequential(conv, site.act())

    def whiten(self, filters: Float[Tensor, "n C K K"], images: Images) -> None:
        """Fill ``filters`` in place."""
        values, vectors = torch.linalg.eigh(patch_covariance(images, self.kernel))
        values, vectors = values.flip(0).clamp(min=0), vectors.flip(1)
        largest = vectors.gather(0, vectors.abs().argmax(0, keepdim=True))
        rows = (vectors * largest.sign() / (values + self.eps).sqrt()).T
        filters.copy_((torch.cat([rows, -rows]) if self.mirrored else rows).reshape(filters.shape))


def is_filter(module: nn.Module, name: str) -> bool:
    return name == "weight" and isinstance(module, PatchConv)


def patch_covariance(images: Images, kernel: int = 3) -> Float[Tensor, "n n"]:
    """Return the uncentred covariance of all patches in fp64, ordered as a filter's (channel, row, column)."""
    channels, height, width = images.shape[1:]
    size = channels * kernel**2
    total = torch.zeros(size, size, dtype=torch.float64, device=images.device)
    for chunk in torch.split(images, max(1, POSITIONS // (height * width))):
        windows = chunk.double().unfold(2, kernel, 1).unfold(3, kernel, 1)
        patches = windows.permute(1, 4, 5, 0, 2, 3).reshape(size, -1)
        total += patches @ patches.T
    return total / (len(images) * (height - kernel + 1) * (width - kernel + 1) - 1)
