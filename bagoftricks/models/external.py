"""Networks that torchvision and timm define, as they define them, without weights and without tricks.

Left out of them, for the baseline has no trick in it: dropout (``Part.HEAD_DROP`` takes its place in the heads of
torchvision's), stochastic depth, and norms that start at zero. Convolutions and linear layers start as everywhere here;
a parameter of another kind (a position embedding, a layer scale) keeps the library's start, the same for each seed.
Norms, activations and pooling are the library's: a trick that sets those parts has no effect.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from bagoftricks.errors import NotHere, TooSmall, UserError, did_you_mean
from bagoftricks.models.channels import COLOURS
from bagoftricks.models.layers import NORMS, Site
from bagoftricks.models.parts import Parts
from bagoftricks.recipe.edits import Part
from bagoftricks.registry import network
from bagoftricks.settings import ModelSettings

OPTIONS: dict[str, dict[str, bool | int]] = {  # what some constructors need to build the network of the papers
    "inception_v3": {"aux_logits": False, "init_weights": False, "transform_input": False},
    "googlenet": {"aux_logits": False, "init_weights": False, "transform_input": False},
}
SMALLEST_IMAGES = {"inception_v3": 75}  # pixels
HEADS = ("classifier", "dropout", "fc", "head")  # torchvision's names of what comes after the pooling
_FITTING: set[tuple[str, int, int]] = set()  # networks, sizes and channels of images that were tried and go together


def torchvision_network(spec: "TorchvisionSettings", num_classes: int, *, image_size: int, parts: Parts) -> nn.Module:
    """torchvision's classifier called ``spec.network``, the auxiliary heads of the Inceptions left out."""
    from torchvision import models as torchvision_models  # takes as long to import as torch

    known = torchvision_models.list_models(module=torchvision_models)
    if spec.network not in known:
        raise UserError(f"torchvision has no network '{spec.network}'{did_you_mean(spec.network, known)}")
    if image_size < (least := SMALLEST_IMAGES.get(spec.network, 1)):
        raise TooSmall(f"image_size={image_size}: {spec.network} needs {least} pixels; type image_size={least} or more")
    options = OPTIONS.get(spec.network, {})
    if spec.network.startswith("vit_"):
        options = {"image_size": image_size}
    model = _built(
        lambda: torchvision_models.get_model(spec.network, weights=None, num_classes=num_classes, **options),
        spec.network,
        image_size,
    )
    _replace_head_drop(model, parts, image_size)
    return _tried(model, spec.network, image_size)


def timm_network(spec: "TimmSettings", num_classes: int, *, image_size: int, parts: Parts) -> nn.Module:
    """timm's classifier called ``spec.network``; it takes no part from any trick."""
    try:
        import timm
    except ImportError as error:
        why = f"model=timm/{spec.network}: timm is not installed; type pip install timm"
        raise NotHere(why, "a package") from error
    if not timm.is_model(spec.network):
        raise UserError(f"timm has no network '{spec.network}'{did_you_mean(spec.network, timm.list_models())}")
    fixed = timm.get_pretrained_cfg_value(spec.network, "fixed_input_size")
    options: dict[str, Any] = {"img_size": image_size} if fixed else {}
    options |= {} if parts.channels == COLOURS else {"in_chans": parts.channels}
    model = _built(
        lambda: timm.create_model(spec.network, pretrained=False, num_classes=num_classes, **options),
        spec.network,
        image_size,
    )
    return _tried(model, spec.network, image_size, parts.channels)


def _built(construct: Callable[[], nn.Module], name: str, image_size: int) -> nn.Module:
    """Call ``construct`` with a generator of its own, and take the tricks out of the network."""
    from torchvision.ops import StochasticDepth

    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        try:
            model = _constructed(construct)
        except (AssertionError, ValueError, ZeroDivisionError) as error:
            raise TooSmall(_refused(name, image_size, error)) from error
    for module in model.modules():
        if isinstance(module, nn.modules.dropout._DropoutNd | StochasticDepth):
            module.p = 0.0
        for rate in ("drop_rate", "drop_prob"):  # timm's, where it drops without a module, or branches
            if isinstance(getattr(module, rate, None), float):
                setattr(module, rate, 0.0)
        if isinstance(module, NORMS):
            module.reset_parameters()  # timm starts the last norm of a branch at zero: that is zero_gamma
    return model


def _constructed(construct: Callable[[], nn.Module]) -> nn.Module:
    """Call ``construct``; on the CPU if the network computes with values of tensors, which the meta device has not.

    torchvision's RegNets compute their widths in this way.
    """
    try:
        return construct()
    except NotImplementedError:
        device = torch.get_default_device()
        with torch.device("cpu"):
            return construct().to(device)


def _replace_head_drop(model: nn.Module, parts: Parts, image_size: int) -> None:
    """Put ``Part.HEAD_DROP`` in the place of the last dropout, where that is in the head."""
    dropouts = [name for name, module in model.named_modules() if isinstance(module, nn.Dropout)]
    if dropouts and dropouts[-1].partition(".")[0] in HEADS:
        owner, _, name = dropouts[-1].rpartition(".")
        setattr(model.get_submodule(owner), name, parts[Part.HEAD_DROP](Site(parts, image_size).at("head")))


def _tried(model: nn.Module, name: str, image_size: int, channels: int = COLOURS) -> nn.Module:
    """``model``, once it has taken an image on the meta device, where it is built before any run."""
    if not next(model.parameters()).is_meta or (name, image_size, channels) in _FITTING:
        return model
    model.eval()
    try:
        with torch.no_grad():
            model(torch.empty(1, channels, image_size, image_size, device="meta"))
    except (AssertionError, RuntimeError, ValueError) as error:
        raise TooSmall(_refused(name, image_size, error)) from error
    _FITTING.add((name, image_size, channels))
    return model.train()


def _refused(name: str, image_size: int, error: Exception) -> str:
    reason = str(error).strip().partition("\n")[0]
    return f"image_size={image_size}: {name} cannot take images of this size ({reason}); type a larger image_size="


def _saved(library: str, made: str, name: str) -> str:
    """Return a command that downloads the trained weights of the network that ``made`` makes, and the setting."""
    command = f"import torch, {library}; torch.save({made}.state_dict(), '{name}.pth')"
    return f'make one with python -c "{command}" and type model.weights={name}.pth'


@network(kind="torchvision")
class TorchvisionSettings(ModelSettings):
    """A classifier of torchvision."""

    network: str = ""
    """torchvision's name of the network, as model=torchvision/NAME sets it"""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.network:
            raise UserError("model=torchvision: which of its networks? Type model=torchvision/NAME")

    @property
    def weights_help(self) -> str:
        made = f"torchvision.models.get_model('{self.network}', weights='DEFAULT')"
        return _saved("torchvision", made, self.network)

    def build(self, num_classes: int, *, image_size: int, parts: Parts) -> nn.Module:
        return torchvision_network(self, num_classes, image_size=image_size, parts=parts)


@network(kind="timm")
class TimmSettings(ModelSettings):
    """A classifier of timm."""

    network: str = ""
    """timm's name of the network, as model=timm/NAME sets it"""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.network:
            raise UserError("model=timm: which of its networks? Type model=timm/NAME")

    @property
    def weights_help(self) -> str:
        return _saved("timm", f"timm.create_model('{self.network}', pretrained=True)", self.network)

    def build(self, num_classes: int, *, image_size: int, parts: Parts) -> nn.Module:
        return timm_network(self, num_classes, image_size=image_size, parts=parts)
