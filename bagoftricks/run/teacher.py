"""The teacher of a run: found by its source, identified by a digest, evaluated. Nothing is downloaded.

A teacher is a file of weights with the network, the size and the normalisation of the images that they need. Its
digest covers all of these, so a run's id depends on the contents of the teacher and not on its path.
"""

import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from hashlib import blake2b
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from bagoftricks.data import Dataset, images_in_order
from bagoftricks.data.augment import Finish
from bagoftricks.errors import NotHere, UserError
from bagoftricks.folders import local_path
from bagoftricks.measure.complexity import count_macs, count_params
from bagoftricks.measure.speed import synchronise
from bagoftricks.models import build_model, to_device
from bagoftricks.models.weights import existing, read_tensors
from bagoftricks.recipe.compose import compose
from bagoftricks.recipe.edits import Images, Logits, SetPrecision
from bagoftricks.recipe.recipe import Recipe
from bagoftricks.recipe.trick import Task
from bagoftricks.run.classes import output_order
from bagoftricks.settings import DataSettings, Settings
from bagoftricks.store.checkpoint_file import read_checkpoint, write_checkpoint
from bagoftricks.store.record import Record, TeacherFacts, read_record, settings_of
from bagoftricks.store.store import RECORD, WEIGHTS, Store, require_intact
from bagoftricks.store.weight_sets import LAST
from bagoftricks.training.state import TrainingState
from bagoftricks.training.trainer import autocast
from bagoftricks.tricks.catalogue import create

KEY = "tricks.distill.teacher"  # as it is typed
FORMS = f"{KEY}=run:ID (a finished run, or run:last), file:PATH, torchvision:NAME:PATH or timm:NAME:PATH"
TEACHERS = "teachers"  # folder of the logits of teachers, inside a store


@dataclass(frozen=True, kw_only=True)
class Teacher:
    """A network with its weights, and the size and normalisation of its images."""

    source: str
    digest: str
    weights: Path
    build: Callable[[], nn.Module]  # without its weights
    pixels: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    channels: int = 3
    precision: SetPrecision | None = None
    run: str | None = None
    class_names: tuple[str, ...] = ()  # if a record has them
    order: tuple[int, ...] | None = None  # its output for each class of the student; None: the same one

    def about(self) -> TeacherFacts:
        """Return the facts for the record of the run that learns from it."""
        return TeacherFacts(self.source, self.digest, self.run)

    def cost(self) -> dict[str, int]:
        """Return the parameters and the multiply-adds of the network."""
        with torch.device("meta"):
            network = self.build()
        return {"teacher_params": count_params(network), "teacher_macs": count_macs(network, self.pixels)}

    def network(self, device: torch.device, *, channels_last: bool) -> nn.Module:
        """Return the network with its weights, in evaluation mode on ``device``."""
        network = self.build()
        network.load_state_dict(read_tensors(self.weights))
        return to_device(network, device, channels_last=channels_last).eval().requires_grad_(False)

    def precision_for(self, student: SetPrecision | None, device: torch.device) -> SetPrecision | None:
        """Return the student's precision, else the teacher's own; no fp16 on a CPU."""
        chosen = student or self.precision
        return None if chosen and chosen.dtype is torch.float16 and device.type == "cpu" else chosen


def find_teacher(source: str, store: Store, num_classes: int, class_names: Sequence[str] = ()) -> Teacher:
    """Return the teacher of ``source``, after a check of its weights against its network and the student's classes."""
    kind, _, rest = source.partition(":")
    require_named(source)
    if kind == "row":
        raise _error(source, f"names a row of a study, and only bot-sweep has rows; type {FORMS}")
    if not rest or kind not in ("run", "file", "torchvision", "timm"):
        raise _error(source, f"names no teacher; type {FORMS}")
    if kind in ("torchvision", "timm"):
        return _of_library(source, kind, rest, num_classes)
    folder, file = _run_file(source, store, rest) if kind == "run" else _own_file(source, rest)
    return _of_run(source, folder / file, num_classes, class_names)


def require_named(source: str) -> None:
    """Raise NotHere for a teacher that is not named: that of an experiment is the user's to name."""
    if not source:
        raise NotHere(f"{KEY} is not set: name the network to learn from with {FORMS}", "its teacher")


# --- a run of bagoftricks ---


