"""Every kind of picture on studies of many shapes: it is drawn, or lacking with a reason."""

import math

import pytest

from bagoftricks.report.pictures.drawing import svg_text
from bagoftricks.report.pictures.kinds import STUDY_KINDS
from bagoftricks.report.pictures.registry import PICTURES
from bagoftricks.report.study_parts import SavedArm
from tests.report.pictures.studies import run, study

NAN = math.nan


def tops(arms, seeds):
    return {f"arm {a}": [50.0 + a + ((7 * a + 3 * s) % 5) / 3 for s in range(seeds)] for a in range(arms)}


def stacked(values):
    labels = list(values)
    return study(values, arms=[SavedArm(label=b, compare_to=a) for a, b in zip([None, *labels], labels, strict=False)])


SHAPES = {
    "no arm": study({}),
    "one arm, one seed": study({"plain": [50.0]}),
    "one arm": study(tops(1, 3)),
    "two arms, one seed": study(tops(2, 1)),
    "a stack": stacked(tops(4, 2)),
    "no seed in common": study(
        {"plain": [50.0], "other": []}, records={"plain": {0: run(0, 50.0)}, "other": {1: run(1, 51.0)}}
    ),
    "nothing run but one": study({"plain": [], "a": [50.0, 51.0], "b": []}),
    "all diverged": study({"plain": [NAN, NAN], "a": [NAN, NAN]}),
    "one diverged": study({"plain": [50.0, 51.0, 52.0], "a": [NAN, 52.0, 54.0]}),
    "equal values": study({"plain": [50.0, 50.0], "a": [50.0, 50.0]}),
    "huge and tiny": study({"plain": [0.0, 1e-12], "a": [100.0, 99.999999]}),
    "long names": study({"x" * 300: [50.0, 51.0], "word " * 60: [52.0, 54.0]}),
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kind", STUDY_KINDS)
def test_a_study_of_any_shape_is_drawn_or_lacking(kind, shape):
    results = SHAPES[shape]
    if why := PICTURES[kind].lacking(results):
        assert "\n" not in why
        return
    drawing = PICTURES[kind].draw(results)
    assert all(len(row) == len(drawing.numbers.headings) for row in drawing.numbers.rows)
    assert drawing.description
    assert "nan" not in drawing.description + drawing.caption


@pytest.mark.slow
@pytest.mark.parametrize(("arms", "most_kib"), [(10, 40), pytest.param(50, 160, marks=pytest.mark.long)])
def test_pictures_stay_small(arms, most_kib):
    results = study(tops(arms, 3))
    for kind in STUDY_KINDS:
        if not PICTURES[kind].lacking(results):
            assert len(svg_text(PICTURES[kind].draw(results))) <= most_kib * 1024, kind
