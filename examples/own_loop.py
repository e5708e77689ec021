"""A training loop of one's own: the network, the batches and the loss are bagoftricks', every other line is PyTorch's.

python own_loop.py +refine=[cosine,mixup,ema] epochs=5 trains on the digits; the weights are those of bot-train.
"""

import sys
from pathlib import Path

from safetensors.torch import save_file

import bagoftricks as bot


def train(*arguments: str, weights: str | Path = "weights.safetensors") -> dict[str, float]:
    """Train with these arguments of bot-train, write the last weights, return the accuracy of each weight set in %."""
    work = bot.compose(*arguments)
    print(work)
    top1: dict[str, float] = {}
    for epoch in range(work.epochs):
        total = 0.0
        for batch in work.batches(epoch):  # augmented, mixed and normalised; the learning rates are set
            logits = work.network(batch.images)
            loss = work.loss(logits, batch)  # of targets that are distributions
            work.optimizer.zero_grad()
            loss.backward()
            work.optimizer.step()
            total += loss.item()
        top1 = {name: scores.top1 for name, scores in work.evaluate().items()}
        print(f"epoch {epoch + 1}: loss {total / work.steps_per_epoch:.4f}, top-1 {top1}")
    save_file({name: tensor.contiguous() for name, tensor in work.network.state_dict().items()}, weights)
    return top1


if __name__ == "__main__":
    train(*sys.argv[1:])
