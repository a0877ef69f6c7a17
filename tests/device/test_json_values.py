"""Values of JSON objects that may be damaged or hostile."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overheard.fingerprint import json_values
from overheard.fingerprint.json_values import JsonValueError

OBJECT = {
    "string": "a",
    "integer": 3,
    "number": 1.5,
    "array": [1, 2.5],
    "object": {"a": 1},
    "true": True,
    "null": None,
}


def test_values_of_the_right_type_are_returned() -> None:
    assert json_values.get_string(OBJECT, "string") == "a"
    assert json_values.get_integer(OBJECT, "integer", 3) == 3
    assert json_values.get_number(OBJECT, "number", 1.5) == 1.5
    assert json_values.get_number(OBJECT, "integer") == 3.0
    assert json_values.get_numbers(OBJECT, "array", 2) == (1.0, 2.5)
    assert json_values.get_array(OBJECT, "array") == [1, 2.5]
    assert json_values.get_object(OBJECT, "object") == {"a": 1}


@pytest.mark.parametrize(
    ("get", "accepted"),
    [
        (json_values.get_string, {"string"}),
        (json_values.get_integer, {"integer"}),
        (json_values.get_number, {"integer", "number"}),
        (json_values.get_array, {"array"}),
        (json_values.get_numbers, {"array"}),
        (json_values.get_object, {"object"}),
    ],
)
def test_missing_values_and_other_types_are_refused(get: object, accepted: set[str]) -> None:
    assert callable(get)
    with pytest.raises(JsonValueError, match="absent is missing"):
        get(OBJECT, "absent")
    for name in set(OBJECT) - accepted:
        with pytest.raises(JsonValueError, match=f"{name} must be"):
            get(OBJECT, name)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 10**400, -(2**63) - 1, True, "1", None])
def test_numbers_that_are_not_finite_or_too_large_are_refused(value: object) -> None:
    with pytest.raises(JsonValueError):
        json_values.get_number({"a": value}, "a")
    with pytest.raises(JsonValueError, match=r"a\[1\]"):
        json_values.get_numbers({"a": [0, value]}, "a")


def test_ranges_and_lengths_are_checked() -> None:
    for value in (2, 1.9, -(2**70)):
        with pytest.raises(JsonValueError, match="a is out of range"):
            json_values.get_number({"a": value}, "a", 2.5)
    with pytest.raises(JsonValueError, match="a is out of range"):
        json_values.get_integer({"a": -1}, "a", 0)
    with pytest.raises(JsonValueError, match="a has 2 values instead of 3"):
        json_values.get_numbers({"a": [1, 2]}, "a", 3)


@pytest.mark.parametrize("text", [b"", b"nonsense", b"[]", b"3", b"[" * 100_000, b"\xff\xfe\x00", "{'a': 1}"])
def test_text_that_is_not_an_object_is_refused(text: bytes | str) -> None:
    with pytest.raises(JsonValueError):
        json_values.parse_object(text)
    assert json_values.parse_object(b'{"a": 1}') == {"a": 1}


json_like = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda children: (
        st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=3), children, max_size=3)
    ),
    max_leaves=8,
)


@given(value=json_like)
def test_any_value_is_returned_with_its_type_or_refused(value: object) -> None:
    for get, kind in (
        (json_values.get_integer, int),
        (json_values.get_number, float),
        (json_values.get_string, str),
    ):
        try:
            result = get({"a": value}, "a")
        except JsonValueError:
            continue
        assert type(result) is kind
        assert result == value
