"""Weights in files: read without running anything, in our names or in those of torchvision and timm.

torchvision and timm name the tensors of their ResNets alike, and timm goes on where torchvision has no such network
(deep stems, pooled shortcuts, gates). Files of the two are recognised by their names; networks that the libraries
build themselves (model=torchvision/NAME, model=timm/NAME) have those names anyway.
"""

import os
import re
from collections.abc import Callable, Mapping, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from bagoftricks.errors import NotHere, UserError, did_you_mean
from bagoftricks.folders import local_path
from bagoftricks.models.backbone import FeatureMaps
from bagoftricks.models.channels import for_greys
from bagoftricks.models.layers import ConvShortcut
from bagoftricks.models.resnet import ResNet
from bagoftricks.recipe.edits import Role, has_role

WeightTensors = Mapping[str, Tensor]

NESTED = ("state_dict", "model_state_dict", "model")  # where checkpoints of training scripts keep the weights
HEADS_IN_FILES = ("head.", "fc.", "classifier.")  # of classifiers, whose features alone are taken over
LEFT_OUT = ("AuxLogits.",)  # of torchvision's Inception-V3: the head that no network here has
COUNTER = "num_batches_tracked"  # older files lack it; nothing reads it
GATES = {  # tensors of a gate, in the order it computes -> timm's names for them
    4: ("fc1.weight", "fc1.bias", "fc2.weight", "fc2.bias"),  # squeeze-and-excitation
    2: ("fc1.weight", "fc2.weight"),  # without biases
    1: ("conv.weight",),  # efficient channel attention
}
GATE_DIMS = {"fc1.weight": 4, "fc2.weight": 4, "conv.weight": 3}  # timm's convolutions; ours may be plainer
SHOWN = 5  # names that an error lists


# --- files ---


def read_tensors(path: str | Path) -> dict[str, Tensor]:
    """Read the tensors of a safetensors file, or of a state dict of ``torch.save``. Runs no code from the file."""
    file = existing(path)
    if file.suffix == ".safetensors":
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            return dict(load_file(file))
        except (SafetensorError, OSError) as error:
            raise UserError(f"{path}: is damaged, or no file of safetensors ({error})") from error
    try:
        found = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged pickle can fail in any way
        raise UserError(
            f"{path}: refused, for it is damaged or holds more than tensors, which could run code; "
            "where it comes from, save the state dict alone: torch.save(model.state_dict(), FILE), or safetensors"
        ) from error
    return _state_dict(found, path)


def _state_dict(found: Any, path: str | Path) -> dict[str, Tensor]:
    for key in NESTED:
        if isinstance(found, Mapping) and isinstance(found.get(key), Mapping):
            found = found[key]
    if not isinstance(found, Mapping) or not found or not all(isinstance(value, Tensor) for value in found.values()):
        raise UserError(f"{path}: holds no state dict (tensors by name)")
    parallel = all(name.startswith("module.") for name in found)  # saved from DataParallel
    return {name.removeprefix("module.") if parallel else name: tensor for name, tensor in found.items()}


def metadata(path: Path) -> dict[str, str]:
    """Return the texts in a safetensors file that are no tensors; none of another file. Raises UserError for damage."""
    if path.suffix != ".safetensors":
        return {}
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            return file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path}: is damaged, or no file of safetensors ({error})") from error


def file_digest(path: str | Path) -> str:
    """32 hexadecimal digits that name what the file holds, wherever it lies."""
    digest = blake2b(digest_size=16)
    with existing(path).open("rb") as file:
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()


def existing(path: str | Path) -> Path:
    file = local_path("model.weights", path)
    try:
        if file.is_file():
            file.open("rb").close()
            return file
        if os.path.lexists(file):
            raise UserError(f"{path}: is no file of weights, but a folder, a link to nothing or a device")
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from error
    near = did_you_mean(file.name, os.listdir(file.parent)) if file.parent.is_dir() else ""
    raise NotHere(f"{path}: no such file of weights{near}", "weights")


