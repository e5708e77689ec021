"""Networks in files for other programs: safetensors, ONNX and torch.export, checked before they get their names.

An exported network maps normalised images (B, C, S, S) to logits (B, K) in fp32, for any B. Test-time augmentation is
part of it, so that it has the accuracy of the table. Its description, in JSON, says how images become its input.
"""

import io
import json
import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import asdict, dataclass, replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from bagoftricks import __version__
from bagoftricks.errors import UserError, printable
from bagoftricks.folders import local_path
from bagoftricks.models.weights import library_tensors
from bagoftricks.recipe.edits import Images, Logits, Predict
from bagoftricks.recipe.recipe import Recipe
from bagoftricks.rng import Key
from bagoftricks.run.classes import CLASS_NAMES
from bagoftricks.run.evaluation import Subject
from bagoftricks.store.files import weights_writer, write_whole

TOLERANCE = 1e-4  # of the logits, relative to the largest of them where it exceeds 1
CHECKED_IMAGES = 8
METADATA_KEY = "bagoftricks"  # key of the description in the metadata of ONNX
EXTRA_FILE = "bagoftricks.json"  # and the name of its file in a .pt2
STRETCHED = "both sides to short_side, whatever the shape, bilinear with antialiasing; then the centre"
PROTOBUF_BYTES = 2**31 - 2**20  # of one file of ONNX


@dataclass(frozen=True, kw_only=True)
class ExportDescription:
    """Facts that a program needs to use an exported network. Means and deviations are of values in 0..255."""

    classes: tuple[str, ...]  # of the first outputs; empty if their names are not known
    outputs: int
    image_size: int  # side in pixels of the input
    short_side: int  # to which an image is resized before its centre is cut out
    mean: tuple[float, ...]
    std: tuple[float, ...]
    resize: str = "short side to short_side, keeping the shape, bilinear with antialiasing; then the centre"
    channels: str  # RGB, or L: the luma that PIL's convert("L") gives
    input: str = "images: float32 (batch, channels, image_size, image_size), each channel (value - mean) / std"
    output: str = "logits: float32 (batch, outputs); softmax gives probabilities"
    model: str
    tricks: tuple[str, ...]
    run: str | None
    weights: str
    bagoftricks: str = __version__


class ExportedNetwork(nn.Module):
    """A network with its test-time augmentation, in fp32."""

    def __init__(self, model: nn.Module, recipe: Recipe) -> None:
        super().__init__()
        self.model = model
        self.wraps = recipe.wrap_predict

    def forward(self, images: Images) -> Logits:
        predict: Predict = self.model
        for wrap in self.wraps:
            predict = wrap(predict)
        return predict(images)


def check_export(path: str) -> None:
    """Raise UserError unless a network can be exported to this path here."""
    if Path(path).suffix.lower() == ".onnx" and not (find_spec("onnx") and find_spec("onnxscript")):
        raise UserError(f"export={path}: needs onnx and onnxscript: pip install 'bagoftricks[onnx]'")


def export(subject: Subject, weight_set: str, path: str, naming: str) -> str:
    """Write a weight set to a file of the format of its suffix; return a line about it.

    A file of ONNX or torch.export appears only if its logits are the network's. Raises UserError.
    """
    suffix = Path(path).suffix.lower()
    if suffix == ".safetensors":
        write, about = _safetensors(subject, weight_set, naming), f"the weights, in the names of {naming}"
    else:
        write, about = _program(subject, weight_set, path, suffix)
    try:
        write_whole(local_path("export", path), write)
    except OSError as error:
        raise UserError(f"export={path}: cannot be written ({error.strerror})") from error
    return f"{path} holds {about}"


def _safetensors(subject: Subject, weight_set: str, naming: str) -> Callable[[Path], object]:
    model = subject.network(weight_set)
    tensors = model.state_dict() if naming == "ours" else library_tensors(model, subject.trained.model.name)
    names = subject.class_names
    return weights_writer(tensors, {CLASS_NAMES: json.dumps(names)} if names else None)


def _program(subject: Subject, weight_set: str, path: str, suffix: str) -> tuple[Callable[[Path], object], str]:
    """Return a writer of the network as a program, and what it holds."""
    model = subject.network(weight_set).cpu().to(memory_format=torch.contiguous_format)
    network = ExportedNetwork(model, subject.recipe).eval().requires_grad_(False)
    images, whose = check_images(subject)
    text = json.dumps(asdict(describe_export(subject, weight_set)))
    with torch.no_grad():
        expected = network(images)
    make = _onnx if suffix == ".onnx" else _pt2
    with _one_line(path):
        data, run, how = make(network, images, text)
    for count in (len(images), 1):  # the batch is free
        _compare(path, run(images[:count]), expected[:count])
    augmented = " and its test-time augmentation" if subject.recipe.wrap_predict else ""
    what = f"the network{augmented}, with classes and preprocessing"
    return (lambda file: file.write_bytes(data)), f"{what}; checked on {whose}{how}"


