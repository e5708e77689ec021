"""Results of evaluations on corrupted images, as a record holds them. Errors and scores are in percent."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import mean

from bagoftricks.store.json_fields import Json, to_json
from bagoftricks.store.weight_sets import LAST, reported

SEVERITY_LEVELS = 5  # of a corruption
ROBUSTNESS_SCORES = ("mce", "mfr")  # of corruptions, of perturbations
CONSTANTS = {"imagenet": "ImageNet's", "cifar": "CIFAR's"}  # of severities, by the data set that they were made for


@dataclass(frozen=True, kw_only=True)
class RobustnessScores:
    """Scores of one weight set: ``mce`` and ``errors`` of corruptions, or ``mfr`` and ``flips`` of perturbations."""

    mce: float | None = None  # the mean of the errors, or of their ratios to the normaliser's
    relative_mce: float | None = None  # None also where the ratio has no meaning
    mfr: float | None = None
    clean_error: float
    errors: dict[str, tuple[float, ...]] | None = None  # corruption -> error at each severity
    flips: dict[str, float] | None = None  # perturbation -> flip probability

    def __post_init__(self) -> None:
        has = [found is not None for found in (self.mce, self.errors, self.mfr, self.flips)]
        if has not in ([True, True, False, False], [False, False, True, True]):
            raise ValueError("it must have mce and errors, or mfr and flips")
        of_each = 1 if self.errors is None else SEVERITY_LEVELS
        if not self.parts or any(len(errors) != of_each for errors in self.parts.values()):
            raise ValueError("an error is missing")
        if not all(0 <= error <= 100 for errors in [[self.clean_error], *self.parts.values()] for error in errors):
            raise ValueError("an error is not in [0, 100]")
        if not all(math.isfinite(score) for score in (self.mce, self.relative_mce, self.mfr) if score is not None):
            raise ValueError("a score is not finite")

    @property
    def parts(self) -> Mapping[str, Sequence[float]]:
        """Errors at each severity by corruption, or the one flip probability by perturbation."""
        return self.errors or {name: (flip,) for name, flip in (self.flips or {}).items()}

    @property
    def corruptions(self) -> tuple[str, ...]:
        """Names of the corruptions, none for perturbations."""
        return tuple(self.errors or ())

    def score(self, key: str) -> float | None:
        """Return ``mce``, ``relative_mce``, ``mfr``, or the mean error on the corruption of that name."""
        if key in self.corruptions:
            return mean(self.parts[key])
        found: float | None = getattr(self, key) if key in (*ROBUSTNESS_SCORES, "relative_mce") else None
        return found


@dataclass(frozen=True, kw_only=True)
class RobustnessFacts:
    """Facts of an evaluation that a reader of its number needs. A stored set has its digest in place of the recipe."""

    protocol: str
    score: str = "mce"  # records of the first versions have no other
    corruptions: int  # how many there are
    normaliser: str  # the network whose errors the score is over, or ``none``
    image_size: int
    limit: int | None
    images: str  # ``generated`` or ``stored``
    stored_digest: str | None = None
    seed: int | None = None
    constants: str | None = None
    jpeg_quality: int | None = None  # of the re-save, if there is one
    frost: str | None = None

    def __post_init__(self) -> None:
        if self.score not in ROBUSTNESS_SCORES:
            raise ValueError(f"score must be one of {', '.join(ROBUSTNESS_SCORES)}")
        generated = self.images == "generated" and self.constants in CONSTANTS and self.seed is not None
        if not generated and (self.images != "stored" or self.stored_digest is None):
            raise ValueError("its images are neither generated nor stored")

    @property
    def of_flips(self) -> bool:
        """True if the score is of perturbations."""
        return self.score == "mfr"

    @property
    def normalised(self) -> bool:
        """True if the score is over another network's."""
        return self.normaliser != "none"


@dataclass(frozen=True)
class Machine:
    """Device and versions that an evaluation was carried out with."""

    device: str
    threads: int
    torch: str
    torchvision: str
    bagoftricks: str


@dataclass(frozen=True, kw_only=True)
class RobustnessResult(RobustnessFacts):
    """Result of an evaluation on corrupted images: its facts, and the scores of every weight set."""

    count: int  # images, before they were corrupted
    data_digest: str
    weights: dict[str, RobustnessScores]  # by weight set
    seconds: dict[str, float]
    environment: Machine

    def __post_init__(self) -> None:
        super().__post_init__()
        if LAST not in self.weights:
            raise ValueError(f"weights.{LAST} is missing")
        if any((scores.flips is not None) != self.of_flips for scores in self.weights.values()):
            raise ValueError(f"there is no {self.score}")
        if any(len(scores.parts) != self.corruptions for scores in self.weights.values()):
            raise ValueError(f"it has not the errors of {self.corruptions} corruptions")

    @property
    def reported(self) -> RobustnessScores:
        """Scores of the weight set that a study reports, as for clean images."""
        return self.weights[reported(self.weights)]

    def flat(self, weight_set: str) -> Json:
        """Return the facts and the scores of one weight set as one JSON object."""
        about: Json = to_json(self)
        by_weights = about.pop("weights")
        return {**about, **by_weights[weight_set]}
