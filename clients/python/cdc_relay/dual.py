"""Thin and rich: two events about one thing, under one correlation id."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from uuid import UUID

from ._json import NotJSON, member, to_json
from .errors import EventError
from .event import OutboxEvent, new_id, plain_headers
from .outbox import OutboxManager, SyncOutboxManager


class DualEventPublisher:
    """Publishes a thin event for those who steer the flow and a rich one for those
    who need the data, both in the caller's transaction. The relay never cuts a
    transaction, so they become visible in Kafka together or not at all.

    It takes an OutboxManager, or a session to make one of."""

    def __init__(self, outbox: OutboxManager | Any = None) -> None:
        self._outbox = outbox if isinstance(outbox, OutboxManager) else OutboxManager(outbox)

    async def publish_dual_events(
        self,
        thin_event: OutboxEvent | Mapping[str, Any],
        rich_event: OutboxEvent | Mapping[str, Any],
        correlation_id: UUID | str | None = None,
        partition_key: str | UUID | int | None = None,
        *,
        session: Any = None,
    ) -> tuple[UUID, UUID]:
        """Writes the pair and returns the ids of both. An event is an OutboxEvent
        or a mapping with its fields.

        ``correlation_id`` becomes the header of both. None: the one the events
        carry, in their headers or in their event_data; if they carry none, a new
        UUID. An event that carries another is an EventError.

        ``partition_key`` is the key of both, unless an event has a message_key.
        None: the contract decides."""
        thin, rich = await self._outbox.publish_events(
            pair(thin_event, rich_event, correlation_id, partition_key), session=session
        )
        return thin, rich


class SyncDualEventPublisher:
    """DualEventPublisher for synchronous sessions."""

    def __init__(self, outbox: SyncOutboxManager | Any = None) -> None:
        self._outbox = outbox if isinstance(outbox, SyncOutboxManager) else SyncOutboxManager(outbox)

    def publish_dual_events(
        self,
        thin_event: OutboxEvent | Mapping[str, Any],
        rich_event: OutboxEvent | Mapping[str, Any],
        correlation_id: UUID | str | None = None,
        partition_key: str | UUID | int | None = None,
        *,
        session: Any = None,
    ) -> tuple[UUID, UUID]:
        """DualEventPublisher.publish_dual_events."""
        thin, rich = self._outbox.publish_events(pair(thin_event, rich_event, correlation_id, partition_key), session=session)
        return thin, rich


def pair(
    thin_event: OutboxEvent | Mapping[str, Any],
    rich_event: OutboxEvent | Mapping[str, Any],
    correlation_id: UUID | str | None,
    partition_key: str | UUID | int | None,
) -> list[OutboxEvent]:
    """Both events, with one correlation id in their headers."""
    one = None if correlation_id is None else str(correlation_id)
    if one == "":
        raise EventError("correlation_id", "is empty; None takes the one of the events, or makes one")
    events: list[OutboxEvent] = []
    for name, given in (("thin_event", thin_event), ("rich_event", rich_event)):
        event = OutboxEvent.of(given, name)
        heads = plain_headers(event.headers, str(event.event_type))
        try:
            payload = to_json(event.event_data)
        except NotJSON as error:
            raise EventError(f"{name}: event_data", str(error)) from None
        for place, found in (("headers", heads.get("correlation_id")), ("event_data", member(payload, "correlation_id"))):
            if not isinstance(found, str) or not found:
                continue
            one = one or found
            if found != one:
                raise EventError(f"{name}: {place}", f"has the correlation_id {found!r}, that of the pair is {one!r}")
        key = partition_key if event.message_key is None else event.message_key
        events.append(replace(event, event_data=payload, headers=heads, message_key=key))
    one = one or str(new_id())
    return [replace(e, headers={**(e.headers or {}), "correlation_id": one}) for e in events]
