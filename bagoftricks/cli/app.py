"""Start of every command: its help and version, its errors as one line each, its exit status."""

import os
import re
import shlex
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING

from bagoftricks.cli.help import information
from bagoftricks.cli.streams import guard_streams, say, show_result
from bagoftricks.errors import UserError
from bagoftricks.escape import lines_for_terminal
from bagoftricks.started import other_rank, ranks_started

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from bagoftricks.settings import Settings

RESUMED = ("bot-train", "bot-sweep", "bot-eval")  # commands that go on where they were interrupted
DONE, FAILED, WRONG_INPUT, INTERRUPTED = 0, 1, 2, 75
RANK_0_SECONDS = 1.0  # for rank 0 to print the error of all ranks
Job = Callable[["Settings", str], float | None]  # (settings, command that makes them again) -> value for a search


def run_command(program: str, argv: list[str] | None, action: Callable[[list[str]], int | None]) -> int:
    """Run a command: answer --help and --version, or hand its arguments without plug-ins and folders to ``action``.

    Return the exit status: its own, or that of the error or the signal that ended it. Every command starts here.
    """
    arguments = sys.argv[1:] if argv is None else argv

    def answer_or_act() -> int | None:
        from bagoftricks.cli.extend import extend
        from bagoftricks.cli.newest import with_ids

        answer = information(program, arguments)
        if answer is None:
            require_working_folder()
            return action(with_ids(program, extend(arguments)))
        show_result(answer)
        return DONE

    guard_streams()
    try:
        with interruptible():
            return max(_guarded(program, answer_or_act), _guarded(program, sys.stdout.flush))
    except KeyboardInterrupt as error:
        resume = ": type the same command again to resume" if program in RESUMED else ""
        say(program, f"{str(error) or 'interrupted'}{resume}")
        return INTERRUPTED


@contextmanager
def interruptible() -> Iterator[None]:
    """Let signals that end a process interrupt it instead; during a training, they are noted between two steps."""
    numbers = [getattr(signal, name) for name in ("SIGTERM", "SIGUSR2", "SIGHUP") if hasattr(signal, name)]
    heeded = [number for number in numbers if signal.getsignal(number) is not signal.SIG_IGN]  # nohup ignores SIGHUP
    earlier = {number: signal.signal(number, _interrupt) for number in heeded}
    try:
        yield
    finally:
        for number, handler in earlier.items():
            signal.signal(number, handler)


def require_working_folder() -> None:
    try:
        os.getcwd()
    except FileNotFoundError as error:
        raise UserError("the working folder was removed: change to one that is there") from error


def launch(program: str, job: Job, finish: Callable[[], int | None], arguments: list[str]) -> int:
    """Compose the settings of the arguments and hand them to ``job``, once for each job of a multirun; the status."""
    from bagoftricks.cli.arguments import normalise_arguments

    if program != "bot-train" and any(argument.startswith(("extend=", "restart=")) for argument in arguments):
        raise UserError("extend= and restart= train a longer run: type them with bot-train")
    if ranks_started() > 1 and {"-m", "--multirun"} & set(arguments):
        raise UserError(f"-m under torchrun: its ranks share one run; type {program} -m ... runtime.devices=N instead")
    status = _guarded(program, lambda: _run_hydra(program, normalise_arguments(arguments), job))
    return max(status, _guarded(program, finish))


def _run_hydra(program: str, arguments: list[str], job: Job) -> int:
    import hydra
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode
    from omegaconf import OmegaConf

    from bagoftricks.cli.conf import conf_dir
    from bagoftricks.cli.extend import hydra_arguments, without_extensions
    from bagoftricks.cli.schema import register, to_settings
    from bagoftricks.cli.text import as_typed
    from bagoftricks.plugins import extension_arguments
    from bagoftricks.report.objective import worst_value

    worst = DONE

    def task(config: "DictConfig") -> float | None:
        nonlocal worst
        hydra_config = HydraConfig.get()
        overrides: list[str] = OmegaConf.to_container(hydra_config.overrides.task)  # type: ignore[assignment]
        typed = [as_typed(override) for override in without_extensions(overrides)]
        command = shlex.join([program, *typed, *extension_arguments()])

        values: list[float | None] = []

        def run() -> None:
            values.append(job(to_settings(config), command))

        swept = hydra_config.mode == RunMode.MULTIRUN
        searched = swept and "BasicSweeper" not in str(hydra_config.sweeper.get("_target_"))
        if swept and not searched and "BasicLauncher" not in str(hydra_config.launcher.get("_target_")):
            run()  # in a process of its own, whose launcher reports the failure
        else:
            worst = max(worst, _guarded(command if swept else program, run))  # a failed job does not stop the others
        if searched and not values:
            return worst_value(config.objective)  # so that the search goes on elsewhere
        return values[0] if values else None

    register(arguments)
    arguments = [*hydra_arguments(), *arguments]
    os.environ["HYDRA_FULL_ERROR"] = "1"  # errors come here as exceptions, instead of Hydra's own page
    sys.argv = [program, *arguments]
    hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name="config")(task)()
    return worst


