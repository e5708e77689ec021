import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bagoftricks.errors import as_text, printable


@pytest.mark.parametrize(
    ("name", "shown"),
    [("caf\udce9.png", r"caf\xe9.png"), ("a\x1b[31mb", r"a\x1b[31mb"), ("a\nb\t\x07", r"a\nb\t\x07"),
     ("写真 é　b", "写真 é　b"),
     ("\u202egpj.exe", r"\u202egpj.exe"), ("plain\\name", "plain\\name")],
)  # fmt: skip
def test_a_name_is_shown_as_it_is_but_for_what_a_terminal_would_obey(name, shown):
    assert printable(name) == shown


@given(st.binary(min_size=1).map(lambda name: name.decode(errors="surrogateescape")))
def test_every_file_name_becomes_text_that_a_terminal_and_a_record_can_hold(name):
    assert json.loads(json.dumps(as_text(name)).encode()) == as_text(name)
    as_text(name).encode()
    shown = printable(name)
    assert not any(c < " " or "\x7f" <= c < "\xa0" for c in shown)
    assert shown.encode()
