import pytest
import torch
from torch import nn

from bagoftricks.errors import UserError
from bagoftricks.tricks.catalogue import create
from tests.helpers import create_all, flat, make_batch, make_task, make_trainer, the_edit, trained


def by_hand(every: int, share: float, steps: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return (slow, fast) weights of Zhang et al.'s algorithm around the baseline's steps."""
    plain = make_trainer({})
    slow = [p.detach().clone() for p in plain.model.state_dict().values()]
    for step in range(1, steps + 1):
        plain.step(make_batch(step=step - 1))
        if step % every == 0:
            for i, fast in enumerate(plain.model.state_dict().values()):
                if fast.is_floating_point():
                    slow[i] += share * (fast - slow[i])
                    fast.copy_(slow[i])
    names = list(plain.model.state_dict())
    kept = [slow[names.index(name)].flatten() for name, _ in plain.model.named_parameters()]
    return torch.cat(kept), flat(plain.model)


@pytest.mark.parametrize(("every", "steps"), [(2, 6), (3, 7)])
def test_with_a_constant_share_it_is_the_algorithm_of_zhang(every, steps):
    decay = 0.5 ** (1 / every)  # a = 1 - decay^every = 1/2
    trainer = make_trainer({"lookahead": create("lookahead", decay=decay, every=every, power=0)})
    for step in range(steps):
        trainer.step(make_batch(step=step))
    slow, fast = by_hand(every, 0.5, steps)
    torch.testing.assert_close(flat(trainer.weight_sets()["lookahead"]), slow)
    torch.testing.assert_close(flat(trainer.model), fast)


def test_airbenchs_shares_are_the_defaults():
    edit = the_edit("lookahead", make_task(total_steps=100))
    assert (edit.times(), edit.pull) == ((0, 5), True)
    assert [edit.weight(n) for n in (1, 10, 20)] == pytest.approx(
        [1 - 0.95**5 * 0.05**3, 1 - 0.95**5 * 0.5**3, 1 - 0.95**5]
    )


def test_after_an_update_the_training_goes_on_from_the_copy():
    trainer = trained(create_all(["lookahead"]), 5)
    assert torch.equal(flat(trainer.model), flat(trainer.weight_sets()["lookahead"]))
    trainer.step(make_batch(step=9))
    assert not torch.equal(flat(trainer.model), flat(trainer.weight_sets()["lookahead"]))


def test_statistics_are_pulled_too_and_the_gradients_stay():
    trainer = trained(create_all(["lookahead"]), 5)
    both = zip(trainer.model.modules(), trainer.weight_sets()["lookahead"].modules(), strict=True)
    norms = [(a, b) for a, b in both if isinstance(a, nn.BatchNorm2d)]
    assert norms
    assert all(torch.equal(a.running_var, b.running_var) for a, b in norms)
    assert all(p.requires_grad and p.is_leaf for p in trainer.model.parameters())


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [("decay", 1.0, r"in \(0, 1\)"), ("every", 1, "2 or more"), ("power", -1.0, "0 or more")],
)
def test_values_out_of_range_are_refused(field, value, expected):
    with pytest.raises(UserError, match=rf"^tricks\.lookahead\.{field}={value}: must be {expected}$"):
        create("lookahead", **{field: value})
