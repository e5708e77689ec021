"""The simulation's own arithmetic; and the promised numbers, in the few studies that a test has time for."""

import json
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest
from scipy import stats

from bagoftricks.statistics.noise import pair_tests
from bagoftricks.statistics.paired import holm
from tests.simulation import __main__ as program
from tests.simulation import kinds
from tests.simulation.cells import KINDS, SEED_PART, Cell, Share, add, draws, sds, share
from tests.simulation.kinds import arm_means, compared_pairs, factorial_arms, some_truths, table_tests
from tests.simulation.plan import FAR, all_cells, quick_cells, verdicts

SIX = Cell("comparisons", "one_at_a_time", 6, 3, "normal")
TWICE = Cell("comparisons", "one_at_a_time", 6, 3, "baseline x2")
FRACTION = Cell("effects", "fraction 2^(8-4)", 16, 2, "normal")


def within(found, low, high):
    """A share is within limits, but for Monte Carlo error."""
    return low - FAR * found.error <= found.value <= high + FAR * found.error


@pytest.fixture(scope="module")
def counted():
    """Two batches of the cell of six arms at three seeds, and one of two others."""
    return {SIX: SIX.simulate(0) + SIX.simulate(1), TWICE: TWICE.simulate(0), FRACTION: FRACTION.simulate(0)}


def test_tables_without_effects_give_few_verdicts_and_intervals_hold_together(counted):
    assert within(share(counted[SIX], "false verdict"), 0.03, 0.055)
    assert within(share(counted[SIX], "all intervals"), 0.94, 0.96)
    assert within(share(counted[TWICE], "false verdict"), 0.0, 0.07)
    assert within(share(counted[FRACTION], "false verdict"), 0.03, 0.055)
    assert within(share(counted[FRACTION], "all intervals"), 0.94, 0.96)
    assert not any(share(of, "contradiction").hits for of in counted.values())


def test_shared_noise_finds_what_own_differences_do_not(counted):
    assert within(share(counted[SIX], "found 4 sd"), 0.9, 1.0)
    assert share(counted[SIX], "shared").value > 0.9
    assert share(counted[FRACTION], "found 2 sd").value > 0.9


def test_4_sd_are_those_of_the_issue_which_own_paired_tests_find_in_30_percent():
    values = draws("normal", np.random.default_rng(0), 4000, 6, 3) + np.array([0, 4, 0, 0, 0, 0])[:, None]
    p_values = stats.ttest_rel(values[:, 1:], values[:, :1], axis=-1).pvalue
    found = [holm(study)[0] <= 0.05 for study in p_values.tolist()]
    assert np.mean(found) == pytest.approx(0.3, abs=0.02)


def test_a_test_that_claims_too_much_or_finds_too_little_breaks_the_promises(monkeypatch):
    monkeypatch.setattr(kinds, "pair_tests", lambda scores, of, alpha: pair_tests(scores, of, 4 * alpha))
    broken = {v.promise.measure for v in verdicts({SIX: SIX.simulate(0)}) if v.broken}
    assert broken == {"all intervals", "contradiction"}
    monkeypatch.undo()
    monkeypatch.setattr("bagoftricks.statistics.noise.FEWEST_ALIKE", 100)
    broken = {v.promise.measure for v in verdicts({SIX: SIX.simulate(0)}) if v.broken}
    assert broken == {"found 4 sd"}


@pytest.mark.slow
@pytest.mark.long
def test_no_promise_is_broken_in_the_quick_form(tmp_path):
    # A number of studies, not of minutes: a fast machine sees in minutes that the baseline's noise alone, twice that of
    # the arms, costs more than is promised (docs/evidence.md).
    done = subprocess.run([sys.executable, "-m", "tests.simulation", "--folder", tmp_path, "--studies", "400"])
    assert done.returncode == 0
    assert "BROKEN" not in (tmp_path / "README.md").read_text()


def test_shares_add_up_and_have_a_standard_error():
    counts = Counter()
    add(counts, "found", True)
    add(counts, "found", [True, False, False])
    add(counts, "found", [])
    assert share(counts, "found") == Share(2, 4)
    assert Share(500, 1000).error == pytest.approx(np.sqrt(0.25 / 1000), rel=1e-3)
    assert 0 < Share(0, 1000).error < 0.002
    assert (str(Share(25, 1000)), str(Share(0, 0))) == ("2.50 ± 0.50", "")


