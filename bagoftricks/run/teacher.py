"""The teacher of a run: find it, name it by what it holds, and let it speak. Nothing is downloaded.

A teacher is its weights with what they need to be used: a network, the size and the normalisation of its images. Its
digest covers all of these, so a run's id depends on what the teacher is and not on where it lies.
"""

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import cache
from hashlib import blake2b
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from bagoftricks.data import Dataset, images_in_order
from bagoftricks.data.augment import Finish
from bagoftricks.errors import UserError
from bagoftricks.measure.complexity import count_macs, count_params
from bagoftricks.measure.speed import synchronise
from bagoftricks.models import build_model, to_device
from bagoftricks.models.weights import read_tensors
from bagoftricks.recipe.compose import compose
from bagoftricks.recipe.edits import Images, Logits, SetPrecision
from bagoftricks.recipe.recipe import Recipe
from bagoftricks.recipe.trick import Task
from bagoftricks.settings import CorruptionSettings, DataSettings, ModelSettings, RuntimeSettings, Settings
from bagoftricks.store.files import write_whole
from bagoftricks.store.store import RECORD, WEIGHTS, Record, Store, read_record
from bagoftricks.training.trainer import autocast
from bagoftricks.tricks.catalogue import create

KEY = "tricks.distill.teacher"  # as it is typed
FORMS = f"{KEY}=run:ID (a finished run), file:PATH, torchvision:NAME:PATH or timm:NAME:PATH"
TEACHERS = "teachers"  # folder of what teachers said, inside a store


@dataclass(frozen=True, kw_only=True)
class Teacher:
    """A network with its weights, and how it wants its images."""

    source: str
    digest: str
    weights: Path
    build: Callable[[], nn.Module]  # without its weights
    pixels: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    precision: SetPrecision | None = None
    run: str | None = None
    data: str | None = None  # digest of the data that it was trained on, where a record tells

    def about(self) -> dict[str, Any]:
        """For the record of the run that learns from it."""
        return {"source": self.source, "digest": self.digest, "run": self.run}

    def cost(self) -> dict[str, int]:
        with torch.device("meta"):
            network = self.build()
        return {"teacher_params": count_params(network), "teacher_macs": count_macs(network, self.pixels)}

    def network(self, device: torch.device, *, channels_last: bool) -> nn.Module:
        """The network with its weights, ready to be asked."""
        network = self.build()
        network.load_state_dict(read_tensors(self.weights))
        return to_device(network, device, channels_last=channels_last).eval().requires_grad_(False)

    def precision_for(self, student: SetPrecision | None, device: torch.device) -> SetPrecision | None:
        """The student's, else its own; fp16 is left to GPUs."""
        chosen = student or self.precision
        return None if chosen and chosen.dtype is torch.float16 and device.type == "cpu" else chosen


def find_teacher(source: str, store: Store, num_classes: int) -> Teacher:
    """The teacher called ``source``, its weights checked against its network and ``num_classes``."""
    kind, _, rest = source.partition(":")
    if not source:
        raise UserError(f"{KEY} is not set: name the network to learn from with {FORMS}")
    if not rest or kind not in ("run", "file", "torchvision", "timm"):
        raise _error(source, f"is no teacher; type {FORMS}")
    if kind in ("torchvision", "timm"):
        return _of_library(source, kind, rest, num_classes)
    folder, file = _run_file(source, store, rest) if kind == "run" else _own_file(source, rest)
    return _of_run(source, folder, file, num_classes)


# --- a run of this program ---


def _run_file(source: str, store: Store, name: str) -> tuple[Path, str]:
    """Folder and file of ``ID`` or ``ID@COPY``; the beginning of the id will do."""
    prefix, _, copy = name.partition("@")
    found = sorted(path.parent for path in store.root.glob(f"*/{RECORD}") if path.parent.name.startswith(prefix))
    if not prefix or not found:
        raise _error(source, f"there is no such finished run in store={store.root}; bot-table lists the ids")
    if len(found) > 1:
        raise _error(source, f"{len(found)} runs begin so ({', '.join(f.name for f in found[:3])}...): type more of it")
    file = WEIGHTS if copy in ("", "last") else f"{copy}.{WEIGHTS}"
    if not (found[0] / file).is_file():
        known = sorted(path.name.removesuffix(WEIGHTS).rstrip(".") or "last" for path in found[0].glob(f"*{WEIGHTS}"))
        raise _error(source, f"the run has no weights of that name ({', '.join(known) or 'it has none at all'})")
    return found[0], file


