"""Act on each event once, although Kafka may bring it again.

The relay publishes every event exactly once; a consumer's offset and its
database are two systems, so the last step is the consumer's own. An `Inbox`
claims the event in the transaction that does the work, in a table of the
consumer's own Postgres: the claim is there if and only if the work is.

    inbox = Inbox("result-aggregator")

    @deduplicate(inbox, pool)  # asyncpg.Pool, or async_sessionmaker, AsyncEngine of SQLAlchemy
    async def handle(connection, message):
        await connection.execute("update essays set state = 'done' where id = $1", message.key.decode())

    await handle(message)  # and only then commit the offset

Messages are those of aiokafka, or anything with `topic`, `partition`, `offset`
and `headers`, pairs of a name and bytes. The table is made by `migrate`, by
`cdc-relay migrate --inbox URL`, or by running `INBOX_SQL` in a migration; its
rows are forgotten by `prune`. This module imports nothing but the standard
library; SQLAlchemy and prometheus_client only when they are used.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta, timezone
from importlib import resources
from typing import Any, Protocol

from ._inbox import CLAIM, CLAIM_ALL, PRUNE, InboxSetupError, execute, scalar, transaction
from .errors import EventError

__all__ = [
    "INBOX_SQL",
    "EventIdError",
    "Headers",
    "Inbox",
    "InboxSetupError",
    "Message",
    "deduplicate",
    "duplicates_counter",
    "migrate",
    "prune",
]

INBOX_SQL: str = resources.files(__package__).joinpath("inbox.sql").read_text(encoding="utf-8")
"""Makes or updates table cdc_relay.inbox and its functions.

One statement without parameters, for any driver or migration tool (Alembic:
`op.execute(INBOX_SQL)`), in a transaction or without, again and again.
"""

_MAX_ID = 1024  # bytes: an index of Postgres does not take entries much longer than 2 KB
_PRUNE_ROWS = 5000  # deleted by one transaction of prune
_METHOD = "inbox"  # label deduplication_method: by event id, in a table


class Message(Protocol):
    """What the inbox reads of a record: a ConsumerRecord of aiokafka has it."""

    @property
    def topic(self) -> str: ...
    @property
    def partition(self) -> int: ...
    @property
    def offset(self) -> int: ...
    @property
    def headers(self) -> Iterable[tuple[str, bytes | None]] | None: ...


class EventIdError(EventError):
    """A record that does not say which event it is, so that it cannot be claimed.

    The database was not asked. Coming again does not change it: put it aside.
    """


class Headers(Mapping[str, str]):
    """The headers of a record, as text by name; of one name the last counts.

    Bytes that are not UTF-8 read as U+FFFD. What is not there is None.
    """

    __slots__ = ("_values",)

    def __init__(self, headers: Iterable[tuple[str, bytes | None]] | None) -> None:
        self._values: dict[str, bytes] = {name: value or b"" for name, value in headers or ()}

    def __getitem__(self, name: str) -> str:
        return self._values[name].decode("utf-8", "replace")

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return f"Headers({dict(self)!r})"

    @property
    def event_id(self) -> str | None:
        """Identifies the event, however often it is published: header event_id, else id (preset debezium)."""
        return self.get("event_id") or self.get("id") or None

    @property
    def event_type(self) -> str | None:
        """What happened, as the contract names it."""
        return self.get("event_type")

    @property
    def schema_version(self) -> int | None:
        """Version of the event's schema. Raises ValueError if it is no number."""
        text = self.get("schema_version")
        return None if text is None else int(text)

    @property
    def occurred_at(self) -> datetime | None:
        """When it happened, in UTC, to the microsecond. Raises ValueError if it is not RFC 3339."""
        text = self.get("occurred_at")
        return None if text is None else _rfc3339(text)

    @property
    def content_type(self) -> str | None:
        """application/avro, application/json or application/octet-stream."""
        return self.get("content_type")

    @property
    def trace_id(self) -> str | None:
        """The trace the event belongs to, in whatever form the service that wrote it has."""
        return self.get("trace_id")

    @property
    def correlation_id(self) -> str | None:
        """What belongs together across events."""
        return self.get("correlation_id")

    @property
    def traceparent(self) -> str | None:
        """W3C trace context of who wrote the event."""
        return self.get("traceparent")

    @property
    def replay_id(self) -> str | None:
        """The replay (`cdc-relay run --from-lsn`) that published the record again."""
        return self.get("cdc_replay_id")

    @property
    def repair_id(self) -> str | None:
        """The repair that published the record late, behind later events of its key."""
        return self.get("cdc_repair_id")

    @property
    def redrive_id(self) -> str | None:
        """The redrive (`cdc-relay dlq redrive`) that published the dead letter, late."""
        return self.get("cdc_redrive_id")

    def trace_context(self) -> dict[str, str]:
        """The carrier for OpenTelemetry: `opentelemetry.propagate.extract(headers.trace_context())`.

        Holds those of traceparent, tracestate and baggage that the record has.
        """
        return {name: self[name] for name in ("traceparent", "tracestate", "baggage") if name in self}

    def _claimable(self, name: str) -> str | None:
        """The header as it is, for the table: no character may be replaced."""
        value = self._values.get(name)
        return value.decode("utf-8") if value else None


