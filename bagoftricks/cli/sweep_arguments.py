"""Arguments of bot-sweep, as typed. Loads neither Hydra nor torch."""

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from bagoftricks.engines.base import typed_engine_values
from bagoftricks.errors import UserError, did_you_mean
from bagoftricks.plugins import split_list
from bagoftricks.registry import MOST, check_range
from bagoftricks.store.json_fields import Json
from bagoftricks.study.arms import SELECTING
from bagoftricks.study.experiment import experiment_arguments
from bagoftricks.study.fractions import Size

NUMBERS: dict[str, tuple[type, float, float]] = {  # bot-sweep's own: kind, least and most
    "max_tricks": (int, 1, 64),
    "runs": (int, 1, 65_536),
    "resolution": (int, 1, 64),
    "max_arms": (int, 1, 65_536),
    "slots": (int, 0, 1024),
    "time_limit": (float, 0.001, 1e9),
    "floor": (float, 0.0, 1e9),
    "resolve": (float, 1e-6, 1e9),
    "confirm": (int, 0, 1000),
    "eta": (int, 2, 64),
    "target": (float, 0.0, 1.0),
    "price_per_hour": (float, 0.0, 1e9),
}
SEEDS_AT_MOST = 1000
STOPS = ("arm", "study")  # what ends once it is decided
OF_DESIGNS = ("tricks", "max_tricks", "max_arms", "runs", "resolution", "fold", "floor", "confirm", "eta")
OWNERS = {"floor": ("greedy",), "eta": ("halving",), "confirm": SELECTING}  # designs of a setting
NOT_TYPED = {"overrides", "engine_values", "looks", "commands", "left_out", "row_settings"}
OF_AN_EXTENSION = (
    "extend",
    "fold",
    "runs",
    "page",
    "plan",
    "commands",
    "slots",
    "engine",
    "worker",
    "time_limit",
    "retry",
)
OF_THE_STUDY = ("experiment", "scale", "rows", "left_out", "design", "seeds", "score", "metric", "target", *OF_DESIGNS)


@dataclass(frozen=True)
class Sweep:
    """Arguments of bot-sweep that are not settings of its runs."""

    from_: str | None = None
    """page or JSON of a study: exactly its runs (docs/travel.md)"""
    experiment: str | None = None
    """rows of a paper's table, or of your own YAML file"""
    scale: str = "laptop"
    """of the experiment: laptop, or paper"""
    rows: tuple[str, ...] = ()
    """of the experiment, by short name or number: E0,E4-E6"""
    design: str | None = None
    """rule that makes the arms, as stack (--help designs)"""
    tricks: tuple[str, ...] = ()
    """of the design: [a,b(key=value)]; a+b: as one; a|b: either"""
    seeds: tuple[int, ...] = (0,)
    """3: seeds 0, 1, 2; [0,7]: these two; 3..20: until decided"""
    resolve: float | None = None
    """difference that matters, in points; below it: no effect"""
    stop: str | None = None
    """seeds=3..20: arm, once it is decided; study, once all are"""
    max_tricks: int | None = None
    """factorial: only sets of up to this many tricks"""
    max_arms: int = 512
    """refuse a design of more arms"""
    runs: int | None = None
    """fractional: number of arms"""
    resolution: int | None = None
    """fractional: resolution of the design"""
    fold: tuple[str, ...] = ()
    """fractional: run all again, this factor switched, or all"""
    extend: str | None = None
    """fractional study to add fold=, or folds up to runs=, to"""
    floor: float | None = None
    """greedy: least images per second at inference"""
    confirm: int = 5
    """greedy, halving: fresh seeds that measure what was chosen"""
    eta: int = 2
    """halving: one in eta arms goes on"""
    score: str | None = None
    """compare arms in it: soft_top1, loss, mce ...; default: top1"""
    metric: str | None = None
    """judge by top1, or by time_to_accuracy as DAWNBench does"""
    target: float | None = None
    """share of right answers for time_to_accuracy"""
    price_per_hour: float | None = None
    """of the device: show what training and predictions cost"""
    name: str | None = None
    """the study's name; default: the experiment or the design"""
    page: str | None = None
    """FILE.html: write the page too; true: results/STUDY/page.html"""
    plan: bool = False
    """true: show runs, time, cost; format=commands: shell commands"""
    slots: int | None = None
    """runs at a time, each its own process (0: in this one)"""
    engine: str = "local"
    """where runs go: local, or a cluster (--help engines)"""
    worker: bool = False
    """true: leave to others what they train; end when all is taken"""
    time_limit: float | None = None
    """seconds after which a run is ended, as failed"""
    retry: str = "none"
    """failed: train failed runs again"""
    skip: bool = False
    """true: leave out arms that cannot run; E1,E3: these rows"""
    left_out: tuple[str, ...] = ()  # rows of skip=
    row_settings: tuple[tuple[str, str], ...] = ()  # row and setting of each row.E12.epochs=4
    looks: tuple[int, ...] = ()  # numbers of seeds at which seeds=3..20 is judged
    engine_values: Json = field(default_factory=dict)  # settings of the engine that were typed
    commands: bool = False  # format=commands: of a plan, the commands of its missing runs alone
    overrides: tuple[str, ...] = ()

    @property
    def size(self) -> Size:
        """Size of the design, as far as it is typed."""
        return Size(self.max_tricks, self.runs, self.resolution, self.max_arms, self.fold)

    @property
    def detached(self) -> bool:
        """True if the command ends once all is submitted."""
        return self.engine_values.get("wait") is False

    @property
    def at_once(self) -> int:
        """Runs at a time, as far as it is known before they start."""
        return max(1, self.slots or 1)


