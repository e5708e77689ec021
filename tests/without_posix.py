"""A child of test_platforms.py: trains on the digits without what the named operating system lacks."""

import multiprocessing
import os
import pkgutil
import signal
import sys
from importlib import import_module

MODULES = {"win32": ("fcntl", "resource", "grp", "pwd", "termios"), "darwin": ()}
OF_OS = {
    "win32": (
        *("O_NOFOLLOW", "O_NONBLOCK", "O_CLOEXEC", "getuid", "geteuid", "pread", "pwrite", "statvfs", "sysconf"),
        *("sched_getaffinity", "sched_setaffinity", "getloadavg"),
    ),
    "darwin": ("sched_getaffinity", "sched_setaffinity"),
}
OF_SIGNAL = {"win32": ("SIGUSR2", "SIGHUP", "sigwaitinfo", "pthread_sigmask"), "darwin": ("sigwaitinfo",)}
METHODS = {"win32": ["spawn"], "darwin": ["spawn", "fork", "forkserver"]}
OF_OTHERS = (
    "hydra",
    "pandas",
    "scipy.stats",
    "torch._dynamo",
    "torchvision.transforms.v2",
    "rich.console",
    "rich.progress",
)


def main(platform: str) -> None:
    """Import the libraries as they are here, then ours as they would be there, and train."""
    for name in MODULES[platform]:
        sys.modules[name] = None  # type: ignore[assignment]
    for name in OF_OTHERS:
        import_module(name)
    for owner, names in ((os, OF_OS[platform]), (signal, OF_SIGNAL[platform])):
        for name in names:
            delattr(owner, name)
    multiprocessing.get_all_start_methods = lambda: METHODS[platform]  # type: ignore[method-assign]
    sys.platform = platform
    import bagoftricks

    for found in pkgutil.walk_packages(bagoftricks.__path__, "bagoftricks."):
        if not found.name.endswith("__main__"):
            import_module(found.name)
    from bagoftricks.cli.train import main as train

    for arguments in (["--help"], ["+refine=mixup", "epochs=1"]):
        sys.argv = ["bot-train", *arguments]
        try:
            train()
        except SystemExit as ended:
            if ended.code:
                raise


if __name__ == "__main__":
    main(sys.argv[1])
