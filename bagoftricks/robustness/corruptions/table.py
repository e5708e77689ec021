"""Table of corruptions: for each name its draw, its function, both sets of constants and the smallest side.

Constants: make_imagenet_c.py and make_cifar_c.py of Hendrycks and Dietterich, github.com/hendrycks/robustness.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from bagoftricks.robustness.corruptions import blur, digital, extra, glass, noise, weather
from bagoftricks.robustness.corruptions.draws import Stream
from bagoftricks.robustness.corruptions.pixels import ByteImages

SeverityRows = tuple[Any, Any, Any, Any, Any]
CORRUPTIONS = (
    *("gaussian_noise", "shot_noise", "impulse_noise", "defocus_blur", "glass_blur", "motion_blur", "zoom_blur"),
    *("snow", "frost", "fog", "brightness", "contrast", "elastic_transform", "pixelate", "jpeg_compression"),
)
"""Fifteen corruptions of mCE, in the paper's order."""
EXTRA = ("speckle_noise", "gaussian_blur", "spatter", "saturate")
"""Four corruptions held out for validation."""


def draw_nothing(stream: Stream, images: ByteImages, row: Any) -> None:
    """Draw nothing: the draw function of deterministic corruptions."""


def any_side(row: Any) -> int:
    """Return the smallest side of corruptions that accept every image."""
    return 1


@dataclass(frozen=True)
class Corruption:
    """Kind of corruption: ``apply(images, draw(stream, images, row), row)`` for the row of a severity.

    ``smallest(row)`` is the shortest accepted side of an image, in pixels. With ``textures``, ``draw`` takes pictures
    of frost as a fourth argument.
    """

    draw: Callable[..., Any]
    apply: Callable[[ByteImages, Any, Any], ByteImages]
    imagenet: SeverityRows
    cifar: SeverityRows
    smallest: Callable[[Any], int] = any_side
    textures: bool = False

    def rows(self, constants: str) -> SeverityRows:
        """Return the constants of severities 1 to 5."""
        return self.imagenet if constants == "imagenet" else self.cifar


def _rows(kind: Callable[..., Any], *severities: Any) -> SeverityRows:
    first, second, third, fourth, fifth = (kind(*(row if isinstance(row, tuple) else (row,))) for row in severities)
    return first, second, third, fourth, fifth