def _own_file(source: str, name: str) -> tuple[Path, str]:
    """Folder and file of a run's folder or of a weights file in it."""
    path = Path(name).expanduser()
    path = path / WEIGHTS if path.is_dir() else path
    if not path.is_file():
        raise _error(source, f"there is no file {path}")
    if not (path.parent / RECORD).is_file():
        raise _error(source, f"there is no {RECORD} beside it to tell its network; type torchvision:NAME:PATH or timm:")
    return path.parent, path.name


def _of_run(source: str, folder: Path, file: str, num_classes: int) -> Teacher:
    record = read_record(folder / RECORD)
    settings = _settings(source, record)
    classes = settings.num_classes or int(record.data["classes"])
    recipe = _recipe(source, settings, record, classes)

    def build() -> nn.Module:
        return build_model(settings.model, recipe.parts, num_classes=classes, image_size=settings.pixels)

    _check_classes(source, classes, num_classes)
    model = {name: value for name, value in asdict(settings.model).items() if (name, value) != ("widths", [])}
    facts = {"model": model, "tricks": record.tricks, "classes": classes}
    return _named(
        facts,
        source=source,
        weights=folder / file,
        build=build,
        pixels=settings.pixels,
        mean=tuple(settings.data.mean),
        std=tuple(settings.data.std),
        precision=recipe.precision,
        run=record.id,
        data=record.data["digest"],
    )


def _settings(source: str, record: Record) -> Settings:
    """The settings that a record keeps."""
    parts = {
        "data": DataSettings,
        "model": ModelSettings,
        "runtime": RuntimeSettings,
        "corruptions": CorruptionSettings,
    }
    try:
        return Settings(**{k: parts[k](**v) if k in parts else v for k, v in record.config.items()})
    except TypeError as error:
        raise _error(source, f"its record is of another version of bagoftricks ({error})") from error


def _recipe(source: str, settings: Settings, record: Record, classes: int) -> Recipe:
    try:
        tricks = {name: create(name, **params) for name, params in record.tricks.items()}
        return compose(tricks, Task(classes, settings.batch_size, settings.pixels))
    except UserError as error:
        raise _error(source, f"its network cannot be built again ({error})") from error


# --- networks of torchvision and timm, with weights from a local file ---