def _run_file(source: str, store: Store, name: str) -> tuple[Path, str]:
    """Return the folder and the file of ``ID`` or ``ID@WEIGHTS``; the beginning of the id is enough."""
    prefix, _, weight_set = name.partition("@")
    found = [store.folder(run_id) for run_id in store.matching(prefix)] if store.root.is_dir() else []
    if not found:
        raise _not_here(source, f"there is no such finished run in store={store}; bot-table lists the ids")
    if len(found) > 1:
        raise _error(
            source, f"{len(found)} runs begin with it ({', '.join(f.name for f in found[:3])}...): type more of the id"
        )
    store.record(found[0].name)  # raises DamagedRecord for that of another run
    file = store.weights(found[0].name, weight_set or LAST).name
    if not os.path.lexists(found[0] / file):
        known = sorted(path.name.removesuffix(WEIGHTS).rstrip(".") or "last" for path in found[0].glob(f"*{WEIGHTS}"))
        raise _error(source, f"the run has no weights '{weight_set}' (it has {', '.join(known) or 'none'})")
    return found[0], file


def as_file(source: str, store: Store) -> str:
    """Return the source of a teacher that is a run of this store as a file, which names it from any store."""
    kind, _, rest = source.partition(":")
    if kind != "run":
        return source
    folder, file = _run_file(source, store, rest)
    return f"file:{(folder / file).absolute()}"


def _own_file(source: str, name: str) -> tuple[Path, str]:
    """Return the folder and the file of a run's folder or of a weights file in it."""
    path = local_path("tricks.distill.teacher", name)
    path = path / WEIGHTS if path.is_dir() else path
    if not path.is_file():
        raise _not_here(source, f"there is no file {path}")
    if not (path.parent / RECORD).is_file():
        raise _error(
            source, f"its folder has no {RECORD} to name its network; type torchvision:NAME:PATH or timm:NAME:PATH"
        )
    return path.parent, path.name


def _of_run(source: str, weights: Path, num_classes: int, class_names: Sequence[str]) -> Teacher:
    record = read_record(weights.parent / RECORD)
    require_intact(existing(weights))
    settings = _settings(source, record)
    classes = settings.num_classes or record.data.classes
    recipe = _recipe(source, settings, record, classes)

    def build() -> nn.Module:
        return build_model(
            settings.model,
            recipe.parts,
            num_classes=classes,
            image_size=settings.pixels,
            channels=settings.data.channels,
        )

    _check_classes(source, classes, num_classes)
    names, change = record.data.class_names, "rename the folders of one of the two data sets"
    order = output_order(class_names, names, classes, what=f"{KEY}={source}: the teacher", change=change)
    model = {
        name: value
        for name, value in asdict(settings.model).items()
        if (name, value) not in (("widths", []), ("stem_width", None))
    }
    facts = {"model": model, "tricks": record.tricks, "classes": classes, "class_names": names, "order": order}
    return _identified(
        facts,
        source=source,
        weights=weights,
        build=build,
        pixels=settings.pixels,
        mean=tuple(settings.data.mean),
        std=tuple(settings.data.std),
        channels=settings.data.channels,
        precision=recipe.precision,
        run=record.id,
        class_names=names,
        order=order,
    )


def _settings(source: str, record: Record) -> Settings:
    """Return the settings of a record."""
    try:
        return settings_of(record)
    except UserError as error:
        raise _error(source, f"{error}") from error


def _recipe(source: str, settings: Settings, record: Record, classes: int) -> Recipe:
    try:
        tricks = {name: create(name, **params) for name, params in record.tricks.items()}
        return compose(tricks, Task(classes, settings.batch_size, settings.pixels))
    except UserError as error:
        raise _error(source, f"its network cannot be built again ({error})") from error


# --- networks of torchvision and timm, with weights from a local file ---


def _of_library(source: str, library: str, rest: str, num_classes: int) -> Teacher:
    name, _, file = rest.partition(":")
    path = local_path("tricks.distill.teacher", file) if file else Path()
    if not name or not path.is_file():
        raise _not_here(
            source, f"there is no file '{file}'; type {library}:NAME:PATH with weights that are on this machine"
        )
    build, pixels, mean, std = (_torchvision if library == "torchvision" else _timm)(source, name, num_classes)
    return _identified(
        {"library": library, "name": name, "classes": num_classes},
        source=source,
        weights=path,
        build=build,
        pixels=pixels,
        mean=tuple(255 * value for value in mean),
        std=tuple(255 * value for value in std),
    )


