"""Lock of a study, made of its file and its records. Loads no torch."""

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace

from bagoftricks.report.study_parts import SavedArm, SavedStudy
from bagoftricks.store.json_fields import Json, from_json
from bagoftricks.store.record import Record
from bagoftricks.store.robustness import RobustnessResult
from bagoftricks.store.store import WEIGHTS
from bagoftricks.store.typed import settings_by_key
from bagoftricks.study.lock import (
    Lock,
    LockedArm,
    LockedData,
    LockedMachine,
    LockedRun,
    held_by_all,
    travelling,
    without_folders,
)

Records = Mapping[str, Mapping[int, Record]]  # label of an arm -> seed -> record
ROBUST_SCORES = ("mce", "relative_mce", "mfr", "clean_error")  # of an evaluation on corrupted images


def lock_study(study: SavedStudy, records: Records) -> Lock | None:
    """Return the lock of a study, None without a finished run: only a record knows all settings of its run."""
    found = [record for of_arm in records.values() for record in of_arm.values()]
    if not found:
        return None
    data = tuple(dict.fromkeys(map(_data, found)))
    machines = tuple(dict.fromkeys(map(_machine, found)))
    rows = from_json(tuple[Json, ...], study.whole.get("arms", []))
    typed = {row["label"]: from_json(tuple[str, ...], row.get("settings", [])) for row in rows}
    arms = [_arm(arm, typed.get(arm.label, ()), records[arm.label], data, machines) for arm in study.arms]
    with_runs = [arm for arm in arms if arm.runs]
    settings = held_by_all([arm.settings for arm in with_runs])
    tricks = held_by_all([arm.more_tricks for arm in with_runs])
    measure = study.measure
    return Lock(
        name=study.name,
        title=study.title,
        source=study.source,
        scale=study.scale,
        design=study.design,
        factors=study.factors,
        selection=study.selection,
        columns=study.columns,
        target=measure.target if measure else None,
        price_per_hour=measure.price_per_hour if measure else None,
        notes=study.notes,
        command=study.command,
        seeds=study.seeds,
        settings=settings,
        tricks=tricks,
        plugins={name: digest for record in found for name, digest in record.plugins.items()},
        data=data,
        machines=machines,
        arms=tuple(_without(arm, settings, tricks) for arm in arms),
    )


def _without(arm: LockedArm, settings: Json, tricks: Json) -> LockedArm:
    """Return an arm without what all arms share."""
    own = {key: value for key, value in arm.settings.items() if key not in settings}
    more = {name: values for name, values in arm.more_tricks.items() if name not in tricks}
    return replace(arm, settings=own, more_tricks=more)


def _data(record: Record) -> LockedData:
    return LockedData(**{f.name: getattr(record.data, f.name) for f in fields(LockedData)})


def _machine(record: Record) -> LockedMachine:
    return LockedMachine(**{f.name: getattr(record.environment, f.name) for f in fields(LockedMachine)})


def _arm(
    arm: SavedArm,
    typed: tuple[str, ...],
    records: Mapping[int, Record],
    data: Sequence[LockedData],
    machines: Sequence[LockedMachine],
) -> LockedArm:
    """Return an arm with all its settings, and its tricks apart from those that its row adds."""
    facts: Json = {
        "label": arm.label,
        "typed": typed,
        "compare_to": arm.compare_to,
        "published": arm.published,
        "needs": arm.needs,
        "quoted": arm.quoted or None,
        "on": arm.on,
        "evaluation": arm.evaluation,
        "unfinished": {seed: run_id for seed, run_id in arm.runs.items() if int(seed) not in records},
    }
    if not records:
        return LockedArm(**facts, tricks=arm.tricks)
    first = next(iter(records.values()))
    tricks = _tricks(first)
    return LockedArm(
        **facts,
        tricks={name: tricks.pop(name) for name in arm.tricks if name in tricks},
        more_tricks=tricks,
        settings=_settings(first, arm.evaluation),
        data=data.index(_data(first)),
        contents=_contents(first),
        runs=tuple(_run(seed, record, machines.index(_machine(record))) for seed, record in records.items()),
    )


def _tricks(record: Record) -> dict[str, Json]:
    """Return the tricks of a run with all their hyper-parameters; a teacher by its source, without folders."""
    given = record.config.get("tricks", {})
    found = {name: {**values, **given.get(name, {})} for name, values in record.tricks.items()}
    for values in found.values():
        if "teacher" in values:
            values["teacher"] = without_folders(values["teacher"])
    return found


def _settings(record: Record, evaluation: str | None) -> Json:
    """Return the settings of a run that travel, with the evaluation that its arm has."""
    found = {key: held for key, held in settings_by_key(record.config).items() if not key.startswith("corruptions")}
    return travelling(found) | _evaluation(record.robustness.get(evaluation or ""))


def _evaluation(result: RobustnessResult | None) -> Json:
    """Return the settings of an evaluation on corrupted images."""
    if result is None:
        return {}
    by = {"corruptions.normalise_by": result.normaliser[4:]} if result.normaliser.startswith("run ") else {}
    return {
        "corruptions": result.protocol,
        "corruptions.limit": result.limit,
        "corruptions.seed": result.seed or 0,
        **by,
    }


def _contents(record: Record) -> dict[str, str]:
    """Return the digests of the files that a run started from, by the setting that names the file."""
    weights, teacher = record.model.get("weights"), record.data.teacher
    found = {"model.weights": weights} if isinstance(weights, str) else {}
    return found | ({"tricks.distill.teacher": teacher.digest} if teacher else {})


def _run(seed: int, record: Record, machine: int) -> LockedRun:
    scores = {
        name: {
            weights: {key: value for key in ROBUST_SCORES if (value := getattr(held, key)) is not None}
            for weights, held in result.weights.items()
        }
        for name, result in record.robustness.items()
    }
    return LockedRun(
        id=record.id,
        seed=seed,
        machine=machine,
        metrics=record.metrics,
        robustness=scores,
        weights={name: digest for name, digest in record.files.items() if name.endswith(WEIGHTS)},
    )
