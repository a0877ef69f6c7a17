"""Check values of requests against JSON schemas, the same ones that the OpenAPI document shows.

Of JSON Schema, this knows type, enum, minimum, maximum, minLength, maxLength, pattern, properties, required
and additionalProperties: false.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

Schema = Mapping[str, Any]

_INTEGER = re.compile(r"-?(0|[1-9][0-9]{0,18})", re.ASCII)
_INT64 = 2**63


class InvalidValue(ValueError):
    """A value does not fit its schema. Its message is for the client."""


def parse_query(pairs: list[tuple[str, str]], schemas: Mapping[str, Schema]) -> dict[str, Any]:
    """Convert the query of a URL.

    Parameters
    ----------
    pairs : names and values as they are in the URL
    schemas : of each parameter; one with a ``default`` is always in the result

    Raises
    ------
    InvalidValue
        If a parameter is unknown, given twice, or invalid.
    """
    values = {name: schema["default"] for name, schema in schemas.items() if "default" in schema}
    seen: set[str] = set()
    for name, text in pairs:
        if name not in schemas:
            raise InvalidValue(f"unknown parameter {name[:40]!r}")
        if name in seen:
            raise InvalidValue(f"{name} is given twice")
        seen.add(name)
        values[name] = check(schemas[name], convert(schemas[name], text, name), name)
    return values


def convert(schema: Schema, text: str, name: str) -> Any:
    """Convert the text of a parameter to the type of its schema; raise InvalidValue if it is not one."""
    if schema["type"] == "integer":
        if not _INTEGER.fullmatch(text):
            raise InvalidValue(f"{name} must be a whole number")
        return int(text)
    if schema["type"] == "boolean":
        if text not in ("true", "false"):
            raise InvalidValue(f"{name} must be true or false")
        return text == "true"
    return text


def check(schema: Schema, value: Any, name: str) -> Any:
    """Return the value; raise InvalidValue if it does not fit the schema."""
    kinds = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    if not any(_has_type(value, kind) for kind in kinds):
        raise InvalidValue(f"{name} must be of type {' or '.join(kinds)}")
    if "enum" in schema and value not in schema["enum"]:
        raise InvalidValue(f"{name} must be one of {', '.join(map(str, schema['enum']))}")
    if isinstance(value, str):
        _check_text(schema, value, name)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        _check_number(schema, value, name)
    elif isinstance(value, dict):
        _check_object(schema, value, name)
    return value


def _has_type(value: Any, kind: str) -> bool:
    if kind == "null":
        return value is None
    if kind == "boolean":
        return isinstance(value, bool)
    if kind == "integer":
        return isinstance(value, int) and not isinstance(value, bool)
    if kind == "number":
        # An integer is finite, and `isfinite` cannot convert one of more than 308 digits.
        is_finite = isinstance(value, int) or (isinstance(value, float) and math.isfinite(value))
        return is_finite and not isinstance(value, bool)
    return isinstance(value, {"string": str, "object": dict, "array": list}[kind])


def _check_text(schema: Schema, value: str, name: str) -> None:
    if len(value) > schema.get("maxLength", len(value)) or len(value) < schema.get("minLength", 0):
        raise InvalidValue(f"{name} has an invalid length")
    if "\0" in value or any("\ud800" <= c <= "\udfff" for c in value):
        raise InvalidValue(f"{name} contains characters that are not text")
    # In JSON Schema, $ is the end of the text only, and not also before a line break there.
    if "pattern" in schema and not re.search(re.sub(r"\$$", r"\\Z", schema["pattern"]), value):
        raise InvalidValue(f"{name} has an invalid form")


def _check_number(schema: Schema, value: float, name: str) -> None:
    if isinstance(value, int) and not -_INT64 <= value < _INT64:  # SQLite takes no larger ones
        raise InvalidValue(f"{name} is out of range")
    low, high = schema.get("minimum", -math.inf), schema.get("maximum", math.inf)
    above = schema.get("exclusiveMinimum", -math.inf)
    if not low <= value <= high or value <= above:
        raise InvalidValue(f"{name} is out of range")


def _check_object(schema: Schema, value: dict[str, Any], name: str) -> None:
    properties = schema.get("properties", {})
    for key in value:
        if key not in properties and schema.get("additionalProperties") is False:
            raise InvalidValue(f"{name} has an unknown name {key[:40]!r}")
    for key in schema.get("required", ()):
        if key not in value:
            raise InvalidValue(f"{name} lacks {key}")
    if len(value) < schema.get("minProperties", 0):
        raise InvalidValue(f"{name} is empty")
    for key, item in value.items():
        if key in properties:
            check(properties[key], item, key)
