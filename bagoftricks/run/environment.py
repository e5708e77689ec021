"""Device, versions and arithmetic of a run."""

import getpass
import os
import platform
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from functools import cache
from importlib.metadata import version
from pathlib import Path

import torch

from bagoftricks.cores import usable_cores
from bagoftricks.errors import NotHere, UserError
from bagoftricks.started import local_rank
from bagoftricks.store.record import Environment


def find_device(name: str) -> torch.device:
    """Return the device called ``name``; ``auto`` is a GPU if there is one."""
    own = local_rank()
    if name in ("auto", "cuda") and own is not None and torch.cuda.is_available():
        name = f"cuda:{own}"
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UserError(f"runtime.device={name}: must be auto, cpu, cuda or cuda:<number>") from error
    if device.type not in ("cpu", "cuda"):
        raise UserError(
            f"runtime.device={name}: must be auto, cpu, cuda or cuda:<number>; training on others is untried"
        )
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise NotHere(f"runtime.device={name}: there are {torch.cuda.device_count()} GPUs here; use runtime.device=cpu")
    return device


def environment(
    device: torch.device,
    devices: int = 1,
    continuations: int = 0,
    *,
    micro_batches: tuple[tuple[int, ...], ...] | None = None,
) -> Environment:
    """Return the machine, the versions, the revision and the processes of a run, for its record."""
    revision, dirty = git_state()
    return Environment(
        device=torch.cuda.get_device_name(device) if device.type == "cuda" else cpu_name(),
        cores=usable_cores(),
        threads=torch.get_num_threads(),
        python=platform.python_version(),
        **{package: version(package) for package in ("bagoftricks", "torch", "torchvision", "numpy")},
        git_revision=revision,
        git_dirty=dirty,
        date=now(),
        host=platform.node(),
        user=user_name(),
        devices=devices,
        continuations=continuations,
        micro_batches=micro_batches,
    )


def now() -> str:
    """Return the date and time in UTC, as ISO 8601."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def user_name() -> str | None:
    """Return the user's login name, None where there is none, as in many containers."""
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):
        return None


def cpu_name() -> str:
    """Return the processor's model if Linux names it, else its architecture."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


@cache  # of the code that is loaded, whatever the checkout becomes while it runs
def git_state() -> tuple[str | None, bool | None]:
    """Return the revision of the package's checkout and True if it has uncommitted changes; (None, None) in a wheel."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return None, None
    try:
        revision, status = (_git(root, "rev-parse", "HEAD"), _git(root, "status", "--porcelain"))
    except (OSError, subprocess.SubprocessError):
        return None, None
    return revision, bool(status)


def _git(root: Path, *words: str) -> str:
    done = subprocess.run(["git", "-C", str(root), *words], capture_output=True, text=True, timeout=10, check=True)
    return done.stdout.strip()


@contextmanager
def deterministic(wanted: bool) -> Iterator[None]:
    """Let PyTorch refuse operations that have no deterministic form, for as long as the block lasts.

    On a CPU all that is used here is deterministic anyway. cuBLAS reads its workspace from the environment when it is
    first used (NVIDIA, cuBLAS library, section 2.1.4).
    """
    if not wanted:
        yield
        return
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    cudnn = torch.backends.cudnn
    before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    flags = cudnn.deterministic, cudnn.benchmark
    torch.use_deterministic_algorithms(True)
    cudnn.deterministic, cudnn.benchmark = True, False
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])
        cudnn.deterministic, cudnn.benchmark = flags