def _of_library(source: str, library: str, rest: str, num_classes: int) -> Teacher:
    name, _, file = rest.partition(":")
    path = Path(file).expanduser()
    if not name or not file or not path.is_file():
        raise _error(
            source, f"there is no file '{file}'; type {library}:NAME:PATH with weights that are on this machine"
        )
    build, pixels, mean, std = (_torchvision if library == "torchvision" else _timm)(source, name, num_classes)
    return _named(
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
        pixels = int(preset.crop_size[0])  # what is no classifier has none
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
        raise _error(source, "timm is not installed; type pip install timm") from error
    about = timm.get_pretrained_cfg(name)
    if about is None:
        raise _error(source, f"timm has no network '{name}'")

    def build() -> nn.Module:
        network: nn.Module = timm.create_model(name, pretrained=False, num_classes=num_classes)
        return network

    return build, int(about.input_size[-1]), tuple(about.mean), tuple(about.std)


# --- what all of them share ---


def _named(facts: Mapping[str, object], **parts: Any) -> Teacher:
    """The teacher with its digest, after a check that its weights fit its network."""
    facts = {**facts, "pixels": parts["pixels"], "mean": parts["mean"], "std": parts["std"]}
    stat = parts["weights"].stat()
    shapes, weights_digest = _read_once(str(parts["weights"].resolve()), stat.st_mtime_ns, stat.st_size)
    with torch.device("meta"):
        wanted = {name: tuple(tensor.shape) for name, tensor in parts["build"]().state_dict().items()}
    _check_shapes(parts["source"], wanted, shapes)
    digest = blake2b(json.dumps([facts, weights_digest], sort_keys=True).encode(), digest_size=10).hexdigest()
    return Teacher(digest=f"weights:{digest}", **parts)


@cache
def _read_once(path: str, changed: int, size: int) -> tuple[dict[str, tuple[int, ...]], str]:
    """Shapes and digest of a file of weights; a study asks for each of its runs."""
    tensors = read_tensors(Path(path))
    return {name: tuple(tensor.shape) for name, tensor in tensors.items()}, digest_of(tensors)


def digest_of(tensors: Mapping[str, Tensor]) -> str:
    """A name for the names, types, shapes and bytes of tensors, in whatever order a file has them."""
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
    """Refuse weights of another network, or of this one with another number of classes."""
    other = [name for name in wanted if name in found and wanted[name] != found[name]]
    if set(wanted) == set(found) and not other:
        return
    heads = {(found[name][0], wanted[name][0]) for name in other if found[name][1:] == wanted[name][1:]}
    if set(wanted) == set(found) and len(heads) == 1:
        _check_classes(source, *heads.pop())
    strange = sorted((set(wanted) ^ set(found)) | set(other))
    raise _error(source, f"its weights are not of its network: {len(strange)} tensors differ, as {strange[0]}")


def _error(source: str, why: str) -> UserError:
    return UserError(f"{KEY}={source}: {why}")


# --- what it says ---


class Online:
    """Logits of a teacher that sees the student's images, converted to what it is used to."""

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
        self.precision, self.device, self.pixels = precision, device, teacher.pixels
        means, stds = (
            torch.tensor(v, device=device).view(2, 1, 3, 1, 1)
            for v in ([student.mean, teacher.mean], [student.std, teacher.std])
        )
        self.converts = [*student.mean, *student.std] != [*teacher.mean, *teacher.std]
        self.scale, self.shift = stds[0] / stds[1], (means[0] - means[1]) / stds[1]

    def __call__(self, images: Images) -> Logits:
        with torch.inference_mode(), autocast(self.precision, self.device):
            if self.converts:
                images = images * self.scale + self.shift
            if images.shape[2:] != (self.pixels, self.pixels):
                images = F.interpolate(images, (self.pixels,) * 2, mode="bilinear", antialias=True)
            logits: Logits = self.network(images)
        return logits.float()


@dataclass(frozen=True)
class TeacherLogits:
    """A teacher's logits for each image of a split, and the seconds that it took to compute them."""

    logits: Float[Tensor, "N K"]
    seconds: float

    def probabilities(self, temperature: float, device: torch.device) -> Float[Tensor, "N K"]:
        return (self.logits.to(device) / temperature).softmax(1)


def precompute_logits(
    teacher: Teacher,
    data: Dataset,
    settings: Settings,
    device: torch.device,
    precision: SetPrecision | None,
    num_classes: int,
) -> TeacherLogits:
    """What the teacher says of each training image, prepared as its own validation images are; kept in the store.

    One file serves every temperature. The row of an image that cannot be read is not a number, and never looked at.
    """
    facts = [teacher.digest, data.digest, str(precision.dtype) if precision else "fp32"]
    name = blake2b(json.dumps(facts).encode(), digest_size=10).hexdigest()
    path = Store(settings.store).root / TEACHERS / f"{name}.safetensors"
    shape = (len(data.train.labels), num_classes)
    if (kept := _kept(path, shape)) is not None:
        return kept
    start = time.perf_counter()
    about, runtime = replace(settings.data, mean=[*teacher.mean], std=[*teacher.std]), settings.runtime
    online = Online(teacher, about, device, precision, channels_last=runtime.channels_last)
    finish = Finish(about, num_classes, device, channels_last=runtime.channels_last)
    sizes = {"size": teacher.pixels, "batch_size": runtime.eval_batch_size, "workers": runtime.workers}
    logits = torch.full(shape, float("nan"), device=device)
    for rows, images in images_in_order(data.train, about, finish, **sizes):
        logits[torch.from_numpy(rows).to(device)] = online(images)
    synchronise(device)
    said = TeacherLogits(logits, time.perf_counter() - start)
    write_whole(path, lambda file: save_file({"logits": logits.cpu()}, file, {"seconds": repr(said.seconds)}))
    return said


def _kept(path: Path, shape: tuple[int, int]) -> TeacherLogits | None:
    """What was said before, unless the file is missing, damaged or of another shape."""
    try:
        with safe_open(path, "pt") as file:
            logits = file.get_tensor("logits")
            said = TeacherLogits(logits, float(file.metadata()["seconds"]))
    except (SafetensorError, OSError, KeyError, TypeError, ValueError):
        return None
    return said if tuple(logits.shape) == shape else None
