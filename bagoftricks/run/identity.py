"""Identity of a run: a digest of everything that can change its result, and the name of another measurement of it."""

import json
from collections.abc import Mapping
from dataclasses import asdict, fields
from hashlib import blake2b

from bagoftricks.distributed import requested_ranks
from bagoftricks.plugins import plugin_digests
from bagoftricks.recipe.trick import Trick
from bagoftricks.registry import find_card
from bagoftricks.settings import Settings
from bagoftricks.store.json_fields import Json
from bagoftricks.store.secrets import fingerprinted
from bagoftricks.tricks.catalogue import card

RESULT_VERSION = 3  # raise it when the same settings give another result


def run_identity(
    settings: Settings,
    tricks: dict[str, Trick],
    data_digest: str,
    num_classes: int,
    *,
    weights_digest: str | None = None,
    contents: Mapping[str, str] | None = None,
) -> dict[str, object]:
    """Return every value that can change the run's result, defaults included, in a canonical form.

    ``weights_digest`` names what the file of weights to start from holds; where it lies is no part of the run.
    ``contents`` maps a hyper-parameter that names a place to the digest of what lies there, which takes its place.
    """
    ranks = 1 if settings.runtime.sync_norm else requested_ranks(settings.runtime.devices)
    data = {k: v for k, v in asdict(settings.data).items() if k not in settings.data.places}
    for name, default in (
        ("channels", 3),
        ("train_limit", None),
        ("val_limit", None),
        ("only_classes", []),
        ("zero_shot", None),
    ):
        if data[name] == default:
            data.pop(name)  # as before there was a choice
    if settings.data.on_error == "fail":
        data.pop("max_pixels", None)  # no image is left out
    identity: dict[str, object] = {
        "result_version": RESULT_VERSION,
        "tricks": {name: hyper_parameters(tricks[name], contents or {}) for name in sorted(tricks)},
        "data": {**data, "digest": data_digest, "num_classes": num_classes, "image_size": settings.pixels},
        "model": _model(settings, weights_digest),
        "seed": settings.seed,
        "epochs": settings.epochs,
        "batch_size": settings.batch_size,
        "lr": settings.lr,
        "weight_decay": settings.weight_decay,
        **_task(settings),
        **_plugins(settings),
        **({"norm_devices": ranks} if ranks > 1 else {}),  # statistics of fewer images: another network learns
        **({"measurement": named} if (named := settings.runtime.measurement) else {}),  # the same result, timed again
    }
    return {name: fingerprinted(value) for name, value in identity.items()}


def _model(settings: Settings, weights_digest: str | None) -> dict[str, object]:
    """Return the network and its initial weights, by their contents."""
    model = without_later_defaults(asdict(settings.model))
    model = {k: v for k, v in model.items() if k not in ("weights", "new_head")}
    return {**model, "weights": weights_digest, "new_head": settings.model.new_head} if weights_digest else model


def without_later_defaults(model: Json) -> Json:
    """Return a network's settings without those that it has had since later, at their defaults: ids stay."""
    return {key: value for key, value in model.items() if (key, value) != ("stem_width", None)}


def _task(settings: Settings) -> dict[str, object]:
    """Return the task, nothing for classification: as before there was a choice."""
    return {} if settings.task.name == "classification" else {"task": asdict(settings.task)}


def _plugins(settings: Settings) -> dict[str, dict[str, str]]:
    """Return the digests of the plug-ins that this run uses, nothing without one."""
    chosen = [("network", settings.model.kind), ("dataset", settings.data.name), ("task", settings.task.name)]
    cards = [*(card(name) for name in settings.tricks), *(find_card(of, name) for of, name in chosen)]
    used = plugin_digests(cards)
    return {"plugins": used} if used else {}


def run_id(identity: dict[str, object]) -> str:
    """20 hexadecimal digits: among a million runs, two share an id with a chance below 1e-12."""
    canonical = json.dumps(identity, sort_keys=True, separators=(",", ":"))
    return blake2b(canonical.encode(), digest_size=10).hexdigest()


def hyper_parameters(trick: Trick, contents: Mapping[str, str]) -> dict[str, object]:
    """Return the values of a trick's fields, without those that came later and have their defaults."""
    later = {f.name: f.default for f in fields(trick) if f.name in getattr(trick, "later", ())}  # type: ignore[arg-type]
    values: dict[str, object] = asdict(trick)  # type: ignore[call-overload]
    values = {name: value for name, value in values.items() if name not in later or value != later[name]}
    return {name: contents.get(value, value) if isinstance(value, str) else value for name, value in values.items()}
