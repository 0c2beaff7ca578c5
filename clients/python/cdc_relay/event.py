"""An event, and what is demanded of one."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import datetime, timezone
from enum import Enum
from typing import Any
from uuid import UUID

from ._json import NotJSON, member, to_json
from .errors import EventError

_TOPIC = re.compile(r"[a-zA-Z0-9._-]{1,249}")


@dataclass(frozen=True)
class OutboxEvent:
    """One row of the outbox.

    ``aggregate_type`` and ``aggregate_id`` say which thing the event is about,
    ``event_type`` what happened, as the contract names it; an Enum member stands
    for its value. ``event_data`` is a Pydantic model (1 or 2), a dataclass, a
    mapping, or text that is JSON already; it must be an object. ``topic`` and
    ``message_key``: None lets the contract decide. ``headers`` go to the record
    over those the relay makes of the same name.

    ``event_id`` identifies the event for every consumer. None: the one the event
    carries (the header ``event_id``, else that of an envelope, which is an
    ``event_data`` whose ``event_type`` is the event's), if it is a UUID; else a new
    UUID of version 7. ``occurred_at`` is when it happened, with a time zone;
    None: now.
    """

    aggregate_type: str | Enum
    aggregate_id: str | UUID | int
    event_type: str | Enum
    event_data: Any
    topic: str | None = None
    message_key: str | UUID | int | None = None
    headers: Mapping[str, Any] | None = None
    event_id: UUID | str | None = None
    occurred_at: datetime | None = None

    @classmethod
    def of(cls, value: OutboxEvent | Mapping[str, Any], name: str) -> OutboxEvent:
        """value as an OutboxEvent; a mapping has the names of its fields. name is
        what messages call it."""
        if isinstance(value, cls):
            return value
        if not isinstance(value, Mapping):
            raise EventError(name, f"is a {type(value).__name__}; give an OutboxEvent or a mapping with its fields")
        known = [f.name for f in fields(cls)]
        if unknown := [k for k in value if k not in known]:
            raise EventError(name, f"has the unknown key {unknown[0]!r}; an event has {', '.join(known)}")
        required = ("aggregate_type", "aggregate_id", "event_type", "event_data")
        if missing := [k for k in required if k not in value]:
            raise EventError(name, f"lacks {', '.join(missing)}")
        return cls(**value)


@dataclass(frozen=True)
class Row:
    """An event as the table takes it, all as text."""

    id: str
    aggregate_type: str
    aggregate_id: str
    event_type: str
    topic: str | None
    message_key: str | None
    headers: str
    payload: str
    occurred_at: str

    def values(self) -> tuple[str | None, ...]:
        return tuple(getattr(self, f.name) for f in fields(self))


def prepare(e: OutboxEvent) -> Row:
    """Checks e and fills in what it leaves open."""
    kind = _text("event_type", e.event_type, "")
    aggregate_type = _text("aggregate_type", e.aggregate_type, kind)
    aggregate_id = _text("aggregate_id", e.aggregate_id, kind)
    if e.topic is not None and (not _is_topic(e.topic)):
        raise EventError(
            "topic", f"{e.topic!r} is not the name of a Kafka topic: letters, digits, dot, underscore and hyphen, at most 249", kind
        )
    key = None if e.message_key is None else _text("message_key", e.message_key, kind, empty=True)
    heads = plain_headers(e.headers, kind)
    try:
        payload = to_json(e.event_data)
    except NotJSON as error:
        raise EventError("event_data", str(error), kind) from None
    return Row(
        _id(e, heads, payload, kind), aggregate_type, aggregate_id, kind, e.topic, key,
        json.dumps(heads, ensure_ascii=False), payload, _time(e.occurred_at, kind),
    )  # fmt: skip


def _is_topic(topic: Any) -> bool:
    return isinstance(topic, str) and topic not in (".", "..") and _TOPIC.fullmatch(topic) is not None


def _text(field: str, value: Any, kind: str, empty: bool = False) -> str:
    if isinstance(value, Enum):
        value = value.value
    if isinstance(value, (UUID, int)) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str):
        raise EventError(field, f"is a {type(value).__name__}; it must be text", kind)
    if not value and not empty:
        raise EventError(field, "is empty", kind)
    if "\0" in value or not _utf8(value):
        raise EventError(field, "holds a zero character or half a surrogate pair; Postgres cannot store that", kind)
    return value


def _utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def plain_headers(headers: Mapping[str, Any] | None, kind: str) -> dict[str, str]:
    """headers as an object of strings; None values are left out."""
    out: dict[str, str] = {}
    if headers is None:
        return out
    if not isinstance(headers, Mapping):
        raise EventError("headers", f"is a {type(headers).__name__}; it must be a mapping of strings", kind)
    for name, value in headers.items():
        if not isinstance(name, str) or not name or not _utf8(name):
            raise EventError("headers", f"has the name {name!r}; names are text and not empty", kind)
        if isinstance(value, Enum):
            value = value.value
        if isinstance(value, datetime):
            value = value.isoformat()
        if isinstance(value, (UUID, int)) and not isinstance(value, bool):
            value = str(value)
        if value is None:
            continue
        if not isinstance(value, str) or not _utf8(value):
            raise EventError("headers", f"has {name!r}: {value!r}; values are text", kind)
        out[name] = value
    return out


def _id(e: OutboxEvent, headers: Mapping[str, str], payload: str, kind: str) -> str:
    """The id of the row: the one consumers will see, where that is a UUID."""
    if e.event_id is not None:
        given = _uuid(e.event_id)
        if given is None:
            raise EventError("event_id", f"{e.event_id!r} is not a UUID", kind)
        if headers.get("event_id") and _uuid(headers["event_id"]) != given:
            raise EventError("headers", f"has the event_id {headers['event_id']!r}, the event has {e.event_id!r}", kind)
        return str(given)
    found = _uuid(headers.get("event_id"))
    if found is None and member(payload, "event_type") == kind:  # an envelope
        found = _uuid(member(payload, "event_id"))
    return str(found or new_id())


_UUID = re.compile(r"[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}")


def _uuid(value: Any) -> UUID | None:
    if isinstance(value, str) and _UUID.fullmatch(value):
        return UUID(value)
    return value if isinstance(value, UUID) else None


def new_id() -> UUID:
    """A UUID of version 7: it begins with the time, so that the primary key grows
    at its end."""
    value = time.time_ns() // 1_000_000 << 80 | int.from_bytes(os.urandom(10), "big")
    return UUID(int=value & ~(0xF << 76 | 0x3 << 62) | 0x7 << 76 | 0x2 << 62)


def _time(at: datetime | None, kind: str) -> str:
    if at is None:
        at = datetime.now(timezone.utc)
    if not isinstance(at, datetime) or at.utcoffset() is None:
        raise EventError("occurred_at", f"{at!r} has no time zone; as in datetime.now(timezone.utc)", kind)
    return at.isoformat()