CORRUPTION_TABLE: dict[str, Corruption] = {
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
    "defocus_blur": Corruption(
        draw_nothing,
        blur.defocus_blur,
        _rows(blur.Defocus, (3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5)),
        _rows(blur.Defocus, (0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1)),
        blur.defocus_side,
    ),
    "glass_blur": Corruption(
        glass.draw_moves,
        glass.glass_blur,
        _rows(glass.Glass, (0.7, 1, 2), (0.9, 2, 1), (1, 2, 3), (1.1, 3, 2), (1.5, 4, 2)),
        _rows(glass.Glass, (0.05, 1, 1), (0.25, 1, 1), (0.4, 1, 1), (0.25, 1, 2), (0.4, 1, 2)),
        glass.glass_side,
    ),
    "motion_blur": Corruption(
        blur.draw_angles,
        blur.motion_blur,
        _rows(blur.Motion, (10, 3), (15, 5), (15, 8), (15, 12), (20, 15)),
        _rows(blur.Motion, (6, 1), (6, 1.5), (6, 2), (8, 2), (9, 2.5)),
    ),
    "zoom_blur": Corruption(
        draw_nothing,
        blur.zoom_blur,
        _rows(blur.Zoom, (1.11, 0.01), (1.16, 0.01), (1.21, 0.02), (1.26, 0.02), (1.31, 0.03)),
        _rows(blur.Zoom, (1.06, 0.01), (1.11, 0.01), (1.16, 0.01), (1.21, 0.01), (1.26, 0.01)),
        blur.zoom_side,
    ),
    "snow": Corruption(
        weather.draw_flakes,
        weather.snow,
        _rows(
            weather.Snow,
            (0.1, 0.3, 3, 0.5, 10, 4, 0.8),
            (0.2, 0.3, 2, 0.5, 12, 4, 0.7),
            (0.55, 0.3, 4, 0.9, 12, 8, 0.7),
            (0.55, 0.3, 4.5, 0.85, 12, 8, 0.65),
            (0.55, 0.3, 2.5, 0.85, 12, 12, 0.55),
        ),
        _rows(
            weather.Snow,
            (0.1, 0.2, 1, 0.6, 8, 3, 0.95),
            (0.1, 0.2, 1, 0.5, 10, 4, 0.9),
            (0.15, 0.3, 1.75, 0.55, 10, 4, 0.9),
            (0.25, 0.3, 2.25, 0.6, 12, 6, 0.85),
            (0.3, 0.3, 1.25, 0.65, 14, 12, 0.8),
        ),
    ),
    "frost": Corruption(
        weather.draw_frost,
        weather.frost,
        _rows(weather.FrostMix, (1, 0.4, 1), (0.8, 0.6, 1), (0.7, 0.7, 1), (0.65, 0.7, 1), (0.6, 0.75, 1)),
        _rows(weather.FrostMix, (1, 0.2, 0.2), (1, 0.3, 0.2), (0.9, 0.4, 0.2), (0.85, 0.4, 0.2), (0.75, 0.45, 0.2)),
        textures=True,
    ),
    "fog": Corruption(
        weather.draw_fog,
        weather.fog,
        _rows(weather.Fog, (1.5, 2, 256), (2, 2, 256), (2.5, 1.7, 256), (2.5, 1.5, 256), (3, 1.4, 256)),
        _rows(weather.Fog, (0.2, 3, 32), (0.5, 3, 32), (0.75, 2.5, 32), (1, 2, 32), (1.5, 1.75, 32)),
    ),
    "brightness": Corruption(
        draw_nothing,
        weather.brightness,
        _rows(weather.Lift, 0.1, 0.2, 0.3, 0.4, 0.5),
        _rows(weather.Lift, 0.05, 0.1, 0.15, 0.2, 0.3),
    ),
    "contrast": Corruption(
        draw_nothing,
        digital.contrast,
        _rows(digital.FactorRow, 0.4, 0.3, 0.2, 0.1, 0.05),
        _rows(digital.FactorRow, 0.75, 0.5, 0.4, 0.3, 0.15),
    ),
    "elastic_transform": Corruption(
        digital.draw_bend,
        digital.elastic_transform,
        _rows(
            digital.Elastic,
            (488, 170.8, 24.4),
            (488, 19.52, 48.8),
            (12.2, 2.44, 4.88),
            (17.08, 2.44, 4.88),
            (29.28, 2.44, 4.88),
        ),
        _rows(digital.Elastic, (0, 0, 2.56), (1.6, 6.4, 2.24), (2.56, 1.92, 1.92), (3.2, 1.28, 1.6), (3.2, 0.96, 0.96)),
        digital.elastic_side,
    ),
    "pixelate": Corruption(
        draw_nothing,
        digital.pixelate,
        _rows(digital.Scale, 0.6, 0.5, 0.4, 0.3, 0.25),
        _rows(digital.Scale, 0.95, 0.9, 0.85, 0.75, 0.65),
        digital.pixelate_side,
    ),
    "jpeg_compression": Corruption(
        draw_nothing,
        digital.jpeg_compression,
        _rows(digital.Quality, 25, 18, 15, 10, 7),
        _rows(digital.Quality, 80, 65, 58, 50, 40),
    ),
    "speckle_noise": Corruption(
        noise.draw_normal,
        noise.speckle_noise,
        _rows(noise.Sigma, 0.15, 0.2, 0.35, 0.45, 0.6),
        _rows(noise.Sigma, 0.06, 0.1, 0.12, 0.16, 0.2),
    ),
    "gaussian_blur": Corruption(
        draw_nothing,
        blur.gaussian_blur,
        _rows(noise.Sigma, 1, 2, 3, 4, 6),
        _rows(noise.Sigma, 0.4, 0.6, 0.7, 0.8, 1),
    ),
    "spatter": Corruption(
        extra.draw_spatter,
        extra.spatter,
        _rows(
            extra.Spatter,
            (0.65, 0.3, 4, 0.69, 0.6, 0),
            (0.65, 0.3, 3, 0.68, 0.6, 0),
            (0.65, 0.3, 2, 0.68, 0.5, 0),
            (0.65, 0.3, 1, 0.65, 1.5, 1),
            (0.67, 0.4, 1, 0.65, 1.5, 1),
        ),
        _rows(
            extra.Spatter,
            (0.62, 0.1, 0.7, 0.7, 0.5, 0),
            (0.65, 0.1, 0.8, 0.7, 0.5, 0),
            (0.65, 0.3, 1, 0.69, 0.5, 0),
            (0.65, 0.1, 0.7, 0.69, 0.6, 1),
            (0.65, 0.1, 0.5, 0.68, 0.6, 1),
        ),
        extra.spatter_side,
    ),
    "saturate": Corruption(
        draw_nothing,
        extra.saturate,
        _rows(extra.Saturation, (0.3, 0), (0.1, 0), (2, 0), (5, 0.1), (20, 0.2)),
        _rows(extra.Saturation, (0.3, 0), (0.1, 0), (1.5, 0), (2, 0.1), (2.5, 0.2)),
    ),
}
