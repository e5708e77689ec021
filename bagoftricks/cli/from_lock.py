"""bot-sweep from=FILE: the runs of a study that travelled, planned from its lock.

Its settings become overrides, which are checked and composed like typed ones. No file of it chooses code, places or
output: those are the user's to type.
"""

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, fields
from typing import TYPE_CHECKING, Any

from bagoftricks.cli.compose import compose_settings
from bagoftricks.cli.conf import groups, options
from bagoftricks.cli.text import is_text, setting_types
from bagoftricks.errors import UserError
from bagoftricks.plugins import join_list, loaded_digests, typed_text
from bagoftricks.registry import all_cards
from bagoftricks.settings import OVERRIDE
from bagoftricks.store.json_fields import Json
from bagoftricks.store.secrets import is_secret
from bagoftricks.store.typed import BY_CHOICE, settings_by_key
from bagoftricks.study.arms import Arm
from bagoftricks.study.factors import typed_value
from bagoftricks.study.lock import Lock, LockedArm, LockedData, LockedMachine, held_by_all, travels
from bagoftricks.tricks.catalogue import hyper_parameter

if TYPE_CHECKING:
    from bagoftricks.settings import Settings
    from bagoftricks.study.plan import Plan, PlannedRun

CHOSEN = ("data", "model")  # groups whose option sets the others of the group
FREE_IN_A_LOCK = (
    "store",
    "format",
    "corruptions",
    "model.weights",
    "tricks.distill.teacher",
)  # besides data and runtime


def require_plugins(lock: Lock) -> Iterator[str]:
    """Yield a line for each plug-in that has another source here. Raises UserError for one that is not loaded."""
    loaded = loaded_digests()
    if missing := [name for name in lock.plugins if name not in loaded]:
        files = join_list(f"{name}.py" for name in missing)
        raise UserError(f"its runs use the code of {', '.join(missing)}, which no lock loads: type plugins={files}")
    for name, digest in lock.plugins.items():
        if loaded[name] != digest:
            yield f"the plug-in {name} has another source here ({loaded[name]}) than there ({digest})"


def require_own(lock: Lock, overrides: Sequence[str]) -> None:
    """Raise UserError for an override that would make other runs of the lock's."""
    cards = [card for name, card in all_cards("dataset").items() if name in {data.name for data in lock.data}]
    places = {f"data.{place}" for card in cards for place in card.load().places}
    for override in overrides:
        match = OVERRIDE.fullmatch(override)
        key = match["key"] if match else ""
        top, _, name = key.partition(".")
        own = key in (*FREE_IN_A_LOCK, *places) or top == "corruptions" or is_secret(key.rpartition(".")[2])
        if not own and (top != "runtime" or name in ("sync_norm", "measurement")):
            command = shlex.join([*(word for word in _words(lock.command) if _key(word) != key), override])
            raise UserError(f"{override}: makes other runs than the lock's: leave it out, or type {command}")


def _words(command: str) -> list[str]:
    """Return the command of a study as words, so that nothing else of it can stand in a line to type."""
    try:
        words = shlex.split(command)
    except ValueError:
        words = []
    typed = words[:1] == ["bot-sweep"] and not any(word.startswith("from=") for word in words)
    return words if typed else ["bot-sweep", "..."]


def arms_of(lock: Lock, overrides: Sequence[str]) -> tuple[list[Arm], list[str]]:
    """Return the arms of a lock, and the overrides of all of them before the user's own ``overrides``.

    An arm that could not run there is left out. Raises UserError for settings that do not exist here.
    """
    there = [arm for arm in lock.arms if arm.runs or arm.unfinished or arm.needs or arm.quoted]
    bases: dict[tuple[str, ...], Settings] = {}
    made = {arm.label: _overrides_of(lock, arm, bases) for arm in there if arm.runs}
    common = held_by_all([dict.fromkeys(words) for words in made.values()])
    if not made:
        raise UserError("it has no finished run, so its settings are not known")
    for group in CHOSEN:  # an option sets what those of another network are not even called
        if not any(_key(word) == group for word in common):
            common = {word: None for word in common if not _key(word).startswith(f"{group}.")}
    typed = {_key(override) for override in overrides}
    known, seeds = _known_tricks(lock), lock.ids()
    arms = []
    for arm in there:
        words = [word for word in made.get(arm.label, _checked(arm.typed)) if word not in common]
        arms.append(
            Arm(
                label=arm.label,
                tricks=arm.tricks if arm.needs else _given(arm.tricks if arm.runs else _completed(arm.tricks, known)),
                settings=tuple(word for word in words if _key(word) not in typed),
                compare_to=arm.compare_to,
                published=arm.published,
                needs=arm.needs,
                quoted=bool(arm.quoted),
                on=arm.on,
                seeds=() if set(seeds[arm.label]) == set(lock.seeds) else tuple(seeds[arm.label]),
            )
        )
    return arms, list(common)


def _known_tricks(lock: Lock) -> dict[str, Json]:
    """Return the hyper-parameters of each trick that the finished runs of all arms with it had."""
    found: dict[str, list[Json]] = {}
    for arm in lock.arms:
        for name, values in arm.tricks.items() if arm.runs else ():
            found.setdefault(name, []).append(values)
    return {name: held_by_all(values) for name, values in found.items()}


def _completed(tricks: Mapping[str, Json], known: Mapping[str, Json]) -> dict[str, Json]:
    """Return the tricks of an arm without a finished run: what was typed for the whole study is known from others."""
    return {name: {**known.get(name, {}), **values} for name, values in tricks.items()}


def _key(override: str) -> str:
    match = OVERRIDE.fullmatch(override)
    return match["key"] if match else ""


