from hypothesis import example, given
from hypothesis import strategies as st

from bagoftricks.report.styles import draw_table
from bagoftricks.report.text_table import Fit, fold, text_width

HEADS = ["run", "top-1 %", "verdict", "train img/s", "note"]
ROW = ["resnet_d + mixup(alpha=0.4) \N{MINUS SIGN} cosine", "94.01", "not distinguishable", "12345", "as it is"]
CELLS = st.text(st.characters(codec="utf-8"), max_size=60)


def drawn(rows, width):
    return draw_table(HEADS, rows, {0, 2, 4}, "text", Fit(width, "columns= chooses"))


def test_a_label_is_folded_before_the_sign_of_a_trick():
    assert fold(ROW[0], 20) == ["resnet_d", "  + mixup(alpha=0.4)", "  \N{MINUS SIGN} cosine"]


def test_a_path_is_cut_after_a_folder():
    assert fold("/data/photographs/of/birds", 20) == ["/data/photographs/", "  of/birds"]


def test_the_least_important_columns_are_left_out_and_named():
    wide, narrow = drawn([ROW], 120), drawn([ROW], 50)
    assert wide.splitlines()[0].split() == ["run", "top-1", "%", "verdict", "train", "img/s", "note"]
    assert "left out" not in wide
    assert narrow.splitlines()[0].split() == ["run", "top-1", "verdict", "note"]
    assert "left out to fit 50 columns: train img/s (columns= chooses)" in " ".join(narrow.split())


def test_without_a_width_nothing_is_folded_or_left_out():
    heading, _, row = draw_table(HEADS, [ROW], {0, 2, 4}, "text").splitlines()
    assert row.split("  ")[0] == ROW[0]
    assert heading.split("  ")[-1].strip() == "note"


@given(st.lists(st.tuples(CELLS, CELLS, CELLS, CELLS, CELLS), max_size=4), st.integers(20, 150))
@example([("写真" * 40, "1", "e\u0301" * 40, "", "x")], 30)
def test_no_line_is_wider_than_the_terminal(rows, width):
    assert max(map(text_width, drawn(rows, width).split("\n"))) <= width


@given(CELLS, st.integers(4, 40))
def test_folding_keeps_every_character_but_blanks(text, width):
    assert "".join("".join(fold(text, width)).split()) == "".join(text.split())
