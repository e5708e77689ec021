import gc
import subprocess
import sys
from dataclasses import astuple

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests

from bagoftricks.errors import UserError
from bagoftricks.statistics import paired as statistics
from bagoftricks.statistics.paired import Summary, compare, holm, seeds_needed, summarise

# Top-1 % by seed; the seeds are out of order on purpose.
SCORES = {
    "baseline": {0: 76.1, 1: 76.5, 2: 75.9, 3: 76.3, 4: 76.0},
    "mixup": {4: 77.0, 3: 77.4, 2: 76.8, 1: 77.3, 0: 77.2},
    "cosine": {0: 76.3, 1: 76.4, 2: 76.2, 3: 76.2, 4: 76.3},
    "ema": {2: 75.5, 3: 75.7, 7: 90.0},
}
PAIRS = [("mixup", "baseline"), ("cosine", "baseline"), ("ema", "baseline")]


@pytest.fixture
def quick(monkeypatch):
    """Thousands of studies: without the advice on seeds, which no verdict depends on, and statsmodels' gc.collect."""
    monkeypatch.setattr(statistics, "seeds_needed", lambda *_: None)
    monkeypatch.setattr(gc, "collect", lambda: 0)


def by_seed(values):
    return {seed: float(value) for seed, value in enumerate(values)}


def one(arm, other, **options):
    """The comparison of two arms given as lists of values, seeds 0, 1, ..."""
    return compare({"arm": by_seed(arm), "other": by_seed(other)}, [("arm", "other")], **options)[0]


def paired(arm, other):
    """Values of both arms over the seeds of both."""
    seeds = SCORES[arm].keys() & SCORES[other].keys()
    return [[SCORES[label][seed] for seed in seeds] for label in (arm, other)]


def test_a_mean_has_a_t_interval():
    values = [76.1, 76.5, 75.9]
    low, high = stats.t.interval(0.95, df=2, loc=np.mean(values), scale=stats.sem(values))
    assert astuple(summarise(values)) == pytest.approx((3, np.mean(values), low, high))
    # By hand: s = sqrt(2), t(1 degree of freedom, 97.5 %) = 12.7062, so 2 ± 12.7062.
    assert astuple(summarise([1.0, 3.0])) == pytest.approx((2, 2.0, -10.7062, 14.7062))
    assert astuple(summarise([1.0, 3.0], 0.5)) == pytest.approx((2, 2.0, 1.0, 3.0))  # t(1, 75 %) = 1


@pytest.mark.parametrize("values", [[76.1], [76.1, 76.1, 76.1]])
def test_without_spread_a_mean_has_no_interval(values):
    assert summarise(values) == Summary(len(values), float(np.mean(values)), None, None)


def test_differences_are_the_paired_t_test_of_scipy():
    compared = compare(SCORES, PAIRS)
    for found, pair in zip(compared, PAIRS, strict=True):
        arm, other = paired(*pair)
        expected = stats.ttest_rel(arm, other)
        interval = expected.confidence_interval(0.95)
        assert (found.label, found.against, found.n) == (*pair, len(arm))
        assert found.difference == pytest.approx(np.mean(arm) - np.mean(other))
        assert (found.low, found.high, found.p) == pytest.approx((interval.low, interval.high, expected.pvalue))
    raw = [found.p for found in compared]
    assert [found.p_holm for found in compared] == pytest.approx(multipletests(raw, method="holm")[1].tolist())


def test_holm_multiplies_the_smallest_by_all_and_passes_over_what_was_not_tested():
    assert holm([0.03, None, 0.01, 0.04]) == [pytest.approx(0.06), None, pytest.approx(0.03), pytest.approx(0.06)]
    assert holm([None]) == [None]


def test_the_verdict_follows_the_corrected_p_value():
    arm, other = [1.0, 2.2, 3.1], [0.0, 1.0, 2.4]
    alone = one(arm, other)
    assert alone.p == alone.p_holm == pytest.approx(0.0219, abs=1e-4)
    assert alone.verdict == "helps"
    null = {"null": by_seed([0.1, 0.8, 2.6])}
    scores = {"arm": by_seed(arm), "other": by_seed(other), **null}
    among = compare(scores, [("arm", "other"), ("null", "other"), ("null", "other")])[0]
    assert (among.p, among.p_holm) == pytest.approx((alone.p, 3 * alone.p))
    assert among.low > 0
    assert among.verdict.startswith("not distinguishable")