def parse(arguments: Sequence[str]) -> Sweep:
    """bot-sweep's own settings; the others go to the runs."""
    own = {f.name.rstrip("_") for f in fields(Sweep)} - NOT_TYPED
    given: Json = {}
    of_rows: list[tuple[str, str]] = []
    of_engine: dict[str, str] = {}
    overrides = []
    for argument in arguments:
        key, equals, value = argument.partition("=")
        if not equals and not argument.startswith("~"):
            meant = did_you_mean(argument.lstrip("-"), [f"{name}=" for name in own])
            raise UserError(f"'{argument}' is not key=value{meant} (bot-sweep --help)")
        if (name := key.lstrip("+")) in own:
            given |= _several(name, value) or {name: _value(name, value)}
        elif argument == "format=commands":
            given |= {"commands": True, "plan": True}
        elif name.startswith("row."):
            of_rows.append(_row_setting(argument))
        elif name.startswith("engine."):
            of_engine[name.removeprefix("engine.")] = value
        elif key.startswith("hydra"):
            raise UserError(f"{argument}: is for bot-train -m; {instead_of(argument)}")
        elif key == "seed":
            raise UserError("seed= is for one run: type seeds=3, or seeds=[0,7]")
        elif key == "restart":
            raise UserError("restart= is for one run: type it with bot-train")
        elif key == "rerun":
            raise UserError("rerun= is for one run: a sweep trains what is missing; give bot-train the run's command")
        else:
            overrides.append(argument)
    if of_rows:
        given["row_settings"] = tuple(of_rows)
    if "from" in given:
        if made := [name for name in given if name in OF_THE_STUDY]:
            raise UserError(f"{made[0]}= is the study's own: from= has it already, leave it out")
        given["from_"] = given.pop("from")
    if "experiment" in given:
        brought = experiment_arguments(given["experiment"])
        given |= {name: _value(name, text) for name, text in brought.items() if name not in given}
    engine_values = typed_engine_values(given.get("engine", "local"), of_engine)
    _check_together(given, overrides)
    if engine_values.get("wait") is False and ("looks" in given or given.get("design") in SELECTING):
        what = "seeds=A..B" if "looks" in given else f"design={given['design']}"
        raise UserError(f"engine.wait=false: {what} decides from results what comes next: leave engine.wait=false out")
    return Sweep(**given, engine_values=dict(engine_values), overrides=tuple(overrides))


