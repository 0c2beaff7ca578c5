"""Values of a service as JSON text."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from datetime import date, datetime, time
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID

# Ends a value that contains itself, before Python's recursion limit does.
_MAX_DEPTH = 200


class NotJSON(Exception):
    """A value JSON has no form for, and where it is."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"at {path}: {reason}" if path else reason)


def to_json(value: Any) -> str:
    """The JSON object that value is. Text is taken to be JSON and kept as it is."""
    if isinstance(value, (bytes, bytearray)):
        try:
            value = bytes(value).decode()
        except UnicodeDecodeError:
            raise NotJSON("", "is not UTF-8") from None
    if isinstance(value, str):
        return _checked(value)
    plain = to_plain(value)
    if not isinstance(plain, dict):
        raise NotJSON("", f"is not a JSON object but {type(value).__name__}")
    text = json.dumps(plain, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return _encodable(text)


def member(text: str, name: str) -> Any:
    """A member of the JSON object that text is; None: it has none. A text without
    the name is not parsed."""
    return json.loads(text).get(name) if f'"{name}"' in text else None


def _checked(text: str) -> str:
    try:
        found = json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise NotJSON("", f"is not valid JSON: {error}") from None
    if not isinstance(found, dict):
        raise NotJSON("", f"is not a JSON object: {text[:60]!r}")
    return _encodable(text)


def _encodable(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise NotJSON("", f"has half a surrogate pair, {text[error.start]!r}") from None
    return text


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def to_plain(value: Any, path: str = "", depth: int = 0) -> Any:
    """value in the types that json writes by itself."""
    if depth > _MAX_DEPTH:
        raise NotJSON(path[:60], f"is more than {_MAX_DEPTH} levels deep, or contains itself")
    if isinstance(value, Enum):
        return to_plain(value.value, path, depth + 1)
    if value is None or isinstance(value, (str, bool, int)):
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise NotJSON(path, f"{value} is no number of JSON")
        return value
    if isinstance(value, (datetime, date, time)):
        return value.isoformat()
    if isinstance(value, UUID):
        return str(value)
    if isinstance(value, Decimal):
        return _decimal(value, path)
    if (fields := _fields(value)) is not None:
        return {
            _name(name, path): to_plain(member, f"{path}.{name}" if path else str(name), depth + 1)
            for name, member in fields.items()
        }
    if isinstance(value, (list, tuple)):
        return [to_plain(item, f"{path}[{i}]", depth + 1) for i, item in enumerate(value)]
    raise NotJSON(path, f"{type(value).__name__} has no form in JSON; convert it first")


def _decimal(value: Decimal, path: str) -> str:
    # As text, as Pydantic does: a number of JSON would lose digits on the way.
    if not value.is_finite():
        raise NotJSON(path, f"{value} is no number of JSON")
    return format(value, "f")


def _fields(value: Any) -> Mapping[Any, Any] | None:
    """The members of what is an object in JSON."""
    if isinstance(value, Mapping):
        return value
    if isinstance(value, type):
        return None
    # Pydantic, by what it can do: no import, and both of its versions.
    if callable(dump := getattr(value, "model_dump", None)):
        dumped = dump(mode="json")
        return dumped if isinstance(dumped, Mapping) else None
    if hasattr(value, "__fields__") and callable(v1 := getattr(value, "dict", None)):
        dumped = v1()
        return dumped if isinstance(dumped, Mapping) else None
    if dataclasses.is_dataclass(value):
        return {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
    return None


def _name(name: Any, path: str) -> str:
    if isinstance(name, Enum):
        name = name.value
    if isinstance(name, str):
        return name
    if isinstance(name, (int, UUID)) and not isinstance(name, bool):
        return str(name)
    raise NotJSON(path, f"a key is {name!r}; keys are text")
