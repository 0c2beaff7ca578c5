"""The consuming half, on a real Postgres: CDC_RELAY_TEST_DATABASE is the URL of an
empty database, or of one that `cdc-relay migrate` has prepared. `go test ./consumer`
provides one."""

from __future__ import annotations

import asyncio
import os
import pathlib
import re
import textwrap
import unittest
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import Any

import asyncpg
import opentelemetry.propagate
import prometheus_client
import psycopg
import sqlalchemy
from opentelemetry import trace
from opentelemetry.trace import SpanKind
from psycopg.rows import dict_row
from sqlalchemy.ext.asyncio import AsyncEngine, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from cdc_relay.consumer import (
    INBOX_SQL,
    EventIdError,
    Headers,
    Inbox,
    InboxSetupError,
    deduplicate,
    duplicates_counter,
    migrate,
    prune,
)
from cdc_relay.errors import NoTransactionError, UnsupportedSessionError

PAGE = pathlib.Path(__file__).parents[3] / "docs" / "consuming.md"


def database() -> str:
    url = os.environ.get("CDC_RELAY_TEST_DATABASE")
    if not url:
        raise RuntimeError("CDC_RELAY_TEST_DATABASE is not set; run: go test ./consumer")
    return url


def engine(driver: str = "asyncpg", **options: Any) -> AsyncEngine:
    url = database().replace("postgres://", "postgresql://").replace("postgresql://", f"postgresql+{driver}://").split("?")[0]
    return create_async_engine(url, **options)