_TIME = re.compile(r"(\d{4}-\d\d-\d\d)[Tt](\d\d:\d\d:\d\d)(\.\d+)?(?:[Zz]|([+-]\d\d:\d\d))", re.ASCII)


def _rfc3339(text: str) -> datetime:
    m = _TIME.fullmatch(text)
    if m is None:
        raise ValueError(f"header occurred_at is {text[:40]!r}, not a time as in 2026-02-03T04:05:06Z (RFC 3339)")
    date, time, fraction, zone = m.groups()
    micros = ((fraction or ".")[1:] + "000000")[:6]
    return datetime.fromisoformat(f"{date}T{time}.{micros}{zone or '+00:00'}").astimezone(timezone.utc)


def duplicates_counter(registry: Any = None) -> Any:
    """The counter kafka_duplicate_events_total of prometheus_client, for `Inbox(counter=…)`.

    Make it once per registry (default: the library's own) and share it.
    """
    import prometheus_client

    return prometheus_client.Counter(
        "kafka_duplicate_events_total",
        "Events that came again and were not processed again.",
        ["service", "consumer_group", "deduplication_method"],
        registry=prometheus_client.REGISTRY if registry is None else registry,
    )


class Inbox:
    """Claims events for one consumer group.

    consumer_group: who claims: the group's name, or, where one group does
        different work with one event, a name for each. Changing it makes every
        event new.
    service: label of the metric; default: the group.
    counter: of `duplicates_counter`, or anything with
        `labels(service=, consumer_group=, deduplication_method=).inc(n)`.
    per_topic: makes the topic a part of what identifies an event. Needed where
        ids are not UUIDs, as the row numbers of two services' tables are not.
    event_id: finds the id of an event that has none in its headers, as in its
        value; without it such an event is an EventIdError.
    """

    def __init__(
        self,
        consumer_group: str,
        *,
        service: str | None = None,
        counter: Any = None,
        per_topic: bool = False,
        event_id: Callable[[Any], str | None] | None = None,
    ) -> None:
        if not consumer_group or "\0" in consumer_group:
            raise ValueError(f"consumer_group is {consumer_group!r}; give the name of the consumer group")
        self.consumer_group = consumer_group
        self._per_topic = per_topic
        self._event_id = event_id
        self._duplicates = None
        if counter is not None:
            self._duplicates = counter.labels(
                service=service or consumer_group, consumer_group=consumer_group, deduplication_method=_METHOD
            )

    async def claim(self, connection: Any, message: Message) -> bool:
        """Claims the event in the transaction that is open on the connection.

        True: it is the first time, do the work in this transaction. False: it is
        a duplicate, do nothing. After an error the transaction must be rolled
        back, and the claim goes with it. While another transaction holds a claim
        of the same event, this waits for its end.

        connection: asyncpg.Connection in a transaction, AsyncSession or
        AsyncConnection of SQLAlchemy, or AsyncConnection of psycopg, none in
        autocommit mode: there the claim would be committed before the work
        (NoTransactionError).
        """
        values = (self.consumer_group, self.id_of(message), message.topic, message.partition, message.offset)
        first: bool = await scalar(connection, CLAIM, values)
        self._count(0 if first else 1)
        return first

    async def claim_all(self, connection: Any, messages: Sequence[Message]) -> list[bool]:
        """`claim` for many messages in one statement; the answers are in their order.

        A message whose event is that of an earlier one of the call is a duplicate.
        """
        if not messages:
            return []
        values = (
            self.consumer_group,
            [self.id_of(m) for m in messages],
            [m.topic for m in messages],
            [m.partition for m in messages],
            [m.offset for m in messages],
        )
        first: list[bool] = await scalar(connection, CLAIM_ALL, values)
        self._count(first.count(False))
        return first

    def id_of(self, message: Message) -> str:
        """What identifies the event of a message in the table. Raises EventIdError."""
        headers = Headers(message.headers)
        where = f"of record {message.topic}/{message.partition}@{message.offset}"
        try:
            found = headers._claimable("event_id") or headers._claimable("id")
        except UnicodeDecodeError as e:
            raise EventIdError("event_id", f"{where} is not UTF-8: {e.object[:60]!r}") from e
        if not found and self._event_id is not None:
            found = self._event_id(message)
        if not found:
            raise EventIdError(
                "event_id",
                f"{where} is missing: no header event_id (or id); turn the event's headers on in the contract of the relay, or give Inbox(event_id=…)",
            )
        if len(found.encode("utf-8", "surrogatepass")) > _MAX_ID:
            raise EventIdError("event_id", f"{where} is longer than {_MAX_ID} bytes")
        if "\0" in found:
            raise EventIdError("event_id", f"{where} holds a zero byte: {found[:60]!r}")
        return f"{message.topic}/{found}" if self._per_topic else found

    def _count(self, duplicates: int) -> None:
        if self._duplicates is not None and duplicates:
            self._duplicates.inc(duplicates)


