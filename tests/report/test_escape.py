"""Whatever a text field holds, each format shows it and is not broken by it."""

import csv
import io
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bagoftricks.errors import printable
from bagoftricks.escape import for_csv, for_json, for_latex, for_markdown, lines_for_terminal
from bagoftricks.report.column import Column
from bagoftricks.report.robustness import robustness_columns
from bagoftricks.report.study import study_report
from bagoftricks.report.table import record_rows, render
from bagoftricks.store.store import Store
from tests.store.test_store import record, robustness

NASTY = [
    "\x1b[31mred\x1b[0m\x07",
    "two\nlines\r\tand a tab",
    "\u202egpj.exe\u2066\u200f",
    "<script>alert(1)</script> &lt; &amp;",
    "=cmd|' /C calc'!A0",
    "a | b || c \\| d",
    r"\input{x} {} $ & # ^ _ ~ % -- --- ` [x] *",
    "`code` ``x`` **bold** __init__ _i_ ~~no~~ ![i](http://a/b.png) [x](y) [x][y]",
    "\x9b31m \x85 \u2028 \u2029 \0 \x7f",
    "caf\udce9 \ud800",
    "写真 👩\u200d💻 ﷽ e\u0301",
    "+ mixup",
    "[ema]",
    "-0.5",
]
TEXT = st.one_of(
    st.sampled_from(NASTY), st.text(st.characters(codec=None)), st.text("|\\`<&*_[](){}$#%~^=+-@'\"\n\r\t,\x1b a")
)
STYLES = ["text", "markdown", "latex", "html", "csv", "json"]


def table(text, style):
    """A table of a record with this text wherever a text can be."""
    named = robustness({"mce": 5.0, "clean_error": 5.0, "errors": {"fog": [5.0] * 5, "snow": [5.0] * 5}})
    made = record(
        id=text, model={"name": text}, data={"name": text}, tricks={text: {text: text}}, robustness={text: named}
    )  # fmt: skip
    rows = record_rows(made)
    first, last = [Column(key, key) for key in ("label", "model", "data")], Column("id", "id")
    columns = [*first, *robustness_columns(rows), last]
    return rows, render(rows, columns, style)


def shows_no_control(text):
    return all(line.isprintable() or printable(line) == line for line in text.split("\n"))


def cells(line):
    """Split a row of Markdown as GitHub does."""
    return re.split(r"(?<!\\)\|", line.strip()[1:-1])


def every(test):
    for text in NASTY:
        test = example(text=text)(test)
    return given(text=TEXT)(test)


@every
def test_text_tables_have_a_line_per_row_and_no_control_characters(text):
    _, shown = table(text, "text")
    assert len(shown.split("\n")) == 3
    assert shows_no_control(shown)


@every
def test_markdown_tables_have_the_same_cells_in_every_row_and_no_markup_of_ours(text):
    _, shown = table(text, "markdown")
    assert shows_no_control(shown)
    lines = shown.split("\n")
    assert [len(cells(line)) for line in lines] == [5] * 3
    assert not re.search(r"[<>`*]|\]\(", shown)


@every
def test_csv_comes_back_as_it_was_but_for_the_sign_of_a_formula(text):
    rows, shown = table(text, "csv")
    (found,) = csv.DictReader(io.StringIO(shown, newline=""))
    expected = text.replace("\0", r"\x00")
    for key in ("id", "model", "data"):
        assert found[key] in (expected, f"'{expected}")
        computed = re.match(r"\s*[=+@-]|[\t\r\n]", found[key])
        assert not computed or re.fullmatch(r"[+-]?[\d.]+([eE][+-]?\d+)?", found[key])
    assert found["label"].removeprefix("'") == rows[0].label.replace("\0", r"\x00").removeprefix("'")


@every
def test_json_comes_back_as_it_was(text):
    rows, shown = table(text, "json")
    (found,) = json.loads(shown)
    assert (found["id"], found["label"]) == (text, rows[0].label)
    assert shown.isascii()


