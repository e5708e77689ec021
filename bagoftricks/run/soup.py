"""Uniform soups (Wortsman et al. 2022): one network with the mean of the weights of several finished runs."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from bagoftricks.errors import UserError
from bagoftricks.models.weights import existing, read_tensors
from bagoftricks.run.evaluation import Subject
from bagoftricks.store.record import Record
from bagoftricks.store.store import Store, require_intact

SOUP = "soup"  # name of the weight set


def soup_subject(subject: Subject, records: Sequence[Record], weight_set: str, folder: Path) -> Subject:
    """Return the network of ``subject`` with the mean of one weight set of all ``records``, in a file in ``folder``.

    The running statistics of norms are averaged too. Raises UserError for runs of another network or other classes.
    """
    from safetensors.torch import save_file

    store, first = Store(subject.settings.store), records[0]
    tensors = [weights_of(store, record, weight_set) for record in records]
    shapes = [{name: tensor.shape for name, tensor in found.items()} for found in tensors]
    for record, found in zip(records, shapes, strict=True):
        if found != shapes[0] or record.data.class_names != first.data.class_names:
            raise UserError(
                f"soup={record.id}: has another network, or other classes, than run={first.id}; type runs that differ "
                "in seed or hyper-parameters alone"
            )
    file = folder / f"{SOUP}.safetensors"
    save_file(mean_weights(tensors), file)
    starts = {record.model.get("weights") for record in records}
    alone = "" if len(starts) == 1 and None not in starts else "; these did not start from one file of weights"
    note = f"soup of {len(records)} runs: the mean makes sense for networks that were fine-tuned from one{alone}"
    return replace(subject, files={SOUP: file}, run=None, notes=(*subject.notes, note))


def weights_of(store: Store, record: Record, weight_set: str) -> dict[str, Tensor]:
    """Return the tensors of a weight set. Raises UserError if the run has none of this name, or its file is damaged."""
    if weight_set not in record.metrics:
        raise UserError(f"weight_set={weight_set}: run {record.id} has {', '.join(record.metrics)}")
    file = store.weights(record.id, weight_set)
    require_intact(existing(file))
    return read_tensors(file)


def mean_weights(tensors: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Return the mean of each tensor, and the counts of the first."""
    return {
        name: torch.stack([found[name] for found in tensors]).mean(0) if first.is_floating_point() else first
        for name, first in tensors[0].items()
    }