# --- in ---


def start_from(
    path: str | Path, *, new_head: bool = False, order: Sequence[int] | None = None
) -> Callable[[nn.Module], None]:
    """Return a function that gives a network the weights in the file; ``order``: the file's outputs in ours."""
    return lambda model: load_weights(model, path, new_head=new_head, order=order)


def load_weights(
    model: nn.Module, path: str | Path, *, new_head: bool = False, order: Sequence[int] | None = None
) -> None:
    """Give ``model`` the weights in the file, in its own dtype, device and memory format. Raises UserError."""
    tensors = fitted(model, read_tensors(path), str(path), new_head=new_head)
    if order is not None:
        tensors |= {name: tensors[name][list(order)] for name in head_names(model) & tensors.keys()}
    model.load_state_dict(tensors, strict=False)


def fitted(model: nn.Module, tensors: WeightTensors, path: str, *, new_head: bool = False) -> dict[str, Tensor]:
    """``tensors`` under the names of ``model``, each once and of the right shape; ``path`` is for the error.

    With ``new_head`` those of the last linear layer are left out, whatever the file has for them; of a head in its
    place, as retrieval has, a classifier's too.
    """
    own = model.state_dict()
    backbone = backbone_of(model)
    if backbone is not None and not tensors.keys() & own.keys():
        trunk = {name: tensor for name, tensor in tensors.items() if not name.startswith(HEADS_IN_FILES)}
        return {f"backbone.{name}": tensor for name, tensor in fitted(backbone, trunk, path).items()}
    given = {name: tensor for name, tensor in tensors.items() if name in own or not name.startswith(LEFT_OUT)}
    theirs: dict[str, str | None] = {name: name for name in own}  # what the file calls each of the network's tensors
    if isinstance(model, ResNet | FeatureMaps) and not given.keys() & own.keys():
        theirs, given = library_names(model), _plain_shortcuts(given)
    head = head_names(model)
    found = {
        ours: _shaped(given[name], own[ours]) if ".gate." in ours else given[name]
        for ours, name in theirs.items()
        if name in given
    }
    found |= for_greys(model, found)
    if new_head:
        found = {name: tensor for name, tensor in found.items() if name not in head}
    elif backbone_of(model) is None:
        _check_head(own, found, head, path)
    constant = {name for name, _ in model.named_buffers() if theirs.get(name) is None or name.endswith(COUNTER)}
    optional = constant | (head if new_head else set())
    missing = [theirs[name] or name for name in own if name not in found and name not in optional]
    replaced = (*_marked_heads(model), *HEADS_IN_FILES) if new_head and _marked_heads(model) else ()
    unexpected = [name for name in given if name not in theirs.values() and not name.startswith(replaced)]
    misshapen = [
        f"{theirs[name]} {tuple(tensor.shape)}, not {tuple(own[name].shape)}"
        for name, tensor in found.items()
        if tensor.shape != own[name].shape
    ]
    wrong = {"missing": missing, "unexpected": unexpected, "of another shape": misshapen}
    small = any((*tensor.shape[2:], *own[name].shape[2:]) == (7, 7, 3, 3) for name, tensor in found.items())
    _require_fitting(wrong, path, small_stem=small)
    return found


def _require_fitting(wrong: Mapping[str, Sequence[str]], path: str, *, small_stem: bool) -> None:
    """Raise UserError if any tensors of a file are ``wrong``, by what is wrong with them."""
    listed = [
        f"{len(names)} {what} ({', '.join(names[:SHOWN])}{', ...' if len(names) > SHOWN else ''})"
        for what, names in wrong.items()
        if names
    ]
    hint = " (images of up to 64 pixels get a small stem: type model.stem=imagenet, or a larger image_size)"
    if listed:
        raise UserError(
            f"{path} is not of this network with these tricks: of its tensors, {', '.join(listed)}; "
            f"choose model= and the tweaks that the weights were trained with{hint if small_stem else ''}"
        )


