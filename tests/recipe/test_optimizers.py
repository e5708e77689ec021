"""The light optimisers take torch's own steps, bit for bit."""

import copy

import pytest
import torch
from torch import nn, optim

from bagoftricks.recipe.optimizers import LightAdamW, LightSgd

SGD = {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 1e-3, "fused": True}
ADAMW = {"lr": 0.01, "betas": (0.8, 0.95), "weight_decay": 0.1, "fused": True}


@pytest.mark.parametrize(("light", "theirs", "given"), [(LightSgd, optim.SGD, SGD), (LightAdamW, optim.AdamW, ADAMW)])
def test_steps_states_and_hooks_are_those_of_torch(light, theirs, given):
    torch.manual_seed(0)
    mine = nn.Sequential(nn.Linear(7, 5), nn.ReLU(), nn.Linear(5, 3))
    other = copy.deepcopy(mine)
    pairs = [(mine, light(mine.parameters(), **given)), (other, theirs(other.parameters(), **given))]
    stepped = []
    pairs[0][1].register_step_post_hook(lambda *_: stepped.append(1))
    for step in range(4):
        images = torch.randn(6, 7)
        for model, optimizer in pairs:
            model(images).square().mean().backward()
            optimizer.step()
            optimizer.zero_grad()
        if step == 1:  # a state that is loaded goes on alike
            fresh = light(mine.parameters(), **given)
            fresh.load_state_dict(pairs[0][1].state_dict())
            pairs[0] = mine, fresh
    assert len(stepped) == 2
    assert all(p.grad is None for p in mine.parameters())
    assert all(torch.equal(a, b) for a, b in zip(mine.parameters(), other.parameters(), strict=True))
    states = [optimizer.state_dict() for _, optimizer in pairs]
    for number, entry in states[1]["state"].items():
        assert all(torch.equal(value, states[0]["state"][number][name]) for name, value in entry.items())
    assert states[0]["param_groups"] == states[1]["param_groups"]
