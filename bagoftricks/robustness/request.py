"""Request of an evaluation on corrupted images, checked before anything is computed."""

import re
from dataclasses import dataclass
from functools import cache
from hashlib import blake2b

from bagoftricks.errors import UserError
from bagoftricks.folders import local_path
from bagoftricks.recipe.recipe import Recipe, test_pixels
from bagoftricks.robustness.corruptions import Frost, smallest_side
from bagoftricks.robustness.perturbations import smallest_frame
from bagoftricks.robustness.protocols import Protocol, find_protocol
from bagoftricks.robustness.scoring import SEVERITIES, Normaliser
from bagoftricks.robustness.stored import StoredSet, find_stored
from bagoftricks.robustness.tally import CLEAN, Cell
from bagoftricks.settings import CorruptionSettings, Settings
from bagoftricks.store.record import Record
from bagoftricks.store.robustness import RobustnessFacts
from bagoftricks.store.store import Store


@dataclass(frozen=True)
class EvaluationRequest:
    """An evaluation on corrupted images that is known to be possible."""

    protocol: Protocol
    settings: CorruptionSettings
    size: int  # pixels of the images
    short_side: int | None  # before their centre is cut out
    resized: bool  # whether the size is another than the run's own
    frost: Frost | None
    stored: StoredSet | None
    normaliser: Normaliser | None

    @property
    def cells(self) -> tuple[Cell, ...]:
        """The clean images first, then every corruption at every severity, or every perturbation."""
        severities = (1,) if self.protocol.sequences else SEVERITIES
        return (CLEAN, *((name, severity) for name in self.protocol.corruptions for severity in severities))

    @property
    def seen(self) -> int:
        """The side in pixels of the images that corruptions and sequences are made of: at least ``size``."""
        return round(self.size * self.protocol.long_side)

    @property
    def measured(self) -> str:
        """The name of the errors: the protocol with all that is not its default, as ``cifar10_c[limit=2000]``."""
        return evaluation_name(self.protocol.name, self._changes())

    @property
    def name(self) -> str:
        """The name of the result: that of the errors, and whose errors they are divided by."""
        by = baseline_name(self.normaliser)
        return evaluation_name(self.protocol.name, self._changes() | ({"normalise_by": by} if by else {}))

    def _changes(self) -> dict[str, object]:
        settings = self.settings
        return {
            **({"limit": settings.limit} if settings.limit is not None else {}),
            **({"seed": settings.seed} if settings.seed else {}),
            **({"stored": self.stored.digest} if self.stored else {}),
            **({"frost": frost_digest(self.frost)} if self.frost else {}),
            **({"image_size": self.size} if self.resized else {}),
        }

    def about(self) -> RobustnessFacts:
        """Return the facts that a reader of the number needs, for the record."""
        protocol, made = self.protocol, self.stored is None
        drawn_frost = made and not protocol.sequences
        return RobustnessFacts(
            protocol=protocol.name,
            score="mfr" if protocol.sequences else "mce",
            corruptions=len(protocol.corruptions),
            normaliser=self.normaliser.name if self.normaliser else "none",
            image_size=self.size,
            limit=self.settings.limit,
            images="generated" if made else "stored",
            stored_digest=self.stored.digest if self.stored else None,
            seed=self.settings.seed if made else None,
            constants=protocol.constants if made else None,
            jpeg_quality=protocol.jpeg_quality if made else None,
            frost=(self.frost or Frost.made_up()).describe() if drawn_frost else None,
        )


