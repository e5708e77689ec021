"""Typed settings of a run: the command line's schema, and plain values below it.

Imports no torch. Each field's docstring is its help text.
"""

import re
from dataclasses import asdict, dataclass, field, fields
from typing import Any, ClassVar, Optional

from bagoftricks.errors import UserError, did_you_mean
from bagoftricks.plugins import load_plugins, typed_text
from bagoftricks.registry import MOST, Values, all_cards, check_numbers, check_range, find_card, make_object

# OmegaConf reads Optional[int], not Literal and not every int | None.
# ruff: noqa: UP045


# an override as typed: +refine=mixup, data.pad=0, ~tricks.mixup
OVERRIDE = re.compile(r"(?P<sign>\+\+|\+|~)?(?P<key>[A-Za-z_][\w./@-]*)(?:=(?P<value>.*))?", re.DOTALL)
MOST_PIXELS, MOST_CLASSES, MOST_EPOCHS, MOST_PROCESSES = 16_384, 1_000_000, 1_000_000, 1024
MAX_PIXELS = 178_956_970  # of an image file: where Pillow suspects an attack, too; decoded, it takes half a GiB
SMALL_IMAGE = 64  # pixels up to which crop=auto pads, and networks keep the resolution in the stem
LUMA = (19595 / 65536, 38470 / 65536, 7471 / 65536)  # shares of red, green and blue, as in PIL; their sum is exactly 1
JITTER_OVERLAPS = {  # jitter -> the corruptions that it trains for
    "hsv": "colour jitter changes brightness and saturation, as the corruptions brightness and saturate do",
    "bcs": "colour jitter changes brightness, contrast and saturation, as the corruptions of these names do",
}

METRICS = ("top1", "time_to_accuracy")
OF_LOGGERS = ("logger", "loggers", "log_every", "log_group")  # settings that no record holds


