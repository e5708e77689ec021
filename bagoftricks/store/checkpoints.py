"""The checkpoints of one run: when they are due, how they leave the device, and which are kept.

A checkpoint is copied between two steps and written by a thread of its own while the training goes on.
"""

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import torch
from torch import Tensor

from bagoftricks.errors import DamagedCheckpoint, TrainingFailed
from bagoftricks.settings import RuntimeSettings
from bagoftricks.store.checkpoint_file import read_checkpoint, write_checkpoint
from bagoftricks.store.checkpoint_header import FOLDER, SUFFIX, read_values, steps_in
from bagoftricks.store.description import DESCRIPTION
from bagoftricks.store.files import remove, remove_temporaries
from bagoftricks.store.lease import LEASE
from bagoftricks.store.store import Store
from bagoftricks.training.state import Tensors, TrainingState

EPOCH_PAUSE = 10.0  # seconds: the end of an epoch is no reason for another checkpoint so soon


class Checkpoints:
    """Checkpoints in the folder of one run, whose lease this process holds.

    ``guard`` is called just before a file appears: it raises when the run was taken over. ``saved`` is called after it
    appeared.
    """

    def __init__(
        self,
        folder: Path,
        runtime: RuntimeSettings,
        guard: Callable[[], object],
        saved: Callable[[], object] = lambda: None,
        *,
        writes: bool = True,
    ) -> None:
        self.saved = saved
        self.folder, self.guard, self.writes = folder / FOLDER, guard, writes  # not writes: another rank does
        self.keep, self.every, self.seconds = (
            runtime.checkpoint_keep,
            runtime.checkpoint_steps,
            60 * runtime.checkpoint_minutes,
        )
        self.snapshot = Snapshot()
        self.saved_step, self.saved_at = 0, time.monotonic()
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None

    def due(self, steps: int, *, end_of_epoch: bool = False) -> bool:
        """Return True if a checkpoint is due after ``steps`` of the run. Raises the error of the last one."""
        if self._error is not None:
            self.wait()
        if not (self.keep and self.writes) or steps == self.saved_step or (self._thread and self._thread.is_alive()):
            return False
        since = time.monotonic() - self.saved_at
        return bool(
            (self.every and steps - self.saved_step >= self.every)
            or (self.seconds and since >= self.seconds)
            or (end_of_epoch and since >= EPOCH_PAUSE)
        )

    def save(self, steps: int, state: TrainingState, *, finite: str = "") -> None:
        """Copy ``state`` and write it in the background; ``wait`` raises its error.

        It is not written where the tensor called ``finite`` is infinite or not a number.
        """
        if not (self.keep and self.writes):
            return
        self.wait()
        self.saved_step, self.saved_at = steps, time.monotonic()
        copied, ready = self.snapshot.take(state.tensors)
        self._thread = threading.Thread(
            target=self._write,
            args=(steps, TrainingState(copied, state.values), ready, copied.get(finite)),
            name="checkpoint",
            daemon=True,
        )
        self._thread.start()

    def wait(self) -> None:
        """Wait until the last checkpoint is on the disk. Raises TrainingFailed where it could not be written."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        error, self._error = self._error, None
        if isinstance(error, OSError):
            raise TrainingFailed(
                f"{self.folder}: a checkpoint cannot be written ({error.strerror or error}); the earlier ones are "
                "intact: make room, then type the same command again to resume"
            ) from error
        if error is not None:
            raise error

    def _write(self, steps: int, state: TrainingState, ready: Callable[[], object], finite: Tensor | None) -> None:
        try:
            ready()
            if finite is not None and not finite.isfinite().all():
                return
            write_checkpoint(self.path(steps), state, before=self.guard)
            self._prune(steps)
            self.saved()
        except BaseException as error:  # told in the main thread
            self._error = error

    def _prune(self, steps: int) -> None:
        """Keep the last ones up to ``steps``; what lies beyond was damaged, or was left by a process that is gone."""
        upto = [step for step in self.steps() if step <= steps]
        for step in set(self.steps()) - set(upto[-self.keep :]):
            self.path(step).unlink(missing_ok=True)

    def path(self, steps: int) -> Path:
        return self.folder / f"{steps:09}{SUFFIX}"

    def steps(self) -> list[int]:
        """Return the steps of the checkpoints, in order."""
        return steps_in(self.folder)

    def newest(self, note: Callable[[str], object]) -> tuple[Path, TrainingState] | None:
        """Return the last checkpoint that is whole; pass over damaged ones and report them to ``note``."""
        for step in reversed(self.steps()):
            try:
                return self.path(step), read_checkpoint(self.path(step))
            except (DamagedCheckpoint, OSError) as error:
                note(f"warning: {error}: going back to the checkpoint before it, or to the beginning")
        return None

    def earlier_threads(self) -> int | None:
        """Return the number of threads that the last checkpoint was made with, None if that is unknown."""
        steps = self.steps()
        return threads_of(self.path(steps[-1])) if steps else None

    def clear(self) -> None:
        """Remove all of them."""
        if not (self.writes and self.folder.is_dir()):
            return
        remove_temporaries(self.folder)
        for step in self.steps():
            self.path(step).unlink(missing_ok=True)
        if not any(self.folder.iterdir()):
            self.folder.rmdir()


def remove_leftovers(store: Store, run_id: str) -> None:
    """Remove what a process left in the folder of a finished run, that was killed after it had written the record."""
    folder = store.folder(run_id)
    with suppress(OSError):  # of somebody else's store, say
        if not ((folder / FOLDER).is_dir() or (folder / LEASE).is_file()):
            return
        if (lease := store.claim(run_id)) is not None:
            with lease:
                remove_temporaries(folder)
                Checkpoints(folder, RuntimeSettings(), lambda: None).clear()
                remove(folder / DESCRIPTION)


def threads_of(path: Path) -> int | None:
    """Return the number of threads that a checkpoint was made with, None if that is unknown."""
    with suppress(OSError, ValueError, KeyError, TypeError):
        return int(read_values(path)["made_with"]["threads"])
    return None


class Snapshot:
    """Copies of tensors on the host. The memory is used again each time; for a GPU it is pinned."""

    def __init__(self) -> None:
        self.buffers: dict[str, Tensor] = {}

    def take(self, tensors: Tensors) -> tuple[dict[str, Tensor], Callable[[], object]]:
        """Return the copies, and a function that waits for them; the next step may begin at once on the same stream."""
        with torch.no_grad():
            for name, tensor in tensors.items():
                self._buffer(name, tensor).copy_(tensor, non_blocking=True)
        copies = {name: self.buffers[name] for name in tensors}
        device = next((tensor.device for tensor in tensors.values() if tensor.is_cuda), None)
        if device is None:
            return copies, lambda: None
        event = torch.cuda.Event()  # type: ignore[no-untyped-call]
        event.record(torch.cuda.current_stream(device))
        return copies, event.synchronize

    def _buffer(self, name: str, tensor: Tensor) -> Tensor:
        buffer = self.buffers.get(name)
        if buffer is None or (buffer.shape, buffer.dtype) != (tensor.shape, tensor.dtype):
            buffer = torch.empty_like(tensor, device="cpu", pin_memory=tensor.is_cuda, requires_grad=False)
            self.buffers[name] = buffer
        return buffer
