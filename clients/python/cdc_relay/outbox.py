"""The managers that write events."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from enum import Enum
from typing import Any
from uuid import UUID

from ._session import Statement, execute, execute_sync
from .errors import EventError
from .event import OutboxEvent, Row, prepare

# One statement holds at most so many events and bytes: Postgres takes 65535
# parameters, and both ends hold a statement in memory.
_MAX_ROWS = 1000
_MAX_BYTES = 16 << 20

_TYPES = ("uuid", "text", "text", "text", "text", "text", "json", "json", "timestamptz")


class OutboxManager:
    """Writes events in the transaction of an asynchronous session: SQLAlchemy's
    AsyncSession or AsyncConnection, a connection of asyncpg, psycopg's
    AsyncConnection. It neither begins, commits nor rolls back.

    The session is given here, or to each call as ``session=``, where one manager
    serves many.
    """

    def __init__(self, session: Any = None) -> None:
        self._session = session

    async def publish_to_outbox(
        self,
        aggregate_type: str | Enum,
        aggregate_id: str | UUID | int,
        event_type: str | Enum,
        event_data: Any,
        topic: str | None = None,
        message_key: str | UUID | int | None = None,
        headers: Mapping[str, Any] | None = None,
        *,
        event_id: UUID | str | None = None,
        occurred_at: datetime | None = None,
        session: Any = None,
    ) -> UUID:
        """Writes one event and returns its id. The parameters are those of
        OutboxEvent. An EventError means that the database was not asked."""
        event = OutboxEvent(aggregate_type, aggregate_id, event_type, event_data, topic, message_key, headers, event_id, occurred_at)
        return (await self.publish_events([event], session=session))[0]

    async def publish_events(self, events: Iterable[OutboxEvent | Mapping[str, Any]], *, session: Any = None) -> list[UUID]:
        """Writes events in the order given and returns their ids. All are checked
        before the first is written; many go in one statement."""
        rows = _rows(events)
        for chunk in _chunks(rows):
            await execute(self._of(session), _insert(len(chunk)), _parameters(chunk))
        return [UUID(row.id) for row in rows]

    async def emit_event(
        self,
        aggregate_type: str | Enum,
        aggregate_id: str | UUID | int,
        event_type: str | Enum,
        event_data: Any,
        topic: str | None = None,
        message_key: str | UUID | int | None = None,
        headers: Mapping[str, Any] | None = None,
        *,
        event_id: UUID | str | None = None,
        occurred_at: datetime | None = None,
        session: Any = None,
    ) -> UUID:
        """publish_to_outbox without the table: the event is a logical message in
        the write-ahead log, in one order with the rows of the same transaction.
        The relay reads such only with ``postgres: {message_prefix: cdc_relay}``; what
        no relay reads is lost."""
        row = prepare(
            OutboxEvent(aggregate_type, aggregate_id, event_type, event_data, topic, message_key, headers, event_id, occurred_at)
        )
        await execute(self._of(session), _emit, _parameters([row]))
        return UUID(row.id)

    def _of(self, session: Any) -> Any:
        return self._session if session is None else session


class SyncOutboxManager:
    """OutboxManager for synchronous sessions: SQLAlchemy's Session or Connection,
    psycopg's Connection."""

    def __init__(self, session: Any = None) -> None:
        self._session = session

    def publish_to_outbox(
        self,
        aggregate_type: str | Enum,
        aggregate_id: str | UUID | int,
        event_type: str | Enum,
        event_data: Any,
        topic: str | None = None,
        message_key: str | UUID | int | None = None,
        headers: Mapping[str, Any] | None = None,
        *,
        event_id: UUID | str | None = None,
        occurred_at: datetime | None = None,
        session: Any = None,
    ) -> UUID:
        """OutboxManager.publish_to_outbox."""
        event = OutboxEvent(aggregate_type, aggregate_id, event_type, event_data, topic, message_key, headers, event_id, occurred_at)
        return self.publish_events([event], session=session)[0]

    def publish_events(self, events: Iterable[OutboxEvent | Mapping[str, Any]], *, session: Any = None) -> list[UUID]:
        """OutboxManager.publish_events."""
        rows = _rows(events)
        for chunk in _chunks(rows):
            execute_sync(self._of(session), _insert(len(chunk)), _parameters(chunk))
        return [UUID(row.id) for row in rows]

    def emit_event(
        self,
        aggregate_type: str | Enum,
        aggregate_id: str | UUID | int,
        event_type: str | Enum,
        event_data: Any,
        topic: str | None = None,
        message_key: str | UUID | int | None = None,
        headers: Mapping[str, Any] | None = None,
        *,
        event_id: UUID | str | None = None,
        occurred_at: datetime | None = None,
        session: Any = None,
    ) -> UUID:
        """OutboxManager.emit_event."""
        row = prepare(
            OutboxEvent(aggregate_type, aggregate_id, event_type, event_data, topic, message_key, headers, event_id, occurred_at)
        )
        execute_sync(self._of(session), _emit, _parameters([row]))
        return UUID(row.id)

    def _of(self, session: Any) -> Any:
        return self._session if session is None else session


def _rows(events: Iterable[OutboxEvent | Mapping[str, Any]]) -> list[Row]:
    rows = []
    for i, event in enumerate(events):
        try:
            rows.append(prepare(OutboxEvent.of(event, "the event")))
        except EventError as error:
            if i:
                raise EventError(f"event {i}: {error.field}", error.reason, error.event_type) from None
            raise
    return rows


def _chunks(rows: Sequence[Row]) -> Iterator[list[Row]]:
    chunk: list[Row] = []
    size = 0
    for row in rows:
        size += len(row.payload) + len(row.headers)
        if chunk and (len(chunk) == _MAX_ROWS or size > _MAX_BYTES):
            yield chunk
            chunk, size = [], len(row.payload) + len(row.headers)
        chunk.append(row)
    if chunk:
        yield chunk


def _parameters(rows: Iterable[Row]) -> list[str | None]:
    return [value for row in rows for value in row.values()]


def _casts(parameter: Callable[[int], str], first: int) -> list[str]:
    """Parameters of one event. Through text, so that no codec a service has set
    for json or uuid comes between."""
    return [f"cast(cast({parameter(first + i)} as text) as {kind})" for i, kind in enumerate(_TYPES)]


def _insert(count: int) -> Statement:
    def statement(parameter: Callable[[int], str]) -> str:
        rows = (f"({', '.join(_casts(parameter, i * len(_TYPES)))})" for i in range(count))
        return (
            "insert into cdc_relay.outbox (id, aggregate_type, aggregate_id, event_type, topic, message_key, headers, payload, occurred_at) "
            f"values {', '.join(rows)}"
        )

    return statement


def _emit(parameter: Callable[[int], str]) -> str:
    # Named, because the order of the row is not the function's.
    names = ("event_id", "aggregate_type", "aggregate_id", "event_type", "topic", "message_key", "headers", "event_data", "occurred_at")
    arguments = (f"{name} => {cast}" for name, cast in zip(names, _casts(parameter, 0)))
    return f"select cdc_relay.emit_event({', '.join(arguments)})"
