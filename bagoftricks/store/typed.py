"""Values of records by the keys that users type: lr, data.limit, tricks.mixup.alpha."""

from collections.abc import Mapping
from dataclasses import MISSING, Field, fields
from functools import cache

from bagoftricks import settings
from bagoftricks.registry import Values
from bagoftricks.store.json_fields import Json
from bagoftricks.store.record import Record

# as data=cifar10 sets them
BY_CHOICE = {"data.name": "data", "model.name": "model", "task.name": "task", "corruptions.protocol": "corruptions"}


def settings_by_key(config: Values) -> Json:
    """Return nested settings, as ``config`` of a record holds them, by the keys that users type.

    ``lr``, ``data.limit``, ``runtime.threads``; ``data`` and ``model`` are names; ``tricks.mixup`` is True for a trick
    that is on, next to its hyper-parameters ``tricks.mixup.alpha``. A list is one value.
    """
    found: Json = {}
    for name, value in config.items():
        _add_leaves(found, name, value)
    tricks = config.get("tricks")
    found |= {f"tricks.{name}": True for name in (tricks if isinstance(tricks, Mapping) else ())}
    return {BY_CHOICE.get(key, key): value for key, value in found.items()}


def record_settings(record: Record) -> Json:
    """Return the settings that a run was trained with, by key, as they took effect.

    The hyper-parameters are those that the tricks had; ``image_size`` and ``num_classes`` are numbers. There are also
    ``data.digest`` and ``model.weights_digest``, which name contents, and ``plugins.NAME``, the digest of a plug-in.
    """
    config = {name: value for name, value in record.config.items() if name not in ("tricks", "plugins")}
    found = settings_by_key({**config, "tricks": record.tricks, "plugins": record.plugins})
    found |= {"data": record.data.name, "model": record.model["name"], "seed": record.seed, "epochs": record.epochs}
    found |= {"image_size": record.data.image_size or found.get("image_size") or found.get("data.image_size")}
    found |= {"num_classes": found.get("num_classes") or record.data.classes, "data.digest": record.data.digest}
    for inner in ("data.image_size", "data.num_classes"):  # the defaults of the two above
        found.pop(inner, None)
    return found | ({"model.weights_digest": found_digest} if (found_digest := record.model.get("weights")) else {})


def environment_by_key(record: Record) -> Json:
    """Return the machine, the versions and the processes of a run: ``host``, ``device``, ``torch``, ``threads``, ..."""
    return dict(vars(record.environment))


@cache
def default_settings() -> Json:
    """Return by key the defaults of the settings that all runs have, for records of versions without them."""
    groups = {"": settings.Settings, "data.": settings.DataSettings, "model.": settings.ModelSettings}
    groups |= {"runtime.": settings.RuntimeSettings, "corruptions.": settings.CorruptionSettings}
    found = {
        BY_CHOICE.get(prefix + field.name, prefix + field.name): _default(field)
        for prefix, group in groups.items()
        for field in fields(group)
        if f"{prefix}{field.name}." not in groups
    }
    return found | {"task": settings.CHOSEN_BY["task"][-1]}


def _default(field: Field[object]) -> object:
    return field.default if field.default_factory is MISSING else field.default_factory()


def _add_leaves(found: Json, key: str, value: object) -> None:
    """Add the values of nested mappings by dotted key; an empty mapping has none."""
    if isinstance(value, dict):
        for name, held in value.items():
            _add_leaves(found, f"{key}.{name}", held)
    else:
        found[key] = value
