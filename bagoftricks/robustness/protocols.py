"""Protocols of robustness by name: what one number of a network's robustness was measured on.

Published mCE values of one network differ by eight points because this is left unsaid. Imports no torch.
"""

from dataclasses import dataclass, field
from typing import Optional

from bagoftricks.errors import UserError, did_you_mean
from bagoftricks.registry import all_cards, make_object, protocol
from bagoftricks.robustness.scoring import Normaliser, alexnet, alexnet_flips, corruption_names

# ruff: noqa: UP045 (fields are written as in every card)


@dataclass(kw_only=True)
class Protocol:
    """A way to measure robustness. Resolution, frost, seed and the images are stated with each result.

    A protocol is a subclass marked with ``@protocol(name=...)`` that sets some of these fields.
    """

    name: str = ""
    constants: str = "imagenet"  # of the corruptions' severities: imagenet or cifar
    jpeg_quality: Optional[int] = None  # of the re-save after the corruption; None: none
    normaliser: Optional[str] = None  # alexnet, or None: the mean error itself
    extra: bool = False  # with the four extra corruptions
    only: list[str] = field(default_factory=list)  # these corruptions alone
    sequences: bool = False  # perturbations, whose flips are counted, instead of corruptions, whose errors are
    short_side: Optional[float] = None  # of the images that a sequence is made of, over that of its frames
    long_side: float = 1.0  # share of the frame's side that is seen of them; black where an image has less

    @property
    def corruptions(self) -> tuple[str, ...]:
        """Names of the corruptions, or of the perturbations."""
        if self.sequences:
            return SEQUENCES
        known = corruption_names() if self.extra or self.only else corruption_names("main")
        for name in self.only:
            if name not in known:
                raise UserError(f"corruptions={self.name}: there is no corruption '{name}'{did_you_mean(name, known)}")
        return tuple(name for name in known if not self.only or name in self.only)

    def alexnet(self) -> Normaliser | None:
        """Return the network whose errors or flips divide the score, None if it is not normalised."""
        if self.normaliser is None:
            return None
        return alexnet_flips() if self.sequences else alexnet()


SEQUENCES = (  # the ten of ImageNet-P
    *("gaussian_noise", "shot_noise", "motion_blur", "zoom_blur", "snow"),
    *("brightness", "translate", "rotate", "tilt", "scale"),
)


@protocol(name="imagenet_c")
class ImageNetC(Protocol):
    """ImageNet-C, re-saved as JPEG 85 as published; mCE over AlexNet."""

    jpeg_quality: Optional[int] = 85
    normaliser: Optional[str] = "alexnet"


@protocol(name="imagenet_c_lossless")
class ImageNetCLossless(Protocol):
    """ImageNet-C without the JPEG re-save: another benchmark."""

    normaliser: Optional[str] = "alexnet"


@protocol(name="imagenet_c_19")
class ImageNetC19(Protocol):
    """ImageNet-C with the four extra corruptions."""

    jpeg_quality: Optional[int] = 85
    normaliser: Optional[str] = "alexnet"
    extra: bool = True


@protocol(name="cifar10_c")
class Cifar10C(Protocol):
    """CIFAR-10-C, lossless; mean error."""

    constants: str = "cifar"


@protocol(name="cifar100_c")
class Cifar100C(Protocol):
    """CIFAR-100-C, lossless; mean error."""

    constants: str = "cifar"


@protocol(name="photos_c")
class PhotosC(Protocol):
    """Own photographs by ImageNet's constants, lossless; mean error."""


@protocol(name="small_c")
class SmallC(Protocol):
    """Own small images by CIFAR's constants, lossless; mean error."""

    constants: str = "cifar"


@protocol(name="imagenet_p")
class ImageNetP(Protocol):
    """ImageNet-P's sequences; mFR over AlexNet."""

    normaliser: Optional[str] = "alexnet"
    sequences: bool = True
    short_side: Optional[float] = 1.1428571428571428  # 256 / 224
    long_side: float = 2.5


@protocol(name="cifar10_p")
class Cifar10P(Protocol):
    """CIFAR-10-P's sequences; mean flip probability."""

    constants: str = "cifar"
    sequences: bool = True


def find_protocol(name: str) -> Protocol:
    """Return the protocol called ``name``. Raises UserError with the nearest name."""
    known = all_cards("protocol")
    if name not in known:
        raise UserError(f"corruptions has no option '{name}'{did_you_mean(name, known)} ({', '.join(known)})")
    found: Protocol = make_object(known[name], {})
    return found
