"""Pairs of events."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

import pytest
from kinds import ASYNC, SYNC

from cdc_relay import (
    DualEventPublisher,
    EventError,
    OutboxEvent,
    OutboxManager,
    SyncDualEventPublisher,
    SyncOutboxManager,
)
from cdc_relay.dual import pair

THIN = {"aggregate_type": "essay", "aggregate_id": "essay-1", "event_type": "spellcheck.phase.completed", "event_data": {"status": "SUCCEEDED"}}
RICH = THIN | {"event_type": "essay.spellcheck.completed", "topic": "rich.v1", "event_data": {"status": "SUCCEEDED", "result": None}}


@pytest.mark.parametrize("kind", ASYNC)
def test_both_or_none(kind: str, url: str, table: Any, run: Any) -> None:
    correlation = uuid4()

    async def work(session: Any) -> tuple[UUID, UUID]:
        return await DualEventPublisher(session).publish_dual_events(THIN, OutboxEvent(**RICH), correlation, "batch-7")

    run(ASYNC[kind](url, work, False))
    assert table.rows() == []
    ids = run(ASYNC[kind](url, work, True))
    rows = table.rows()
    assert [r["id"] for r in rows] == list(ids) and len(set(ids)) == 2
    assert [r["event_type"] for r in rows] == ["spellcheck.phase.completed", "essay.spellcheck.completed"]
    assert [(r["topic"], r["message_key"], r["headers"]) for r in rows] == [
        (None, "batch-7", {"correlation_id": str(correlation)}),
        ("rich.v1", "batch-7", {"correlation_id": str(correlation)}),
    ]


@pytest.mark.parametrize("kind", SYNC)
def test_both_or_none_sync(kind: str, url: str, table: Any) -> None:
    def work(session: Any) -> tuple[UUID, UUID]:
        return SyncDualEventPublisher(SyncOutboxManager()).publish_dual_events(THIN, RICH, session=session)

    SYNC[kind](url, work, False)
    assert table.rows() == []
    ids = SYNC[kind](url, work, True)
    rows = table.rows()
    assert [r["id"] for r in rows] == list(ids)
    assert rows[0]["headers"] == rows[1]["headers"] and UUID(rows[0]["headers"]["correlation_id"])


def test_a_manager_may_be_shared(url: str, table: Any, run: Any) -> None:
    publisher = DualEventPublisher(OutboxManager())

    async def work(session: Any) -> None:
        await publisher.publish_dual_events(THIN, RICH, session=session)

    run(ASYNC["sqlalchemy_session"](url, work, True))
    assert len(table.rows()) == 2


def test_one_correlation_id() -> None:
    def ids(thin: dict[str, Any], rich: dict[str, Any], given: Any = None) -> list[str]:
        return [dict(e.headers or {})["correlation_id"] for e in pair(THIN | thin, RICH | rich, given, None)]

    c = str(uuid4())
    assert ids({}, {}, UUID(c)) == [c, c]
    assert ids({"headers": {"correlation_id": c, "x": "y"}}, {}) == [c, c]
    assert ids({}, {"event_data": {"correlation_id": c}}) == [c, c]
    assert ids({"event_data": {"correlation_id": c}}, {"headers": {"correlation_id": c}}, c) == [c, c]
    made = ids({}, {})
    assert made[0] == made[1] and UUID(made[0])
    for thin, rich, given, message in (
        ({"headers": {"correlation_id": "a"}}, {}, "b", "thin_event: headers has the correlation_id 'a', that of the pair is 'b'"),
        ({}, {"event_data": {"correlation_id": "a"}}, "b", "rich_event: event_data has the correlation_id 'a'"),
        ({"headers": {"correlation_id": "a"}}, {"headers": {"correlation_id": "b"}}, None, "rich_event: headers"),
        ({}, {}, "", "correlation_id is empty"),
    ):
        with pytest.raises(EventError, match=message):
            ids(thin, rich, given)


def test_keys() -> None:
    assert [e.message_key for e in pair(THIN, RICH, None, "k")] == ["k", "k"]
    assert [e.message_key for e in pair(THIN | {"message_key": "own"}, RICH, None, "k")] == ["own", "k"]
    assert [e.message_key for e in pair(THIN, RICH, None, None)] == [None, None]


def test_faults() -> None:
    for thin, message in (
        (None, "thin_event is a NoneType; give an OutboxEvent"),
        (THIN | {"aggregate": "x"}, "thin_event has the unknown key 'aggregate'; an event has aggregate_type"),
        ({"event_type": "t"}, "thin_event lacks aggregate_type, aggregate_id, event_data"),
        (THIN | {"event_data": [1]}, "thin_event: event_data is not a JSON object"),
        (THIN | {"headers": {"n": 1.5}}, "values are text"),
    ):
        with pytest.raises(EventError, match=message):
            pair(thin, RICH, None, None)  # type: ignore[arg-type]
