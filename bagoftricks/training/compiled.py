"""The training pass of a network through torch.compile: faster, with the same draws and the same result to rounding.

The network itself does not change: its parameter names, its averaged weight sets and its evaluation are not compiled.
Layers that draw or read the clock of the training run as written, between the compiled pieces, because their numbers
come from keys that change with each step.
"""

import time
from collections.abc import Callable

import torch
from torch import nn

from bagoftricks.errors import UserError
from bagoftricks.recipe.edits import Images, Logits
from bagoftricks.training.parameters import train_mode

Forward = Callable[[Images], Logits]
CUDA_GRAPHS = ("reduce-overhead", "max-autotune")  # modes of torch.compile that record CUDA graphs


def compiled(model: nn.Module, mode: str) -> Forward:
    """Return ``model`` as a compiled function. Each input shape is compiled at its first call, nothing before."""
    for module in model.modules():
        if hasattr(module, "task"):  # it reads the draws of the step or the clock
            module.forward = torch.compiler.disable(module.forward)  # type: ignore[no-untyped-call]
    made = torch.compile(model, mode=mode, dynamic=False)
    if mode not in CUDA_GRAPHS:
        return made

    def forward(images: Images) -> Logits:
        # The tensors of the last pass in the graph's memory are no longer needed.
        torch.compiler.cudagraph_mark_step_begin()  # type: ignore[no-untyped-call]
        logits: Logits = made(images)
        return logits

    return forward


def compile_on(forward: Forward, model: nn.Module, images: Images, passes: int = 3) -> float:
    """Compile a pass and its gradient on ``images``, and restore the network; return the seconds.

    CUDA graphs are recorded in the second pass. Raises UserError if there is no compiler.
    """
    start = time.perf_counter()
    buffers = [(buffer, buffer.clone()) for buffer in model.buffers()]
    train_mode(model)
    try:
        for _ in range(passes):
            forward(images).float().sum().backward()  # type: ignore[no-untyped-call]
    except Exception as error:
        if type(error).__module__.partition(".")[0] != "torch":
            raise
        raise UserError(
            f"runtime.compile=true: the network cannot be compiled here ({reason(error)}): a CPU needs a C++ "
            "compiler (g++ or clang++), a GPU needs Triton and a C compiler; install it, or type runtime.compile=false"
        ) from error
    with torch.no_grad():
        for buffer, before in buffers:
            buffer.copy_(before)
    model.zero_grad()
    return time.perf_counter() - start


def reason(error: Exception) -> str:
    """Return the first line of the innermost error."""
    inner = error.__cause__ or getattr(error, "inner_exception", None) or error
    return str(inner).strip().partition("\n")[0] or type(inner).__name__


def grey_images(count: int, pixels: int, device: torch.device, *, channels_last: bool, channels: int = 3) -> Images:
    """Return ``count`` images of zeros."""
    memory_format = torch.channels_last if channels_last else torch.contiguous_format
    return torch.zeros(count, channels, pixels, pixels, device=device).contiguous(memory_format=memory_format)