def _checked(typed: Sequence[str]) -> list[str]:
    """Return overrides of an arm as they were typed there. Raises UserError for one that sets no setting of a study."""
    for override in typed:
        key = _key(override)
        trick = key.startswith("tricks.")
        if key not in groups() and not trick and (key not in setting_types() or not travels(key)):
            raise UserError(f"'{override}' is no setting of a study")
    return list(typed)


def _overrides_of(lock: Lock, arm: LockedArm, bases: "dict[tuple[str, ...], Settings]") -> list[str]:
    """Return the overrides that give an arm its settings and the tricks that its row does not add.

    ``bases`` holds the settings of each choice of data and network, so that no choice is composed twice.
    """
    from bagoftricks.study.overrides import trick_overrides

    settings = {**lock.settings, **arm.settings}
    for key in settings:
        name = next((name for name, choice in BY_CHOICE.items() if choice == key), key)
        if name not in setting_types() or not travels(name):
            raise UserError(f"'{key}' is no setting of a study")
    chosen = tuple(f"{group}={option}" for group in CHOSEN if (option := _option(group, settings)))
    base = bases[chosen] = bases.get(chosen) or compose_settings(chosen)
    at_first = settings_by_key(asdict(base))
    words = [*chosen, *_differences(settings, at_first)]
    tricks = {**lock.tricks, **arm.more_tricks}
    off = [f"~tricks.{name}" for name in base.tricks if name not in {**tricks, **arm.tricks}]
    return [*words, *trick_overrides(_given(tricks), base), *off]


def _option(group: str, settings: Json) -> str:
    """Return the option of a group that its name or its library has here, an empty text without one."""
    name = settings.get(group)
    known = options(group)
    return name if isinstance(name, str) and (name in known or name.partition("/")[0] in known) else ""


def _differences(settings: Json, at_first: Json) -> list[str]:
    """Return overrides of the settings that composing alone does not give."""
    names = {choice: name for name, choice in BY_CHOICE.items() if choice in CHOSEN}
    gone = {key: None for key in at_first if key.partition(".")[0] in CHOSEN and key not in settings}
    gone = {key: None for key in gone if travels(key) and at_first[key] is not None}
    changed = {key: value for key, value in settings.items() if key not in at_first or value != at_first[key]}
    found = [_typed(names.get(key, key), value) for key, value in {**gone, **changed}.items()]
    return sorted(found, key=lambda word: _key(word) != "corruptions")  # a protocol before its settings


def _typed(key: str, value: Any) -> str:
    """Return an override; one that takes a text back where it is null."""
    if isinstance(value, dict):
        raise UserError(f"{key}: is no value of a setting")
    if is_text(key):
        return f"~{key}" if value is None else f"{key}={typed_text(value)}"
    return f"{key}={typed_text(value)}"


def _given(tricks: Mapping[str, Json]) -> dict[str, Json]:
    """Return tricks with those hyper-parameters, in their types, that are not the defaults here."""
    return {
        name: {
            key: typed_value(f"trick '{name}': ", field, typed_text(value))
            for key, value in values.items()
            if value != (field := hyper_parameter(name, key)).default
        }
        for name, values in tricks.items()
    }


# --- what differs here ---


def differences_here(lock: Lock, plan: "Plan", settings: "Settings") -> Iterator[str]:
    """Yield a line for each version, device and data set that differs here, and one on the ids of the runs."""
    from bagoftricks.run.environment import environment, find_device

    here = environment(find_device(settings.runtime.device))
    for name in [field.name for field in fields(LockedMachine) if field.name != "threads"]:
        ours = getattr(here, name)
        there = dict.fromkeys(str(found) for machine in lock.machines if (found := getattr(machine, name)))
        if ours and there and str(ours) not in there:
            yield f"{name.replace('_', ' ')}: {', '.join(there)} there, {ours} here"
    ids = lock.ids()
    others = [run for run in plan.runs if ids.get(run.label, {}).get(run.seed) not in (run.id, None)]
    new = [run for run in plan.runs if run.seed not in ids.get(run.label, {})]
    same = len(plan.runs) - len(others) - len(new)
    yield f"{same} of {len(plan.runs)} runs have the ids that they have there" + (" (the same runs)" if same else "")
    arms = {arm.label: arm for arm in lock.arms}
    for why in dict.fromkeys(_cause(lock, arms[run.label], run) for run in others):
        yield f"other ids: {why}"
    for arm in lock.arms:
        evaluation = plan.evaluation(arm.label)
        if arm.evaluation != evaluation and arm.label in {run.label for run in plan.runs}:
            yield f"arm '{arm.label}' is evaluated on {evaluation or 'nothing'} here, on {arm.evaluation} there"


def _cause(lock: Lock, arm: LockedArm, run: "PlannedRun") -> str:
    """Return why a run has another id here than there."""
    data, ours = run.identity["data"], run.identity
    there: LockedData | None = None if arm.data is None else lock.data[arm.data]
    if there and there.digest != data["digest"]:
        counts = f"{there.train_images:,} + {there.val_images:,} images there"
        return f"the data {there.name} differ ({counts}, digest {there.digest}; here {data['digest']})"
    if any(ours.get("plugins", {}).get(name, digest) != digest for name, digest in lock.plugins.items()):
        return "their plug-ins have another source here (above)"
    files = {"model.weights": ours["model"].get("weights")}
    files["tricks.distill.teacher"] = ours["tricks"].get("distill", {}).get("teacher")
    for key, digest in arm.contents.items():
        if files[key] != digest:
            return f"{key} names other contents here"
    return (
        "the same settings are another run in this version of bagoftricks"
        if arm.runs
        else ("no run of the arm was finished there, so not all of its settings are known")
    )
