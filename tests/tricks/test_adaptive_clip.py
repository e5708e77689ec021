import pytest
import torch
from torch import nn

from bagoftricks.errors import UserError
from bagoftricks.tricks.catalogue import create
from tests.helpers import KEY, create_all, make_batch, make_trainer, the_edit

IDENTITIES = [{"clip": 1e9}]
SHAPES = [(4, 3), (7,), (2, 2, 3, 3), (5, 1, 3, 3)]


def drawn(name, scale):
    rng = KEY.fold(name).generator()
    return [scale * torch.randn(shape, generator=rng) for shape in SHAPES]


def test_a_unit_is_clipped_at_a_share_of_its_own_norm():
    # Rows of norm 5, 0 (taken as eps) and 5: limits 0.5, 0.01 and 0.5 for gradients of norm 5, 1 and 0.3.
    weights = torch.tensor([[3.0, 4.0], [0.0, 0.0], [5.0, 0.0]])
    grads = torch.tensor([[3.0, 4.0], [0.0, 1.0], [0.3, 0.0]])
    create("adaptive_clip", clip=0.1, eps=0.1).limit([grads], [weights])
    torch.testing.assert_close(grads, torch.tensor([[0.3, 0.4], [0.0, 0.01], [0.3, 0.0]]))


@pytest.mark.parametrize("scale", [1e-4, 1e-2, 1.0, 1e3])
@pytest.mark.parametrize("clip", [0.01, 0.5])
def test_it_is_timms(scale, clip):
    agc = pytest.importorskip("timm.utils.agc")
    params, ours = [nn.Parameter(p) for p in drawn("weights", 1.0)], drawn("gradients", scale)
    for param, grad in zip(params, drawn("gradients", scale), strict=True):
        param.grad = grad
    create("adaptive_clip", clip=clip).limit(ours, params)
    agc.adaptive_clip_grad(params, clip_factor=clip)
    for mine, param in zip(ours, params, strict=True):
        torch.testing.assert_close(mine, param.grad)


def test_a_short_gradient_keeps_its_bits_and_one_of_zero_stays():
    params, grads = drawn("weights", 1.0), [*drawn("gradients", 1e-6)[:3], torch.zeros(SHAPES[3])]
    before = [grad.clone() for grad in grads]
    create("adaptive_clip").limit(grads, params)
    assert all(map(torch.equal, grads, before))


def test_the_head_is_left_out():
    plain, clipped = make_trainer({}), make_trainer(create_all(["adaptive_clip"]))
    for trainer in (plain, clipped):
        trainer.step(make_batch())
    gradients = {name: p.grad for name, p in plain.model.named_parameters()}
    same = {n for n, p in clipped.model.named_parameters() if torch.equal(p.grad, gradients[n])}
    assert {"head.weight", "head.bias"} <= same < set(gradients)


def test_a_network_that_is_all_head_has_nothing_to_clip():
    select = the_edit("adaptive_clip").select
    model = make_trainer({}).model
    assert [select(model.head, name) for name, _ in model.head.named_parameters()] == [False, False]
    assert sum(select(m, n) for m in model.modules() for n, _ in m.named_parameters(recurse=False)) > 5


@pytest.mark.parametrize("field", ["clip", "eps"])
def test_values_out_of_range_are_refused(field):
    with pytest.raises(UserError, match=rf"^tricks\.adaptive_clip\.{field}=0\.0: must be positive$"):
        create("adaptive_clip", **{field: 0.0})
