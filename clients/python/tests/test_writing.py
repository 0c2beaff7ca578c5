"""Events in the transactions of every kind of session."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import psycopg
import pytest
from kinds import ASYNC, SYNC, for_driver
from sqlalchemy import create_engine, text
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session

from cdc_relay import (
    DuplicateEventError,
    EventError,
    NoTransactionError,
    OutboxEvent,
    OutboxManager,
    OutboxSetupError,
    SyncOutboxManager,
    UnsupportedSessionError,
    create_standard_headers,
)

# Quotes, backslashes, what drivers take for parameters, line ends, letters
# beyond the basic plane.
AWKWARD = ['"', "\\", '\\"', "{}", "a,b", "NULL", " ", "\n\t\r", "'); drop table x; --", "åäö 日本 🎓", "$1", "%s %(x)s", ":p0 ::text", "\x01\x7f", "\\u0000"]

AT = datetime(2026, 2, 3, 4, 5, 6, 789123, timezone(timedelta(hours=1)))


def awkward_events() -> list[OutboxEvent]:
    events = []
    for i, s in enumerate(AWKWARD):
        odd = i % 2 == 1
        events.append(
            OutboxEvent(s, s, s, {"text": s, "zero": "\0"}, None if odd else "topic.v1", s if odd else None, {s: s} if odd else None, uuid4(), AT)
        )
    return events


def check_awkward(rows: list[dict[str, Any]], events: list[OutboxEvent]) -> None:
    assert len(rows) == len(events)
    for row, e in zip(rows, events):
        assert (row["id"], row["aggregate_type"], row["aggregate_id"], row["event_type"]) == (e.event_id, e.aggregate_type, e.aggregate_id, e.event_type)
        assert (row["topic"], row["message_key"], row["headers"]) == (e.topic, e.message_key, e.headers or {})
        assert row["payload"] == e.event_data and row["occurred_at"] == AT


@pytest.mark.parametrize("kind", ASYNC)
def test_commit_rollback_and_content(kind: str, url: str, table: Any, run: Any) -> None:
    events = awkward_events()

    async def work(session: Any) -> list[UUID]:
        return await OutboxManager(session).publish_events(events)

    run(ASYNC[kind](url, work, False))
    assert table.rows() == []
    assert run(ASYNC[kind](url, work, True)) == [e.event_id for e in events]
    check_awkward(table.rows(), events)


@pytest.mark.parametrize("kind", SYNC)
def test_commit_rollback_and_content_sync(kind: str, url: str, table: Any) -> None:
    events = awkward_events()

    def work(session: Any) -> list[UUID]:
        return SyncOutboxManager().publish_events(events, session=session)

    SYNC[kind](url, work, False)
    assert table.rows() == []
    assert SYNC[kind](url, work, True) == [e.event_id for e in events]
    check_awkward(table.rows(), events)


@pytest.mark.parametrize("kind", ASYNC)
def test_one_event(kind: str, url: str, table: Any, run: Any) -> None:
    before = datetime.now(timezone.utc)
    event_id, trace = uuid4(), uuid4().hex

    async def work(session: Any) -> UUID:
        outbox = OutboxManager()
        return await outbox.publish_to_outbox(
            "essay", "essay-1", "essay.done", {"grade": "A-"}, "topic.v1", "batch-7",
            create_standard_headers(event_id, trace, 2), session=session,
        )  # fmt: skip

    assert run(ASYNC[kind](url, work, True)) == event_id  # what consumers will see
    [row] = table.rows()
    assert (row["id"], row["topic"], row["message_key"], row["text"]) == (event_id, "topic.v1", "batch-7", '{"grade":"A-"}')
    assert row["headers"] == {"event_id": str(event_id), "schema_version": "2", "trace_id": trace}
    assert before <= row["occurred_at"] <= datetime.now(timezone.utc)


def test_many_events_are_split_and_stay_in_order(url: str, table: Any) -> None:
    events = [OutboxEvent("essay", i, "essay.done", {"n": i}) for i in range(2500)]
    SYNC["sync_psycopg"](url, lambda s: SyncOutboxManager(s).publish_events(events), True)
    assert [row["payload"]["n"] for row in table.rows()] == list(range(2500))
    SYNC["sync_psycopg"](url, lambda s: SyncOutboxManager(s).publish_events([]), True)
    assert table.rows() == []


def test_large_events_are_split_by_size(url: str, table: Any) -> None:
    events = [OutboxEvent("essay", i, "essay.done", {"n": "x" * (7 << 20)}) for i in range(4)]
    SYNC["sync_session"](url, lambda s: SyncOutboxManager(s).publish_events(events), True)
    assert [row["aggregate_id"] for row in table.rows()] == ["0", "1", "2", "3"]


def test_a_bad_event_of_many_writes_none(url: str, table: Any) -> None:
    events = [OutboxEvent("essay", "1", "essay.done", {}), OutboxEvent("essay", "", "essay.done", {})]

    def work(session: Any) -> None:
        with pytest.raises(EventError, match=r"event 1: aggregate_id of 'essay.done' is empty"):
            SyncOutboxManager(session).publish_events(events)

    SYNC["sync_session"](url, work, True)
    assert table.rows() == []


def test_no_transaction_asyncpg(url: str, table: Any, run: Any) -> None:
    async def work() -> None:
        connection = await asyncpg.connect(url)
        try:
            with pytest.raises(NoTransactionError, match=r"async with connection.transaction\(\)"):
                await OutboxManager(connection).publish_to_outbox("essay", "1", "essay.done", {})
        finally:
            await connection.close()

    run(work())
    assert table.rows() == []


@pytest.mark.parametrize("where", ["engine", "option"])
def test_no_transaction_sqlalchemy(where: str, url: str, table: Any, run: Any) -> None:
    options = {"isolation_level": "AUTOCOMMIT"}
    at_engine, later = (options, {}) if where == "engine" else ({}, options)

    async def work() -> None:
        engine = create_async_engine(for_driver(url, "asyncpg"), **at_engine).execution_options(**later)
        async with AsyncSession(engine) as session, engine.connect() as connection:
            for s in (session, connection):
                with pytest.raises(NoTransactionError, match="autocommit"):
                    await OutboxManager(s).publish_to_outbox("essay", "1", "essay.done", {})
        await engine.dispose()

    run(work())
    engine = create_engine(for_driver(url, "psycopg"), **at_engine).execution_options(**later)
    with Session(engine) as session, pytest.raises(NoTransactionError, match="autocommit"):
        SyncOutboxManager(session).publish_to_outbox("essay", "1", "essay.done", {})
    engine.dispose()
    assert table.rows() == []


def test_no_transaction_psycopg(url: str, table: Any, run: Any) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        with pytest.raises(NoTransactionError, match="autocommit"):
            SyncOutboxManager(connection).publish_to_outbox("essay", "1", "essay.done", {})
        assert table.rows() == []
        with connection.transaction():  # which is one, also in autocommit mode
            SyncOutboxManager(connection).publish_to_outbox("essay", "1", "essay.done", {})

    async def work() -> None:
        async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
            with pytest.raises(NoTransactionError, match="autocommit"):
                await OutboxManager(connection).publish_to_outbox("essay", "2", "essay.done", {})

    run(work())
    assert [row["aggregate_id"] for row in table.rows()] == ["1"]


def test_wrong_sessions(url: str, run: Any) -> None:
    engine = create_engine(for_driver(url, "psycopg"))
    async_engine = create_async_engine(for_driver(url, "asyncpg"))

    async def refused(session: Any, message: str) -> None:
        with pytest.raises(UnsupportedSessionError, match=message):
            await OutboxManager(session).publish_to_outbox("essay", "1", "essay.done", {})

    async def work() -> None:
        await refused(None, "no session: give an AsyncSession")
        await refused(object(), "builtins.object is not known here")
        await refused(Session(engine), "is for SyncOutboxManager")
        await refused(async_engine, "a pool or an engine")
        await refused(engine, "a pool or an engine")
        async with asyncpg.create_pool(url, min_size=1) as pool:
            await refused(pool, "a pool or an engine")

    run(work())
    for session, message in (
        (None, "no session: give a Session"),
        (object(), "not known here"),
        (AsyncSession(async_engine), "is for OutboxManager"),
        (engine, "a pool or an engine"),
    ):
        with pytest.raises(UnsupportedSessionError, match=message):
            SyncOutboxManager(session).publish_to_outbox("essay", "1", "essay.done", {})
    with psycopg.connect(url) as connection, pytest.raises(UnsupportedSessionError, match="is for SyncOutboxManager"):
        run(OutboxManager(connection).publish_to_outbox("essay", "1", "essay.done", {}))


@pytest.mark.parametrize("kind", ASYNC)
def test_the_same_event_twice(kind: str, url: str, table: Any, run: Any) -> None:
    event_id = uuid4()

    async def work(session: Any) -> None:
        for _ in range(2):
            await OutboxManager(session).publish_to_outbox("essay", "1", "essay.done", {}, event_id=event_id)

    with pytest.raises(DuplicateEventError, match=str(event_id)):
        run(ASYNC[kind](url, work, True))
    assert table.rows() == []


@pytest.mark.parametrize("kind", ASYNC)
def test_a_role_without_rights(kind: str, url: str, table: Any, run: Any) -> None:
    name = f"r{uuid4().hex}"
    table.connection.execute(f"create role {name}")  # type: ignore[arg-type]

    async def work(session: Any) -> None:
        statement = f"set local role {name}"
        await session.execute(statement if "sqlalchemy" not in kind else text(statement))
        await OutboxManager(session).publish_to_outbox("essay", "1", "essay.done", {})

    try:
        with pytest.raises(OutboxSetupError, match="grant cdc_relay_writer to it") as caught:
            run(ASYNC[kind](url, work, False))
        assert caught.value.__cause__ is not None
    finally:
        table.connection.execute(f"drop role {name}")  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ASYNC)
def test_a_database_without_an_outbox(kind: str, url: str, table: Any, run: Any) -> None:
    name = f"d{uuid4().hex}"
    table.connection.execute(f"create database {name}")  # type: ignore[arg-type]
    before, _, _ = url.rpartition("/")
    other = f"{before}/{name}?sslmode=disable"

    async def publish(session: Any) -> None:
        await OutboxManager(session).publish_to_outbox("essay", "1", "essay.done", {})

    async def emit(session: Any) -> None:
        await OutboxManager(session).emit_event("essay", "1", "essay.done", {})

    try:
        for work in (publish, emit):
            with pytest.raises(OutboxSetupError, match="next: cdc-relay migrate"):
                run(ASYNC[kind](other, work, True))
    finally:
        table.connection.execute(f"drop database {name}")  # type: ignore[arg-type]


def test_a_writer_needs_no_other_right(url: str, table: Any) -> None:
    def work(connection: Any) -> None:
        connection.execute("set local role cdc_relay_writer")
        SyncOutboxManager(connection).publish_to_outbox("essay", "1", "essay.done", {})
        SyncOutboxManager(connection).emit_event("essay", "1", "essay.done", {})

    SYNC["sync_psycopg"](url, work, True)
    assert len(table.rows()) == 1


def test_other_errors_of_the_driver_pass_through(url: str, run: Any) -> None:
    async def work(connection: Any) -> None:
        with pytest.raises(asyncpg.PostgresError):
            await connection.execute("select 1/0")
        await OutboxManager(connection).publish_to_outbox("essay", "1", "essay.done", {})

    with pytest.raises(asyncpg.exceptions.InFailedSQLTransactionError):
        run(ASYNC["asyncpg_connection"](url, work, True))


@pytest.mark.parametrize("kind", ASYNC)
def test_emit_event(kind: str, url: str, table: Any, run: Any) -> None:
    """What is emitted is in the log, in the transaction, and not in the table."""
    table.connection.execute("select pg_create_logical_replication_slot('emitted', 'pgoutput')")
    event_id = uuid4()

    async def work(session: Any) -> UUID:
        return await OutboxManager(session).emit_event(
            "essay", "essay-1", "essay.done", {"text": "ö 🎓 \0 %s $1"}, "topic.v1", "k", {"tenant": "x"}, event_id=event_id, occurred_at=AT
        )

    try:
        run(ASYNC[kind](url, work, False))
        assert run(ASYNC[kind](url, work, True)) == event_id
        found = table.connection.execute(
            "select data from pg_logical_slot_get_binary_changes('emitted', null, null, 'proto_version', '1', 'publication_names', 'none', "
            "'messages', 'true') where get_byte(data, 0) = ascii('M')"
        ).fetchall()
    finally:
        table.connection.execute("select pg_drop_replication_slot('emitted')")
    assert table.rows() == []
    [message] = found
    prefix, _, rest = message["data"][10:].partition(b"\0")  # after kind, flags and LSN
    assert prefix == b"cdc_relay" and message["data"][1] == 1  # transactional
    content = json.loads(rest[4:])
    assert datetime.fromisoformat(content.pop("occurred_at")) == AT
    assert content == {
        "id": str(event_id), "aggregate_type": "essay", "aggregate_id": "essay-1", "event_type": "essay.done", "topic": "topic.v1",
        "message_key": "k", "headers": {"tenant": "x"}, "payload": {"text": "ö 🎓 \0 %s $1"},
    }  # fmt: skip


def test_emit_event_sync(url: str, table: Any) -> None:
    for kind in SYNC:
        SYNC[kind](url, lambda s: SyncOutboxManager(s).emit_event("essay", "1", "essay.done", {}), True)
    assert table.rows() == []