def _several(name: str, value: str) -> Json:
    """Return what an argument with two meanings sets, in the one that the type of its field does not have."""
    if name == "seeds" and ".." in value:
        return _looks(value)
    if name == "skip" and value.lower() not in ("true", "false"):
        return {"left_out": _rows(name, value)}
    return {}


def _rows(key: str, text: str) -> tuple[str, ...]:
    if not (rows := tuple(split_list(text))):
        raise UserError(f"{key}={text}: names no row; type their short names or numbers, as {key}=E0,E4-E6")
    return rows


def _row_setting(argument: str) -> tuple[str, str]:
    """Return the row and the setting of ``row.E12.epochs=4``."""
    row, _, setting = argument.lstrip("+").removeprefix("row.").partition(".")
    if not row or setting.partition("=")[0] in ("", "store", "format", "seed"):
        raise UserError(f"{argument}: names no row and setting of it; type row.E12.epochs=4")
    return row, setting


def _check_together(given: Json, overrides: Sequence[str]) -> None:
    """Raise UserError for own settings that do not go together."""
    if "extend" in given:
        _check_extension(given, overrides)
    elif "experiment" in given and "design" in given:
        raise UserError("experiment= has its own arms: leave design= out, or give design= and tricks= alone")
    for name in given:
        owners = OWNERS.get(name, ())
        if name in OF_DESIGNS and ("experiment" in given or (owners and given.get("design") not in owners)):
            whose = " or ".join(f"design={owner}" for owner in owners) or "design="
            raise UserError(f"{name}= belongs to {whose}: leave it out")
    _require_several_seeds(given.get("design"), given.get("seeds", Sweep.seeds), given.get("confirm", Sweep.confirm))
    if "looks" in given and given.get("design") in SELECTING:
        how = "seeds=3" if given["design"] == "greedy" else "seeds=8"
        raise UserError(f"seeds=A..B is for arms that are known beforehand: with design={given['design']}, type {how}")
    if "stop" in given and "looks" not in given:
        raise UserError("stop= is for a study that ends by itself: add seeds=3..20, or leave stop= out")
    if "score" in given and ("metric" in given or "target" in given):
        raise UserError("score= and metric= are two ways to compare: type one of them")
    if "experiment" not in given and ("rows" in given or "left_out" in given):
        name = "rows" if "rows" in given else "skip"
        raise UserError(f"{name}= chooses rows of experiment=: leave it out" + " or type skip=true" * (name == "skip"))
    if "experiment" not in given and "row_settings" in given:
        raise UserError(f"row.{given['row_settings'][0][0]}.: sets a row of experiment=: leave it out")
    if "experiment" not in given and "scale" in given:
        raise UserError("scale= belongs to experiment=: without one, type preset=cifar_laptop or other settings")
    _check_processes(given)


def instead_of(override: str) -> str:
    """Return what bot-sweep takes in place of a setting of Hydra."""
    name = override.partition("=")[2]
    if "launcher" not in override:
        return "leave it out"
    if name.startswith("submitit"):
        return "type engine=slurm (--help slurm)"
    return "type engine=ray (--help ray)" if name == "ray" else "type slots=N for N runs at a time"


def _check_processes(given: Json) -> None:
    """Raise UserError for what needs processes together with slots=0, which starts none."""
    if given.get("slots") != 0:
        return
    if given.get("engine", "local") != "local":
        raise UserError(f"slots=0 trains in this process: leave it out with engine={given['engine']}")
    if "time_limit" in given:
        raise UserError("time_limit= ends a run's own process: leave slots=0 out")


def _require_several_seeds(design: str | None, seeds: Sequence[int], confirm: int) -> None:
    """Raise UserError for a selection with one seed, which tells no gain from noise."""
    if design not in SELECTING:
        return
    if len(seeds) < 2:
        why = "tests gains, and one seed has no spread" if design == "greedy" else "gives good arms more seeds"
        raise UserError(f"design={design}: {why}: type seeds={3 if design == 'greedy' else 8} (2 or more)")
    check_range("seeds", max(seeds) + confirm, 0, MOST[int])  # the fresh ones come after the largest


