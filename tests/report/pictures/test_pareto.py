import pytest

from bagoftricks.report.pictures.registry import PICTURES, study_picture
from tests.report.pictures.studies import marks, run, study, texts

# (top-1, images per second) of each seed
ARMS = {
    "plain": [(70.0, 100.0), (70.1, 101.0), (70.2, 99.0)],
    "good": [(75.0, 100.5), (75.2, 99.5), (75.1, 102.0)],  # better, and as fast as far as is known
    "slow": [(65.0, 50.0), (65.3, 52.0), (65.1, 49.0)],  # worse and slower than both
    "fast": [(60.0, 200.0), (60.2, 203.0), (60.4, 199.0)],
}


def costly(arms, macs=None, device=None):
    records = {}
    for label, pairs in arms.items():
        made = {}
        for seed, (top1, speed) in enumerate(pairs):
            cost = {"infer_images_per_s": speed, "macs": (macs or {}).get(label, 10**9)}
            made[seed] = run(seed, top1, cost=cost, environment={"device": device or "cpu"})
        records[label] = made
    return study({label: [1.0] * len(pairs) for label, pairs in arms.items()}, records=records)


@pytest.fixture(scope="module")
def pareto():
    return study_picture("pareto", costly(ARMS))


def test_dominated_is_said_only_where_both_intervals_exclude_0(pareto):
    rows = {row[1]: dict(zip(pareto.numbers.headings, row, strict=True)) for row in pareto.numbers.rows}
    dominated = {label: row["inference, images per second: dominated by"] for label, row in rows.items()}
    assert dominated == {"plain": None, "good": None, "slow": "plain, good", "fast": None}
    assert "(3)" in texts(pareto)
    assert "(1)" not in texts(pareto)
    assert "Dominated by inference, images per second: slow by plain, good" in pareto.description


def test_the_steps_go_only_through_what_no_arm_can_dominate(pareto):
    (steps,) = [line for line in pareto.figure.axes[0].lines if line.get_drawstyle().startswith("steps")]
    assert list(steps.get_xdata()) == [100.5, 200.0]  # good and fast; plain may be dominated by good
    assert list(steps.get_ydata()) == pytest.approx([75.1, 60.2])


def test_marks_are_medians_of_speed_and_means_of_accuracy(pareto):
    axes = pareto.figure.axes[0]
    assert marks(axes, "s", filled=False)[0] == pytest.approx((100.0, 70.1))
    assert marks(axes, "^", filled=True)[0] == pytest.approx((100.5, 75.1))
    seeds = [line for line in axes.lines if line.get_marker() == "."]
    assert list(seeds[1].get_xdata()) == [100.5, 99.5, 102.0]


def test_counted_costs_have_a_panel_where_the_arms_differ(pareto):
    assert len(pareto.figure.axes) == 1
    drawing = study_picture("pareto", costly(ARMS, macs={"slow": 2 * 10**9}))
    assert marks(drawing.figure.axes[1], "v")[0][0] == 2.0
    rows = {row[1]: dict(zip(drawing.numbers.headings, row, strict=True)) for row in drawing.numbers.rows}
    assert rows["slow"]["multiply-accumulates (G): dominated by"] == "plain, good"


def test_one_seed_dominates_nothing():
    drawing = study_picture("pareto", costly({label: pairs[:1] for label, pairs in ARMS.items()}))
    assert not [row for row in drawing.numbers.rows if row[7]]
    assert "n = 1 seed" in drawing.caption


def test_several_devices_do_not_compare():
    both = costly(ARMS)
    both.records["fast"][0] = run(0, 60.0, environment={"device": "gpu"})
    assert PICTURES["pareto"].lacking(both) == (
        "the runs are of several devices (cpu, gpu), whose throughputs do not compare"
    )
    assert PICTURES["pareto"].lacking(costly({"plain": ARMS["plain"]})) == "fewer than two arms have finished runs"