def backbone_of(model: nn.Module) -> FeatureMaps | None:
    """Return the part of a network that can start from a classifier's weights alone, None if there is none."""
    backbone = getattr(model, "backbone", None)
    return backbone if isinstance(backbone, FeatureMaps) else None


def starts_backbone(model: nn.Module, path: str | Path) -> bool:
    """Return True if the file has weights for the backbone of ``model`` alone, whose heads are then new."""
    return backbone_of(model) is not None and not read_tensors(path).keys() & model.state_dict().keys()


def head_names(model: nn.Module) -> set[str]:
    """Return the tensors of the last linear layer, or of the modules that take its place or follow a backbone."""
    if backbone_of(model) is not None:
        return {name for name in model.state_dict() if not name.startswith("backbone.")}
    if marked := _marked_heads(model):
        return {name for name in model.state_dict() if name.startswith(marked)}
    heads = [name for name, module in model.named_modules() if isinstance(module, nn.Linear)]
    return {name for name in model.state_dict() if heads and name.rpartition(".")[0] == heads[-1]}


def _marked_heads(model: nn.Module) -> tuple[str, ...]:
    """Return the beginnings of the names of tensors in the modules that a task put in the head's place."""
    return tuple(f"{name}." for name, module in model.named_modules() if has_role(module, Role.HEAD))


def head_outputs(model: nn.Module, tensors: WeightTensors) -> int | None:
    """Return the outputs of the last linear layer in a file's tensors, None if that cannot be told."""
    in_library = isinstance(model, ResNet) and not tensors.keys() & model.state_dict().keys()
    theirs = library_names(model) if in_library else {}
    names = [theirs.get(name) or name for name in head_names(model)]
    sizes = {len(tensors[name]) for name in names if name in tensors}
    return sizes.pop() if len(sizes) == 1 else None


def _check_head(own: WeightTensors, found: WeightTensors, head: set[str], path: str) -> None:
    for name in head & found.keys():
        here, there = (len(tensors[name]) if tensors[name].ndim else 1 for tensors in (own, found))
        if here != there:
            raise UserError(
                f"{path}: its head has {there} outputs and this network's {here}: "
                f"type model.new_head=true to initialise the head, or num_classes={there} to keep it"
            )


def _shaped(tensor: Tensor, like: Tensor) -> Tensor:
    """Return a gate's tensor without, or with, the dimensions of one that a convolution has and a matrix has not."""
    same = [size for size in tensor.shape if size != 1] == [size for size in like.shape if size != 1]
    return tensor.reshape(like.shape) if same else tensor


def _plain_shortcuts(tensors: WeightTensors) -> dict[str, Tensor]:
    """Return the tensors with projections at ``downsample.0``: timm has them at 1 where a pooling precedes."""
    pooled = {m[1] for name in tensors if (m := re.match(r"(layer\d+\.\d+\.downsample\.)2\.", name))}

    def plain(name: str) -> str:
        match = re.match(r"(layer\d+\.\d+\.downsample\.)(\d)(\..*)", name)
        return f"{match[1]}{int(match[2]) - 1}{match[3]}" if match and match[1] in pooled else name

    return {plain(name): tensor for name, tensor in tensors.items()}


# --- out ---


def library_tensors(model: nn.Module, name: str) -> dict[str, Tensor]:
    """Return the tensors as torchvision or timm name them; ``name`` is for the error if they have no names there."""
    own = model.state_dict()
    if type(model).__module__.partition(".")[0] in ("torchvision", "timm"):
        return own
    names = library_names(model) if isinstance(model, ResNet) else dict.fromkeys(own)
    nameless = [ours for ours, _ in model.named_parameters() if names[ours] is None]
    if nameless:
        raise UserError(
            f"naming=torchvision: {name} with these tricks is no network of torchvision or timm "
            f"({nameless[0]} has no name there); type naming=ours"
        )
    pooled = {
        f"{_layered(prefix).removesuffix('shortcut')}downsample."
        for prefix, module in model.named_modules()
        if isinstance(module, ConvShortcut) and type(module) is not ConvShortcut
    }
    return {
        _pooled_shortcut(theirs, pooled): _library_shape(own[ours], theirs)
        for ours, theirs in names.items()
        if theirs is not None
    }