def example(name: str) -> str:
    found = re.search(rf"<!-- example: {re.escape(name)} -->\n+```python\n(.*?)\n```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    if found is None:
        raise AssertionError(f"{PAGE} has no example {name!r}")
    return found[1]


@dataclass
class Record:
    """As aiokafka's ConsumerRecord."""

    event_id: str | bytes | None = field(default_factory=lambda: str(uuid.uuid4()))
    offset: int = 1 << 40
    topic: str = "topic.v1"
    partition: int = 3
    key: bytes = b"essay-1"
    headers: Any = None

    def __post_init__(self) -> None:
        if self.headers is None and self.event_id is not None:
            value = self.event_id.encode() if isinstance(self.event_id, str) else self.event_id
            self.headers = (("event_id", value), ("tenant", b"\xc3\x85re"))


class OfHeaders(unittest.TestCase):
    def test_all(self) -> None:
        h = Headers(
            (
                ("event_id", b"e1"),
                ("event_type", b"essay.done"),
                ("schema_version", b"2"),
                ("occurred_at", b"2026-02-03T05:05:06.000007+01:00"),
                ("content_type", b"application/avro"),
                ("trace_id", b"t"),
                ("correlation_id", b"c"),
                ("traceparent", b"tp"),
                ("tracestate", b"ts"),
                ("cdc_replay_id", b"r-1"),
                ("cdc_repair_id", b"p-1"),
                ("cdc_redrive_id", b"d-1"),
                ("tenant", b"a"),
                ("tenant", b"\xc3\x85re"),
                ("empty", None),
                ("bytes", b"\xff"),
            )
        )
        self.assertEqual(
            (h.event_id, h.event_type, h.schema_version, h.content_type, h.trace_id, h.correlation_id, h.traceparent, h.replay_id, h.repair_id, h.redrive_id),
            ("e1", "essay.done", 2, "application/avro", "t", "c", "tp", "r-1", "p-1", "d-1"),
        )
        self.assertEqual(h.occurred_at, datetime(2026, 2, 3, 4, 5, 6, 7, timezone.utc))
        self.assertEqual(h.trace_context(), {"traceparent": "tp", "tracestate": "ts"})
        self.assertEqual((h["tenant"], h["empty"], h["bytes"], len(h)), ("Åre", "", "\ufffd", 15))

    def test_none(self) -> None:
        for h in (Headers(None), Headers(()), Headers([("other", b"x")])):
            self.assertEqual(
                [h.event_id, h.event_type, h.schema_version, h.occurred_at, h.content_type, h.trace_id, h.correlation_id, h.traceparent, h.replay_id, h.repair_id, h.redrive_id],
                [None] * 11,
            )
            self.assertEqual(h.trace_context(), {})
        self.assertEqual(Headers([("id", b"d1")]).event_id, "d1")
        self.assertEqual(Headers([("id", b"d1"), ("event_id", b"e1")]).event_id, "e1")

    def test_times(self) -> None:
        for text, micros in (("2026-02-03T04:05:06Z", 0), ("2026-02-03t04:05:06.5z", 500_000), ("2026-02-03T02:05:06.123456789-02:00", 123_456)):
            self.assertEqual(Headers([("occurred_at", text.encode())]).occurred_at, datetime(2026, 2, 3, 4, 5, 6, micros, timezone.utc))
        for text in ("yesterday", "2026-02-03", "2026-02-03T04:05:06", "2026-13-03T04:05:06Z", "2026-02-03T04:05:06Z\n"):
            with self.assertRaises(ValueError):
                Headers([("occurred_at", text.encode())]).occurred_at  # noqa: B018
        with self.assertRaises(ValueError):
            Headers([("schema_version", b"two")]).schema_version  # noqa: B018


class OfIds(unittest.TestCase):
    def test_ids(self) -> None:
        self.assertEqual(Inbox("g").id_of(Record("e1")), "e1")
        self.assertEqual(Inbox("g", per_topic=True).id_of(Record("17")), "topic.v1/17")
        self.assertEqual(Inbox("g").id_of(Record(headers=[("id", b"d1")])), "d1")
        self.assertEqual(Inbox("g", event_id=lambda m: f"value {m.offset}").id_of(Record(None, 5)), "value 5")

    def test_none(self) -> None:
        for record, what in (
            (Record(None), "topic.v1/3@1099511627776 is missing"),
            (Record(headers=()), "is missing"),
            (Record(b""), "is missing"),
            (Record(b"\xff"), "not UTF-8"),
            (Record("a\0b"), "zero byte"),
            (Record("x" * 1025), "longer than 1024"),
        ):
            with self.assertRaisesRegex(EventIdError, what):
                Inbox("g").id_of(record)
        for group in ("", "a\0"):
            with self.assertRaisesRegex(ValueError, "consumer_group"):
                Inbox(group)


Transaction = Callable[[], Any]


class OnPostgres(unittest.IsolatedAsyncioTestCase):
    async def asyncSetUp(self) -> None:
        self.closing = AsyncExitStack()
        self.pool = await self.closing.enter_async_context(asyncpg.create_pool(database(), min_size=1, max_size=4))
        await migrate(self.pool)
        self.group = f"group {uuid.uuid4()}"  # the database may be shared
        await self.pool.execute("create table if not exists effects (event_id text)")

    async def asyncTearDown(self) -> None:
        await self.closing.aclose()

    def engine(self, driver: str = "asyncpg", **options: Any) -> AsyncEngine:
        made = engine(driver, **options)
        self.closing.push_async_callback(made.dispose)
        return made

    def databases(self) -> dict[str, Any]:
        e, p = self.engine(), self.engine("psycopg")
        return {"asyncpg": self.pool, "AsyncEngine": e, "async_sessionmaker": async_sessionmaker(e), "on psycopg": async_sessionmaker(p)}

    async def effects(self, event_id: object) -> int:
        return int(await self.pool.fetchval("select count(*) from effects where event_id = $1", event_id))

    async def test_deduplicate(self) -> None:
        registry = prometheus_client.CollectorRegistry()
        counter = duplicates_counter(registry)
        for name, db in self.databases().items():
            fails = True
            group = f"{self.group} {name}"
            record = Record()

            @deduplicate(Inbox(group, service="essays", counter=counter), db)
            async def handle(connection: Any, message: Record) -> None:
                """Notes it."""
                if hasattr(connection, "fetchval"):
                    await connection.execute("insert into effects values ($1)", message.event_id)
                else:
                    await connection.execute(sqlalchemy.text("insert into effects values (:id)"), {"id": message.event_id})
                if fails:
                    raise KeyError("broken")

            with self.subTest(name):
                self.assertEqual((handle.__name__, handle.__doc__), ("handle", "Notes it."))
                with self.assertRaises(KeyError):
                    await handle(record)
                self.assertEqual(await self.effects(record.event_id), 0)
                fails = False
                self.assertEqual([await handle(record) for _ in range(3)], [True, False, False])
                self.assertEqual(await self.effects(record.event_id), 1)
                labels = {"service": "essays", "consumer_group": group, "deduplication_method": "inbox"}
                self.assertEqual(registry.get_sample_value("kafka_duplicate_events_total", labels), 2)
                row = await self.pool.fetchrow("select topic, partition, record_offset from cdc_relay.inbox where consumer_group = $1", group)
                self.assertEqual(tuple(row), ("topic.v1", 3, 1 << 40))

    async def transactions(self) -> dict[str, Transaction]:
        """Transactions of each kind of session, committed at their end."""
        e = self.engine()
        sessions = async_sessionmaker(e)

        @asynccontextmanager
        async def of_asyncpg() -> AsyncIterator[Any]:
            async with self.pool.acquire() as c, c.transaction():
                yield c

        @asynccontextmanager
        async def of_session() -> AsyncIterator[Any]:  # which begins by itself
            async with sessions() as s:
                yield s
                await s.commit()

        def of_psycopg(**options: Any) -> Transaction:
            @asynccontextmanager
            async def begun() -> AsyncIterator[Any]:
                async with await psycopg.AsyncConnection.connect(database(), **options) as c:
                    yield c

            return begun

        return {"asyncpg": of_asyncpg, "session": of_session, "connection": e.begin, "psycopg": of_psycopg(), "psycopg, rows as dicts": of_psycopg(row_factory=dict_row)}

    async def test_claim(self) -> None:
        for name, transaction in (await self.transactions()).items():
            with self.subTest(name):
                inbox, record = Inbox(f"{self.group} {name}"), Record()
                with self.assertRaises(KeyError):
                    async with transaction() as c:
                        self.assertTrue(await inbox.claim(c, record))
                        raise KeyError("the claim goes with it")
                answers = []
                for _ in range(2):
                    async with transaction() as c:
                        answers.append(await inbox.claim(c, record))
                self.assertEqual(answers, [True, False])

    async def test_claim_all(self) -> None:
        for name, transaction in (await self.transactions()).items():
            with self.subTest(name):
                inbox = Inbox(f"{self.group} {name}")
                async with transaction() as c:
                    self.assertEqual(await inbox.claim_all(c, []), [])
                    self.assertEqual(await inbox.claim_all(c, [Record(i, n) for n, i in enumerate("cacb")]), [True, True, False, True])
                async with transaction() as c:
                    self.assertEqual(await inbox.claim_all(c, [Record(i, n) for n, i in enumerate(('{"', "a", "Å", '{"'))]), [True, False, True, False])

    async def test_two_at_once(self) -> None:
        inbox = Inbox(self.group)
        for commits in (True, False):
            record = Record()
            async with self.pool.acquire() as first, self.pool.acquire() as second:
                holder = first.transaction()
                await holder.start()
                self.assertTrue(await inbox.claim(first, record))

                async def other() -> bool:
                    async with second.transaction():
                        return await inbox.claim(second, record)

                task = asyncio.create_task(other())
                pids = first.get_server_pid(), second.get_server_pid()
                async with asyncio.timeout(30):
                    while not await self.pool.fetchval("select $1::int = any (pg_blocking_pids($2::int))", *pids):
                        self.assertFalse(task.done(), "nobody waited")
                await (holder.commit() if commits else holder.rollback())
                self.assertEqual(await task, not commits)

    async def test_autocommit(self) -> None:
        inbox, record = Inbox(self.group), Record()
        auto = self.engine(isolation_level="AUTOCOMMIT")
        async with self.pool.acquire() as c:
            with self.assertRaises(NoTransactionError):
                await inbox.claim(c, record)
        for e in (auto, self.engine().execution_options(isolation_level="AUTOCOMMIT")):
            async with e.connect() as ac, async_sessionmaker(e)() as s:
                for connection in (ac, s):
                    with self.assertRaises(NoTransactionError):
                        await inbox.claim(connection, record)
        async with await psycopg.AsyncConnection.connect(database(), autocommit=True) as pc:
            with self.assertRaises(NoTransactionError):
                await inbox.claim(pc, record)
            async with pc.transaction():
                self.assertTrue(await inbox.claim(pc, record))

    async def test_other_sessions(self) -> None:
        with psycopg.connect(database()) as synchronous:
            for session in (None, object(), self.pool, self.engine(), synchronous):
                with self.assertRaises(UnsupportedSessionError):
                    await Inbox(self.group).claim(session, Record())
        for db in (None, object(), 5):
            with self.assertRaises(UnsupportedSessionError):
                await deduplicate(Inbox(self.group), db)(lambda _, __: asyncio.sleep(0))(Record())

    async def test_no_inbox(self) -> None:
        for name, transaction in (await self.transactions()).items():
            with self.subTest(name), self.assertRaisesRegex(InboxSetupError, "cdc-relay migrate --inbox URL"):
                async with transaction() as c:  # rolled back
                    drop = "alter schema cdc_relay rename to away"
                    await c.execute(sqlalchemy.text(drop) if name in ("session", "connection") else drop)
                    await Inbox(self.group).claim(c, Record())

    async def test_migrate(self) -> None:
        self.assertEqual(sqlalchemy.text(INBOX_SQL).compile().params, {})  # no colon in it is taken for a parameter
        async with self.pool.acquire() as c, await psycopg.AsyncConnection.connect(database()) as p:
            for db in (c, p, *self.databases().values()):
                await migrate(db)
        async with self.engine().begin() as connection:
            await connection.exec_driver_sql(INBOX_SQL)  # prepared
        name = f"d{uuid.uuid4().hex}"
        await self.pool.execute(f"create database {name}")
        async with asyncpg.create_pool(database(), database=name, min_size=1, max_size=4) as fresh:
            await asyncio.gather(*(migrate(fresh) for _ in range(4)))
            self.assertEqual(await fresh.fetchval("select cdc_relay.inbox_version()"), 1)
        await self.pool.execute(f"drop database {name}")

    async def test_prune(self) -> None:
        for name, db in self.databases().items():
            with self.subTest(name):
                await self.pool.execute(
                    "insert into cdc_relay.inbox (consumer_group, event_id, received_at) select $1, n, now() - n * interval '1 day' from generate_series(1, 12000) as n",
                    f"{self.group} {name}",
                )
                self.assertEqual(await prune(db, timedelta(days=1500, hours=12)), 10500)
                self.assertEqual(await prune(db, timedelta(days=1500, hours=12)), 0)
                await self.pool.execute("delete from cdc_relay.inbox where consumer_group = $1", f"{self.group} {name}")
        with self.assertRaises(ValueError):
            await prune(self.pool, timedelta(0))


class Base(DeclarativeBase):
    pass


class Essay(Base):
    __tablename__ = "essays_of_the_page"
    id: Mapped[str] = mapped_column(primary_key=True)
    changes: Mapped[int]


def shown(name: str, into: dict[str, Any]) -> None:
    """Runs the definitions of an example of the page."""
    exec(compile(example(name), f"{PAGE}: {name}", "exec"), into)  # noqa: S102


class OfThePage(unittest.IsolatedAsyncioTestCase):
    async def test_sqlalchemy(self) -> None:
        e = engine()
        try:
            await migrate(e)
            async with e.begin() as c:
                await c.run_sync(Base.metadata.drop_all)
                await c.run_sync(Base.metadata.create_all)
            sessions, record = async_sessionmaker(e), Record()
            async with sessions.begin() as s:
                s.add(Essay(id="essay-1", changes=0))
            names: dict[str, Any] = {"Essay": Essay}
            shown("python sqlalchemy", names)
            inbox = Inbox(f"group {uuid.uuid4()}")
            for _ in range(2):
                await names["handle"](sessions, inbox, record)
            async with sessions() as s:
                essay = await s.get(Essay, "essay-1")
                self.assertEqual(essay and essay.changes, 1)
            async with e.begin() as c:
                await c.run_sync(Base.metadata.drop_all)
        finally:
            await e.dispose()

    async def test_trace(self) -> None:
        seen: list[trace.SpanContext] = []

        async def handle(_: Record) -> None:
            seen.append(trace.get_current_span().get_span_context())

        names: dict[str, Any] = {"opentelemetry": opentelemetry, "Headers": Headers, "SpanKind": SpanKind, "tracer": trace.get_tracer("t"), "handle": handle}
        record = Record(headers=[("traceparent", b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"), ("tracestate", b"vendor=x")])
        body = "async def process(message):\n" + textwrap.indent(example("python trace"), "    ")
        exec(compile(body, f"{PAGE}: trace", "exec"), names)  # noqa: S102
        process: Callable[[Record], Awaitable[None]] = names["process"]
        await process(record)
        self.assertEqual((f"{seen[0].trace_id:032x}", seen[0].trace_state.get("vendor")), ("4bf92f3577b34da6a3ce929d0e0e4736", "x"))


if __name__ == "__main__":
    unittest.main()
