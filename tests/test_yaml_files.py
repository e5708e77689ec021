"""YAML that we read: plain values, and limits that end neither in a traceback nor in minutes."""

import os
import time
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bagoftricks.errors import UserError
from bagoftricks.folders import add_user_folder, shipped_folder
from bagoftricks.study.experiment import experiment_files
from bagoftricks.yaml_files import YAML_BYTES, parse_yaml, read_yaml

BOMB = "a0: &a0 [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"a{i}: &a{i} [{','.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 30)
)
SHIPPED = [*experiment_files().values(), *shipped_folder("conf").rglob("*.yaml")]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("[yes, no, on, off, y, True, false]", ["yes", "no", "on", "off", "y", True, False]),
        ("[2025-01-02, 2025-13-45, 1:30]", ["2025-01-02", "2025-13-45", "1:30"]),
        ("[010, 0x10, 1_000]", ["010", "0x10", "1_000"]),
        ("[1, -2, +3, 1.5, .5, 5e-4, 1e3, 6.0e+3]", [1, -2, 3, 1.5, 0.5, 5e-4, 1e3, 6e3]),
        ("[.inf, .nan, nan, inf]", [".inf", ".nan", "nan", "inf"]),
        ("[null, ~, '', '1', \"true\"]", [None, None, "", "1", "true"]),
        ("a: &a {b: 1, c: 2}\nd: {<<: *a, c: 3}", {"a": {"b": 1, "c": 2}, "d": {"b": 1, "c": 3}}),
        ("", None),
    ],
)  # fmt: skip
def test_values_are_plain(text, value):
    assert parse_yaml(text, "f.yaml") == value


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (BOMB, "f.yaml: has more than 50,000 values, with what its aliases stand for"),
        ("a: &a [*a]", "f.yaml: is nested too deeply, or contains itself"),
        ("[" * 5000, "f.yaml: is nested too deeply"),
        ("a: 1\nb: 2\na: 3", "f.yaml, line 3: is not YAML: the key 'a' is twice"),
        ("a: !!python/object/apply:os.system [ls]", "f.yaml, line 1: is not YAML: could not determine a constructor"),
        ("a: !!bool maybe", "is not YAML"),
        ("a: !!timestamp 2025-13-45", "is not YAML"),
        ("a: " + "9" * 5000, "is not YAML: Exceeds the limit"),
        ("a\0b", "is not YAML"),
        ("a: 1\n---\nb: 2", "is not YAML"),
        ("*x", "undefined alias"),
        ("- [", "f.yaml, line 1: is not YAML"),
    ],
)
def test_what_is_no_plain_yaml_is_one_line_at_once(text, message):
    began = time.process_time()
    with pytest.raises(UserError) as caught:
        parse_yaml(text, "f.yaml")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert time.process_time() - began < 5


@given(st.text(alphabet="ab:&*!<>{}[],-?|%@#'\"\\ \n\t0.1e_~\x00é", max_size=60))
def test_any_text_is_values_or_a_user_error(text):
    with suppress(UserError):
        parse_yaml(text, "f.yaml")


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_our_own_files_are_within_the_limits(path):
    assert read_yaml(path) or path.stem == "none"


@pytest.mark.parametrize("what", ["pipe", "folder", "binary", "large", "absent"])
def test_what_is_no_text_file_is_one_line(tmp_path, what):
    path = tmp_path / "f.yaml"
    if what == "pipe":
        os.mkfifo(path)
    elif what == "folder":
        path.mkdir()
    elif what != "absent":
        path.write_bytes(b"\xff\xfe\x00" if what == "binary" else b"#" * (YAML_BYTES + 1))
    with pytest.raises(UserError, match=r"f\.yaml: (is no file|cannot be read|has 131,073 bytes)"):
        read_yaml(path)


def test_the_users_folders_are_checked_before_hydra_reads_them(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "bomb.yaml").write_text(BOMB)
    add_user_folder(str(tmp_path))
    (tmp_path / "data" / "mine.yaml").write_text(BOMB)
    with pytest.raises(UserError, match=r"mine\.yaml: has more than 50,000 values"):
        add_user_folder(str(tmp_path))