Described = tuple[Callable[[], nn.Module], int, tuple[float, ...], tuple[float, ...]]


def _torchvision(source: str, name: str, num_classes: int) -> Described:
    from torchvision import models

    try:
        preset = models.get_model_weights(name).DEFAULT.transforms()
        pixels = int(preset.crop_size[0])  # only classifiers have one
    except (ValueError, AttributeError) as error:
        raise _error(source, f"torchvision has no classifier '{name}'") from error

    def build() -> nn.Module:
        network: nn.Module = models.get_model(name, weights=None, num_classes=num_classes)
        return network

    return build, pixels, tuple(preset.mean), tuple(preset.std)


def _timm(source: str, name: str, num_classes: int) -> Described:
    try:
        import timm
    except ImportError as error:
        raise _not_here(source, "timm is not installed; type pip install timm") from error
    config = timm.get_pretrained_cfg(name)
    if config is None:
        raise _error(source, f"timm has no network '{name}'")

    def build() -> nn.Module:
        network: nn.Module = timm.create_model(name, pretrained=False, num_classes=num_classes)
        return network

    return build, int(config.input_size[-1]), tuple(config.mean), tuple(config.std)


# --- all sources ---


def _identified(facts: Mapping[str, object], **parts: Any) -> Teacher:
    """Return the teacher with its digest, after a check of its weights against its network."""
    facts = {**facts, **({"channels": 1} if parts.get("channels") == 1 else {})}
    facts = {**facts, "pixels": parts["pixels"], "mean": parts["mean"], "std": parts["std"]}
    stat = parts["weights"].stat()
    shapes, weights_digest = _read_once(
        os.path.abspath(parts["weights"]), (stat.st_mtime_ns, stat.st_ctime_ns), stat.st_size
    )
    with torch.device("meta"):
        wanted = {name: tuple(tensor.shape) for name, tensor in parts["build"]().state_dict().items()}
    _check_shapes(parts["source"], wanted, shapes)
    digest = blake2b(json.dumps([facts, weights_digest], sort_keys=True).encode(), digest_size=10).hexdigest()
    return Teacher(digest=f"weights:{digest}", **parts)


@cache
def _read_once(path: str, changed: tuple[int, int], size: int) -> tuple[dict[str, tuple[int, ...]], str]:
    """Return the shapes and the digest of a file of weights, read once for all runs of a study."""
    tensors = read_tensors(Path(path))
    return {name: tuple(tensor.shape) for name, tensor in tensors.items()}, digest_of(tensors)


