"""Pictures of frost: generated, or the original ones from a folder of the user."""

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from jaxtyping import UInt8
from torch import Tensor

from bagoftricks.data.decode import decode
from bagoftricks.data.image_file import ImageFile
from bagoftricks.errors import UserError
from bagoftricks.rng import Key

FILES = ("frost1.png", "frost2.png", "frost3.png", "frost4.jpg", "frost5.jpg", "frost6.jpg")
USED = 5  # the definition's draw never picks the sixth file
SIDE = 512  # of a made-up texture, in pixels
FINEST = 0.25  # cycles per pixel at which power has fallen to exp(-2): photographs are not as sharp as noise
LOOKS = (  # mean of red, green and blue, deviation, and loss of power per octave, as measured on the original pictures
    ((77.7, 149.1, 165.7), 19, 2.2),
    ((200.8, 205.4, 214.5), 22, 1.6),
    ((200.8, 205.4, 214.5), 22, 1.6),  # the original files 2 and 3 are the same picture
    ((137.6, 152.8, 165.2), 29, 1.3),
    ((112.4, 123.4, 134.8), 43, 1.7),
)
Picture = UInt8[Tensor, "3 _ _"]


class Frost:
    """Textures of frost, five of equal chance, and their source. ``endless`` ones continue at their edges."""

    def __init__(self, pictures: Sequence[Picture], source: str, endless: bool) -> None:
        self.pictures, self.source, self.endless = list(pictures), source, endless
        self._scaled: dict[tuple[float, torch.device], list[Picture]] = {}

    @staticmethod
    @lru_cache(maxsize=1)
    def made_up() -> "Frost":
        """Generate textures from keyed noise; docs/corruptions.md compares them with the original pictures."""
        return Frost([_texture(number) for number in range(USED)], "generated", endless=True)

    @staticmethod
    def from_folder(folder: Path | str) -> "Frost":
        """Read the original pictures, frost1.png to frost6.jpg of hendrycks/robustness.

        Raises UserError that names the missing files.
        """
        missing = [name for name in FILES if not (Path(folder) / name).is_file()]
        if missing:
            raise UserError(
                f"the frost folder '{folder}' lacks {', '.join(missing)}; take all six from "
                "ImageNet-C/create_c of github.com/hendrycks/robustness, or leave the folder out for generated frost"
            )
        return Frost([_read(Path(folder) / name) for name in FILES[:USED]], "original", endless=False)

    def describe(self) -> str:
        """Return ``generated`` or ``original``, for the record."""
        return self.source

    def crops(
        self, draws: npt.NDArray[np.float64], height: int, width: int, scale: float, device: torch.device
    ) -> UInt8[Tensor, "n 3 height width"]:
        """Return a crop for each row of three draws in [0, 1): picture, row and column."""
        pictures = self._at(scale, device)
        crops = []
        for which, down, across in draws.tolist():
            picture = pictures[int(which * USED)]
            rows, columns = picture.shape[1:]
            if self.endless:
                shifted = picture.roll((-int(down * rows), -int(across * columns)), (1, 2))
                repeats = (1, -(-height // rows), -(-width // columns))
                crops.append(shifted.repeat(repeats)[:, :height, :width])
            else:
                self._check(height, width, rows, columns)
                top, left = int(down * (rows - height)), int(across * (columns - width))
                crops.append(picture[:, top : top + height, left : left + width])
        return torch.stack(crops)

    def _check(self, height: int, width: int, rows: int, columns: int) -> None:
        if height >= rows or width >= columns:
            raise UserError(
                f"the original pictures of frost cover images below {rows} x {columns} pixels, and these have "
                f"{height} x {width}; leave the frost folder out: generated frost has any size"
            )

    def _at(self, scale: float, device: torch.device) -> list[Picture]:
        """Return the pictures in another size: bilinear without smoothing, as OpenCV's default."""
        if (scale, device) not in self._scaled:
            made = self.pictures
            if scale != 1:
                made = [
                    F.interpolate(picture[None].float(), scale_factor=scale, mode="bilinear", align_corners=False)[0]
                    .round()
                    .to(torch.uint8)
                    for picture in made
                ]
            self._scaled[scale, device] = [picture.to(device) for picture in made]
        return self._scaled[scale, device]


def _read(path: Path) -> Picture:
    return decode(ImageFile(str(path), advice="download it again, or leave the folder out for generated frost"))


def _texture(number: int) -> Picture:
    """Make noise whose power falls with frequency, with veins at its mean; colours and contrast as listed."""
    (red, green, blue), deviation, slope = LOOKS[number]
    key = Key(number).fold("frost texture")
    smooth, veins = (_field(key.fold(part).numpy().normal(size=(SIDE, SIDE)), slope) for part in ("base", "veins"))
    ridges = -np.abs(veins)
    mixed = smooth + (ridges - ridges.mean()) / ridges.std()
    grey = mixed * (deviation / mixed.std())
    colours = [np.clip(grey + channel, 0, 255).round().astype(np.uint8) for channel in (red, green, blue)]
    return torch.from_numpy(np.stack(colours))


def _field(white: npt.NDArray[np.float64], slope: float) -> npt.NDArray[np.float64]:
    """Give white noise on a torus the power f^-slope, mean 0 and deviation 1."""
    down, across = np.fft.fftfreq(len(white))[:, None], np.fft.rfftfreq(len(white))
    frequency = np.hypot(down, across)
    frequency[0, 0] = np.inf
    amplitude = np.maximum(frequency, 2 / SIDE) ** (-slope / 2) * np.exp(-((frequency / FINEST) ** 2))
    shaped = np.fft.irfft2(np.fft.rfft2(white) * amplitude, s=white.shape)
    field: npt.NDArray[np.float64] = shaped / shaped.std()
    return field