def _pooled_shortcut(name: str, pooled: set[str]) -> str:
    match = re.match(r"(layer\d+\.\d+\.downsample\.)(\d)(\..*)", name)
    return f"{match[1]}{int(match[2]) + 1}{match[3]}" if match and match[1] in pooled else name


def _library_shape(tensor: Tensor, name: str) -> Tensor:
    """Return a gate's tensor with the dimensions that timm's convolution has."""
    gate = re.search(r"\.se\.(\w+\.weight)$", name)
    if gate is None:
        return tensor
    if GATE_DIMS[gate[1]] == 3:
        return tensor.reshape(1, 1, -1)
    return tensor.reshape(*tensor.shape[:2], 1, 1)


# --- names ---

BLOCK = r"(stages\.\d+\.\d+\.)"
PLAIN_STEM = ((r"stem\.0\.(weight)", r"conv1.\1"), (r"stem\.1\.(\w+)", r"bn1.\1"))
DEEP_STEM = ((r"stem\.7\.(\w+)", r"bn1.\1"), (r"stem\.([01346])\.(\w+)", r"conv1.\1.\2"))
IN_BLOCKS = (
    (rf"{BLOCK}(conv\d)\.(?:conv\.)?(weight)", r"\1\2.\3"),
    (rf"{BLOCK}conv(\d)\.norm\.(\w+)", r"\1bn\2.\3"),
    (rf"{BLOCK}shortcut\.conv\.(\w+)", r"\1downsample.0.\2"),
    (rf"{BLOCK}shortcut\.norm\.(\w+)", r"\1downsample.1.\2"),
)
CLOSING = {False: ((rf"{BLOCK}norm\.(\w+)", r"\1bn2.\2"),), True: ((rf"{BLOCK}norm\.(\w+)", r"\1bn3.\2"),)}
HEAD = ((r"head\.(\w+)", r"fc.\1"),)


def library_names(model: nn.Module) -> dict[str, str | None]:
    """Return the name in torchvision and timm of each tensor of a residual network, None for what they lack.

    A projection's convolution and norm are 0 and 1 of ``downsample`` here, as in torchvision.
    """
    own = list(model.state_dict())
    stem = DEEP_STEM if "stem.3.weight" in own else PLAIN_STEM
    rules = (*stem, *IN_BLOCKS, *CLOSING[any(name.endswith(".conv3.weight") for name in own)], *HEAD)
    gates = _gate_names(model)
    return {name: gates.get(name) or _renamed(name, rules) for name in own}


def _renamed(name: str, rules: Sequence[tuple[str, str]]) -> str | None:
    for pattern, theirs in rules:
        if match := re.fullmatch(pattern, name):
            return _layered(match.expand(theirs))
    return None


def _layered(name: str) -> str:
    """``stages.0.1.x`` as ``layer1.1.x``."""
    return re.sub(r"^stages\.(\d+)\.", lambda match: f"layer{int(match[1]) + 1}.", name)


def _gate_names(model: nn.Module) -> dict[str, str]:
    """Return the gates' tensors by their order, whatever the trick calls them."""
    gates: dict[str, list[str]] = {}
    for name, _ in model.named_parameters():
        if match := re.match(rf"{BLOCK}gate\..*(?:weight|bias)$", name):
            gates.setdefault(match[1], []).append(name)
    return {
        name: f"{_layered(block)}se.{theirs}"
        for block, names in gates.items()
        for name, theirs in zip(names, GATES.get(len(names), ()), strict=False)
    }