@every
def test_latex_is_balanced_and_has_no_special_character_of_the_text(text):
    shown = for_latex(text)
    assert shows_no_control(shown)
    commands = r"\\text(backslash|asciitilde|asciicircum|less|greater|bar)\{\}|\\`\{\}|\\[&%$#_{}]|\{[\[\]*]\}|-\{\}"
    shown = re.sub(r"\$-\$(?=\.?\d)", "", shown)  # the sign of a number
    assert not re.search(r"[\\{}&%$#_^~\[\]*<>|`]|--", re.sub(commands, " ", shown))
    _, rows = table(text, "latex")
    lines = rows.split("\n")
    assert [len(re.findall(r"(?<!\\)&", line)) for line in (lines[2], lines[4])] == [4, 4]
    assert len(lines) == 7


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("text", NASTY)
def test_a_study_shows_any_title_label_and_note(tmp_path, style, text):
    store = Store(tmp_path)
    saved = {"name": text, "title": text, "source": text, "command": text, "seeds": [0], "notes": [text],
             "arms": [{"label": text, "needs": [text]}, {"label": f"{text}2", "compare_to": text}]}  # fmt: skip
    path = tmp_path / "studies" / "s.json"
    path.parent.mkdir()
    path.write_text(json.dumps(saved), encoding="utf-8")
    shown = study_report(store, "s", style)
    if style == "json":
        assert json.loads(shown)["study"]["title"] == text
    elif style == "csv":
        assert len(list(csv.reader(io.StringIO(shown, newline="")))) == 3
    else:
        assert shows_no_control(shown)
        notes, lines = json.loads(study_report(store, "s", "json"))["notes"], shown.split("\n")
        bullet = {"text": "", "markdown": "- ", "latex": "% ", "html": "<li>"}[style]
        below = {"latex": lines[1 : len(notes) + 1], "html": lines[-len(notes) - 1 : -1]}.get(
            style, lines[-len(notes) :]
        )
        assert all(line.startswith(bullet) for line in below)


@pytest.mark.parametrize(
    ("value", "shown"),
    [(-0.5, "-0.5"), ("-0.5", "-0.5"), ("+1e-3", "+1e-3"), (1e30, "1e+30"), ("=1+1", "'=1+1"), (" =1", "' =1"),
     ("-x", "'-x"), ("@SUM", "'@SUM"), ("a,b", '"a,b"'), (None, ""), (True, "True"), ("+", "'+"),
     ("-1+1|cmd", "'-1+1|cmd")],
)  # fmt: skip
def test_numbers_stay_numbers_in_csv_and_formulas_become_text(value, shown):
    assert for_csv(value) == shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [("resnet_d + mixup(alpha=0.5)", "resnet_d + mixup(alpha=0.5)"), ("a|b", "a&#124;b"), ("[ema]", "[ema]"),
     ("[x](y)", "[x]&#40;y)"), ("__init__", "&#95;_init_&#95;"), ("a\nb", r"a&#92;nb")],
)  # fmt: skip
def test_markdown_shows_what_is_harmless_as_it_is(text, shown):
    assert for_markdown(text) == shown


def test_a_number_that_json_lacks_is_null():
    assert json.loads(for_json({"a": [float("nan"), float("inf")], "b": -0.5})) == {"a": [None, None], "b": -0.5}


def test_lines_stay_lines_on_a_terminal():
    assert lines_for_terminal("a\n\x1b[2Jb\r\n") == "a\n\\x1b[2Jb\\r\n"


@every
def test_html_holds_the_text_and_no_markup_of_it(text):
    _, shown = table(text, "html")
    found = Texts()
    found.feed(shown)
    assert found.tags <= {"table", "thead", "tbody", "tr", "th", "td"}
    assert found.texts[-1] == printable(text)
    assert shows_no_control(shown)


class Texts(HTMLParser):
    """The tags of a document and the text of each cell."""

    def __init__(self):
        super().__init__()
        self.tags, self.texts = set(), []

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.texts += [""] if tag in ("th", "td") else []
        assert {name for name, _ in attrs} <= {"class", "scope", "data-runs"}

    def handle_data(self, data):
        if self.texts and data != "\n":
            self.texts[-1] += data


@pytest.mark.skipif(not shutil.which("pdflatex"), reason="needs pdflatex")
def test_latex_compiles(tmp_path):
    ascii_rows = [table(text, "latex")[1] for text in NASTY if text.isascii()]
    body = "\n\n".join(ascii_rows)
    document = f"\\documentclass{{article}}\\usepackage{{booktabs}}\\begin{{document}}{body}\\end{{document}}"
    (tmp_path / "t.tex").write_text(document, encoding="utf-8")
    subprocess.run(["pdflatex", "-halt-on-error", "t.tex"], cwd=tmp_path, check=True, capture_output=True)
