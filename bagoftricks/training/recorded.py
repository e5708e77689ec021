"""Updates of the weights as recorded graphs: one for each shape of batch, launched by a single call.

Recorded is all between a mapped batch and the optimiser's step: the forward pass, the loss, its gradient, the maps of
gradients, the optimiser. What the host decides in each step stays outside, and reaches the graph through tensors that
are filled before each launch: the batch, the learning rates, draws inside the network, values that follow the clock.
Averages of the weights move after it. The first updates of each shape are taken as without a graph, and recording
executes nothing, so nothing has to be undone.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, optim

from bagoftricks.recipe.edits import Batch
from bagoftricks.recipe.recipe import Recipe
from bagoftricks.recipe.trick import ClockValues, Task
from bagoftricks.rng import Drawn, Key

Update = Callable[[Batch, Key, int], Tensor]  # (mapped batch, key of the step, its images on all ranks) -> loss
UNRECORDED = 3  # updates of each shape that are taken one operation after the other before it is recorded


@runtime_checkable
class GraphRecorder(Protocol):
    """Recording of work on a device. ``CudaRecorder`` is the one; tests have another for the CPU."""

    def warm(self, work: Callable[[], Tensor]) -> Tensor:
        """Do ``work`` in the way in which it will be recorded; return what it returns."""
        ...

    def record(self, work: Callable[[], Tensor]) -> tuple[Callable[[], object], Tensor]:
        """Record ``work`` without doing it; return what launches it, and the tensor with its result after a launch."""
        ...


class CudaRecorder:
    """CUDA graphs, which share one pool of memory."""

    def __init__(self, device: torch.device) -> None:
        self.stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self.pool = torch.cuda.graph_pool_handle()

    def warm(self, work: Callable[[], Tensor]) -> Tensor:
        now = torch.cuda.current_stream(self.stream.device)
        self.stream.wait_stream(now)
        with torch.cuda.stream(self.stream):
            made = work()
        now.wait_stream(self.stream)
        return made

    def record(self, work: Callable[[], Tensor]) -> tuple[Callable[[], object], Tensor]:
        graph, now = torch.cuda.CUDAGraph(), torch.cuda.current_stream(self.stream.device)
        # Whatever fails, the stream is that of before. Threads that pin memory for the loader may go on meanwhile.
        recording = torch.cuda.graph(graph, pool=self.pool, stream=self.stream, capture_error_mode="thread_local")
        with torch.cuda.stream(now), recording:
            made = work()
        return graph.replay, made


class Rates:
    """Learning rates of an optimiser's groups as tensors, which a recorded update reads and one operation sets."""

    def __init__(self, optimizer: optim.Optimizer, device: torch.device) -> None:
        self.optimizer = optimizer
        peaks = [group["peak_lr"] for group in optimizer.param_groups]
        self.peaks = torch.tensor(peaks, dtype=torch.float64, device=device)
        self.now = torch.zeros(len(peaks), device=device)

    def set(self, factor: float) -> None:
        """Set each group's rate to its peak times ``factor``."""
        torch.mul(self.peaks, factor, out=self.now)
        for group, rate in zip(self.optimizer.param_groups, self.now.unbind(), strict=True):
            group["lr"] = rate


@dataclass
class Graph:
    """One shape of batch: its graph once it is recorded, and what is filled before a launch."""

    draws: Drawn = field(default_factory=dict)
    values: ClockValues = field(default_factory=dict)
    updates: int = 0
    batch: Batch | None = None
    launch: Callable[[], object] | None = None
    loss: Tensor | None = None