def test_higher_or_lower_is_better():
    assert [found.verdict for found in compare(SCORES, PAIRS[:1])] == ["helps"]
    assert [found.verdict for found in compare(SCORES, PAIRS[:1], higher_is_better=False)] == ["hurts"]
    reverse = compare(SCORES, [("baseline", "mixup")])[0]
    assert (reverse.verdict, reverse.difference < 0) == ("hurts", True)


def test_alpha_sets_the_interval_and_the_verdict():
    arm, other = [1.0, 2.2, 3.1], [0.0, 1.0, 2.4]
    interval = stats.ttest_rel(arm, other).confidence_interval(0.99)
    strict = one(arm, other, alpha=0.01)
    assert (strict.low, strict.high) == pytest.approx((interval.low, interval.high))
    assert strict.verdict.startswith("not distinguishable")


def test_seeds_are_paired_by_number_and_not_by_position():
    shuffled = {label: dict(sorted(values.items(), key=lambda item: -item[1])) for label, values in SCORES.items()}
    assert compare(shuffled, PAIRS) == compare(SCORES, PAIRS)


def test_what_a_seed_does_to_both_arms_cancels():
    offset = {seed: 10.0 * seed for seed in range(8)}
    moved = {label: {seed: v + offset[seed] for seed, v in values.items()} for label, values in SCORES.items()}
    for found, before in zip(compare(moved, PAIRS), compare(SCORES, PAIRS), strict=True):
        assert (found.difference, found.low, found.high, found.p_holm) == pytest.approx(
            (before.difference, before.low, before.high, before.p_holm), rel=1e-9
        )
        assert found.verdict == before.verdict


def test_one_shared_seed_allows_no_conclusion():
    found = compare({"arm": {0: 80.0, 1: 81.0}, "other": {1: 70.0, 2: 71.0}}, [("arm", "other")])[0]
    assert (found.n, found.difference, found.low, found.high, found.p, found.p_holm) == (1, 11.0, *[None] * 4)
    assert found.verdict == "one seed: no interval, no conclusion"
    equal = one([80.0], [80.0])
    assert (equal.difference, equal.p, equal.verdict) == (0.0, None, found.verdict)


def test_no_shared_seed_gives_no_difference():
    found = compare({"arm": {0: 80.0}, "other": {1: 70.0}}, [("arm", "other")])[0]
    assert (found.n, found.difference, found.p, found.verdict) == (0, None, None, "no shared seed: no difference")


def test_equal_scores_are_identical():
    found = one([76.1, 76.5, 75.9], [76.1, 76.5, 75.9])
    assert (found.difference, found.low, found.p, found.p_holm, found.verdict) == (0.0, None, 1.0, 1.0, "identical")

    assert one([0.1 + 0.2, 0.5], [0.3, 0.5]).verdict == "identical"  # but for rounding: 0.1 + 0.2 > 0.3


def test_a_constant_difference_proves_nothing():
    assert 70.1 - 70.0 != 0.3 - 0.2  # in double precision the differences are not equal
    found = one([70.1, 71.1, 0.3], [70.0, 71.0, 0.2])
    assert found.difference == pytest.approx(0.1)
    assert (found.low, found.high, found.p, found.p_holm) == (None,) * 4
    assert found.verdict == "not testable (all 3 differences are equal: no spread to judge by)"


def test_what_cannot_be_tested_is_not_corrected_for():
    scores = {**SCORES, "constant": {s: v + 1 for s, v in SCORES["baseline"].items()}, "single": {0: 70.0}}
    pairs = [("constant", "baseline"), ("single", "baseline"), ("cosine", "baseline")]
    found = compare(scores, pairs)[-1]
    assert found.p_holm == found.p
    assert found.verdict == compare(scores, pairs[-1:])[0].verdict


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_a_score_that_is_no_number_is_refused(bad):
    with pytest.raises(ValueError, match=f"arm 'mixup', seed 4 is {bad}"):
        compare({**SCORES, "mixup": {4: bad}}, PAIRS)
    with pytest.raises(ValueError, match=f"value 1 is {bad}"):
        summarise([1.0, bad])


