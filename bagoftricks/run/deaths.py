"""Reports of processes that a signal ended."""

import faulthandler
import signal
from contextlib import suppress

ADVICE = {
    "SIGKILL": "out of memory? fewer slots=, runtime.workers= or runtime.devices=, or a smaller batch_size=, need less",
    "SIGTERM": "a scheduler or a person stopped it",
}
NATIVE = ("SIGSEGV", "SIGABRT", "SIGBUS", "SIGILL", "SIGFPE")
IN_NATIVE_CODE = (
    "native code failed: try runtime.channels_last=false, or ONEDNN_MAX_CPU_ISA=AVX2 in the environment, and report it"
)


SILENT_DEATH = (
    "an earlier process of this run ended without a word. If nobody killed it, either memory ran out "
    f"({ADVICE['SIGKILL'].removeprefix('out of memory? ')}), or {IN_NATIVE_CODE}"
)


def death_by(number: int) -> str:
    """Return how a process with the exit status -``number`` ended, and what to try."""
    try:
        name = signal.Signals(number).name
    except ValueError:
        name = f"signal {number}"
    advice = IN_NATIVE_CODE if name in NATIVE else ADVICE.get(name)
    return f"was killed by {name}" + (f" ({advice})" if advice else "")


def show_native_crashes() -> None:
    """Let a fault of native code print the signal and the Python stack on standard error before the process ends."""
    if not faulthandler.is_enabled():
        with suppress(OSError, ValueError, AttributeError, RuntimeError):  # standard error is no file, as in a notebook
            faulthandler.enable()
