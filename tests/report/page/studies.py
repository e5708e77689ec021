"""Stores with hand-made records of a study, as bot-sweep leaves them."""

import json
from hashlib import blake2b

from bagoftricks.report.page.whole_page import load_report, whole_page
from bagoftricks.store.record import record_text
from bagoftricks.store.store import Store
from tests.store.test_store import record


def run_id(*parts):
    return blake2b(repr(parts).encode(), digest_size=10).hexdigest()


def make_study(root, arms, /, *, name="made", seeds=(0, 1, 2), changes=(), **about):
    """Write a study whose arms have these top-1 accuracies by seed (None: not run); each against the first one.

    ``changes``: values of the records by label.
    """
    store, saved, first = Store(root), [], next(iter(arms))
    for label, scores in arms.items():
        runs = {str(seed): run_id(name, label, seed) for seed in seeds}
        for seed, top1 in zip(seeds, scores, strict=True):
            if top1 is not None:
                command = f"bot-train +refine=cosine seed={seed}"
                values = {"metrics": {"top1": top1}, "seed": seed, "command": command, **dict(changes).get(label, {})}
                (root / runs[str(seed)]).mkdir(parents=True, exist_ok=True)  # no write_record: it waits for the disk
                text = record_text(record(id=runs[str(seed)], **values))
                (root / runs[str(seed)] / "record.json").write_text(text, encoding="utf-8")
        saved.append({"label": label, "runs": runs, "compare_to": None if label == first else first})
    study = {"name": name, "command": f"bot-sweep name={name}", "seeds": list(seeds), "arms": saved, **about}
    (root / "studies").mkdir(parents=True, exist_ok=True)
    (root / "studies" / f"{name}.json").write_text(json.dumps(study), encoding="utf-8")
    return store


def page_of(store, *names):
    return whole_page(load_report(store, names, "bot-report"), pictures=False)