def describe_export(subject: Subject, weight_set: str) -> ExportDescription:
    """Return the description of a network in a file."""
    data = subject.settings.data
    mean, std = data.normalisation()
    return ExportDescription(
        classes=tuple(subject.names),
        outputs=subject.num_classes,
        image_size=subject.pixels,
        short_side=subject.augment.fitted_side(),
        **({"resize": STRETCHED} if subject.augment.crop == "stretch" else {}),
        mean=tuple(mean),
        std=tuple(std),
        channels="RGB" if data.channels == 3 else "L",
        model=subject.trained.model.name,
        tricks=tuple(subject.trained.tricks),
        run=subject.run,
        weights=weight_set,
    )


def check_images(subject: Subject) -> tuple[Images, str]:
    """Return a few validation images as the network sees them, or random ones without any; and what they are."""
    split, size = subject.data.val, subject.pixels
    count = min(CHECKED_IMAGES, len(split.labels))
    if count:
        rows = np.unique(np.linspace(0, len(split.labels) - 1, count).astype(np.int64))
        for batch in subject.loader(replace(subject.data, val=split.subset(rows))).epoch(0):
            images = batch.images.cpu().contiguous()
            several = torch.cat([images, images])[: max(2, len(images))]  # of one image, no program is made for any B
            return several, f"{len(images)} validation image{'s' if len(images) > 1 else ''}"
    draws = Key(0).fold("export").generator()
    shape = CHECKED_IMAGES, subject.settings.data.channels, size, size
    return torch.randn(shape, generator=draws), f"{CHECKED_IMAGES} random images"


MadeFile = tuple[bytes, Callable[[Images], Logits], str]  # its bytes, the function in it, and how that was run


def _pt2(network: nn.Module, images: Images, text: str) -> MadeFile:
    """Return the bytes of an archive of torch.export, its function once it is read again, and a note."""
    exported, file = _exported(network, images), io.BytesIO()
    torch.export.save(exported, file, extra_files={EXTRA_FILE: text})
    read = torch.export.load(io.BytesIO(file.getvalue())).module()
    return file.getvalue(), lambda images: read(images), ""


def _onnx(network: nn.Module, images: Images, text: str) -> MadeFile:
    """Return the bytes of a file of ONNX, its function in onnxruntime or onnx's reference, and a note."""
    program = torch.onnx.export(
        _exported(network, images), dynamo=True, input_names=["images"], output_names=["logits"], verbose=False
    )
    assert program is not None
    made = program.model_proto
    if made.ByteSize() > PROTOBUF_BYTES:
        raise UserError(f"a file of ONNX holds 2 GiB, and the network has {made.ByteSize() / 2**30:.1f}: type .pt2")
    made.metadata_props.add(key=METADATA_KEY, value=text)
    data: bytes = made.SerializeToString()
    if find_spec("onnxruntime"):
        from onnxruntime import InferenceSession

        session, how = InferenceSession(data, providers=["CPUExecutionProvider"]), " in onnxruntime"
    else:
        from onnx.reference import ReferenceEvaluator

        session, how = ReferenceEvaluator(made), " in onnx's slow reference (onnxruntime is not installed)"
    return data, lambda images: torch.from_numpy(session.run(None, {"images": images.numpy()})[0]), how


def _exported(network: nn.Module, images: Images) -> torch.export.ExportedProgram:
    batch = torch.export.Dim("batch", min=1)
    return torch.export.export(network, (images,), dynamic_shapes={"images": {0: batch}}, strict=False)


def _compare(path: str, found: Tensor, expected: Tensor) -> None:
    """Raise UserError unless the logits of the file are the network's."""
    scale = max(1.0, expected.abs().max().item())
    difference = (found - expected).abs().max().item()
    if not difference <= TOLERANCE * scale:
        raise UserError(
            f"export={path}: not written, for its logits differ from the network's by {difference:.1g} (at most "
            f"{TOLERANCE * scale:.1g} is rounding): type another format, or export=FILE.safetensors"
        )


@contextmanager
def _one_line(path: str) -> Iterator[None]:
    """Keep the exporters quiet, and raise UserError for whatever they raise."""
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    except UserError as error:
        raise UserError(f"export={path}: {error}") from error
    except Exception as error:  # the exporters raise dozens of kinds
        reason = printable(next(iter(str(error).strip().splitlines()), type(error).__name__))
        raise UserError(
            f"export={path}: PyTorch cannot export this network ({reason}): type another format, or "
            "export=FILE.safetensors"
        ) from error
    finally:
        logging.disable(logging.NOTSET)
