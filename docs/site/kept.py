"""Files of the site that take long to make, kept in the cache folder until something that they are made of changes."""

import json
import time
from collections.abc import Callable, Iterable
from functools import cache
from hashlib import blake2b
from importlib.metadata import version
from pathlib import Path

from bagoftricks.folders import cache_folder

Made = dict[str, str]  # path in the repository -> text
PACKAGES = ("matplotlib", "numpy", "pandas", "torch")
DAYS = 30  # after which what no build has used is removed


def kept(sources: Iterable[tuple[Path, str]], make: Callable[[], Made]) -> Made:
    """Return what ``make`` returned when the files of ``sources``, pairs (folder, pattern), were the same as now."""
    folder = cache_folder() / "site"
    key = blake2b("".join(digest(*source) for source in sources).encode(), digest_size=10).hexdigest()
    file = folder / f"{key}.json"
    if not file.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        written = file.with_suffix(f".{time.time_ns()}")
        written.write_text(json.dumps(make()), encoding="utf-8")
        written.replace(file)
    file.touch()
    for other in folder.iterdir():
        if other.stat().st_mtime < time.time() - DAYS * 24 * 3600:
            other.unlink(missing_ok=True)
    made: Made = json.loads(file.read_text(encoding="utf-8"))
    return made


@cache
def digest(folder: Path, pattern: str) -> str:
    """Return a digest of the names and contents of the files below a folder, and of the packages that draw."""
    state = blake2b(" ".join(map(version, PACKAGES)).encode(), digest_size=10)
    for path in sorted(path for path in folder.rglob(pattern) if path.is_file()):
        content = path.read_bytes()
        state.update(f"{path.relative_to(folder).as_posix()} {len(content)}\n".encode())
        state.update(content)
    return state.hexdigest()
