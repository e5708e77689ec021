"""The training pass of a network through torch.compile: another speed, the same draws, the result to rounding.

The network itself is left as it is: its names, its averaged copies and its evaluation know nothing of the compiled
pass. Layers that draw or follow the training's clock run as they are written, between the compiled pieces, because
their numbers come from keys that change with each step.
"""

import time
from collections.abc import Callable

import torch
from torch import nn

from bagoftricks.errors import UserError
from bagoftricks.recipe.edits import Images, Logits

Forward = Callable[[Images], Logits]
CUDA_GRAPHS = ("reduce-overhead", "max-autotune")  # the modes that record them


def compiled(model: nn.Module, mode: str) -> Forward:
    """``model`` as a compiled function. Each shape of its input is compiled once; nothing happens before the first."""
    for module in model.modules():
        if hasattr(module, "task"):  # the way to the step's draws and to the clock
            module.forward = torch.compiler.disable(module.forward)  # type: ignore[no-untyped-call]
    made = torch.compile(model, mode=mode, dynamic=False)
    if mode not in CUDA_GRAPHS:
        return made

    def forward(images: Images) -> Logits:
        # What the last pass left in the graph's memory was used up.
        torch.compiler.cudagraph_mark_step_begin()  # type: ignore[no-untyped-call]
        logits: Logits = made(images)
        return logits

    return forward


def compile_on(forward: Forward, model: nn.Module, images: Images, passes: int = 3) -> float:
    """Compile a pass and its gradient on ``images``, and leave the network as it was; the seconds it took.

    CUDA graphs are recorded in the second pass. Raises UserError where there is no compiler.
    """
    start = time.perf_counter()
    buffers = [(buffer, buffer.clone()) for buffer in model.buffers()]
    model.train()
    try:
        for _ in range(passes):
            forward(images).float().sum().backward()  # type: ignore[no-untyped-call]
    except Exception as error:
        if type(error).__module__.partition(".")[0] != "torch":
            raise
        raise UserError(
            f"runtime.compile=true: the network cannot be compiled here ({reason(error)}): on a CPU it takes a C++ "
            "compiler (g++ or clang++), on a GPU Triton and a C compiler; or type runtime.compile=false"
        ) from error
    with torch.no_grad():
        for buffer, before in buffers:
            buffer.copy_(before)
    model.zero_grad()
    return time.perf_counter() - start


def reason(error: Exception) -> str:
    """The first line of what went wrong at the bottom."""
    inner = error.__cause__ or getattr(error, "inner_exception", None) or error
    return str(inner).strip().partition("\n")[0] or type(inner).__name__


def grey_images(count: int, pixels: int, device: torch.device, *, channels_last: bool) -> Images:
    memory_format = torch.channels_last if channels_last else torch.contiguous_format
    return torch.zeros(count, 3, pixels, pixels, device=device).contiguous(memory_format=memory_format)