def deduplicate(
    inbox: Inbox, database: Any
) -> Callable[[Callable[[Any, Any], Awaitable[None]]], Callable[[Any], Awaitable[bool]]]:
    """Wraps `handler(connection, message)` into `handle(message)`.

    Each call is a transaction of its own: claim, handler, commit. It returns
    True if the handler ran, False if the event is a duplicate. If the handler
    raises, the transaction is rolled back, the claim with it, and the same
    message may be handled again.

    database: asyncpg.Pool, or async_sessionmaker or AsyncEngine of SQLAlchemy;
    the handler gets an asyncpg.Connection, an AsyncSession or an AsyncConnection.
    With other pools open the transaction yourself, and `claim` in it.
    """

    def wrap(handler: Callable[[Any, Any], Awaitable[None]]) -> Callable[[Any], Awaitable[bool]]:
        @functools.wraps(handler)
        async def handle(message: Any) -> bool:
            async with transaction(database) as connection:
                if not await inbox.claim(connection, message):
                    return False
                await handler(connection, message)
            return True

        return handle

    return wrap


async def migrate(database: Any) -> None:
    """Runs INBOX_SQL in a transaction; what is up to date is left alone.

    database: as for `deduplicate`, or a connection of asyncpg or psycopg.
    """
    async with transaction(database) as connection:
        await execute(connection, "set local lock_timeout = '15s'")
        await execute(connection, INBOX_SQL)


async def prune(database: Any, keep: timedelta) -> int:
    """Forgets the claims of all groups that are older than keep and returns how many.

    Oldest first, in transactions of 5 000 rows each. Several may run at once,
    and beside consumers. An event that comes again after its claim was forgotten
    is new: keep must be longer than topics keep records and than any replay
    reaches back.

    database: as for `migrate`.
    """
    if keep <= timedelta(0):
        raise ValueError(f"prune keeps {keep}: want a time above zero")
    forgotten = 0
    while True:
        async with transaction(database) as connection:
            n: int = await scalar(connection, PRUNE, (keep, _PRUNE_ROWS))
        forgotten += n
        if n < _PRUNE_ROWS:
            return forgotten
