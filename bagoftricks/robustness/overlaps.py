"""Overlaps between training and the corruptions that it is measured on. Imports no torch."""

from collections.abc import Mapping

from bagoftricks.errors import UserError
from bagoftricks.registry import Values
from bagoftricks.settings import DataSettings
from bagoftricks.store.record import Record, data_settings_of
from bagoftricks.tricks.catalogue import card, families


def overlaps(tricks: Mapping[str, Values], data: DataSettings, pixels: int) -> list[str]:
    """Return the reasons why robustness is no surprise after training with these tricks on this data."""
    found = []
    for name, params in tricks.items():
        if name not in families():  # of a plug-in that is not loaded
            continue
        known = card(name)
        defaults = {field.name: field.default for field in known.fields}
        if known.overlaps and (not known.overlaps_if or {**defaults, **params}[known.overlaps_if]):
            found.append(f"{name}: {known.overlaps}")
    jitter = data.overlap_at(pixels)
    return found + ([f"data.jitter={data.jitter_at(pixels)}: {jitter}"] if jitter else [])


def record_overlaps(record: Record) -> list[str]:
    """Return the reasons why the robustness of a finished run is no surprise."""
    try:
        data = data_settings_of(record)
    except UserError as error:
        return [f"{error}"]
    return overlaps(record.tricks, data, record.data.image_size or data.image_size)
