"""Hostile surroundings: few open files, little shared memory.

    scripts/torture surroundings [--only files shared_memory]

With few files or little shared memory a run must give the result that it gives otherwise, or end in one line.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from tests.torture import OURS

TINY = ["epochs=1", "model.depths=[1,1]", "model.width=4", "runtime.device=cpu", "format=json"]


def command(program: str, *arguments: str) -> list[str]:
    return [sys.executable, "-m", f"bagoftricks.cli.{program}", *arguments]


def start(words: Sequence[str], folder: Path) -> subprocess.Popen:
    keep = {**os.environ, "PYTHONPATH": str(OURS), "OMP_NUM_THREADS": "1"}
    pipe = subprocess.PIPE
    return subprocess.Popen(words, cwd=folder, env=keep, stdout=pipe, stderr=pipe, text=True, start_new_session=True)


def ended(words: Sequence[str], folder: Path) -> tuple[int, str, str]:
    process = start(words, folder)
    out, err = process.communicate(timeout=500)
    return process.returncode, out, err


def photographs(folder: Path) -> None:
    for part in ("train", "val"):
        for label in ("a", "b"):
            (folder / part / label).mkdir(parents=True)
            for number in range(20):
                pixels = np.random.default_rng(number).integers(0, 255, (96, 96, 3), np.uint8)
                Image.fromarray(pixels).save(folder / part / label / f"{number}.jpg")


def compared(name: str, folder: Path, surroundings: Sequence[str]) -> list[str]:
    """Train on streamed images with two workers, and again in these surroundings."""
    photographs(folder / "photos")
    data = ["data=imagefolder", "data.root=photos", "image_size=80", "batch_size=8", "runtime.workers=2"]
    words = command("train", *TINY, *data)
    status, out, err = ended([*words, "store=one"], folder)
    assert status == 0, err
    here, same, complaint = ended([*surroundings, *words, "store=two"], folder)
    print(f"{name}: {here} ({(complaint.strip().splitlines() or [''])[-1][:150]})")
    if here == 0:
        return [] if json.loads(same)["metrics"] == json.loads(out)["metrics"] else ["another result"]
    return ["a traceback"] if "Traceback" in complaint else []


def few_files(folder: Path) -> list[str]:
    return compared("files", folder, ["bash", "-c", 'ulimit -n 48; exec "$@"', "-"])


def little_shared_memory(folder: Path) -> list[str]:
    if subprocess.run(["unshare", "-rm", "true"], capture_output=True, check=False).returncode:
        return ["no user namespaces here: skipped"]
    mount = 'mount -t tmpfs -o size=64k tmpfs /dev/shm && exec "$@"'
    return compared("shared_memory", folder, ["unshare", "-rm", "bash", "-c", mount, "-"])


CASES: dict[str, Callable[[Path], list[str]]] = {
    "files": few_files,
    "shared_memory": little_shared_memory,
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", default=list(CASES), choices=list(CASES))
    wrong = {}
    for name in parser.parse_args().only:
        with tempfile.TemporaryDirectory() as folder:
            wrong[name] = CASES[name](Path(folder))
    print(json.dumps({"wrong": {name: said for name, said in wrong.items() if said}}))
    return int(any(said and "skipped" not in said[0] for said in wrong.values()))


if __name__ == "__main__":
    sys.exit(main())
