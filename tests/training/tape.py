"""A stand-in for CUDA graphs on a CPU: it records operations and repeats them on the same memory.

As in a graph, nothing of Python runs again in a launch: a number that the host read while recording stays what it was,
every tensor keeps its place in memory, and recording changes nothing. Reading a value on the host, or seeding draws,
is an error while recording.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

WAITS = {"aten::_local_scalar_dense", "aten::nonzero", "aten::masked_select", "aten::_unique2", "aten::unique_dim"}


class Tape(TorchDispatchMode):
    """Operations with the tensors they were given and those they returned."""

    def __init__(self) -> None:
        super().__init__()
        self.operations: list[tuple[Any, Any, Any, list[tuple[int, Tensor]]]] = []
        self.before: dict[int, tuple[Tensor, Tensor]] = {}  # changed memory by its address, with its old content

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func._schema.name in WAITS:
            raise RuntimeError(f"{func._schema.name} waits for the device")
        if "generator" in kwargs and kwargs["generator"] is not None:
            raise RuntimeError("draws of a generator that is seeded on the host")
        self.save(func, args, kwargs)
        made = func(*args, **kwargs)
        given = {tensor.untyped_storage().data_ptr() for tensor in tensors(args) + tensors(kwargs)}
        fresh = [
            (i, leaf)
            for i, leaf in enumerate(tree_leaves(made))
            if isinstance(leaf, Tensor) and leaf.untyped_storage().data_ptr() not in given
        ]
        self.operations.append((func, args, kwargs, fresh))
        return made

    def save(self, func: Any, args: Any, kwargs: Any) -> None:
        for i, argument in enumerate(func._schema.arguments):
            running = func._schema.name == "aten::native_batch_norm" and argument.name.startswith("running")
            if argument.is_write or running:  # the schema of a batch norm keeps silent about its statistics
                given = args[i] if i < len(args) else kwargs.get(argument.name)
                for tensor in tensors(given):
                    whole = torch.empty(0, dtype=torch.uint8).set_(tensor.detach().untyped_storage())
                    self.before.setdefault(whole.data_ptr(), (whole, whole.clone()))

    @torch.no_grad()
    def launch(self) -> None:
        for func, args, kwargs, fresh in self.operations:
            leaves = tree_leaves(func(*args, **kwargs))
            for i, tensor in fresh:
                tensor.copy_(leaves[i])


def tensors(of: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(of) if isinstance(leaf, Tensor)]


class TapeRecorder:
    """Recorder on the CPU."""

    def __init__(self) -> None:
        self.tapes: list[Tape] = []

    def warm(self, work: Callable[[], Tensor]) -> Tensor:
        return work()

    def record(self, work: Callable[[], Tensor]) -> tuple[Callable[[], object], Tensor]:
        tape = Tape()
        try:
            with tape:
                made = work()
        finally:
            for now, before in tape.before.values():
                now.copy_(before)
        self.tapes.append(tape)
        return tape.launch, made