def choose(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise UserError(f"{name}={value}: must be one of {', '.join(choices)}{did_you_mean(value, choices)}")


CHOSEN_BY = {
    "dataset": ("data", "name", "digits"),
    "network": ("model", "kind", "resnet"),
    "task": ("task", "name", "classification"),
}


def make_part(of: str, values: Values) -> Any:
    """Return the data set, network or task that ``values`` describe, without fields that only others have."""
    group, key, default = CHOSEN_BY[of]
    card = find_card(of, values.get(key) or default)
    own = {f.name for f in fields(BASES[of])} | {f.name for f in card.fields}
    others = {f.name for other in all_cards(of).values() for f in other.fields}
    for name in values:
        if name not in own | others:
            raise UserError(f"there is no setting {group}.{name}{did_you_mean(name, own)}")
    return make_object(card, {name: value for name, value in values.items() if name in own and name != key})


def network_settings(kind: str = "resnet", **values: Any) -> "ModelSettings":
    """Return the settings of a network of this kind."""
    made: ModelSettings = make_part("network", {"kind": kind, **values})
    return made


def dataset_settings(name: str = "digits", **values: Any) -> "DataSettings":
    """Return the settings of a data set."""
    made: DataSettings = make_part("dataset", {"name": name, **values})
    return made


def positive(most: float = MOST[float], **values: float) -> None:
    """Raise UserError unless each value is positive and at most ``most``."""
    for name, value in values.items():
        if not value > 0:
            raise UserError(f"{name}={value}: must be positive")
        check_range(name, value, 0, most)


def check_side(name: str, pixels: int) -> None:
    """Refuse a side that no image has. PyTorch cannot make a single pixel of an image of bytes."""
    if not 2 <= pixels <= MOST_PIXELS:
        raise UserError(f"{name}={pixels}: must be in 2..{MOST_PIXELS}")


def check_measure(metric: str, target: float, price_per_hour: Optional[float]) -> None:
    """Refuse what a table cannot show."""
    choose("metric", metric, METRICS)
    if not 0 < target < 1:
        raise UserError(f"target={target:g}: must be in (0, 1), as target=0.94 for 94 %")
    if price_per_hour is not None:
        positive(price_per_hour=price_per_hour)


@dataclass(kw_only=True)
class DataSettings:
    """A data set and the preparation of its images: the fields that all data sets share.

    A data set is a subclass marked with ``@dataset(name=...)``, with fields of its own and ``find``. Its ``places`` are
    the fields that say where the data lie: they are in no run's id, which has the digest of what they lead to.
    """

    places: ClassVar[tuple[str, ...]] = ("root", "val_root", "cache")
    packaged: ClassVar[bool] = False  # the images are files of this package, which nothing else can change

    name: str = ""
    """name of the data set, as data=NAME sets it"""
    holdout: float = 0.0
    """share of the training images held out for validation instead of the validation split, in [0, 1)"""
    limit: Optional[int] = None
    """use at most this many images of each split (the same for every seed), for quick tests"""
    train_limit: Optional[int] = None
    """use at most this many training images, of each class its share (the same for every seed)"""
    val_limit: Optional[int] = None
    """use at most this many validation images, of each class its share (the same for every seed)"""
    only_classes: list[int] = field(default_factory=list)
    """[0,1,2]: use the images of these classes alone, by their numbers from 0, which are counted afresh"""
    zero_shot: Optional[int] = None
    """train on all images of this number of first classes, and validate on all images of the others (task=retrieval)"""
    num_classes: int = 10
    """number of classes where no data is read (bot-bench)"""
    image_size: int = 32
    """side of the network's images in pixels, unless image_size= is given"""
    mean: list[float] = field(default_factory=lambda: [123.68, 116.779, 103.939])
    """mean of each channel, in 0..255"""
    std: list[float] = field(default_factory=lambda: [58.393, 57.12, 57.375])
    """standard deviation of each channel, in 0..255"""
    channels: int = 3
    """channels that the network sees: 3, or 1 (the luma of the prepared images, which grey images keep as they are)"""
    crop: str = "auto"
    """pad (pad, then crop at random), area (random-resized crop), stretch (resized without keeping the shape: half of
    the time to the image size, else to 8/7 of it and cropped at random; validation: to the image size, no crop), none,
    or auto: pad up to 64 pixels, area above"""
    pad: int = 4
    """pixels of padding before the random crop"""
    pad_mode: str = "zeros"
    """what the padding shows: zeros, or reflect (the image mirrored at its border, without repeating the border)"""
    crop_area: list[float] = field(default_factory=lambda: [0.08, 1.0])
    """range of the share of the image's area that crop=area keeps"""
    flip: bool = True
    """flip half of the training images left to right"""
    jitter: str = "auto"
    """hsv (hue, saturation, brightness: the text of Bag of Tricks), bcs (brightness, contrast, saturation: its code),
    none, or auto: hsv with crop=area, else none"""
    jitter_strength: float = 0.4
    """s: the jitter's factors are uniform in [1 - s, 1 + s]"""
    pca: float = -1.0
    """standard deviation of the PCA noise's coefficients; -1: 0.1 with crop=area, else 0"""
    on_error: str = "fail"
    """fail at a broken file, or skip it and count it"""
    max_pixels: int = MAX_PIXELS
    """most pixels (width x height) that an image file may have; a larger one counts as broken"""
    decode: str = "full"
    """full; scaled: JPEGs at 1/4 or 1/8 of their sides where the crop stays large enough (large photographs);
    or gpu: JPEGs in batches by nvJPEG, cropped and flipped there"""
    cache: str = "auto"
    """what is kept decoded, at no change of any result: auto (small data sets of files, up to 1 GiB on disk), ram or
    disk (also images that are streamed, as far as a third of the free space goes), or none"""

    def __post_init__(self) -> None:
        choose("data.crop", self.crop, ("auto", "pad", "area", "stretch", "none"))
        choose("data.pad_mode", self.pad_mode, ("zeros", "reflect"))
        choose("data.jitter", self.jitter, ("auto", "hsv", "bcs", "none"))
        choose("data.on_error", self.on_error, ("fail", "skip"))
        choose("data.decode", self.decode, ("full", "scaled", "gpu"))
        choose("data.cache", self.cache, ("auto", "ram", "disk", "none"))
        if self.decode == "gpu" and self.cache in ("ram", "disk"):
            raise UserError(f"data.cache={self.cache}: with data.decode=gpu nothing is decoded here; leave it out")
        if self.channels not in (1, 3):
            raise UserError(f"data.channels={self.channels}: must be 3, or 1 for greys")
        if not 0 <= self.holdout < 1:
            raise UserError(f"data.holdout={self.holdout}: must be in [0, 1)")
        for name in ("limit", "train_limit", "val_limit", "zero_shot"):
            if getattr(self, name) is not None:
                positive(**{f"data.{name}": getattr(self, name)})
        if len(set(self.only_classes)) != len(self.only_classes) or min(self.only_classes, default=0) < 0:
            raise UserError(f"data.only_classes={typed_text(self.only_classes)}: must be numbers from 0, each once")
        positive(MOST_CLASSES, **{"data.num_classes": self.num_classes})
        check_side("data.image_size", self.image_size)
        positive(**{"data.max_pixels": self.max_pixels})
        if not 0 <= self.jitter_strength <= 1:
            raise UserError(f"data.jitter_strength={self.jitter_strength}: must be in [0, 1]")
        if self.pad < 0:
            raise UserError(f"data.pad={self.pad}: must not be negative")
        check_range("data.pad", self.pad, 0, MOST_PIXELS)
        if self.pca != -1:
            check_range("data.pca", self.pca, 0, 100)
        if len(self.crop_area) != 2 or not 0 < self.crop_area[0] <= self.crop_area[1] <= 1:
            raise UserError(f"data.crop_area={self.crop_area}: must be [low, high] with 0 < low <= high <= 1")
        for name, three, least in (("mean", self.mean, 0.0), ("std", self.std, 1e-3)):
            if len(three) != 3 or not least <= min(three) <= max(three) <= 255:
                raise UserError(f"data.{name}={typed_text(three)}: must be three numbers from {least:g} to 255")

    def find(self) -> Any:
        """Return the data set (a data.Dataset); decode nothing. Raises DataError if it is missing. Each has its own."""
        raise UserError(f"data.name={self.name}: is not a data set")

    def normalisation(self) -> tuple[list[float], list[float]]:
        """Return mean and deviation of each channel that the network sees, in 0..255; those of a luma are weighted."""
        if self.channels == 3:
            return list(self.mean), list(self.std)
        mean, std = (sum(w * v for w, v in zip(LUMA, three, strict=True)) for three in (self.mean, self.std))
        return [mean], [std]

    def crop_at(self, size: int) -> str:
        """Return the crop of training images of ``size`` pixels, ``auto`` resolved."""
        return self.crop if self.crop != "auto" else "pad" if size <= SMALL_IMAGE else "area"

    def jitter_at(self, size: int) -> str:
        """Return the colour jitter of training images of ``size`` pixels, ``auto`` resolved."""
        return self.jitter if self.jitter != "auto" else "hsv" if self.crop_at(size) == "area" else "none"

    def overlap_at(self, size: int) -> str | None:
        """Why robustness to corruptions is no surprise after this preparation of images of ``size`` pixels, if so."""
        return JITTER_OVERLAPS.get(self.jitter_at(size)) if self.jitter_strength else None


@dataclass(kw_only=True)
class ModelSettings:
    """A network: the fields that all networks share.

    A network is a subclass marked with ``@network(kind=...)``, with fields of its own and ``build``.
    """

    name: str = "resnet14_laptop"
    """name of the network in records and tables"""
    kind: str = ""
    """kind of the network, whose settings it has"""
    weights: Optional[str] = None
    """local file of initial weights: ours, or a state dict of torchvision or timm (.safetensors or .pth)"""
    new_head: bool = False
    """initialise the last linear layer instead of reading it from the file of weights, as for other classes"""

    def __post_init__(self) -> None:
        """Check nothing: subclasses check their fields."""

    @property
    def weights_help(self) -> str:
        """Return what to type to have a file of trained weights of this network."""
        return "type model.weights=FILE (docs/finetune.md)"

    def build(self, num_classes: int, *, image_size: int, parts: Any) -> Any:
        """Return the network (an nn.Module) for images of ``image_size`` pixels, not yet initialised. Each has its own.

        ``parts`` (a models.parts.Parts) gives the constructors that tricks choose.
        """
        raise UserError(f"model.kind={self.kind}: is not a kind of network")


@dataclass(kw_only=True)
class TaskSettings:
    """A task: what a network predicts, how it is trained for that, and how it is scored.

    A task is a subclass marked with ``@task(name=..., scores=...)``, with fields of its own. What is here is
    classification's, but for ``measure``, which each has.
    """

    scores: ClassVar[dict[str, str]] = {}  # key -> name in tables; runs are compared in the first one
    targets: ClassVar[str] = "classes"  # what the data must have: classes, unseen (classes), masks or boxes

    name: str = ""
    """name of the task, as task=NAME sets it"""

    def __post_init__(self) -> None:
        """Check nothing: subclasses check their fields."""

    @property
    def first(self) -> str:
        """Key of the score in which runs are compared."""
        return next(iter(self.scores))

    def refuses(self, edit: Any) -> str | None:
        """Return why an edit of a trick makes no sense here, as the end of a sentence; None: it does."""
        return None

    def network(self, classifier: Any, num_classes: int, image_size: int) -> Any:
        """Return the network (an nn.Module) that is made of a classifier: itself, or one with another head."""
        return classifier

    def loss(self, noise: Any) -> Any:
        """Return the loss without tricks: (outputs, targets) -> scalar. ``noise`` (a rng.Noise) gives it draws."""
        import torch.nn.functional as F

        return F.cross_entropy

    def inits(self) -> Any:
        """Return how layers of the task's own start (recipe.edits.InitParams), where not as all others do."""
        return ()

    def measure(self, predict: Any, numbered: Any, world: Any) -> Any:
        """Return the scores of batches that come with their numbers in the split (a measure.accuracy.Measured)."""
        raise UserError(f"task={self.name}: is not a task")


BASES: dict[str, type] = {"dataset": DataSettings, "network": ModelSettings, "task": TaskSettings}


@dataclass(kw_only=True)
class RuntimeSettings:
    """Speed and place of a run, never its result: none of it is in a run's id."""

    device: str = "auto"
    """auto (a GPU when there is one), cpu, cuda or cuda:1"""
    devices: int = 1
    """GPUs (or processes on a CPU) that share each batch; -1: all GPUs there are. The result stays the same"""
    sync_norm: bool = True
    """batch norms take the statistics of all devices' images; false: each of its own (another run with another id)"""
    workers: int = -1
    """processes that decode images, shared by the devices; -1: one per core, at most 8; none where data is in memory"""
    threads: str = "auto"
    """threads of the arithmetic on a CPU, of each process; auto: the cores that are idle at the start, as far as this
    network has work for them, and at most OMP_NUM_THREADS. A resumed run keeps its number"""
    data_on_device: bool = True
    """keep small images on the device and augment them there, if they fit into half of its free memory"""
    deterministic: bool = False
    """use deterministic algorithms alone, which can be slower on a GPU; an operation that has none is named"""
    auto_micro_batch: bool = False
    """out of memory: halve the images whose gradient is computed at a time. The statistics of batch norms are
    then of fewer images: the one runtime setting that can change a result, and the record has the step from which on"""
    channels_last: bool = True
    """memory format of images and convolutions"""
    compile: bool = False
    """train with torch.compile: faster steps after a compilation that cost.compile_seconds states apart, with results
    that agree to rounding; needs a C++ compiler, on a GPU Triton"""
    compile_mode: str = "default"
    """default, reduce-overhead (CUDA graphs: for small networks), max-autotune or max-autotune-no-cudagraphs"""
    cuda_graph: bool = False
    """record each step as a CUDA graph, which one call launches: for networks whose operations are shorter than their
    launches. Results agree to rounding; the first steps of each shape are not recorded. Not yet tried on a GPU"""
    eval_batch_size: int = 256
    """images in one evaluation batch"""
    warmup_steps: int = 0
    """steps with a network that is thrown away, before the clock of the training starts"""
    eval_every: int = 1
    """epochs between evaluations; the last epoch is always evaluated"""
    checkpoint_minutes: float = 5.0
    """minutes between checkpoints, from which an interrupted run resumes; 0: none by the clock"""
    checkpoint_steps: int = 0
    """steps between checkpoints; 0: none by the count. The end of an epoch makes one too, at most every ten seconds"""
    checkpoint_keep: int = 2
    """checkpoints that are kept until the run is finished; 0: none are made"""
    measurement: str = ""
    """name of another measurement of a run, with an id and a record of its own: for rows that differ in time alone"""
    keep_state: bool = False
    """keep the state that extend= continues exactly: of the last step that runs with more epochs share"""
    progress: bool = True
    """show a progress bar and a line per epoch on standard error"""

    def __post_init__(self) -> None:
        check_numbers("runtime.", vars(self))
        if self.threads != "auto" and not (
            re.fullmatch(r"\d{1,4}", self.threads) and 1 <= int(self.threads) <= MOST_PROCESSES
        ):
            raise UserError(f"runtime.threads={self.threads}: must be auto, or a number from 1 to {MOST_PROCESSES}")
        modes = ("default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs")
        choose("runtime.compile_mode", self.compile_mode, modes)
        positive(**{"runtime.eval_batch_size": self.eval_batch_size, "runtime.eval_every": self.eval_every})
        for name in ("checkpoint_minutes", "checkpoint_steps", "checkpoint_keep", "warmup_steps"):
            if not getattr(self, name) >= 0:
                raise UserError(f"runtime.{name}={getattr(self, name)}: must be 0 or more")
        for name in ("devices", "workers"):
            check_range(f"runtime.{name}", getattr(self, name), -1, MOST_PROCESSES)
        if self.devices == 0:
            raise UserError(f"runtime.devices={self.devices}: must be 1 or more, or -1 for all GPUs")


@dataclass(kw_only=True)
class CorruptionSettings:
    """An evaluation on corrupted images besides the clean ones: what is found, never which run it is found of."""

    protocol: str = "none"
    """name of the protocol, as corruptions=NAME sets it"""
    limit: Optional[int] = None
    """use at most this many validation images, the same for every run"""
    seed: int = 0
    """names the random draws of the corruptions"""
    stored: Optional[str] = None
    """folder of a stored set instead of generated images: ImageNet-C's <corruption>/<severity>/<class>/*.JPEG, or
    CIFAR-10-C's <corruption>.npy with labels.npy"""
    frost: Optional[str] = None
    """folder with ImageNet-C's own pictures of frost, instead of procedural frost"""
    normalise_by: Optional[str] = None
    """id of a finished run, or its beginning, with this protocol in its record: its errors take AlexNet's place"""
    each: bool = False
    """a column for each corruption in the row that is printed"""

    def __post_init__(self) -> None:
        check_numbers("corruptions.", vars(self))
        check_range("corruptions.seed", self.seed, 0, MOST[int])
        if self.limit is not None:
            positive(**{"corruptions.limit": self.limit})
        given = {name: value for name, value in vars(self).items() if name != "protocol" and value not in (None, 0)}
        if self.protocol == "none" and given:
            name, value = next(iter(given.items()))
            raise UserError(f"corruptions.{name}={value}: needs a protocol: add corruptions=NAME")
        if self.stored is not None and (self.frost is not None or self.seed):
            name, value = ("frost", self.frost) if self.frost is not None else ("seed", self.seed)
            raise UserError(f"corruptions.{name}={value}: a stored set is generated already; leave it out")


@dataclass(kw_only=True)
class Settings:
    """One run.

    All here makes its identity, but for runtime, corruptions, extend, loggers, and what tables show and lie in.
    """

    data: DataSettings = field(default_factory=lambda: make_part("dataset", {"name": "digits"}))
    model: ModelSettings = field(default_factory=lambda: make_part("network", {"kind": "resnet"}))
    task: TaskSettings = field(default_factory=lambda: make_part("task", {}))
    tricks: dict[str, Any] = field(default_factory=dict)
    loggers: dict[str, Any] = field(default_factory=dict)
    runtime: RuntimeSettings = field(default_factory=RuntimeSettings)
    corruptions: CorruptionSettings = field(default_factory=CorruptionSettings)
    seed: int = 0
    """names every random draw of the run"""
    epochs: int = 120
    """passes over the training images"""
    batch_size: int = 256
    """images in one update"""
    lr: float = 0.1
    """peak learning rate (per 256 images, with +efficiency=linear_scaling)"""
    weight_decay: float = 1e-4
    """L2 penalty on every parameter (w, not w/2, is added to the gradient)"""
    image_size: Optional[int] = None
    """side in pixels that the network sees; default: the data's"""
    num_classes: Optional[int] = None
    """outputs of the network; default: the data's classes"""
    store: str = "results/runs"
    """folder of the records, one subfolder per run; or s3://, gs:// or az://BUCKET/FOLDER"""
    format: str = "text"
    """text, markdown, csv, latex, html or json (alone on standard output)"""
    metric: str = "top1"
    """what the table shows of a run: top1, or time_to_accuracy (of DAWNBench) as well"""
    target: float = 0.94
    """share of right answers that metric=time_to_accuracy measures the training time to"""
    price_per_hour: Optional[float] = None
    """of the device, in any currency: the table shows what training and 10,000 predictions cost"""
    objective: str = "top1"
    """result or cost that a search improves (-m hydra/sweeper=optuna): top1, loss, ece, mce, train_seconds, macs ..."""
    plugins: list[str] = field(default_factory=list)
    """files and modules that register tricks, networks, data sets, protocols or loggers: [mine.py,package.module]"""
    rerun: bool = False
    """train again even though the run has a finished record"""
    extend: Optional[str] = None
    """finished run of store=, by the start of its id, that goes on to epochs= epochs from its runtime.keep_state"""
    restart: bool = False
    """with extend=: a new run of epochs= epochs instead, from the last weights of the finished one"""
    measure: bool = True
    """false: bot-bench gives params and macs alone"""
    quantize: str = "none"
    """int8: bot-bench times the network in 8-bit integers on the CPU, too"""
    logger: list[str] = field(default_factory=list)
    """where a training sends its figures while it runs, as [tensorboard,wandb] (--help loggers); never in a run's id"""
    log_every: Optional[int] = None
    """steps between two rows of steps.csv, which it asks for, and of the loggers, which take 50 without it"""
    log_group: Optional[str] = None
    """group of the run in its loggers; in a sweep, the name of the study unless it is typed"""

    def __post_init__(self) -> None:
        check_numbers("", vars(self))
        check_measure(self.metric, self.target, self.price_per_hour)
        choose("format", self.format, ("text", "markdown", "csv", "latex", "html", "json"))
        choose("quantize", self.quantize, ("none", "int8"))
        positive(MOST_EPOCHS, epochs=self.epochs)
        positive(batch_size=self.batch_size, lr=self.lr)
        if self.weight_decay < 0:
            raise UserError(f"weight_decay={self.weight_decay}: must not be negative")
        if self.image_size is not None:
            check_side("image_size", self.image_size)
        if self.num_classes is not None:
            positive(MOST_CLASSES, num_classes=self.num_classes)
        check_range("seed", self.seed, 0, MOST[int])
        for name in (*self.logger, *self.loggers):
            find_card("logger", name)
        if self.log_every is not None:
            positive(log_every=self.log_every)
        if self.restart and self.extend is None:
            raise UserError("restart=true: name the finished run that it starts from with extend=ID")
        for trick, given in self.tricks.items():
            if not isinstance(given, dict):  # in a YAML file
                raise UserError(f"tricks.{trick}={given}: must be hyper-parameters by name, as {{alpha: 0.4}} or {{}}")
        if self.data.pad_mode == "reflect" and self.data.pad >= self.pixels:
            raise UserError(
                f"data.pad={self.data.pad}: with data.pad_mode=reflect, must be less than the {self.pixels} pixels "
                "of an image"
            )

    @classmethod
    def of(cls, values: Values) -> "Settings":
        """Return the settings from which ``dataclasses.asdict`` made ``values``, also those of an earlier version.

        Raises UserError for fields that no version has.
        """
        load_plugins(values.get("plugins", ()))
        made = dict(values)
        made["data"] = make_part("dataset", values.get("data", {}))
        made["model"] = make_part("network", values.get("model", {}))
        made["task"] = make_part("task", values.get("task", {}))
        for name, group in (("runtime", RuntimeSettings), ("corruptions", CorruptionSettings)):
            made[name] = group(**values.get(name, {}))
        try:
            return cls(**made)
        except TypeError as error:
            raise UserError(f"these settings are of another version of bagoftricks ({error})") from error

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle by value, so that another process loads plug-ins first."""
        return Settings.of, (asdict(self),)

    @property
    def pixels(self) -> int:
        return self.data.image_size if self.image_size is None else self.image_size
