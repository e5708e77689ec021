import re
import sys
from xml.etree import ElementTree

import pytest

from bagoftricks.errors import UserError
from bagoftricks.report.pictures.drawing import save_drawing, svg_text
from bagoftricks.report.pictures.kinds import STUDY_KINDS
from bagoftricks.report.pictures.registry import PICTURES, study_picture
from bagoftricks.report.pictures.style import drawn_text
from tests.report.pictures.studies import THREE, study

HOSTILE = [
    "$x_1$ & <script>alert(1)</script>",
    'a"b\'c id="x" url(#y)',
    "\u20ac 混合 é\u0301 $",
    "long " * 30,
    "\x1b[2J\\",
    "100 %_{2}^",
]


@pytest.fixture(scope="module")
def drawing():
    return study_picture("forest", study(THREE))


def test_files_are_equal_in_every_byte_when_made_again(drawing, tmp_path):
    again = study_picture("forest", study(THREE))
    for suffix in ("svg", "pdf", "png"):
        save_drawing(drawing, tmp_path / f"a.{suffix}")
        save_drawing(drawing, tmp_path / f"b.{suffix}")
        save_drawing(again, tmp_path / f"c.{suffix}")
        a, b, c = ((tmp_path / f"{name}.{suffix}").read_bytes() for name in "abc")
        assert a == b == c


def test_the_users_own_style_changes_nothing(drawing):
    import matplotlib

    with matplotlib.rc_context({"font.size": 30, "svg.fonttype": "path", "axes.grid": True, "lines.linewidth": 9}):
        assert svg_text(study_picture("forest", study(THREE))) == svg_text(drawing)


def test_an_svg_holds_its_words_as_text_and_no_rule_for_a_page(drawing):
    root = ElementTree.fromstring(svg_text(drawing))
    (title, description), ids = list(root)[:2], root.get("aria-labelledby")
    assert (title.text, description.text) == (drawing.title, drawing.description)
    assert ids == f"{title.get('id')} {description.get('id')}"
    assert "aug" in [text for element in root.iter() if (text := element.text)]
    assert not [element for element in root.iter() if element.tag.endswith(("style", "script", "metadata"))]


def test_ids_have_the_prefix_and_every_reference_finds_one(drawing):
    text = svg_text(drawing, "forest-")
    ids = re.findall(r'\bid="([^"]*)"', text)
    assert all(name.startswith("forest-") for name in ids)
    assert len(set(ids)) == len(ids) > 3
    assert set(re.findall(r'(?:href="#|url\(#)([\w-]+)', text)) <= set(ids)


@pytest.mark.parametrize("kind", STUDY_KINDS)
def test_hostile_labels_stay_text(kind):
    tops = {label: [70.0 + at, 71.0 + 2 * at, 73.0] for at, label in enumerate(HOSTILE)}
    if PICTURES[kind].lacking(study(tops)):
        return
    made = study_picture(kind, study(tops))
    root = ElementTree.fromstring(svg_text(made))
    words = "".join(element.text or "" for element in root.iter() if element.tag.endswith(("text", "tspan")))
    assert ("$x_1$" in words) == (kind != "resolution")
    assert "<script>" not in made._repr_html_()


def test_hostile_labels_are_drawn_in_pdf_and_png(tmp_path):
    made = study_picture("forest", study({label: [70.0 + at, 71.0] for at, label in enumerate(HOSTILE)}))
    for suffix in ("pdf", "png"):
        save_drawing(made, tmp_path / f"a.{suffix}")


def test_long_names_fold_and_end_in_an_ellipsis():
    lines = drawn_text("word " * 60, 20, 3).split("\n")
    assert (len(lines), lines[-1][-1], max(map(len, lines)) <= 20) == (3, "…", True)
    assert drawn_text("a $5 bill") == r"a \$5 bill"


@pytest.mark.parametrize(
    ("file", "message"), [("a.gif", "must end in .svg, .pdf, .png"), ("a/b.svg", "cannot be written")]
)
def test_a_file_that_cannot_be_written_is_one_line(drawing, tmp_path, file, message):
    (tmp_path / "a").touch()
    with pytest.raises(UserError, match=message):
        save_drawing(drawing, tmp_path / file)


def test_without_matplotlib_the_error_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(UserError, match=r"plot=forest: pictures need matplotlib: pip install 'bagoftricks\[plots\]'"):
        study_picture("forest", study(THREE))
