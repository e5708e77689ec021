"""Protocols of corruption robustness by name: what one number of a network's robustness was measured on.

Published mCE values of one network differ by eight points because this is left unsaid. Imports no torch.
"""

from dataclasses import dataclass

from bagoftricks.errors import UserError, did_you_mean
from bagoftricks.evaluate.robustness.scoring import corruption_names


@dataclass(frozen=True)
class Protocol:
    """What belongs to a name. Resolution, frost, seed and the images are stated with each result."""

    name: str
    constants: str  # of the corruptions' severities: imagenet or cifar
    jpeg_quality: int | None  # of the re-save after the corruption; None: none
    normaliser: str | None  # alexnet, or None: the mean error itself
    extra: bool = False  # with the four extra corruptions

    @property
    def corruptions(self) -> tuple[str, ...]:
        return corruption_names() if self.extra else corruption_names("main")


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
    )
}


def find_protocol(name: str) -> Protocol:
    """The protocol called ``name``. Raises UserError with the nearest name."""
    if name not in PROTOCOLS:
        raise UserError(f"corruptions has no option '{name}'{did_you_mean(name, PROTOCOLS)} ({', '.join(PROTOCOLS)})")
    return PROTOCOLS[name]
