"""The table of corruptions: for each name how to draw, how to apply, both sets of constants and the smallest side.

Constants: make_imagenet_c.py and make_cifar_c.py of Hendrycks and Dietterich, github.com/hendrycks/robustness.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from bagoftricks.evaluate.corruptions import noise
from bagoftricks.evaluate.corruptions.draws import Stream
from bagoftricks.evaluate.corruptions.pixels import Bytes

Rows = tuple[Any, Any, Any, Any, Any]
CORRUPTIONS = (
    *("gaussian_noise", "shot_noise", "impulse_noise", "defocus_blur", "glass_blur", "motion_blur", "zoom_blur"),
    *("snow", "frost", "fog", "brightness", "contrast", "elastic_transform", "pixelate", "jpeg_compression"),
)
"""The fifteen of mCE, in the paper's order."""
EXTRA = ("speckle_noise", "gaussian_blur", "spatter", "saturate")
"""The four held out for validation."""


def draw_nothing(stream: Stream, images: Bytes, row: Any) -> None:
    """Of corruptions without randomness."""


def any_side(row: Any) -> int:
    """The smallest side of corruptions that take every image."""
    return 1


@dataclass(frozen=True)
class Corruption:
    """One kind of corruption: ``apply(images, draw(stream, images, row), row)`` for the row of a severity.

    ``smallest(row)`` is the shortest side of an image, in pixels, that it can take. ``textures`` says that ``draw``
    takes pictures of frost as a fourth argument.
    """

    draw: Callable[..., Any]
    apply: Callable[[Bytes, Any, Any], Bytes]
    imagenet: Rows
    cifar: Rows
    smallest: Callable[[Any], int] = any_side
    textures: bool = False

    def rows(self, constants: str) -> Rows:
        """The constants of severities 1 to 5."""
        return self.imagenet if constants == "imagenet" else self.cifar


def _rows(kind: Callable[..., Any], *severities: Any) -> Rows:
    first, second, third, fourth, fifth = (kind(*(row if isinstance(row, tuple) else (row,))) for row in severities)
    return first, second, third, fourth, fifth


TABLE: dict[str, Corruption] = {
    "gaussian_noise": Corruption(
        noise.draw_normal,
        noise.gaussian_noise,
        _rows(noise.Sigma, 0.08, 0.12, 0.18, 0.26, 0.38),
        _rows(noise.Sigma, 0.04, 0.06, 0.08, 0.09, 0.10),
    ),
    "shot_noise": Corruption(
        noise.draw_shot,
        noise.shot_noise,
        _rows(noise.Photons, 60, 25, 12, 5, 3),
        _rows(noise.Photons, 500, 250, 100, 75, 50),
    ),
    "impulse_noise": Corruption(
        noise.draw_hits,
        noise.impulse_noise,
        _rows(noise.Amount, 0.03, 0.06, 0.09, 0.17, 0.27),
        _rows(noise.Amount, 0.01, 0.02, 0.03, 0.05, 0.07),
    ),
    "speckle_noise": Corruption(
        noise.draw_normal,
        noise.speckle_noise,
        _rows(noise.Sigma, 0.15, 0.2, 0.35, 0.45, 0.6),
        _rows(noise.Sigma, 0.06, 0.1, 0.12, 0.16, 0.2),
    ),
}
