import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from bagoftricks.errors import UserError
from bagoftricks.models import build_model
from bagoftricks.models.embedding import EmbeddingHead, cosine_softmax, replace_head
from bagoftricks.models.weights import fitted, head_names, library_tensors
from bagoftricks.settings import network_settings

COSINES = torch.tensor([[0.6, 0.1, -0.3], [-0.99, 0.2, 0.5]])
TARGETS = F.one_hot(torch.tensor([0, 0]), 3).float()


def test_no_margin_is_the_softmax_of_scaled_cosines():
    plain = F.cross_entropy(20 * COSINES, TARGETS)
    torch.testing.assert_close(cosine_softmax(COSINES, TARGETS, scale=20), plain)
    torch.testing.assert_close(cosine_softmax(COSINES, TARGETS, scale=20, margin=1e-9), plain, atol=1e-6, rtol=0)


def test_a_margin_turns_the_angle_of_the_right_class():
    turned = torch.tensor([[math.cos(math.acos(0.6) + 0.3), 0.1, -0.3]])
    expected = F.cross_entropy(10 * turned, TARGETS[:1])
    torch.testing.assert_close(cosine_softmax(COSINES[:1], TARGETS[:1], scale=10, margin=0.3), expected)


def test_beyond_pi_minus_the_margin_the_loss_still_falls_with_the_angle():
    cosines = torch.tensor([[-1.0, 0.0], [-0.995, 0.0], [-0.98, 0.0], [-0.95, 0.0], [-0.9, 0.0]])
    losses = [cosine_softmax(row[None], TARGETS[:1, :2], scale=10, margin=0.3).item() for row in cosines]
    assert losses == sorted(losses, reverse=True)
    expected = F.cross_entropy(10 * torch.tensor([[-0.995 - 0.3 * math.sin(0.3), 0.0]]), TARGETS[:1, :2])
    assert losses[1] == pytest.approx(expected.item())


def test_the_head_gives_cosines_in_training_and_embeddings_afterwards():
    torch.manual_seed(0)
    head, features = EmbeddingHead(6, 4, 3), torch.randn(8, 6)
    embeddings = F.batch_norm(features @ head.embed.weight.T, None, None, training=True)
    expected = F.normalize(embeddings) @ F.normalize(head.classes.weight).T
    torch.testing.assert_close(head(features), expected)
    assert expected.abs().max() <= 1 + 1e-6
    head.eval()
    assert head(features).shape == (8, 4)


def test_the_last_linear_layer_is_replaced_and_counts_as_the_head():
    network = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 10))
    made = replace_head(network, lambda features: EmbeddingHead(features, 5, 3))
    assert made(torch.randn(4, 4)).shape == (4, 3)
    assert {name.partition(".")[0] for name in head_names(made)} == {"2"}
    assert "2.classes.weight" in head_names(made)
    with pytest.raises(UserError, match="no linear layer"):
        replace_head(nn.Conv2d(3, 4, 1), lambda features: nn.Identity())


@pytest.mark.parametrize("naming", ["ours", "torchvision"])
def test_the_weights_of_a_classifier_start_a_network_with_embeddings(naming):
    spec = network_settings(name="tiny", depths=[1], width=4)
    classifier, network = (build_model(spec, {}, num_classes=7, image_size=96) for _ in range(2))
    network = replace_head(network, lambda features: EmbeddingHead(features, 4, 3))
    tensors = classifier.state_dict() if naming == "ours" else library_tensors(classifier, "tiny")
    found = fitted(network, tensors, "file", new_head=True)
    trunk = {name: tensor for name, tensor in classifier.state_dict().items() if not name.startswith("head.")}
    assert found.keys() == trunk.keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in trunk.items())
    with pytest.raises(UserError, match="is not of this network"):
        fitted(network, tensors, "file")
    with pytest.raises(UserError, match="1 unexpected"):
        fitted(network, tensors | {"neck.weight": torch.zeros(1)}, "file", new_head=True)
