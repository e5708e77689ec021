import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bagoftricks.rng import Key, Noise

SAMPLES = st.lists(st.integers(0, 2**40), min_size=1, max_size=20)


@given(st.integers(0, 2**40), SAMPLES, SAMPLES)
def test_a_sample_draws_the_same_whatever_samples_come_with_it(sample, before, after):
    together = Key(0).uniform([*before, sample, *after], 3)
    assert (together[len(before)] == Key(0).uniform([sample], 3)[0]).all()


@given(SAMPLES, st.integers(1, 8), st.integers(0, 8))
def test_a_draw_is_the_same_however_many_follow_it(samples, draws, more):
    assert (Key(0).uniform(samples, draws + more)[:, :draws] == Key(0).uniform(samples, draws)).all()


@given(SAMPLES, st.integers(1, 8), st.integers(0, 2**63))
def test_uniform_numbers_are_in_the_unit_interval(samples, draws, seed):
    numbers = Key(seed).uniform(samples, draws)
    assert numbers.shape == (len(samples), draws)
    assert ((numbers >= 0) & (numbers < 1)).all()


def test_uniform_numbers_have_the_moments_of_the_uniform_distribution():
    numbers = Key(0).uniform(np.arange(100_000), 2)
    assert numbers.mean(0) == pytest.approx([0.5, 0.5], abs=0.003)
    assert numbers.var(0) == pytest.approx([1 / 12, 1 / 12], abs=0.001)


def test_uniform_numbers_fill_every_tenth_evenly():
    counts = np.bincount((Key(0).uniform(np.arange(100_000), 1)[:, 0] * 10).astype(int), minlength=10)
    assert (abs(counts - 10_000) < 400).all()


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (Key(0).uniform(np.arange(10_000), 1), Key(1).uniform(np.arange(10_000), 1)),
        (Key(0).fold("crop").uniform(np.arange(10_000), 1), Key(0).fold("flip").uniform(np.arange(10_000), 1)),
        (Key(0).fold(0).uniform(np.arange(10_000), 1), Key(0).fold(1).uniform(np.arange(10_000), 1)),
        (Key(0).uniform(np.arange(10_000), 2)[:, :1], Key(0).uniform(np.arange(10_000), 2)[:, 1:]),
        (Key(0).uniform(np.arange(10_000), 1), Key(0).uniform(np.arange(1, 10_001), 1)),
        (Key(0).uniform(np.arange(10_000), 2)[1:, :1], Key(0).uniform(np.arange(10_000), 2)[:-1, 1:]),
    ],
    ids=["seeds", "names", "steps", "draws", "samples", "diagonals"],
)
def test_streams_are_uncorrelated(one, other):
    assert abs(np.corrcoef(one[:, 0], other[:, 0])[0, 1]) < 0.04


def test_numbers_come_twice_as_often_as_chance_has_it():
    # 100,000 draws among 2^24 values: 297 repeats are expected, with a standard deviation of 17.
    repeats = [100_000 - np.unique(Key(seed).uniform(np.arange(10_000), 10)).size for seed in range(8)]
    assert abs(np.mean(repeats) - 297) < 20


def test_numbers_stay_below_one_in_single_precision():
    numbers = Key(0).uniform(np.arange(1_000_000), 20)
    assert numbers.max() > 1 - 2**-22
    assert np.float32(numbers).max() < 1


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (Key(0).fold("a", "b"), Key(0).fold("ab")),
        (Key(0).fold("a", "b"), Key(0).fold("b", "a")),
        (Key(0).fold(1), Key(0).fold("1")),
        (Key(0).fold(1, 2), Key(0).fold(12)),
        (Key(0).fold(1), Key(1).fold(0)),
        (Key(0), Key(0).fold("")),
        (Key(0), Key(1)),
    ],
)
def test_different_paths_are_different_streams(one, other):
    assert one.bits() != other.bits()


def test_folding_twice_is_folding_once_with_both_names():
    assert Key(3).fold("a").fold("b", 1) == Key(3).fold("a", "b", 1)


def test_the_bits_fit_a_seed_of_pytorch():
    assert all(0 <= Key(seed).bits() < 2**63 for seed in range(1000))


def test_a_generator_starts_at_the_same_place_each_time():
    first, second = (torch.rand(5, generator=Key(0).fold("a").generator()) for _ in range(2))
    assert torch.equal(first, second)


def test_two_generators_of_the_cpu_do_not_disturb_each_other():
    first, second = Key(0).fold("a").generator(), Key(0).fold("b").generator()
    torch.rand(3, generator=second)
    assert torch.equal(torch.rand(5, generator=first), torch.rand(5, generator=Key(0).fold("a").generator()))


def test_a_generator_leaves_the_global_one_alone():
    before = torch.get_rng_state()
    torch.rand(5, generator=Key(0).generator())
    assert torch.equal(torch.get_rng_state(), before)


def test_a_numpy_generator_starts_at_the_same_place_each_time():
    assert (Key(0).numpy().random(5) == Key(0).numpy().random(5)).all()
    assert (Key(0).numpy().random(5) != Key(1).numpy().random(5)).all()


# Golden values: a change of one changes every result there is, and belongs into the changelog.


def test_the_bits_of_a_key_never_change():
    assert Key(0).bits() == 7210762507766007076
    assert Key(0).fold("mixup", 3).bits() == 844785581980445888


def test_the_uniform_numbers_of_a_key_never_change():
    assert Key(0).uniform([0, 1], 2).tolist() == [
        [0.5801471471786499, 0.9438801407814026],
        [0.9029057025909424, 0.0006663799285888672],
    ]


def test_the_numpy_numbers_of_a_key_never_change():
    assert Key(0).numpy().random(2).tolist() == [0.9748796989533376, 0.06555156462314848]


@given(st.integers(1, 50), st.integers(1, 8), st.integers(0, 2**63))
def test_numbers_that_are_computed_on_a_device_are_those_of_the_host(count, draws, seed):
    numbers = Key(seed).uniform_on(torch.device("cpu"), count, draws)
    assert (numbers.numpy() == Key(seed).uniform(np.arange(count), draws)).all()


def test_a_permutation_is_drawn_on_the_host():
    expected = torch.randperm(100, generator=Key(3).fold("partner").generator())
    assert torch.equal(Key(3).fold("partner").permutation(100, torch.device("cpu")), expected)


@pytest.mark.gpu
def test_numbers_and_permutations_on_a_gpu_are_those_of_the_host():
    gpu, cpu = torch.device("cuda"), torch.device("cpu")
    assert torch.equal(Key(3).uniform_on(gpu, 10_000, 5).cpu(), Key(3).uniform_on(cpu, 10_000, 5))
    assert torch.equal(Key(3).permutation(2000, gpu).cpu(), Key(3).permutation(2000, cpu))


def test_draws_of_another_step_take_the_place_of_those_that_are_kept():
    noise, cpu = Noise(Key(1).fold("network", 4, 0)), torch.device("cpu")
    noise.drawn = {}
    first = noise.uniform(3, 2, device=cpu, place="head")
    assert noise.uniform(3, 2, device=cpu, place="head") is first
    noise.redraw(noise.drawn, Key(1).fold("network", 5))
    expected = Noise(Key(1).fold("network", 5, 0)).uniform(3, 2, device=cpu, place="head")
    assert torch.equal(first, expected)
