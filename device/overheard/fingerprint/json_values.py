"""Check values of JSON objects that may be damaged or hostile: presence, type and range.

A function here raises :class:`JsonValueError` for bad data and nothing else, so that callers can report bad
data without hiding bugs of their own.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

_INT64 = (-(2**63), 2**63 - 1)


class JsonValueError(ValueError):
    """A value is missing, has the wrong type, or is out of range."""


def parse_object(text: str | bytes) -> dict[str, Any]:
    """Parse text that must be one JSON object.

    Raises
    ------
    JsonValueError
        If the text is not JSON, is nested too deeply, or is not an object.
    """
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise JsonValueError(f"invalid JSON ({error})") from error
    if not isinstance(value, dict):
        raise JsonValueError("not a JSON object")
    return value


def required(values: Mapping[str, Any], name: str) -> Any:
    """Return a value of any type. Raises JsonValueError if it is missing."""
    if name not in values:
        raise JsonValueError(f"{name} is missing")
    return values[name]


def get_string(values: Mapping[str, Any], name: str) -> str:
    """Return a string. Raises JsonValueError if it is missing, has another type, or is not valid Unicode."""
    return as_string(required(values, name), name)


def as_string(value: object, name: str) -> str:
    """Return the value, which must be a string without lone surrogates. Raises JsonValueError."""
    if not isinstance(value, str):
        raise JsonValueError(f"{name} must be a string")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise JsonValueError(f"{name} is not valid text") from error
    return value


def as_path(value: object, name: str) -> str:
    """Return the value, which must be a path as `os.fsdecode` returns them. Raises JsonValueError."""
    if not isinstance(value, str):
        raise JsonValueError(f"{name} must be a string")
    try:
        value.encode("utf-8", "surrogateescape")  # undecodable bytes in file names are lone surrogates
    except UnicodeEncodeError as error:
        raise JsonValueError(f"{name} is not a valid path") from error
    if "\0" in value:
        raise JsonValueError(f"{name} is not a valid path")
    return value


def get_object(values: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return an object. Raises JsonValueError if it is missing or has another type."""
    value = required(values, name)
    if not isinstance(value, dict):
        raise JsonValueError(f"{name} must be an object")
    return value


def get_array(values: Mapping[str, Any], name: str) -> list[Any]:
    """Return an array. Raises JsonValueError if it is missing or has another type."""
    value = required(values, name)
    if not isinstance(value, list):
        raise JsonValueError(f"{name} must be an array")
    return value


def get_integer(values: Mapping[str, Any], name: str, minimum: int = _INT64[0]) -> int:
    """Return an integer of at most 64 bits.

    Raises
    ------
    JsonValueError
        If it is missing, is not an integer (``true`` is not), or is out of range.
    """
    return as_integer(required(values, name), name, minimum)


def as_integer(value: object, name: str, minimum: int = _INT64[0]) -> int:
    """Return the value, which must be an integer of at most 64 bits. Raises JsonValueError."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise JsonValueError(f"{name} must be an integer")
    if not minimum <= value <= _INT64[1]:
        raise JsonValueError(f"{name} is out of range")
    return value


def get_number(
    values: Mapping[str, Any], name: str, minimum: float = -math.inf, maximum: float = math.inf
) -> float:
    """Return a finite number as a float.

    Raises
    ------
    JsonValueError
        If it is missing, is not a number (``true`` is not), is NaN or infinite, or is out of range.
    """
    return as_number(required(values, name), name, minimum, maximum)


def as_number(value: object, name: str, minimum: float = -math.inf, maximum: float = math.inf) -> float:
    """Return the value, which must be a finite number. Raises JsonValueError."""
    if isinstance(value, int):
        value = float(as_integer(value, name))
    if not isinstance(value, float) or not math.isfinite(value):
        raise JsonValueError(f"{name} must be a finite number")
    if not minimum <= value <= maximum:
        raise JsonValueError(f"{name} is out of range")
    return value


def get_numbers(values: Mapping[str, Any], name: str, length: int | None = None) -> tuple[float, ...]:
    """Return an array of finite numbers.

    Parameters
    ----------
    values, name : the object and the name of its value
    length : the required number of elements; any if None

    Raises
    ------
    JsonValueError
        If it is missing, has another type or length, or holds anything but finite numbers.
    """
    array: Sequence[Any] = get_array(values, name)
    if length is not None and len(array) != length:
        raise JsonValueError(f"{name} has {len(array)} values instead of {length}")
    return tuple(as_number(value, f"{name}[{i}]") for i, value in enumerate(array))