def test_an_arm_without_scores_and_an_empty_mean_are_refused():
    with pytest.raises(UserError, match="'mixupp' is not among the arms that have scores; did you mean 'mixup'"):
        compare(SCORES, [("mixupp", "baseline")])
    with pytest.raises(UserError, match="no values"):
        summarise([])


def spread(sd):
    """Three differences around 0.05 with this standard deviation."""
    return [0.05 - sd, 0.05, 0.05 + sd], [0.0, 0.0, 0.0]


@pytest.mark.parametrize(
    ("sd", "advice"),
    [
        (0.1, "needs about 5 seeds to resolve 0.2 points"),
        (0.3, "needs about 20 seeds to resolve 0.2 points"),
        (3.0, "needs more than 1000 seeds to resolve 0.2 points"),
        (0.05, "3 seeds are about enough to resolve 0.2 points"),
    ],
)
def test_the_verdict_says_how_many_seeds_would_do(sd, advice):
    assert one(*spread(sd)).verdict == f"not distinguishable ({advice})"


def test_a_larger_table_needs_more_seeds():
    arm, other = spread(0.3)
    scores = {"arm": by_seed(arm), "other": by_seed(other)}
    needed = seeds_needed(0.3, 0.2, alpha=0.05 / 8)
    assert needed > seeds_needed(0.3, 0.2)
    assert f"about {needed} seeds" in compare(scores, [("arm", "other")] * 8)[0].verdict


@pytest.mark.parametrize(("sd", "resolution"), [(0.1, 0.2), (0.3, 0.2), (0.5, 0.25)])
def test_the_seeds_that_are_needed_give_a_power_of_80_percent(sd, resolution):
    n = seeds_needed(sd, resolution)
    studies = np.random.default_rng(0).normal(resolution, sd, size=(20_000, n))
    seen = [(stats.ttest_1samp(studies[:, :k], 0, axis=1).pvalue <= 0.05).mean() for k in (n - 1, n)]
    assert seen[0] < 0.8 + 0.01  # four standard errors of a share of 20,000
    assert seen[1] > 0.8 - 0.01
    assert seen[1] - seen[0] < 0.15


def test_there_is_a_limit_to_the_seeds_that_are_needed():
    assert seeds_needed(1e-6, 0.2) == 2
    assert seeds_needed(1e6, 0.2) is None


def studies(n, arms, count=2000):
    """Scores [study, arm, seed]: a seed moves all arms together, and each run has noise of its own."""
    rng = np.random.default_rng(n)
    return 76 + rng.normal(0, 1.0, (count, 1, n)) + rng.normal(0, 0.3, (count, arms, n))


@pytest.mark.parametrize("n", [3, 5])
def test_the_interval_covers_the_truth_in_95_percent_of_studies(n, quick):
    truth = 0.4
    scores, pairs = {}, []
    for index, (other, arm) in enumerate(studies(n, arms=2)):
        scores |= {f"arm{index}": by_seed(arm + truth), f"other{index}": by_seed(other)}
        pairs.append((f"arm{index}", f"other{index}"))
    covered = np.mean([found.low <= truth <= found.high for found in compare(scores, pairs)])
    print(f"n={n}: {covered:.4f} of 2000 intervals cover the truth")
    assert 0.93 <= covered <= 0.97


@pytest.mark.parametrize("n", [3, pytest.param(5, marks=pytest.mark.slow)])
def test_tricks_that_do_nothing_get_a_verdict_in_5_percent_of_tables(n, quick):
    pairs = [(f"arm{index}", "arm0") for index in range(1, 9)]
    false = 0
    for study in studies(n, arms=9, count=600):
        found = compare({f"arm{index}": by_seed(values) for index, values in enumerate(study)}, pairs)
        false += any(comparison.verdict in ("helps", "hurts") for comparison in found)
    print(f"n={n}: {false / 600:.4f} of 600 tables without any effect call one")
    assert 0.01 <= false / 600 <= 0.06


def test_importing_the_statistics_does_not_import_torch():
    code = "import sys, bagoftricks.statistics.effects; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
