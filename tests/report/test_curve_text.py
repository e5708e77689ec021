from bagoftricks.report.curve_text import curve_lines, sparkline
from bagoftricks.store.record import CurvePoint
from bagoftricks.store.weight_sets import LAST


def curve(*top1, weights=LAST, every=1):
    points = enumerate(top1, 1)
    return [CurvePoint(epoch=every * at, steps=at, weights=weights, train_seconds=1.0, score=v) for at, v in points]


def test_a_sparkline_spans_the_least_and_the_greatest():
    assert sparkline([0, 7]) == "▁█"
    assert sparkline([3, 3, 3]) == "▁▁▁"
    assert sparkline([0, 1, 2, 3, 4, 5, 6, 7]) == "▁▂▃▄▅▆▇█"
    assert sparkline([0, 7], blocks=False) == "_#"
    assert sparkline([]) == ""
    assert len(sparkline(list(range(1000)))) == 60
    assert sparkline(list(range(1000)))[-1] == "█"


def test_a_chart_marks_first_best_and_last_and_says_that_the_last_counts():
    assert curve_lines(curve(10.0, 60.0, 90.0, 80.0, every=5), 80, blocks=True) == [
        "90.00   █▄",
        "       ▄██",
        "       ███",
        "10.00 ▁███",
        "      f bl",
        "top-1 %: first 10.00 at epoch 5, best 90.00 at 15, last 80.00 at 20: the result",
    ]


def test_a_best_last_value_is_one_mark():
    lines = curve_lines(curve(10.0, 90.0, weights="ema"), 80, blocks=True)
    assert lines[-2:] == ["      fl", "top-1 % of ema: first 10.00 at epoch 1, last and best 90.00 at 2: the result"]


def test_without_blocks_a_chart_is_ascii():
    assert all(line.isascii() for line in curve_lines(curve(1.0, 3.0, 2.0), 80, blocks=False))


def test_many_epochs_fit_and_are_said_to_be_grouped():
    lines = curve_lines(curve(*range(1000)), 40, blocks=True)
    assert max(map(len, lines)) == 40
    assert lines[3].startswith("  0.00 ▂▃")
    assert "each bar is the last of several epochs" in " ".join(" ".join(lines).split())


def test_a_single_evaluation_is_no_curve():
    assert curve_lines(curve(50.0), 80, blocks=True) == []
    assert curve_lines([], 80, blocks=True) == []


def test_a_flat_curve_has_bars():
    assert curve_lines(curve(50.0, 50.0), 80, blocks=True)[3] == "50.00 ▁▁"