def _check_extension(given: Json, overrides: Sequence[str]) -> None:
    """Raise UserError unless ``extend=`` comes with what to add, and with nothing that the study has."""
    if ("fold" in given) + ("runs" in given) != 1:
        what = "type fold=FACTOR or fold=all, or runs= as the number of arms"
        raise UserError(f"extend={given['extend']}: {what}; for more seeds, type the study's own command with seeds=")
    keys = [override.partition("=")[0] for override in overrides]
    own = [name.rstrip("_") for name in given if name not in OF_AN_EXTENSION]
    own += [key for key in keys if key not in ("store", "format") and not key.startswith("runtime.")]
    if own:
        raise UserError(f"{own[0]}= is the study's own: leave it out, or type the study's command with fold=")


def _value(key: str, text: str) -> Any:
    """Return the value of one of bot-sweep's own settings."""
    if key == "rows":
        return _rows(key, text)
    if key in ("tricks", "fold"):
        return tuple(split_tricks(text))
    if key == "seeds":
        return _seeds(text)
    if key in ("plan", "skip", "worker"):
        if text.lower() not in ("true", "false"):
            raise UserError(f"{key}={text}: must be true or false")
        return text.lower() == "true"
    if key == "retry" and text not in ("failed", "none"):
        raise UserError(f"retry={text}: must be failed or none")
    if key == "stop" and text not in STOPS:
        raise UserError(f"stop={text}: must be {' or '.join(STOPS)}{did_you_mean(text, STOPS)}")
    if key not in NUMBERS:
        return text
    kind, least, most = NUMBERS[key]
    try:
        number = kind(text)
    except ValueError:
        meant = "; the difference that matters is resolve=" if key == "resolution" else ""
        raise UserError(f"{key}={text}: must be a {'whole ' if kind is int else ''}number{meant}") from None
    check_range(key, number, least, most)
    return number


def _looks(text: str) -> Json:
    """Return the seeds and the looks of ``3..20``."""
    fewest, _, most = (part.strip() for part in text.partition(".."))
    if not (fewest.isdecimal() and most.isdecimal()):
        raise UserError(f"seeds={text}: must be the fewest and the most seeds, as seeds=3..20")
    check_range("seeds", int(most), 0, SEEDS_AT_MOST)
    if not 2 <= int(fewest) < int(most):
        raise UserError(f"seeds={text}: must go up, from 2 seeds or more (one has no spread), as seeds=3..20")
    from bagoftricks.study.look_history import planned_looks

    return {"seeds": tuple(range(int(most))), "looks": planned_looks(int(fewest), int(most))}


def _seeds(text: str) -> tuple[int, ...]:
    try:
        given = [int(seed) for seed in split_list(text)]
    except ValueError:
        raise UserError(f"seeds={text}: must be how many, as seeds=3, or a list, as seeds=[0,7]") from None
    if text.startswith("["):
        seeds = given
    elif len(given) == 1:
        check_range("seeds", given[0], 0, SEEDS_AT_MOST)
        seeds = list(range(given[0]))
    else:
        raise UserError(f"seeds={text}: must be how many, as seeds=3, or a list, as seeds=[0,7]")
    for seed in seeds:
        check_range("seeds", seed, 0, MOST[int])
    if not seeds:
        raise UserError("seeds is empty: type seeds=3 for the seeds 0, 1 and 2, or seeds=[0,7]")
    if len(set(seeds)) < len(seeds):
        raise UserError(f"seeds={seeds}: a seed is given twice")
    return tuple(seeds)


def split_tricks(text: str) -> list[str]:
    """``[a,b(x=1,y=2)]`` -> ``["a", "b(x=1,y=2)"]``: commas within parentheses belong to a trick."""
    inner = text.strip().removeprefix("[").removesuffix("]")
    parts, depth, current = [], 0, ""
    for character in inner:
        depth += (character == "(") - (character == ")")
        if character == "," and depth == 0:
            parts.append(current)
            current = ""
        else:
            current += character
    return [part.strip() for part in [*parts, current] if part.strip()]
