"""Channels of the images that a network takes: 3 of colours, or 1 of greys.

A kernel on three equal channels computes what the sum of the kernel over its channels computes on one of them. So a
network of libraries is fitted to one channel, and so are weights that were trained on three.
"""

from collections.abc import Mapping

from torch import Tensor, nn

from bagoftricks.errors import UserError

COLOURS = 3


def take_channels(model: nn.Module, channels: int, name: str) -> None:
    """Let ``model`` take images of this many channels, and remember it. Raises UserError if it cannot."""
    model.image_channels = channels  # type: ignore[assignment]
    if channels == COLOURS:
        return
    first = next((module for module in model.modules() if isinstance(module, nn.Conv2d)), None)
    if first is None or first.groups != 1 or first.in_channels not in (channels, COLOURS):
        raise UserError(f"data.channels={channels}: {name} begins with no convolution of colours; type data.channels=3")
    if first.in_channels == COLOURS:
        first.in_channels = channels
        first.weight = nn.Parameter(summed(first.weight.detach()))


def image_channels(model: nn.Module) -> int:
    """Return the channels of the images that ``model`` takes."""
    return getattr(model, "image_channels", COLOURS)


def for_greys(model: nn.Module, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the kernel of the first convolution for one channel, where ``tensors`` have it for three; else nothing."""
    if image_channels(model) == COLOURS:
        return {}
    name = next(f"{name}.weight" for name, module in model.named_modules() if isinstance(module, nn.Conv2d))
    kernel = tensors.get(name)
    return {} if kernel is None or kernel.shape[1:2] != (COLOURS,) else {name: summed(kernel)}


def summed(kernel: Tensor) -> Tensor:
    """Return the kernel for one channel of equal ones: (c_out 3 k k) -> (c_out 1 k k)."""
    return kernel.sum(1, keepdim=True)
