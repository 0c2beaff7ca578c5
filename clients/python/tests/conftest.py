"""Tests run on a real Postgres: CDC_RELAY_TEST_DATABASE is the URL of a database that
``cdc-relay migrate`` has prepared. `go test ./clients/python` provides one."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row


@pytest.fixture(scope="session")
def url() -> str:
    found = os.environ.get("CDC_RELAY_TEST_DATABASE")
    if not found:
        pytest.fail("CDC_RELAY_TEST_DATABASE is not set; run: go test ./clients/python")
    return found


class Table:
    """Looks at the outbox from outside, and empties it."""

    def __init__(self, url: str) -> None:
        self.connection = psycopg.connect(url, autocommit=True, row_factory=dict_row)

    def rows(self) -> list[dict[str, Any]]:
        """The committed rows in the order of writing; the table is empty afterwards."""
        found = self.connection.execute(
            "select id, aggregate_type, aggregate_id, event_type, topic, message_key, headers, payload, payload::text as text, "
            "occurred_at from cdc_relay.outbox order by ctid"
        ).fetchall()
        self.connection.execute("truncate cdc_relay.outbox")
        return found


@pytest.fixture
def table(url: str) -> Iterator[Table]:
    t = Table(url)
    t.connection.execute("truncate cdc_relay.outbox")
    yield t
    t.connection.close()


@pytest.fixture
def run() -> Callable[[Coroutine[Any, Any, Any]], Any]:
    """Runs a coroutine to its end; a minute at most."""

    def to_the_end(work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run(asyncio.wait_for(work, 60))

    return to_the_end
