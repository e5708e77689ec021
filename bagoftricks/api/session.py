"""Settings from Python values, errors as ours, and the state of the calling program: shared by every function."""

import faulthandler
import random
import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from bagoftricks.api.arguments import typed_arguments
from bagoftricks.cli.app import explain, is_users
from bagoftricks.cli.arguments import normalise_arguments
from bagoftricks.cli.extend import extend
from bagoftricks.cli.newest import with_ids
from bagoftricks.cli.text import as_typed, is_text
from bagoftricks.errors import UserError
from bagoftricks.folders import add_user_folder, forget_user_folders, user_folders
from bagoftricks.plugins import extension_arguments, unchanged_on_error

if TYPE_CHECKING:
    from bagoftricks.settings import Settings


def typed_request(program: str, overrides: Sequence[str], values: Mapping[str, object]) -> tuple[list[str], list[str]]:
    """Return a call as the arguments of a command, and the texts among its settings that are None.

    The plug-ins and folders that it names are loaded, for later calls too.
    """
    if wrong := next((override for override in overrides if not isinstance(override, str)), None):
        raise UserError(f"{wrong!r}: must be text, as '+refine=mixup'; a list of overrides is typed *list")
    typed = typed_arguments(values)
    given = [(key, value) for key, value in typed.items() if value is not None]
    lines = [f"--config-dir={value}" if key == "config_dir" else f"{key}={value}" for key, value in given]
    arguments = with_ids(program, extended([*overrides, *lines]))
    unset = [key for key, value in typed.items() if value is None]
    nulls = [f"{key}=null" for key in unset if not is_text(key)]  # of a text, null would be four letters
    return [*arguments, *nulls], [key for key in unset if is_text(key)]


def composed(arguments: Sequence[str], without: Sequence[str] = ()) -> "Settings":
    """Return the settings of these arguments. Raises UserError if one of ``without`` has a value all the same."""
    from bagoftricks.cli.compose import compose_settings

    with user_errors():
        settings = compose_settings(arguments)
    require_none(settings, without)
    return settings


def require_none(settings: "Settings", without: Sequence[str]) -> None:
    """Raise UserError if one of the settings ``without`` has a value: no command takes a text back."""
    for key in without:
        if (value := _value(settings, key)) is not None:
            raise UserError(f"{key}=None: what else is chosen sets it to {value!r}, which only another text replaces")


def command_line(program: str, arguments: Sequence[str]) -> str:
    """Return the command that does the same, for the record."""
    typed = [as_typed(argument) for argument in normalise_arguments(list(arguments))]
    return shlex.join([program, *typed, *extension_arguments()])


def extended(arguments: Sequence[str]) -> list[str]:
    """Load what these arguments add to what is loaded already; return the others. An error changes nothing."""
    folders = user_folders()
    try:
        with unchanged_on_error():
            return extend([*extension_arguments(), *arguments])
    except BaseException:
        forget_user_folders()
        for folder in folders:
            add_user_folder(str(folder))
        raise


@contextmanager
def user_errors() -> Iterator[None]:
    """Raise an error of Hydra's about the input as a UserError of one line, as the commands print it."""
    try:
        yield
    except Exception as error:
        if isinstance(error, UserError) or not is_users(error):
            raise
        raise UserError(explain(error)) from None


@contextmanager
def callers_state() -> Iterator[None]:
    """Give the caller's number of threads and global generators back: draws of ours are keyed and read none."""
    import torch

    threads, crashes = torch.get_num_threads(), faulthandler.is_enabled()
    generator, of_python = torch.get_rng_state(), random.getstate()
    gpus = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        torch.set_rng_state(generator)
        random.setstate(of_python)
        if gpus:
            torch.cuda.set_rng_state_all(gpus)
        if not crashes:
            faulthandler.disable()


def _value(settings: object, key: str) -> object:
    for name in key.split("."):
        settings = settings.get(name) if isinstance(settings, Mapping) else getattr(settings, name, None)
    return settings
