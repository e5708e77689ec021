"""A finished run whose network is used again: its settings, and what may differ from them."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from bagoftricks.errors import UserError, did_you_mean
from bagoftricks.store.json_fields import Json

if TYPE_CHECKING:
    from bagoftricks.settings import Settings
    from bagoftricks.store.record import Record

BESIDE_A_RUN = ("image_size", "store", "format")  # settings that can differ from the run's own
PARTS_BESIDE_A_RUN = ("data.", "runtime.")


@dataclass(frozen=True)
class FinishedRun:
    """A record with the settings it was trained with, and those of its use now."""

    record: "Record"
    trained: "Settings"
    settings: "Settings"
    size: int | None  # side of the images in pixels, where it was typed


def parsed_overrides(arguments: Sequence[str], settings: Sequence[str], own: Sequence[str]) -> Json:
    """Parse what is typed with run=, in Hydra's grammar: ``settings`` may differ, ``own`` are the command's arguments.

    Raises UserError for any other setting.
    """
    parts = (*PARTS_BESIDE_A_RUN, *(f"{name}." for name in settings if name == "corruptions"))
    for argument in arguments:
        name = argument.lstrip("+~").partition("=")[0]
        if not name.startswith(parts) and name not in settings:
            meant = did_you_mean(name, ["run", *own, *settings])
            free = ", ".join([*(f"{part}*" for part in parts), *settings, *own])
            raise UserError(
                f"'{argument}' cannot be set with run={meant} (the network and its tricks are the run's; "
                f"free are {free})"
            )
    from hydra.core.override_parser.overrides_parser import OverridesParser

    from bagoftricks.cli.arguments import normalise_arguments

    parsed = OverridesParser.create().parse_overrides(normalise_arguments(list(arguments)))
    return {override.key_or_group: override.value() for override in parsed}


def finished_run(prefix: str, typed: Json) -> FinishedRun:
    """Return the run whose id begins with ``prefix``; ``typed`` are settings of its use, by their names."""
    from omegaconf import OmegaConf

    from bagoftricks.cli.schema import settings_node, to_settings
    from bagoftricks.cli.text import escape, unescape
    from bagoftricks.settings import Settings
    from bagoftricks.store.record import settings_of
    from bagoftricks.store.store import Store
    from bagoftricks.store.typed import default_settings

    store = (default_settings() | typed)["store"]
    record = Store(unescape(store)).find(prefix)  # before Settings(), which loads torch
    config = escape(asdict(settings_of(record)))
    of_run = OmegaConf.merge(settings_node(), config)
    trained = to_settings(of_run)  # type: ignore[arg-type]
    OmegaConf.update(of_run, "store", store)
    for name in ("format", "rerun", "corruptions"):
        OmegaConf.update(of_run, name, getattr(Settings(), name))
    OmegaConf.update(of_run, "runtime.progress", Settings().runtime.progress)  # of this command, not of the training
    for key, value in typed.items():
        OmegaConf.update(of_run, "corruptions.protocol" if key == "corruptions" else key, value)
    settings = to_settings(of_run)  # type: ignore[arg-type]
    size = settings.pixels if {"image_size", "data.image_size"} & typed.keys() else None
    return FinishedRun(record, trained, settings, size)
