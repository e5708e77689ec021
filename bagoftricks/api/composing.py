"""The pieces of a run for a training loop of one's own: ``bot.compose``."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any

from bagoftricks.api.session import callers_state, composed, typed_request
from bagoftricks.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor, nn, optim

    from bagoftricks.data import Loader
    from bagoftricks.recipe.edits import Batch
    from bagoftricks.recipe.recipe import Recipe
    from bagoftricks.run.prepare import Prepared
    from bagoftricks.settings import Settings
    from bagoftricks.store.record import Scores
    from bagoftricks.training.trainer import Trainer


@dataclass(frozen=True, repr=False)
class OwnTraining:
    """Network, optimiser, batches and loss of a run, for a loop that is not ours. It leaves no record."""

    prepared: "Prepared" = field(compare=False)
    trainer: "Trainer" = field(compare=False)
    loaders: "tuple[Loader, Loader]" = field(compare=False)
    """of the training images and of the validation images"""

    @property
    def settings(self) -> "Settings":
        """Settings of the run."""
        return self.prepared.settings

    @property
    def recipe(self) -> "Recipe":
        """Merged edits of all tricks, as plain values and functions."""
        return self.trainer.recipe

    @property
    def network(self) -> "nn.Module":
        """Network with its initial weights, on its device; the training changes it."""
        return self.trainer.model

    @property
    def optimizer(self) -> "optim.Optimizer":
        """Optimiser; its ``step`` applies the tricks that change gradients, such as clipping, first."""
        return self.trainer.optimizer

    @property
    def epochs(self) -> int:
        """Passes over the training images."""
        return self.settings.epochs

    @property
    def steps_per_epoch(self) -> int:
        """Batches of an epoch."""
        return self.trainer.length.steps_per_epoch

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes."""
        return self.prepared.data.classes

    def learning_rate_factor(self, step: int) -> float:
        """Return the factor of the peak learning rate at a step of the run, from 0."""
        return self.recipe.schedule(step)

    def batches(self, epoch: int) -> "Iterator[Batch]":
        """Yield the training batches of an epoch, from 0, as the network is to see them.

        ``batch.images`` (V x B, C, S, S) are augmented, mixed, normalised, ``batch.targets`` (B, K) are distributions,
        and both are on the device. With each batch, the learning rates, the clock of the schedules and the draws inside
        the network are set to its step, and the step before is counted: averaged weights move then. The steps come in
        their order, each once.
        """
        from bagoftricks.training.parameters import train_mode

        trainer, first = self.trainer, epoch * self.steps_per_epoch
        if trainer.steps_done != first:
            raise UserError(f"epoch {epoch}: begins at step {first}, and {trainer.steps_done} steps were taken")
        for batch in self.loaders[0].epoch(epoch):
            train_mode(self.network)
            trainer.task.noise.key = trainer.key.fold("network", trainer.steps_done).fold(0)
            yield trainer.begin_step(batch)[0]
            trainer.end_step()

    def loss(self, logits: "Tensor", batch: "Batch") -> "Tensor":
        """Return the loss (a scalar) of logits (V x B, K) of all images of the batch, with the tricks' own terms."""
        return self.trainer.loss(logits, batch)

    def evaluate(self) -> "dict[str, Scores]":
        """Return the scores of each weight set (last, and averages) on the validation images, as a run records them."""
        from bagoftricks.measure.accuracy import accuracy
        from bagoftricks.run.epochs import REFRESH_BATCHES
        from bagoftricks.store.record import scores_of
        from bagoftricks.training.trainer import predictor

        (train, val), trainer = self.loaders, self.trainer
        trainer.refresh_norms(islice(train.epoch(trainer.steps_done // self.steps_per_epoch), REFRESH_BATCHES))
        sets = trainer.weight_sets().items()
        return {name: scores_of(accuracy(predictor(self.recipe, model), val.epoch(0))) for name, model in sets}

    def __repr__(self) -> str:
        tricks = " + ".join(self.settings.tricks) or "baseline"
        of = f"{self.settings.model.name} on {self.prepared.data.name}"
        return f"OwnTraining({tricks}: {of}, {self.epochs} epochs of {self.steps_per_epoch} steps)"


def compose_training(*overrides: str, **settings: Any) -> OwnTraining:
    """Return the pieces of the run that ``train`` would carry out, for a training loop of one's own.

    Arguments are those of ``train``. A plain loop that takes its batches, its loss and its optimiser from here has the
    weights of the run bit for bit, on the same machine with the same number of threads. Raises ``errors.UserError`` for
    tricks that such a loop would leave out in silence: those that compute the gradient in their own way (sam), in parts
    (micro_batch), or at another precision (mixed_precision).

    >>> import bagoftricks as bot
    >>> work = bot.compose("+refine=[cosine,mixup]", epochs=1, data={"limit": 300}, batch_size=100)
    >>> for batch in work.batches(epoch=0):
    ...     loss = work.loss(work.network(batch.images), batch)
    ...     work.optimizer.zero_grad()
    ...     loss.backward()
    ...     _ = work.optimizer.step()
    >>> work.evaluate().keys()
    dict_keys(['last'])
    """
    arguments, without = typed_request("bot-train", overrides, settings)
    made = composed(arguments, without)
    if made.runtime.devices != 1:
        raise UserError(f"runtime.devices={made.runtime.devices}: a loop of one's own has one device; leave it out")
    from bagoftricks.run.loading import loaders, teacher_logits, teacher_online
    from bagoftricks.run.prepare import prepare
    from bagoftricks.run.start import make_trainer

    with callers_state():
        prepared = prepare(made)
        refuse_beyond_a_loop(prepared)
        of = loaders(prepared, teacher_logits(prepared))
        trainer = make_trainer(prepared, len(of[0]), sample=of[0].sample, teacher=teacher_online(prepared))
    if trainer.recipe.map_grads:
        trainer.optimizer.register_step_pre_hook(lambda *_: trainer.edit_gradients())
    return OwnTraining(prepared, trainer, of)


compose = compose_training  # of the library: bot.compose("+refine=mixup")


def refuse_beyond_a_loop(prepared: "Prepared") -> None:
    """Raise UserError for a trick that needs more than a plain loop does."""
    from bagoftricks.recipe.edits import SetGradient, SetPrecision, SplitBatch

    for name, trick in prepared.checked.tricks.items():
        for edit in trick.edits(prepared.checked.task):
            if isinstance(edit, SetGradient | SetPrecision | SplitBatch):
                raise UserError(
                    f"trick '{name}': a plain loop would leave it out: drop it with ~tricks.{name}, or use bot.train"
                )
