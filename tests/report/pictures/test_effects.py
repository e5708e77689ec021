from dataclasses import replace

import pytest

from bagoftricks.report.pictures.registry import PICTURES, study_picture
from bagoftricks.report.study_parts import SavedArm
from tests.report.pictures.studies import dots, marks, study, texts

# Effects by hand: cosine (8 + 12 - 0 - 2) / 2 = 9, mixup (12 + 2 - 8 - 0) / 2 = 3, together (12 + 0 - 8 - 2) / 2 = 1
CELLS = {"baseline": 0.0, "cosine": 8.0, "mixup": 2.0, "cosine + mixup": 12.0}
NOISE = {"baseline": (0.1, -0.1, 0.0), "cosine": (0.0, 0.1, -0.1), "mixup": (-0.1, 0.0, 0.1)}


def factorial(design="factorial", seeds=3, noise=1, gains=1.0, chosen_resolve=None, **about):
    arms = [SavedArm(label=k, tricks={t: {} for t in k.split(" + ") if t != "baseline"}) for k in CELLS]
    tops = {
        k: [60 + gains * cell + noise * NOISE.get(k, (0, 0, 0))[s] + s for s in range(seeds)]
        for k, cell in CELLS.items()
    }
    return replace(study(tops, arms=arms, design=design, **about), chosen_resolve=chosen_resolve)


@pytest.fixture(scope="module")
def effects():
    return study_picture("effects", factorial())


def test_marks_are_the_effects_and_dots_those_of_single_seeds(effects):
    axes = effects.figure.axes[0]
    assert [x for x, _ in marks(axes, "^", filled=True)] == pytest.approx([9.0, 3.0, 1.0])
    # of seed 0 alone: cosine (68 + 72 - 60.1 - 61.9) / 2
    assert dots(axes)[0][0] == pytest.approx(9.0)
    assert dots(axes)[1] == pytest.approx([2.9, 2.95 + 0.05, 3.1], abs=0.06)
    row = dict(zip(effects.numbers.headings, effects.numbers.rows[0], strict=True))
    assert (row["effect"], row["top-1 (percentage points)"]) == ("cosine", pytest.approx(9.0))
    assert row["from"] < 9.0 < row["to"]
    assert row["seed 0"] == pytest.approx(dots(axes)[0][0])


def test_the_matrix_has_interactions_under_main_effects_and_stands_next_to_the_intervals(effects):
    intervals, matrix = effects.figure.axes
    assert [text.get_text() for text in matrix.texts] == ["+9.0", "+1.0", "+3.0"]
    assert {text.get_fontweight() for text in matrix.texts} == {"bold"}
    assert len([line for line in intervals.lines if len(set(line.get_xdata())) == 2]) == 3
    assert "cosine +9.00 [" in effects.description
    assert "12 runs over 3 seeds" in effects.caption


def test_an_effect_that_does_not_stand_has_an_open_mark():
    drawing = study_picture("effects", factorial(noise=20))
    rows = {row[0]: row[5] for row in drawing.numbers.rows}
    stands = {name for name, verdict in rows.items() if verdict in ("helps", "hurts")}
    axes = drawing.figure.axes[0]
    assert len(marks(axes, "^", filled=True)) == len(stands)
    assert len(marks(axes, "o", filled=False)) == 3 - len(stands) > 0


def test_aliased_effects_are_marked_and_explained():
    half = factorial(design="fractional")
    for label in ("cosine", "mixup"):
        half.records[label].clear()  # what is left cannot tell the two apart
    drawing = study_picture("effects", half)
    assert any(text.startswith("cosine *") for text in texts(drawing))
    assert "* aliased: the design cannot tell cosine and 1 more effect from" in drawing.caption
    assert drawing.description.startswith("1 effect on top-1 with 95 % intervals. Effects that stand: cosine")
    assert drawing.numbers.rows[0][6] == "mixup"


def test_other_studies_have_no_effects():
    assert PICTURES["effects"].lacking(study({"plain": [1.0, 2.0]})).startswith("the study is no factorial design")


@pytest.mark.parametrize("kind", ["forest", "resolution"])
def test_pictures_of_comparisons_send_to_that_of_effects(kind):
    assert PICTURES[kind].lacking(factorial()).endswith("type plot=effects")


def test_one_seed_that_leaves_nothing_over_has_effects_without_intervals():
    drawing = study_picture("effects", factorial(seeds=1))
    assert drawing.numbers.rows[0][1:4] == (pytest.approx(9.0), None, None)
    assert "Nothing tells their noise: no intervals." in drawing.caption


def test_an_effect_too_small_to_matter_has_a_filled_circle():
    drawing = study_picture("effects", factorial(chosen_resolve=2.0))
    row = {row[0]: row[5] for row in drawing.numbers.rows}
    assert row["cosine x mixup"] == "better together"  # it stands, so it is told as such
    small = study_picture("effects", factorial(gains=0.01, chosen_resolve=2.0))
    assert {row[5].partition(" above")[0] for row in small.numbers.rows} == {"no effect"}
    assert len(marks(small.figure.axes[0], "o", filled=True)) == 3
    assert "no effect" in texts(small)
