from bagoftricks.report.dawnbench import Measure
from bagoftricks.report.pictures.registry import PICTURES, study_picture
from tests.report.pictures.studies import run, study, texts

CURVES = {"plain": [(10.0, 40.0, 50.0), (20.0, 30.0, 55.0)], "aug": [(10.0, 60.0, 70.0)]}


def curved(curves, **about):
    records = {k: {seed: run(seed, c[-1], curve=c) for seed, c in enumerate(each)} for k, each in curves.items()}
    return study({label: [1.0] * len(each) for label, each in curves.items()}, records=records, **about)


def lines(axes):
    return [(list(line.get_xdata()), list(line.get_ydata())) for line in axes.lines]


def test_every_seed_is_a_line_through_its_own_evaluations():
    drawing = study_picture("curves", curved(CURVES))
    drawn = lines(drawing.figure.axes[0])
    assert drawn == [([1, 2, 3], [10.0, 40.0, 50.0]), ([1, 2, 3], [20.0, 30.0, 55.0]), ([1, 2, 3], [10.0, 60.0, 70.0])]
    assert drawing.numbers.rows[3] == ("plain", 1, 1, 2.0, 20.0)
    assert [row[-1] for row in drawing.numbers.rows] == [y for _, ys in drawn for y in ys]
    assert "nothing is smoothed" in drawing.caption
    assert "n = 1 to 2 seeds" in drawing.caption
    assert "between 50.00 % (plain) and 70.00 % (aug)" in drawing.description


def test_arms_differ_in_dashes_and_shapes_not_in_colour_alone():
    plain, _, aug = study_picture("curves", curved(CURVES)).figure.axes[0].lines
    assert plain.get_linestyle() != aug.get_linestyle()
    assert plain.get_marker() != aug.get_marker()


def test_the_target_is_a_line_and_not_reached_stays_so():
    drawing = study_picture("curves", curved(CURVES, measure=Measure(target=0.65)))
    first, *_, target = lines(drawing.figure.axes[0])
    assert (set(target[1]), first[0]) == ({65.0}, [2.0, 4.0, 6.0])
    assert {"plain (not reached)", "aug (1 of 1 reach it)"} <= {text.replace("\n", " ") for text in texts(drawing)}


def test_only_the_weights_that_are_reported_are_drawn():
    averaged = curved(CURVES)
    record = averaged.records["aug"][0]
    record.metrics["ema"] = record.metrics["last"]
    assert len(lines(study_picture("curves", averaged).figure.axes[0])) == 2


def test_many_arms_have_panels_of_their_own_over_the_first_one():
    many = curved({f"arm {n}": [(10.0 + n, 20.0 + n)] for n in range(8)})
    drawing = study_picture("curves", many)
    panels = [axes for axes in drawing.figure.axes if axes.get_visible()]
    assert [axes.get_title(loc="left") for axes in panels] == [f"arm {n}" for n in range(8)]
    assert lines(panels[3]) == [([1, 2], [10.0, 20.0]), ([1, 2], [13.0, 23.0])]
    assert len({axes.get_ylim() for axes in panels}) == 1


def test_more_arms_than_can_be_told_apart_say_so():
    drawing = study_picture("curves", curved({f"arm {n}": [(10.0, 20.0 + n)] for n in range(30)}))
    assert len(drawing.figure.axes[0].lines) == 30
    assert "the 30 arms are too many to be told apart" in drawing.caption


def test_a_single_evaluation_is_a_point():
    drawing = study_picture("curves", curved({"plain": [(10.0,)]}))
    assert drawing.figure.axes[0].lines[0].get_marker() == "o"


def test_records_without_curves_lack_the_picture():
    old = study({"plain": [50.0]}, records={"plain": {0: run(0, 50.0, cost={"curve": []})}})
    assert PICTURES["curves"].lacking(old).startswith("no record has a learning curve")
