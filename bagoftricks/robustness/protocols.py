"""Protocols of robustness by name: what one number of a network's robustness was measured on.

Published mCE values of one network differ by eight points because this is left unsaid. Imports no torch.
"""

from dataclasses import dataclass

from bagoftricks.errors import UserError, did_you_mean
from bagoftricks.robustness.scoring import Normaliser, alexnet, alexnet_flips, corruption_names


@dataclass(frozen=True)
class Protocol:
    """What belongs to a name. Resolution, frost, seed and the images are stated with each result."""

    name: str
    constants: str  # of the corruptions' severities: imagenet or cifar
    jpeg_quality: int | None  # of the re-save after the corruption; None: none
    normaliser: str | None  # alexnet, or None: the mean error itself
    extra: bool = False  # with the four extra corruptions
    sequences: bool = False  # of perturbations, whose flips are counted; else errors on corruptions
    short_side: float | None = None  # of the images that a sequence is made of, over that of its frames
    long_side: float = 1.0  # so much of them is seen; black where an image has less

    @property
    def corruptions(self) -> tuple[str, ...]:
        """Names of the corruptions, or of the perturbations."""
        if self.sequences:
            return SEQUENCES
        return corruption_names() if self.extra else corruption_names("main")

    def alexnet(self) -> Normaliser | None:
        """The network whose errors or flips the score is a fraction of, None: it is not normalised."""
        if self.normaliser is None:
            return None
        return alexnet_flips() if self.sequences else alexnet()


# Those of ImageNet-P that single images make; its snow is of one size of image only.
SEQUENCES = (
    "gaussian_noise", "shot_noise", "motion_blur", "zoom_blur", "brightness", "translate", "rotate", "tilt", "scale",
)  # fmt: skip

PROTOCOLS = {
    protocol.name: protocol
    for protocol in (
        Protocol("imagenet_c", "imagenet", jpeg_quality=85, normaliser="alexnet"),
        Protocol("imagenet_c_lossless", "imagenet", jpeg_quality=None, normaliser="alexnet"),
        Protocol("imagenet_c_19", "imagenet", jpeg_quality=85, normaliser="alexnet", extra=True),
        Protocol("cifar10_c", "cifar", jpeg_quality=None, normaliser=None),
        Protocol("cifar100_c", "cifar", jpeg_quality=None, normaliser=None),
        Protocol("photos_c", "imagenet", jpeg_quality=None, normaliser=None),
        Protocol("small_c", "cifar", jpeg_quality=None, normaliser=None),
        Protocol("imagenet_p", "imagenet", None, "alexnet", sequences=True, short_side=256 / 224, long_side=2.5),
        Protocol("cifar10_p", "cifar", jpeg_quality=None, normaliser=None, sequences=True),
    )
}


def find_protocol(name: str) -> Protocol:
    """The protocol called ``name``. Raises UserError with the nearest name."""
    if name not in PROTOCOLS:
        raise UserError(f"corruptions has no option '{name}'{did_you_mean(name, PROTOCOLS)} ({', '.join(PROTOCOLS)})")
    return PROTOCOLS[name]
