"""Damages files that commands read, over and over, and looks at what the readers say.

    scripts/torture files [--count 1000] [--seed 0]

Each damage is of the bytes (bits, cuts, insertions, other files) or of the structure (a value or a key of the JSON). A
reader must return what it returned before, or refuse the file by name, and what does not need the file must go on.
``silent`` counts other values, ``broken`` tracebacks; both must be empty.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import redirect_stderr
from dataclasses import dataclass, replace
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bagoftricks.cli.table import TableArguments, draw
from bagoftricks.data import cache
from bagoftricks.data.cache import Arena
from bagoftricks.data.sources import FileSplit, MemorySplit
from bagoftricks.errors import UserError
from bagoftricks.models.weights import read_tensors
from bagoftricks.report.locking import lock_study
from bagoftricks.report.replication import compare_study, replication_text
from bagoftricks.report.study_parts import load_study
from bagoftricks.rng import Key
from bagoftricks.run import teacher
from bagoftricks.settings import RuntimeSettings
from bagoftricks.store.checkpoint_file import write_checkpoint
from bagoftricks.store.checkpoints import Checkpoints
from bagoftricks.store.description import DESCRIPTION, RunDescription, find_description, write_description
from bagoftricks.store.files import weights_writer, write_whole
from bagoftricks.store.json_fields import SEAL, parse_json, sealed_text, to_json, unsealed
from bagoftricks.store.lease import LEASE, claim, is_live
from bagoftricks.store.store import RunState, Store, require_intact
from bagoftricks.store.survey import FolderState, survey_run
from bagoftricks.study.experiment import load_experiment
from bagoftricks.study.lock import LOCK_TAG, lock_element, lock_json, lock_values, read_lock
from bagoftricks.training.state import TrainingState
from bagoftricks.yaml_files import read_yaml

ODD = [None, True, -1, 0, 1.5, 10**40, "", "text", "../x", [], {}, [[]], {"a": {}}, float("nan"), "\ud800"]
OTHER_FILES = [b"", b"[]", b"5", b'"x"', b"null", b"{}", b"\xff\xfe\x00", b"[" * 3000, b"\x80\x04}.", b"\x00" * 64]
REFUSED = "refused"


# --- damage ---


def damaged_bytes(data: bytes, draw) -> bytes:
    made, at = bytearray(data), int(draw.integers(max(1, len(data))))
    size = int(draw.integers(1, 40))
    kind = draw.integers(7)
    if kind == 0 and data:
        made[at] ^= 1 << int(draw.integers(8))
    elif kind == 1:
        made[at : at + size] = draw.bytes(size)
    elif kind == 2:
        del made[at:]
    elif kind == 3:
        made[at:at] = draw.bytes(size)
    elif kind == 4:
        del made[at : at + size]
    elif kind == 5:
        made[at:at] = made[at : at + size]
    else:
        made = bytearray(OTHER_FILES[int(draw.integers(len(OTHER_FILES)))])
    return bytes(made)


def damaged_values(values: Any, draw) -> Any:
    """JSON values with another value, or none, at one place."""
    places = [(held, key) for held in containers(values) for key in keys(held)]
    if not places:
        return ODD[int(draw.integers(len(ODD)))]
    held, key = places[int(draw.integers(len(places)))]
    kind = draw.integers(4)
    if kind == 0:
        del held[key]
    elif kind == 1 and isinstance(held, dict):
        held[f"{key}_"] = held.pop(key)
    elif kind == 2 and isinstance(held[key], int | float):
        held[key] += 1
    else:
        held[key] = ODD[int(draw.integers(len(ODD)))]
    return values


def containers(values: Any):
    inside = values.values() if isinstance(values, dict) else values if isinstance(values, list) else ()
    if isinstance(values, dict | list):
        yield values
    for value in inside:
        yield from containers(value)


def keys(held: Any) -> list:
    return list(held) if isinstance(held, dict) else list(range(len(held)))


def damaged_text(data: bytes, draw) -> bytes:
    """A JSON file with damage to its structure."""
    return json.dumps(damaged_values(json.loads(data), draw)).encode()


def damaged_header(data: bytes, draw) -> bytes:
    """A safetensors file with damage to the structure of its header."""
    size = int.from_bytes(data[:8], "little")
    header = json.dumps(damaged_values(json.loads(data[8 : 8 + size]), draw)).encode()
    return len(header).to_bytes(8, "little") + header + data[8 + size :]


# --- what is read ---


@dataclass
class Kind:
    """One kind of file: its path, a damage of its structure, and the command or the function that reads it.

    ``read`` returns what the file says or REFUSED; ``free``: any value is right, as of a text of the user's own.
    """

    path: Path
    structure: Callable[[bytes, Any], bytes]
    read: Callable[[], Any]
    free: bool = False


def kinds(folder: Path) -> dict[str, Kind]:
    from tests.store.test_record import full
    from tests.store.test_store import record

    store = Store(folder / "store")
    for name in ("aaaa", "bbbb"):
        write_whole(store.weights(name), weights_writer({"w": torch.arange(24.0).view(4, 6), "b": torch.ones(3)}))
        store.write_metrics(name, [{"epoch": 1, "top1": 5.0}])
    store.write_record(record(id="aaaa", metrics={"top1": 50.0}, files=store.digests("aaaa")))
    store.write_record(replace(full(), id="bbbb", files=store.digests("bbbb")))
    made = {
        "record": Kind(store.folder("bbbb") / "record.json", damaged_text, lambda: rows(store)),
        "lease": Kind(store.folder("cccc") / LEASE, damaged_text, lambda: lease(store)),
        "weights": Kind(store.weights("aaaa"), damaged_header, lambda: weights(store.weights("aaaa"))),
        "study": study(store),
        "lock": lock(folder),
        "sealed lock": sealed_lock(folder),
        "counts": counts(store),
        "logits": logits(store),
        "checkpoint": checkpoint(store),
        "description": description(store),
        "set": data_set(folder),
        "index": arena(folder),
        "experiment": experiment(folder),
    }
    store.folder("cccc").mkdir()
    (store.folder("cccc") / LEASE).write_text(json.dumps({"token": "t", "host": "elsewhere", "pid": 7, "born": "1"}))
    return made


def rows(store: Store) -> Any:
    """The rows of bot-table; a run that is left out must be named, and the other must be there."""
    with redirect_stderr(StringIO()) as said:
        found = {row["id"]: row for row in json.loads(draw(TableArguments.of([f"store={store.root}", "format=json"])))}
    assert "aaaa" in found, "the whole record is missing"
    assert ("bbbb" in found) != ("bbbb" in said.getvalue()), "left out without a word"
    return found.get("bbbb", REFUSED)


def lease(store: Store) -> Any:
    """The state of the run; a minute later anybody has the lease."""
    path = store.folder("cccc") / LEASE
    assert claim(path.parent) is None
    assert is_live(path)
    os.utime(path, (time.time() - 100,) * 2)
    assert store.state("cccc") is RunState.MISSING
    taken = claim(path.parent)
    assert taken is not None
    assert taken.held()
    return REFUSED


def weights(path: Path) -> Any:
    require_intact(path)
    return {name: tensor.tolist() for name, tensor in read_tensors(path).items()}


def study(store: Store) -> Kind:
    path = store.root / "studies" / "s.json"
    arms = [{"label": "a", "runs": {"0": "aaaa"}, "published": {"top1": 70.5}}, {"label": "b", "runs": {"0": "bbbb"}}]
    whole = {"format": 2, "name": "s", "command": "bot-sweep", "seeds": [0], "arms": arms, "columns": ["top1"]}
    write_whole(path, lambda file: file.write_text(sealed_text(whole)))
    return Kind(path, damaged_text, lambda: load_study(store, "s").whole)


def lock(folder: Path) -> Kind:
    from tests.study.test_lock import made

    path = folder / "page.html"
    path.write_text(f"<p>{lock_element(made())}</p>")

    def structure(data: bytes, draw) -> bytes:
        before, tag, rest = data.partition(LOCK_TAG.encode())
        inside, end, after = rest.partition(b"</script>")
        return before + tag + damaged_text(inside, draw) + end + after

    return Kind(path, structure, lambda: lock_values(read_lock("from", str(path))))


def sealed_lock(folder: Path) -> Kind:
    """A lock whose damage has a seal of its own: any of its values may be right, and none ends in a traceback."""
    from tests.report.test_replication import TOP1, study

    results = study(TOP1)
    path = folder / "lock.json"
    path.write_text(lock_json(lock_study(results.study, results.records)))

    def structure(data: bytes, draw) -> bytes:
        values = damaged_values(json.loads(data), draw)
        try:
            return sealed_text({key: value for key, value in values.items() if key != SEAL}).encode()
        except ValueError:
            return json.dumps(values).encode()

    def read() -> Any:
        return replication_text(compare_study(read_lock("from", str(path)), results), "text")

    return Kind(path, structure, read, free=True)


def counts(store: Store) -> Kind:
    path = store.root / "unfinished" / "x.partial.json"
    write_whole(
        path, lambda file: file.write_text(sealed_text({"digest": "d", "tally": {"errors": [3, 4]}, "pieces": 2}))
    )

    def read() -> Any:
        try:
            values, sealed = unsealed(parse_json(path.read_bytes()))
        except (ValueError, AttributeError):
            return REFUSED
        return values if sealed else REFUSED

    return Kind(path, damaged_text, read)


def logits(store: Store) -> Kind:
    path = store.root / "teachers" / "t.safetensors"
    write_checkpoint(path, TrainingState({"logits": torch.arange(20.0).view(5, 4)}, {"seconds": 1.5}))

    def read() -> Any:
        found = teacher._stored_logits(path, (5, 4))
        return REFUSED if found is None else (found.logits.tolist(), found.seconds)

    return Kind(path, damaged_header, read)


def checkpoint(store: Store) -> Kind:
    kept = Checkpoints(store.folder("dddd"), RuntimeSettings(), lambda: None)
    for step in (4, 8):
        kept.save(step, TrainingState({"w": torch.full((3, 2), float(step))}, {"steps": step}))
        kept.wait()

    def read() -> Any:
        said: list[str] = []
        found = kept.newest(said.append)
        assert found is not None, "the checkpoint before it is gone too"
        step = found[1].values["steps"]
        assert (step == 4) == bool(said), "going back without a word"
        return REFUSED if step == 4 else (step, found[1].tensors["w"].tolist())

    return Kind(kept.path(8), damaged_header, read)


def description(store: Store) -> Kind:
    folder = store.folder("eeee")
    facts = {"tricks": {"mixup": {"alpha": 0.2}}, "data": "digits", "model": {"name": "resnet"}, "seed": 0, "epochs": 2}
    write_description(folder, RunDescription(id="eeee", command="bot-train", **facts), before=lambda: None)

    def read() -> Any:
        found = find_description(folder)
        assert survey_run(store, "eeee").state is FolderState.INTERRUPTED
        return REFUSED if found is None else to_json(found)

    return Kind(folder / DESCRIPTION, damaged_text, read)


def data_set(folder: Path) -> Kind:
    (folder / "image.png").write_bytes(b"not decoded")
    files = FileSplit(np.array([os.fspath(folder / "image.png")] * 4), np.arange(4) % 2)
    pixels = torch.arange(4 * 3 * 6 * 5).remainder(251).to(torch.uint8).view(4, 6, 5, 3).permute(0, 3, 1, 2)
    split = MemorySplit(pixels, files.labels)
    place = folder / "sets" / "set.safetensors"
    cache._write_set(place, (split, ["one"], np.arange(4)))

    def read() -> Any:
        try:
            found, skipped, numbers = cache._read_set(place, files)
        except cache.DAMAGED:
            return REFUSED
        return found.images.tolist(), found.labels.tolist(), skipped, numbers.tolist()

    return Kind(place, damaged_header, read)


def arena(folder: Path) -> Kind:
    kept = Arena(5, 2000, folder / "images", "a")
    for number in range(4):
        kept.put(number, torch.full((3, 4, 6), 50 * number, dtype=torch.uint8))
    path, whole = folder / "images" / "a.index", {}

    def structure(data: bytes, draw) -> bytes:
        """Exchange, copy or change entries."""
        table = np.frombuffer(data, np.int64).reshape(-1, 4).copy()
        one, two = draw.integers(len(table), size=2)
        table[one, draw.integers(4)] = table[two, draw.integers(4)] + draw.integers(-1, 2)
        if draw.random() < 0.5:
            table[[one, two]] = table[[two, one]]
        return table.tobytes()

    def read() -> Any:
        again = Arena(5, 2000, folder / "images", "a")
        found = {number: image.tolist() for number in range(4) if (image := again.get(number)) is not None}
        whole.update(found if not whole else {})
        wrong = {number: image for number, image in found.items() if whole[number] != image}
        return wrong or (REFUSED if len(found) < 4 else found)

    return Kind(path, structure, read)


def experiment(folder: Path) -> Kind:
    from tests.study.test_experiment import CSV, GOOD

    (folder / "mine.csv").write_text(CSV)
    path = folder / "mine.yaml"
    path.write_text(GOOD)

    def structure(data: bytes, draw) -> bytes:
        return json.dumps(damaged_values(read_yaml_text(data), draw)).encode()

    return Kind(path, structure, lambda: load_experiment(str(path), "laptop"), free=True)


def read_yaml_text(data: bytes) -> Any:
    with tempfile.NamedTemporaryFile(suffix=".yaml") as file:
        file.write(data)
        file.flush()
        return read_yaml(Path(file.name))


# --- the whole ---


def torture_files(folder: Path, *, count: int, seed: int = 0) -> dict:
    """Damage each kind of file ``count`` times; what was refused, the same, different in silence, or broken."""
    found: dict[str, Counter] = {}
    wrong: list[str] = []
    for name, kind in kinds(folder).items():
        whole, tally = kind.path.read_bytes(), found.setdefault(name, Counter())
        expected = None if name == "lease" else kind.read()
        for number in range(count):
            draw = Key(seed).fold(name, number).numpy()
            damage = kind.structure if draw.random() < 0.5 else damaged_bytes
            data = damage(whole, draw)
            kind.path.write_bytes(data)
            outcome = "broken"
            try:
                with redirect_stderr(StringIO()):
                    said = kind.read()
                outcome = REFUSED if said == REFUSED else "same" if kind.free or said == expected else "silent"
            except UserError as error:
                outcome = REFUSED if "\n" not in f"{error}" else "broken"
            except BaseException as error:  # what is looked for
                wrong.append(f"{name} {number}: {type(error).__name__}: {error}"[:200])
            tally[outcome] += 1
            wrong += [f"{name} {number}: another value"] if outcome == "silent" else []
        kind.path.write_bytes(whole)
    return {
        "damaged": count * len(found),
        "kinds": {name: dict(tally) for name, tally in found.items()},
        "wrong": wrong,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=1000, help="damages of each kind of file")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="torture-") as folder:
        found = torture_files(Path(folder), count=given.count, seed=given.seed)
    print(json.dumps(found, indent=2))
    return 1 if found["wrong"] else 0


if __name__ == "__main__":
    sys.exit(main())
