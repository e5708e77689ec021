"""Kills the processes of a small study over and over, starts it again each time, and compares what comes of it.

    scripts/torture [--kills 200] [--seed 0] [--folder FOLDER]

The study is trained once in peace. Then again, while processes are ended by SIGKILL at keyed random moments: by
themselves in the middle of a write (before, half written, written but not renamed, renamed), and from outside, one
worker or the whole sweep. Now and then a checkpoint is damaged too. What the two leave behind, and the study's table,
must be equal bit for bit, but for the clock; every run must be recorded once; no file of another name may lie about.
Every second start is on a file system without hard links, as far as its processes can tell.
"""

import argparse
import csv
import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from bagoftricks.rng import Key

STUDY = [
    "design=stack", "tricks=[resnet_d,mixup,ema,mixed_precision]", "seeds=4", "slots=2", "retry=failed",
    "data.limit=360", "data.pad=1", "image_size=8", "model.depths=[1,1]", "model.width=4", "batch_size=16",
    "epochs=5", "lr=0.05", "runtime.device=cpu", "runtime.checkpoint_steps=4",
]  # fmt: skip
CLOCK = {"train_images_per_s", "infer_images_per_s", "infer_spread", "latency_ms", "measured_by", "peak_memory_mib"}
CLOCK |= {"train_seconds", "epoch_seconds", "wall_seconds", "curve"}  # the curve is of accuracy over seconds
OURS = Path(__file__).resolve().parents[1]


@dataclass
class Torture:
    folder: Path
    seed: int
    kills: int
    study: list[str] = field(default_factory=lambda: list(STUDY))
    starts: int = 0
    damaged: int = 0

    def sweep(self, store: Path, *, armed: bool) -> subprocess.Popen:
        """A sweep over the study in a process group of its own."""
        for name in ("draws", "phases"):
            (self.folder / name).mkdir(exist_ok=True)
        keep = {"TORTURE_FOLDER": str(self.folder), "TORTURE_SEED": str(self.seed), "PYTHONPATH": str(OURS)}
        keep["TORTURE_LINKS"] = "hard" if self.starts % 2 else ""
        program = ["-m", "tests.torture", "armed"] if armed else ["-m", "bagoftricks.cli.sweep"]
        with open(self.folder / "errors", "a", encoding="utf-8") as errors:
            return subprocess.Popen(
                [sys.executable, *program, *self.study, f"store={store}", "format=json"],
                cwd=self.folder, env={**os.environ, "OMP_NUM_THREADS": "1", **keep}, start_new_session=True,
                stdout=subprocess.DEVNULL, stderr=errors, text=True,
            )  # fmt: skip

    def log(self) -> list[list[str]]:
        path = self.folder / "log"
        return [line.split("\t") for line in path.read_text().splitlines()] if path.exists() else []

    def killed(self) -> Counter:
        """How many were killed, by what they were at."""
        return Counter(words[1] for words in self.log() if words[0] == "kill")

    def carry_out(self, store: Path) -> None:
        """Start the sweep and kill what it starts, until the study comes to its end."""
        armed, done = self.folder / "armed", False
        armed.touch()
        while not done:
            process = self.sweep(store, armed=True)
            self.starts += 1
            self.disturb(process, store)
            done = process.returncode == 0
        armed.unlink(missing_ok=True)

    def disturb(self, process: subprocess.Popen, store: Path) -> None:
        """Kill at random moments, for as long as there are to be more kills and the sweep is alive."""
        while process.poll() is None:
            if self.killed().total() >= self.kills:
                (self.folder / "armed").unlink(missing_ok=True)
                process.communicate()
                return
            draw = Key(self.seed).fold("outside", len(self.log()), self.starts).numpy()
            with suppress(subprocess.TimeoutExpired):
                process.wait(float(draw.exponential(4.0)))
                return
            if not list(store.glob("*/lease.json")):
                continue  # nothing is trained
            if draw.random() < 0.95:
                self.kill_a_worker(store, draw)
            else:
                self.kill_all(process, store, draw)

    def kill_a_worker(self, store: Path, draw) -> None:
        leases = sorted(store.glob("*/lease.json"))
        with suppress(OSError, ValueError, IndexError):
            pid = json.loads(leases[int(draw.integers(len(leases)))].read_text())["pid"] if leases else None
            if pid is not None:
                phase = self.phase(pid)
                os.kill(pid, signal.SIGKILL)
                self.note(phase)

    def kill_all(self, process: subprocess.Popen, store: Path, draw) -> None:
        """The sweep and all that it has started; the machine is gone."""
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        self.note("sweep")
        checkpoints = sorted(store.glob("*/checkpoints/*.safetensors"))
        if checkpoints and draw.random() < 0.5:
            path = checkpoints[int(draw.integers(len(checkpoints)))]
            data = bytearray(path.read_bytes())
            data[int(draw.integers(len(data)))] ^= 1 << int(draw.integers(8))
            path.write_bytes(data[: int(draw.integers(len(data)))] if draw.random() < 0.5 else data)
            self.damaged += 1

    def phase(self, pid: int) -> str:
        try:
            return (self.folder / "phases" / str(pid)).read_text() or "training"
        except OSError:
            return "starting"

    def note(self, phase: str) -> None:
        with open(self.folder / "log", "a", encoding="utf-8") as file:
            file.write(f"kill\t{phase}\toutside\n")


