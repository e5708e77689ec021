"""A protocol of robustness in one file: the three noises of CIFAR-10-C alone."""

from dataclasses import field

from bagoftricks.registry import protocol
from bagoftricks.robustness.protocols import Protocol


@protocol(name="noise_c")
class NoiseC(Protocol):
    """The noises of CIFAR-10-C (gaussian, shot, impulse), lossless; mean error."""

    constants: str = "cifar"
    only: list[str] = field(default_factory=lambda: ["gaussian_noise", "shot_noise", "impulse_noise"])
