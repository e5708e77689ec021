from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bagoftricks.errors import UserError
from bagoftricks.report.query import Query

ROWS = [
    {"model": "resnet50", "top1": 76.5, "tricks": "cosine + mixup", "data.limit": None, "flip": True, "at": "a b"},
    {"model": "resnet50", "top1": 69.0, "tricks": "baseline", "data.limit": 100, "flip": False, "at": "c"},
    {"model": "9", "top1": 71.0, "tricks": "mixup", "data.limit": 20, "flip": True},
]


def found(where="", sort="", limit=""):
    return [ROWS.index(row) for row in Query.of(where, sort, limit).select(ROWS, dict)]


@pytest.mark.parametrize(
    ("where", "rows"),
    [
        ("", [0, 1, 2]),
        ("model=resnet50 top1>70 tricks~mixup", [0]),
        ("top1 >= 71", [0, 2]),
        ("top1==69", [1]),
        ("model!=resnet50", [2]),
        ("model=9", [2]),
        ("data.limit=null", [0]),
        ("data.limit!=null data.limit<100", [2]),
        ("data.limit<1000", [1, 2]),
        ("flip=true", [0, 2]),
        ("at='a b'", [0]),
        ('at="a b"', [0]),
        ("at=null", [2]),
        ("tricks~Mixup", []),
    ],
)
def test_rows_that_fulfil_every_condition_are_found(where, rows):
    assert found(where) == rows


def test_rows_are_sorted_by_several_keys_with_missing_values_last():
    assert found(sort="-top1") == [0, 2, 1]
    assert found(sort="model,-top1") == [2, 0, 1]
    assert found(sort="data.limit") == [2, 1, 0]
    assert found(sort="-data.limit", limit="2") == [1, 2]


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ({"where": "tpo1>3"}, "where: there is no 'tpo1'; did you mean 'top1'?"),
        ({"sort": "-modle"}, "sort: there is no 'modle'; did you mean 'model'?"),
        ({"where": "top1 70"}, "'top1 70' is not KEY SIGN VALUE"),
        ({"where": "top1>70 and"}, "'and' is not KEY SIGN VALUE"),
        ({"where": "top1>high"}, "top1>high: high is no number"),
        ({"limit": "0"}, "limit=0: must be a whole number"),
    ],
)
def test_what_cannot_be_read_is_refused_with_what_to_type(query, message):
    with pytest.raises(UserError) as raised:
        found(**query)
    assert message in str(raised.value)


@given(st.text(max_size=30))
def test_any_text_is_a_query_or_a_user_error(text):
    for name in ("where", "sort", "limit"):
        with suppress(UserError):
            found(**{name: text})