def _guarded(program: str, action: Callable[[], int | None]) -> int:
    """Return the exit status of ``action``; print a user's error as one line, and a bug as a traceback."""
    try:
        return action() or DONE
    except Exception as error:
        message = explain(error)
        if other_rank():
            time.sleep(RANK_0_SECONDS)  # whoever started the ranks ends them all when the first one exits
            return WRONG_INPUT if is_users(error) else FAILED
        if message is None:
            print(lines_for_terminal(traceback.format_exc()), file=sys.stderr, end="")
            return FAILED
        say(program, message)
        return WRONG_INPUT if is_users(error) else FAILED


def is_users(error: BaseException) -> bool:
    """Return True if the input is to blame: an error of ours, of Hydra or of OmegaConf about it."""
    return isinstance(error, UserError) or type(error).__module__.startswith(HYDRA) or _of_composing(error)


def _of_composing(error: BaseException) -> bool:
    """Return True if Hydra met an error of Python's, as in a list of defaults that names itself, or at a folder."""
    modules = [frame.f_globals.get("__name__", "") for frame, _ in traceback.walk_tb(error.__traceback__)]
    ours = max((at for at, name in enumerate(modules) if name.startswith("bagoftricks.")), default=-1)
    return isinstance(error, ValueError | RecursionError | OSError) and any(
        name.startswith(HYDRA) for name in modules[ours + 1 :]
    )


def explain(error: BaseException) -> str | None:
    """Return one line about an expected error, None for a bug."""
    if isinstance(error, UserError) or type(error).__name__ in ("TrainingFailed", "RunElsewhere", "RankLost"):
        return str(error)
    from bagoftricks.store.files import DISK_FULL, OUT_OF_REACH
    from bagoftricks.tricks.catalogue import family_of

    if isinstance(error, OSError) and error.errno in (*DISK_FULL, *OUT_OF_REACH):
        where = f"{error.filename}: " if error.filename else ""
        why = "the disk is full: make room" if error.errno in DISK_FULL else f"{error.strerror}: change that"
        return f"{where}{why}, then type the same command again"
    if not is_users(error):
        return None
    if isinstance(error, OSError) and error.filename:
        return f"{error.filename}: cannot be made or read ({error.strerror}): name another place, as with store="
    if isinstance(error, RecursionError):
        return "a YAML file of --config-dir names itself in its defaults, or is nested too deeply: leave that out"
    cause = error.__cause__ or error
    message = str(getattr(cause, "msg", None) or cause)
    place, composing, rest = message.partition(" raised while composing config:\n")
    message, file = (rest, re.findall("'(.*)'", place)) if composing else (message, [])
    first = next((line.strip() for line in message.splitlines() if line.strip()), type(cause).__name__)
    first = ": ".join([*file, first])
    full_key = re.search(r"full_key: (\S+)", message)
    trick = re.search(r"tricks\.(\w+)", f"{error} {full_key[1] if full_key else ''}")
    if trick and re.search(
        rf"[Kk]ey '{trick[1]}' (is )?not in|'tricks.{trick[1]}' does not exist", f"{message} {error}"
    ):
        return f"trick '{trick[1]}' is not switched on: add +{family_of(trick[1])}={trick[1]}, or drop the override"
    wrong = re.search(r"Value '(.*?)' .*(?:could not be converted to|is not a valid) (\w+)", message)
    if wrong and full_key:
        return f"{full_key[1]}={wrong[1]}: must be {TYPE_NAMES.get(wrong[2], wrong[2])}"
    if unset := re.search(
        r"field '(.*?)' is not Optional|Could not delete from config. '(.*?)' does not exist", message
    ):
        return (
            f"{unset[1]}=null: needs a value" if unset[1] else f"~{unset[2]}: is at its default already; leave it out"
        )
    if UNPARSED.search(first):
        typed = getattr(error, "override", "the command line")
        return f"{typed}: cannot be read: a value is missing, or text of hydra.* is not in quotes"
    return f"{full_key[1]}: {first}" if full_key and full_key[1] not in first else first


HYDRA = ("hydra.", "omegaconf.")
UNPARSED = re.compile("Lexer|mismatched input|viable alternative|Error parsing|extraneous input")  # Hydra's parser
TYPE_NAMES = {"Integer": "a whole number", "Float": "a number", "bool": "true or false"}


def _interrupt(signum: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
