"""Networks in 8-bit integers, for their speed on a CPU. Nothing is trained, and no accuracy is measured."""

import copy
import warnings

import torch
from torch import Tensor, nn

from bagoftricks.errors import UserError
from bagoftricks.measure.speed import Timing, time_batches
from bagoftricks.models.channels import image_channels
from bagoftricks.rng import Key

CALIBRATION = 8  # images of noise that set the ranges, which change no speed


def in_int8(model: nn.Module, image_size: int) -> nn.Module:
    """Return a copy of the network on the CPU with 8-bit weights and activations: torch's static FX quantisation.

    Norms are folded into their convolutions. What PyTorch has in no 8-bit form stays in fp32, as fixed blur filters.
    Raises UserError for a network that cannot be traced.
    """
    images = torch.randn(CALIBRATION, image_channels(model), image_size, image_size, generator=Key(0).generator())
    plain = copy.deepcopy(model).cpu().to(memory_format=torch.contiguous_format).eval()
    try:
        with warnings.catch_warnings(), torch.inference_mode():
            warnings.simplefilter("ignore")  # torch announces that these functions move to torchao
            return _converted(plain, images)
    except Exception as error:  # tracing fails in any way
        reason = str(error).strip().partition("\n")[0]
        raise UserError(f"quantize=int8: this network cannot be quantised ({reason}): leave it out") from error


def time_int8(model: nn.Module, image_size: int, *, batch: int = 64) -> Timing:
    """Time predictions of the quantised network on the CPU, without the wrappers of a recipe."""
    images = torch.randn(batch, image_channels(model), image_size, image_size, generator=Key(0).generator())
    return time_batches(in_int8(model, image_size), images)


def _converted(plain: nn.Module, images: Tensor) -> nn.Module:
    from torch.ao.quantization import get_default_qconfig_mapping
    from torch.ao.quantization.quantize_fx import convert_fx, prepare_fx

    engine = torch.backends.quantized.engine
    prepared = prepare_fx(plain, get_default_qconfig_mapping(engine), (images,))
    prepared(images)
    converted: nn.Module = convert_fx(prepared)
    return converted
