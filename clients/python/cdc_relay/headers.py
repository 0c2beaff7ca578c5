"""The standard headers of an event."""

from __future__ import annotations

from uuid import UUID

from .errors import EventError


def create_standard_headers(
    event_id: UUID | str,
    trace_id: UUID | str | None = None,
    schema_version: int = 1,
    *,
    correlation_id: UUID | str | None = None,
    traceparent: str | None = None,
) -> dict[str, str]:
    """The headers a service gives with an event; the relay adds the others
    (event_type, occurred_at, content_type). What is None is left out, and the relay
    derives it where it can.

    ``trace_id`` is best the 32 hexadecimal digits of a W3C trace;
    ``schema_version`` is N of the schema ``…VN.avsc`` that the event fits.
    """
    if isinstance(schema_version, bool) or not isinstance(schema_version, int) or schema_version < 1:
        raise EventError("schema_version", f"is {schema_version!r}; versions are whole numbers from 1")
    if not str(event_id or ""):
        raise EventError("event_id", "is empty")
    headers = {"event_id": str(event_id), "schema_version": str(schema_version)}
    for name, value in (("trace_id", trace_id), ("correlation_id", correlation_id), ("traceparent", traceparent)):
        if value:
            headers[name] = str(value)
    return headers