def request_from(
    settings: Settings, recipe: Recipe, size: int | None = None, own: int | None = None
) -> EvaluationRequest | None:
    """Return the evaluation that ``settings.corruptions`` requests, None without one.

    ``size``: of the images, where it is asked for; ``own``: that of the run, where it is not in ``settings``.

    Raises UserError for images that are too small, for a stored set or a baseline that is not there, or not whole.
    """
    wanted = settings.corruptions
    if wanted.protocol == "none":
        return None
    protocol = find_protocol(wanted.protocol)
    own = own or test_pixels(settings, recipe)
    if wanted.stored is None:
        _check_size(protocol, size or own)
    if protocol.sequences and (wanted.stored or wanted.frost):
        name, value = ("stored", wanted.stored) if wanted.stored else ("frost", wanted.frost)
        raise UserError(f"corruptions.{name}={value} has no meaning for {protocol.name}, whose sequences are made here")
    short_side = recipe.test_size.short_side if recipe.test_size and size is None else None
    asked = EvaluationRequest(
        protocol,
        wanted,
        size=size or own,
        short_side=round((size or own) * protocol.short_side) if protocol.short_side else short_side,
        resized=size not in (None, own),
        frost=find_frost(wanted.frost) if wanted.frost else None,
        stored=find_stored(wanted.stored, protocol.corruptions, SEVERITIES) if wanted.stored else None,
        normaliser=protocol.alexnet(),
    )
    if wanted.normalise_by is None:
        return asked
    return EvaluationRequest(
        **{**vars(asked), "normaliser": _baseline(wanted.normalise_by, Store(settings.store), asked.measured)}
    )


def is_recorded(asked: EvaluationRequest | None, record: Record) -> bool:
    """Return True if the record has the requested evaluation."""
    return asked is None or record.evaluation(asked.name) is not None


@cache
def find_frost(folder: str) -> Frost:
    try:
        return Frost.from_folder(local_path("corruptions.frost", folder))
    except UserError as error:
        raise UserError(f"corruptions.frost={folder}: {error}") from error


@cache
def frost_digest(frost: Frost) -> str:
    digest = blake2b(digest_size=8)
    for picture in frost.pictures:
        digest.update(picture.contiguous().cpu().numpy().data)
    return digest.hexdigest()


def evaluation_name(protocol: str, changes: dict[str, object]) -> str:
    """``cifar10_c[limit=2000, seed=1]``."""
    return protocol + (f"[{', '.join(f'{key}={value}' for key, value in changes.items())}]" if changes else "")


def baseline_name(normaliser: Normaliser | None) -> str | None:
    """Return the id of the run that takes AlexNet's place, None without one."""
    match = re.fullmatch(r"run (\w+)", normaliser.name) if normaliser else None
    return match[1] if match else None


def _check_size(protocol: Protocol, size: int) -> None:

    def needed(constants: str) -> dict[str, int]:
        if protocol.sequences:
            return {"translate": smallest_frame(constants)}
        return {name: smallest_side(name, constants) for name in protocol.corruptions}

    least = needed(protocol.constants)
    name = max(least, key=lambda each: least[each])
    if size >= least[name]:
        return
    fitting = protocol.constants == "imagenet" and max(needed("cifar").values()) <= size
    small = "cifar10_p" if protocol.sequences else "small_c"
    instead = f"corruptions={small}, whose constants are CIFAR's, or " if fitting else ""
    raise UserError(
        f"corruptions={protocol.name}: {name} needs images of {least[name]} pixels or more, and these have {size}: "
        f"type {instead}image_size={least[name]}"
    )


def _baseline(prefix: str, store: Store, measured: str) -> Normaliser:
    """Return the errors of the run whose id begins with ``prefix``, measured in the same way."""
    try:
        record = store.find(prefix)
    except UserError as error:
        raise UserError(f"corruptions.normalise_by: {error}") from error
    known = record.evaluation(measured)
    if known is None:
        protocol, _, rest = measured.partition("[")
        more = "".join(f" corruptions.{change}" for change in rest.rstrip("]").split(", ") if change)
        raise UserError(
            f"corruptions.normalise_by={prefix}: its record has no errors of {measured}: "
            f"bot-eval run={record.id[:8]} corruptions={protocol}{more} adds them"
        )
    scores = known.reported
    return Normaliser(f"run {record.id[:8]}", scores.parts, scores.clean_error)