class RecordedUpdates:
    """Update that takes the place of a trainer's. Where one cannot be recorded, it says so once and goes on without."""

    def __init__(
        self,
        update: Update,
        task: Task,
        optimizer: optim.Optimizer,
        recorder: GraphRecorder,
        note: Callable[[str], object],
    ) -> None:
        self.update, self.task, self.optimizer, self.recorder, self.note = update, task, optimizer, recorder, note
        self.graphs: dict[tuple[object, ...], Graph] = {}
        self.refused = False

    def __call__(self, batch: Batch, key: Key, images: int) -> Tensor:
        if self.refused:
            return self.update(batch, key, images)
        graph = self.graphs.setdefault(shape_of(batch), Graph())
        if graph.launch is None and graph.updates == UNRECORDED and not self.record(graph, batch, key, images):
            return self.update(batch, key, images)
        if graph.launch is None:
            graph.updates += 1
            return self.warm(graph, batch, key, images)
        assert graph.batch is not None
        assert graph.loss is not None
        fill(graph.batch, batch)
        self.task.noise.redraw(graph.draws, key)
        self.task.clock.renew(graph.values)
        graph.launch()
        return graph.loss.clone()

    def warm(self, graph: Graph, batch: Batch, key: Key, images: int) -> Tensor:
        """Update the weights one operation after the other; the last time, keep what the network draws and reads."""
        if graph.updates == UNRECORDED:
            self.keep(graph)
        try:
            return self.recorder.warm(lambda: self.update(batch, key, images))
        finally:
            self.keep(None)

    def keep(self, graph: Graph | None) -> None:
        """Let the network draw into, and read, the tensors of a graph."""
        self.task.noise.drawn = graph.draws if graph else None
        self.task.clock.values = graph.values if graph else None

    def record(self, graph: Graph, batch: Batch, key: Key, images: int) -> bool:
        """Record an update of this shape; return False, with a note, where it cannot be."""
        graph.batch = Batch(*(None if part is None else part.clone() for part in parts(batch)))  # type: ignore[arg-type]
        why = on_the_host(self.optimizer)
        try:
            if not why:
                graph.launch, graph.loss = self._recorded(graph, key, images)
                why = "a trick reads the clock on the host" if self.task.clock.read_on_host else ""
        except RuntimeError as error:
            why = str(error).strip().partition("\n")[0]
        if why:
            self.refused = True
            self.graphs.clear()
            self.note(f"runtime.cuda_graph=true: trains without a graph, as this step cannot be recorded: {why}")
        return not why

    def _recorded(self, graph: Graph, key: Key, images: int) -> tuple[Callable[[], object], Tensor]:
        assert graph.batch is not None
        batch, groups = graph.batch, [group for group in self.optimizer.param_groups if "capturable" in group]
        before = [group["capturable"] for group in groups]
        for group in groups:
            group["capturable"] = True
        self.keep(graph)
        try:
            return self.recorder.record(lambda: self.update(batch, key, images))
        finally:
            self.keep(None)
            for group, value in zip(groups, before, strict=True):
                group["capturable"] = value


def why_no_graph(recipe: Recipe, device: torch.device, *, ranks: int, compile_records: bool) -> str:
    """Return why updates cannot be recorded, as far as that is known before the first one; empty where they can."""
    if device.type != "cuda":
        return "that needs a GPU"
    if ranks > 1:
        return "several devices share each batch"
    if recipe.precision is not None and recipe.precision.loss_scale is not None:
        return "the scale of the loss decides whether a step is taken (tricks.mixed_precision.dtype=bf16 has none)"
    return "runtime.compile_mode records graphs of its own" if compile_records else ""


def on_the_host(optimizer: optim.Optimizer) -> str:
    """Return what of an optimiser a launch would leave out, as it is done on the host; empty if nothing is."""
    if optimizer._optimizer_step_pre_hooks or optimizer._optimizer_step_post_hooks:
        return "log_every and loggers read the gradient in steps of their choice"
    for parameter, state in optimizer.state.items():
        for name, value in state.items():
            if value is not None and not (isinstance(value, Tensor) and value.device == parameter.device):
                return f"the optimiser keeps {name!r} on the host"
    return ""


def parts(batch: Batch) -> tuple[Tensor | None, ...]:
    """Return the tensors of a batch."""
    return batch.images, batch.targets, batch.teacher


def shape_of(batch: Batch) -> tuple[object, ...]:
    """Return what two batches have in common that one graph serves."""
    return tuple((part.shape, part.stride(), part.dtype) if part is not None else None for part in parts(batch))


def fill(held: Batch, batch: Batch) -> None:
    """Copy a batch into the tensors that a graph reads."""
    for mine, given in zip(parts(held), parts(batch), strict=True):
        if mine is not None and given is not None:
            mine.copy_(given)
