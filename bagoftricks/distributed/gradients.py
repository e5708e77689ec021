"""Average the gradients of a batch's shares during the backward pass."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from bagoftricks.distributed.world import World

BUCKET_BYTES = 25 * 2**20  # bytes per message: large for the bandwidth, small for overlap with the backward pass


class Bucket:
    """Parameters whose gradients are averaged in one message."""

    def __init__(self, parameters: list[nn.Parameter]) -> None:
        self.parameters, self.ready, self.work = parameters, 0, None
        self.flat = torch.zeros(
            sum(p.numel() for p in parameters), dtype=parameters[0].dtype, device=parameters[0].device
        )
        # Laid out as the parameters are, so that copies run along memory in channels_last too.
        starts = torch.tensor([0] + [p.numel() for p in parameters]).cumsum(0).tolist()
        self.parts = [
            self.flat[start : start + p.numel()].as_strided(p.shape, p.stride()) if dense(p)
            else self.flat[start : start + p.numel()].view(p.shape)
            for start, p in zip(starts, parameters, strict=False)
        ]  # fmt: skip

    def pairs(self) -> tuple[list[Tensor], list[Tensor]]:
        """Return the gradients that exist, and their places in the message."""
        found = [(p.grad, part) for p, part in zip(self.parameters, self.parts, strict=True) if p.grad is not None]
        return [grad for grad, _ in found], [part for _, part in found]


class MeanGradients:
    """Mean over the ranks of the gradients of ``parameters``.

    A bucket is sent as soon as its gradients are complete, in one order on every rank: the reverse order of the
    parameters, which is about that of the backward pass. Call ``backward`` for each part of a batch, then ``finish``;
    only the gradients after the last part are sent.
    """

    def __init__(self, world: World, parameters: Iterable[nn.Parameter]) -> None:
        self.world, self.sending, self.next = world, False, 0
        self.buckets = [Bucket(made) for made in buckets_of([p for p in parameters if p.requires_grad][::-1])]
        for bucket in self.buckets:
            for parameter in bucket.parameters:
                parameter.register_post_accumulate_grad_hook(self._hook(bucket))  # type: ignore[no-untyped-call]

    def backward(self, loss: Tensor, *, last: bool) -> None:
        """Add the gradient of ``loss`` to the parameters'; send the sums meanwhile if it is the batch's ``last``."""
        self.sending = last
        loss.backward()  # type: ignore[no-untyped-call]

    def finish(self) -> None:
        """Wait until every parameter has the mean gradient of all ranks. A GPU waits, the host does not."""
        while self.next < len(self.buckets):
            self._send()  # the rest has parameters that the loss does not depend on
        for bucket in self.buckets:
            self.world.wait(bucket.work)
            grads, parts = bucket.pairs()
            bucket.flat.div_(self.world.size)
            if grads:
                torch._foreach_copy_(grads, parts)
            bucket.ready, bucket.work = 0, None
        self.next, self.sending = 0, False

    def _hook(self, bucket: Bucket) -> Any:
        def complete(parameter: Tensor) -> None:
            if self.sending:
                bucket.ready += 1
                while self.next < len(self.buckets) and self._complete(self.buckets[self.next]):
                    self._send()

        return complete

    def _complete(self, bucket: Bucket) -> bool:
        return bucket.ready >= len(bucket.parameters)

    @torch.no_grad()
    def _send(self) -> None:
        bucket = self.buckets[self.next]
        grads, parts = bucket.pairs()
        if len(grads) < len(bucket.parameters):
            bucket.flat.zero_()
        if grads:
            torch._foreach_copy_(parts, grads)
        bucket.work = self.world.all_reduce_async(bucket.flat)
        self.next += 1


def buckets_of(parameters: list[nn.Parameter]) -> list[list[nn.Parameter]]:
    """Cut a list into runs of one type and device, of about ``BUCKET_BYTES`` each."""
    made: list[list[nn.Parameter]] = []
    size, kind = 0, None
    for parameter in parameters:
        if not made or size >= BUCKET_BYTES or kind != (parameter.dtype, parameter.device):
            made.append([])
            size, kind = 0, (parameter.dtype, parameter.device)
        made[-1].append(parameter)
        size += parameter.numel() * parameter.element_size()
    return made


def dense(tensor: Tensor) -> bool:
    """Return True if the elements fill one piece of memory, in any order of dimensions."""
    return tensor.is_contiguous() or tensor.is_contiguous(memory_format=torch.channels_last) if tensor.ndim == 4 else (
        tensor.is_contiguous()
    )  # fmt: skip
