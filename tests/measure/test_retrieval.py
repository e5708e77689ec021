"""Recall and mean average precision of embeddings, against plain loops."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bagoftricks.measure import retrieval
from bagoftricks.measure.retrieval import map_at_r, nearest_images, neighbours, recalls
from tests.helpers import KEY


def by_hand(embeddings, labels, ks):
    """Recalls and mean average precision at R in percent, and hits, from sorted lists of cosines in fp32."""
    units = torch.nn.functional.normalize(embeddings, dim=1)
    cosines = (units @ units.T).tolist()
    hits, found, precisions = [], dict.fromkeys(ks, 0), []
    for query, row in enumerate(cosines):
        order = sorted((j for j in range(len(row)) if j != query), key=lambda j: (-row[j], j))
        alike = [bool(labels[j] == labels[query]) for j in order]
        hits.append(alike[:1] == [True])
        for k in ks:
            found[k] += any(alike[:k])
        most = sum(alike)
        precisions.append(sum(sum(alike[:i]) / i for i in range(1, most + 1) if alike[i - 1]) / max(most, 1))
    return {k: 100 * found[k] / len(labels) for k in ks}, 100 * sum(precisions) / len(precisions), hits


def random_set(seed, images=60, dims=6, classes=9):
    rng = KEY.fold("retrieval", seed).generator()
    return torch.randn(images, dims, generator=rng), torch.randint(classes, (images,), generator=rng)


def test_four_images_by_hand():
    # Angles 0, 10, 25 and 100 degrees, classes a, b, a, b. Nearest: b, a, b, a: no hit. Nearest two: {b, a}, {a, a},
    # {b, a}, {a, b}: three hits. R is 1 for all, so no precision counts.
    angles = torch.tensor([0.0, 10, 25, 100]).deg2rad()
    embeddings = torch.stack([angles.cos(), angles.sin()], 1) * torch.tensor([[1.0], [5], [0.1], [2]])
    labels = torch.tensor([0, 1, 0, 1])
    assert recalls(embeddings, labels, [1, 2, 3]) == {1: 0, 2: 75, 3: 100}
    assert map_at_r(embeddings, labels) == 0


def test_mean_average_precision_at_r_by_hand():
    angles = torch.tensor([0.0, 10, 21, 40, 31, 44]).deg2rad()
    labels = torch.tensor([0, 0, 0, 0, 1, 1])
    # Class 0 has R = 3, and its queries find, by their degrees: 0: right, right, wrong. 10: the same.
    # 21: wrong, right, right. 40: wrong, wrong, right. Class 1 has R = 1, and both of its queries find class 0.
    expected = 100 * (2 / 3 + 2 / 3 + (1 / 2 + 2 / 3) / 3 + (1 / 3) / 3) / 6
    assert map_at_r(torch.stack([angles.cos(), angles.sin()], 1), labels) == pytest.approx(expected)


@given(st.integers(0, 10**6), st.integers(2, 40), st.integers(1, 12), st.booleans())
def test_scores_are_those_of_plain_loops(seed, images, classes, coarse):
    embeddings, labels = random_set(seed, images, 4, classes)
    if coarse:  # many equal cosines, of which the lower number is nearer
        embeddings = embeddings.sign() * (torch.arange(4) < 2)
    ks = [1, 2, 5, 100]
    expected, precision, hits = by_hand(embeddings, labels, ks)
    found = neighbours(embeddings, labels)
    assert recalls(embeddings, labels, ks) == pytest.approx(expected)
    assert found.map_at_r() == map_at_r(embeddings, labels) == pytest.approx(precision)
    assert neighbours(embeddings, labels, 1).hits.tolist() == hits


@pytest.mark.parametrize("at_once", [1, 200])
def test_scores_do_not_depend_on_the_rows_that_are_computed_at_once(at_once, monkeypatch):
    embeddings, labels = random_set(0)
    expected = neighbours(embeddings, labels)
    monkeypatch.setattr(retrieval, "COSINES_AT_ONCE", at_once)
    assert torch.equal(neighbours(embeddings, labels).alike, expected.alike)


def test_the_order_of_images_does_not_matter():
    embeddings, labels = random_set(1)
    order = KEY.permutation(len(labels), torch.device("cpu"))
    found, permuted = neighbours(embeddings, labels), neighbours(embeddings[order], labels[order])
    assert torch.equal(permuted.alike, found.alike[order])
    assert permuted.map_at_r() == pytest.approx(found.map_at_r())


def test_of_duplicates_in_one_class_each_finds_the_other():
    embeddings, _ = random_set(2)
    twice, labels = torch.cat([embeddings, embeddings]), torch.arange(60).repeat(2)
    assert recalls(twice, labels, [1]) == {1: 100}
    assert map_at_r(twice, labels) == 100


def test_random_embeddings_find_their_class_by_chance():
    embeddings, _ = random_set(3, images=2000, dims=16)
    labels = torch.arange(2000) % 20
    # 99 of 1999 others are of the class; the standard error is 0.5 percent.
    assert recalls(embeddings, labels, [1])[1] == pytest.approx(100 * 99 / 1999, abs=1.5)


def test_equal_embeddings_find_the_images_with_the_lowest_numbers():
    labels = torch.tensor([0, 1, 1, 0, 2])
    # The nearest neighbour of image 0 is image 1, and of all others image 0.
    assert neighbours(torch.ones(5, 3), labels, 1).hits.tolist() == [False, False, False, True, False]


@pytest.mark.parametrize("broken", [torch.nan, torch.inf])
def test_a_broken_embedding_is_the_last_neighbour_and_finds_nothing_by_luck(broken):
    embeddings, labels = torch.eye(4), torch.tensor([0, 1, 0, 1])
    embeddings[3] = broken
    # Images 0, 1 and 2 are at right angles to one another, so numbers decide; image 3 is behind them. It finds itself
    # last and the others by their numbers.
    assert neighbours(embeddings, labels, 3).alike.tolist() == [
        [False, True, False],
        [False, False, True],
        [True, False, False],
        [False, True, False],
    ]


def test_a_query_whose_class_has_no_other_image_is_a_miss():
    labels = torch.tensor([0, 0, 1])
    assert recalls(torch.eye(3), labels, [5]) == {5: pytest.approx(200 / 3)}
    assert recalls(torch.eye(1), torch.tensor([0]), [1]) == {1: 0}
    assert map_at_r(torch.eye(3), torch.arange(3)) == 0


def test_of_equal_cosines_the_lower_number_is_nearer_whatever_their_sign():
    values = KEY.fold("ties").numpy().choice([-1, -0.5, -0.0, 0.0, 0.25, 1], (20, 50))
    expected = np.argsort(-values, axis=1, kind="stable")
    for count in (1, 7, 50):
        found = nearest_images(torch.from_numpy(values).float(), count)
        assert (found.numpy() == expected[:, :count]).all()


def test_the_nearest_of_a_gallery_by_hand():
    gallery = torch.tensor([[1.0, 0], [0, 2], [3, 3], [-1, 0]])
    queries = torch.tensor([[5.0, 0], [0, 1]])
    numbers, cosines = retrieval.nearest_of(queries, gallery, 3, torch.tensor([-1, 1]))
    assert numbers.tolist() == [[0, 2, 1], [2, 0, 3]]  # the second query is image 1 itself
    assert cosines[0].tolist() == pytest.approx([1, 0.5**0.5, 0])
    assert retrieval.nearest_of(queries, gallery, 9, torch.tensor([-1, 1]))[0].shape == (2, 3)
    assert retrieval.nearest_of(queries, gallery, 9, torch.tensor([-1, -1]))[0].shape == (2, 4)