def left_behind(store: Path) -> dict[str, dict]:
    """Each run's record, metrics and weights, but for the clock; and what should not be there."""
    found = {}
    for path in sorted(store.glob("*/record.json")):
        record = json.loads(path.read_text())
        record.pop("sha256")
        record["cost"] = {key: value for key, value in record["cost"].items() if key not in CLOCK}
        record["config"]["store"] = ""
        with open(path.parent / "metrics.csv", newline="") as file:
            rows = [
                {key: value for key, value in row.items() if key != "train_seconds"} for row in csv.DictReader(file)
            ]
        weights = {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in path.parent.glob("*.safetensors")}
        environment = record.pop("environment")
        command = record.pop("command").split()
        record.pop("files")
        record["command"] = [word for word in command if not word.startswith("store=")]
        found[path.parent.name] = {"record": record, "rows": rows, "weights": weights}
        found[path.parent.name]["continuations"] = environment["continuations"]
    return found


def table(store: Path) -> str:
    """The study's, as a user gets it, with every digit: arms, differences, intervals and verdicts."""
    columns = "columns=[top1,top5,loss,ece,params,macs]"
    command = [sys.executable, "-m", "bagoftricks.cli.table", "study=stack", f"store={store}", "format=csv", columns]
    environment = {**os.environ, "PYTHONPATH": str(OURS)}
    return subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True).stdout


LEFT = re.compile(
    r"[0-9a-f]{20}/(record\.json|metrics\.csv|log\.txt|(correct|(\w+\.)?weights)\.safetensors)|studies/[\w-]+\.json"
)


def litter(store: Path) -> list[str]:
    """Every file, of whatever name, that a finished study does not leave."""
    files = [path.relative_to(store).as_posix() for path in store.rglob("*") if not path.is_dir()]
    folders = [path for path in store.rglob("*") if path.is_dir() and not any(path.iterdir())]
    return [file for file in files if not LEFT.fullmatch(file)] + [f"{folder}/" for folder in folders]


def torture(folder: Path, *, kills: int, seed: int, study: list[str] | None = None) -> dict:
    """What happened, and what is wrong with what came of it: nothing, in ``wrong``."""
    began = time.monotonic()
    job = Torture(folder, seed, kills, study or list(STUDY))
    calm = folder / "calm"
    undisturbed = job.sweep(calm, armed=False)
    undisturbed.communicate()
    peace = time.monotonic() - began
    wanted, wrong, continuations, stores = left_behind(calm), [], 0, []
    expected = table(calm)
    for run in wanted.values():
        assert run.pop("continuations") == 0
    while not stores or job.killed().total() < kills:
        stores.append(folder / f"store{len(stores)}")
        job.carry_out(stores[-1])
        got = left_behind(stores[-1])
        continuations += sum(run.pop("continuations") for run in got.values())
        wrong += [f"{name} differs" for name in wanted if wanted[name] != got.get(name)]
        wrong += [f"{name} is too many" for name in got if name not in wanted]
        wrong += [f"{path} was left behind" for path in litter(stores[-1])]
        wrong += [] if table(stores[-1]) == expected else [f"the table of {stores[-1].name} differs"]
    recorded = Counter(words[1] for words in job.log() if words[0] == "record")
    seen = sum(path.read_text().count("is damaged") for store in stores for path in store.glob("*/log.txt"))
    wrong += [f"{name} was recorded {count} times" for name, count in recorded.items() if count != len(stores)]
    wrong += [] if wanted and undisturbed.returncode == 0 else ["the study in peace failed"]
    return {
        "runs": len(wanted) * len(stores),
        "kills": job.killed().total(),
        "hit": dict(job.killed().most_common()),
        "moments": dict(Counter(words[2] for words in job.log() if words[0] == "kill").most_common()),
        "starts": job.starts,
        "continuations": continuations,
        "checkpoints_damaged": job.damaged,
        "damage_seen": seen,
        "seconds": round(time.monotonic() - began),
        "seconds_in_peace": round(peace),
        "table_rows": len(expected.splitlines()) - 1,
        "wrong": wrong,
    }


def armed(arguments: list[str]) -> int:
    """``bot-sweep`` whose worker processes are armed."""
    from bagoftricks.cli import sweep
    from bagoftricks.engines import local

    local.PRELOAD.append("tests.torture_armed")
    return sweep.main(arguments)


def run_kills(kill: Callable[..., dict], about: str | None, kills: int = 50) -> int:
    """Run a kill test as a command, print what it found, and return the exit status."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=kills)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path)
    given = parser.parse_args()
    folder = given.folder or Path(tempfile.mkdtemp(prefix="torture-"))
    folder.mkdir(parents=True, exist_ok=True)
    found = kill(folder, kills=given.kills, seed=given.seed)
    print(json.dumps(found, indent=2))
    print(f"in {folder}", file=sys.stderr)
    return 1 if found["wrong"] else 0


if __name__ == "__main__":
    armed_ones = sys.argv[1:2] == ["armed"]
    sys.exit(armed(sys.argv[2:]) if armed_ones else run_kills(torture, __doc__, kills=200))