@pytest.mark.parametrize("noise", ["normal", "heavy tails", "skewed"])
def test_noise_has_the_sd_1_and_seeds_move_all_arms(noise):
    values = draws(noise, np.random.default_rng(0), 20_000, 3, 2)
    assert values.mean() == pytest.approx(0, abs=0.06)
    apart = (values[:, 1] - values[:, 0]) / np.sqrt(1 - SEED_PART)
    assert np.quantile(np.abs(apart), 0.5) == pytest.approx(0.95 if noise == "normal" else 0.75, abs=0.15)
    assert (values[:, 0] * values[:, 1]).mean() == pytest.approx(SEED_PART, abs=0.05)
    assert values.std() == pytest.approx(1, rel=0.1)


def test_noise_differs_and_collapses_where_it_says():
    assert sds("baseline x2", 4).tolist() == [2, 1, 1, 1]
    assert sds("half the arms x5", 4).tolist() == [1, 5, 1, 5]
    assert sds("one arm x2", 4).tolist() == [1, 1, 1, 2]
    assert sds("skewed", 2).tolist() == [1, 1]
    values = draws("collapsing", np.random.default_rng(0), 2000, 3, 2)
    fallen = (values - values[:, :1] < -15).mean((0, 2))
    assert fallen == pytest.approx([0, 0, 0.2], abs=0.03)


def test_truths_of_a_design_are_those_of_its_comparisons():
    truths = some_truths(5)
    assert truths.tolist() == [4, 2, 0, 0, 0]
    for design, sign in (("one_at_a_time", 1), ("stack", 1), ("leave_one_out", -1)):
        means = arm_means(design, truths)
        assert [sign * (means[a] - means[b]) for a, b in compared_pairs(design, 6)] == truths.tolist()


def test_missing_runs_take_their_comparisons_along():
    values = np.random.default_rng(0).normal(size=(3, 3))
    seen = np.array([[1, 1, 1], [1, 0, 0], [1, 1, 0]], dtype=bool)
    first, second = table_tests(values, seen, [(1, 0), (2, 0)])
    assert first is None
    assert (second.n, second.estimate) == (2, pytest.approx((values[2] - values[0])[:2].mean()))


def test_cells_have_names_of_their_own_and_the_arms_of_their_designs():
    cells = all_cells()
    assert len({cell.name for cell in cells}) == len(cells)
    assert {cell.kind for cell in quick_cells()} == {cell.kind for cell in cells} == set(KINDS)
    assert {name: len(factorial_arms(name)[1]) for name in kinds.FACTORIALS} == {
        "factorial 2^3": 8,
        "fraction 2^(8-4)": 16,
        "Plackett-Burman": 12,
    }


def test_a_simulation_goes_on_where_it_was_stopped(tmp_path):
    cells = [Cell("comparisons", "stack", 3, 2, "normal", studies=20), Cell("comparisons", "stack", 3, 3, studies=20)]
    halves, whole = ({cell: Counter() for cell in cells} for _ in range(2))
    forever = float("inf")
    program.simulate(halves, 20, forever, tmp_path / "counts.json")
    program.write_counts(tmp_path / "counts.json", {**halves, SIX: Counter({"batches": 3})})
    halves = program.read_counts(tmp_path / "counts.json", cells)
    program.simulate(halves, 40, forever, tmp_path / "counts.json")
    program.simulate(whole, 40, forever, tmp_path / "counts.json")
    assert halves == whole
    assert {of["batches"] for of in whole.values()} == {2}
    program.write_counts(tmp_path / "counts.json", halves)
    assert json.loads((tmp_path / "counts.json").read_text())["cells"][SIX.name] == {"batches": 3}


def test_the_table_says_what_was_promised_and_what_was_found(counted):
    text = program.markdown({cell: of + Counter(batches=1) for cell, of in counted.items()}, "scripts/simulate")
    assert "| no verdict contradicts its interval | **holds** | 0.00" in text
    assert "## Comparisons" in text
    assert f"| one_at_a_time, 6 arms, 3 seeds, baseline x2 | 500 | {share(counted[TWICE], 'false verdict')} |" in text