def digest_of(tensors: Mapping[str, Tensor]) -> str:
    """Return the digest of the names, dtypes, shapes and bytes of tensors, in any order of the file."""
    digest = blake2b(digest_size=16)
    for name in sorted(tensors):
        tensor = tensors[name].contiguous()
        digest.update(f"{name}\0{tensor.dtype}\0{tuple(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _check_classes(source: str, teacher: int, student: int) -> None:
    if teacher != student:
        background = "; a background class is not supported" if abs(teacher - student) == 1 else ""
        raise _error(source, f"the teacher has {teacher} classes, this run {student}{background}")


def _check_shapes(source: str, wanted: Mapping[str, tuple[int, ...]], found: Mapping[str, tuple[int, ...]]) -> None:
    """Raise UserError for weights of another network, or of another number of classes."""
    other = [name for name in wanted if name in found and wanted[name] != found[name]]
    if set(wanted) == set(found) and not other:
        return
    heads = {(found[name][0], wanted[name][0]) for name in other if found[name][1:] == wanted[name][1:]}
    if set(wanted) == set(found) and len(heads) == 1:
        _check_classes(source, *heads.pop())
    differing = sorted((set(wanted) ^ set(found)) | set(other))
    raise _error(source, f"its weights do not fit its network: {len(differing)} tensors differ, such as {differing[0]}")


def _error(source: str, why: str) -> UserError:
    return UserError(f"{KEY}={source}: {why}")


def _not_here(source: str, why: str) -> NotHere:
    return NotHere(f"{KEY}={source}: {why}", "its teacher")


# --- logits ---


class Online:
    """Logits of a teacher for the student's images, converted to its normalisation and size, in the student's order."""

    def __init__(
        self,
        teacher: Teacher,
        student: DataSettings,
        device: torch.device,
        precision: SetPrecision | None,
        *,
        channels_last: bool,
    ) -> None:
        self.network = teacher.network(device, channels_last=channels_last)
        self.order = None if teacher.order is None else torch.tensor(teacher.order, device=device)
        self.precision, self.device, self.pixels = precision, device, teacher.pixels
        if student.channels > teacher.channels:
            raise _error(teacher.source, "the teacher sees greys: type data.channels=1, or tricks.distill.mode=offline")
        seen, wanted = student.normalisation(), prepared_for(teacher, student).normalisation()
        self.converts = seen != wanted  # of a grey image, one channel becomes the teacher's three
        (mean, std), (their_mean, their_std) = (
            [torch.tensor(values, device=device).view(1, -1, 1, 1) for values in of] for of in (seen, wanted)
        )
        self.scale, self.shift = std / their_std, (mean - their_mean) / their_std

    def __call__(self, images: Images) -> Logits:
        with torch.inference_mode(), autocast(self.precision, self.device):
            if self.converts:
                images = images * self.scale + self.shift
            if images.shape[2:] != (self.pixels, self.pixels):
                images = F.interpolate(images, (self.pixels,) * 2, mode="bilinear", antialias=True)
            logits: Logits = self.network(images)
        return logits.float() if self.order is None else logits.float()[:, self.order]


def prepared_for(teacher: Teacher, data: DataSettings) -> DataSettings:
    """Return the preparation of a student's images with the channels and the normalisation that its teacher needs."""
    return replace(data, mean=[*teacher.mean], std=[*teacher.std], channels=teacher.channels)


@dataclass(frozen=True)
class TeacherLogits:
    """A teacher's logits for each image of a split, and the seconds that it took to compute them."""

    logits: Float[Tensor, "N K"]
    seconds: float

    def probabilities(self, temperature: float, device: torch.device) -> Float[Tensor, "N K"]:
        """Return the probabilities of each image at ``temperature``."""
        return (self.logits.to(device) / temperature).softmax(1)


def precompute_logits(
    teacher: Teacher,
    data: Dataset,
    settings: Settings,
    device: torch.device,
    precision: SetPrecision | None,
    num_classes: int,
) -> TeacherLogits:
    """Return the teacher's logits for each training image, prepared like its validation images, and store them.

    One file serves every temperature. Rows of images that cannot be read are NaN and never used.
    """
    facts = [teacher.digest, data.digest, str(precision.dtype) if precision else "fp32"]
    name = blake2b(json.dumps(facts).encode(), digest_size=10).hexdigest()
    path = Store(settings.store).shared(TEACHERS) / f"{name}.safetensors"
    shape = (len(data.train.labels), num_classes)
    if (stored := _stored_logits(path, shape)) is not None:
        return stored
    start = time.perf_counter()
    preparation, runtime = prepared_for(teacher, settings.data), settings.runtime
    online = Online(teacher, preparation, device, precision, channels_last=runtime.channels_last)
    finish = Finish(preparation, num_classes, device, channels_last=runtime.channels_last)
    sizes = {"size": teacher.pixels, "batch_size": runtime.eval_batch_size, "workers": runtime.workers}
    logits = torch.full(shape, float("nan"), device=device)
    for rows, images in images_in_order(data.train, preparation, finish, **sizes):
        logits[torch.from_numpy(rows).to(device)] = online(images)
    synchronise(device)
    result = TeacherLogits(logits, time.perf_counter() - start)
    write_checkpoint(path, TrainingState({"logits": logits.cpu()}, {"seconds": result.seconds}))
    return result


def _stored_logits(path: Path, shape: tuple[int, int]) -> TeacherLogits | None:
    """Return the logits in the file, None if it is missing, damaged or of another shape."""
    try:
        state = read_checkpoint(path)
        logits, seconds = state.tensors["logits"], float(state.values["seconds"])
    except (UserError, OSError, KeyError, TypeError, ValueError):
        return None
    return TeacherLogits(logits, seconds) if tuple(logits.shape) == shape else None
