"""The statements of the inbox, on the sessions of others.

A session is told by the package its class comes from; nothing is imported that
the service has not imported itself."""

from __future__ import annotations

import functools
import inspect
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

from .errors import NoTransactionError, OutboxError, UnsupportedSessionError

Statement = tuple[str, int]  # and how many values it takes


class InboxSetupError(OutboxError):
    """The database lacks the inbox, or the role its rights; the message says what
    to run. The transaction is failed and must be rolled back."""


# A statement of ours, with the places of its values left open: $1 for asyncpg,
# :p1 for SQLAlchemy, %s for psycopg. Types are named for drivers that send none.
CLAIM = (
    "select cdc_relay.inbox_claim(cast({} as text), cast({} as text), cast({} as text), cast({} as integer), cast({} as bigint))",
    5,
)
CLAIM_ALL = (
    "select cdc_relay.inbox_claim_all("
    "cast({} as text), cast({} as text[]), cast({} as text[]), cast({} as integer[]), cast({} as bigint[]))",
    5,
)
PRUNE = ("select cdc_relay.inbox_prune(cast({} as interval), cast({} as integer))", 2)


@functools.cache
def _for_asyncpg(statement: Statement) -> str:
    return statement[0].format(*(f"${i}" for i in range(1, statement[1] + 1)))


@functools.cache
def _for_sqlalchemy(statement: Statement) -> Any:
    import sqlalchemy

    return sqlalchemy.text(statement[0].format(*(f":p{i}" for i in range(1, statement[1] + 1))))


@functools.cache
def _for_psycopg(statement: Statement) -> str:
    return statement[0].format(*["%s"] * statement[1])


def _kind(session: Any) -> str:
    """The package the class of a session comes from."""
    for base in type(session).__mro__:
        root = base.__module__.partition(".")[0]
        if root in ("asyncpg", "sqlalchemy", "psycopg"):
            return root
    return ""


_AUTOCOMMIT = "the connection is not in a transaction: the claim would be committed before the work; "


async def scalar(session: Any, statement: Statement, values: tuple[Any, ...]) -> Any:
    """The one value of a statement, in the transaction of the session."""
    kind = _kind(session)
    try:
        if kind == "asyncpg" and hasattr(session, "is_in_transaction"):
            if not session.is_in_transaction():
                raise NoTransactionError(_AUTOCOMMIT + "write: async with connection.transaction():")
            return await session.fetchval(_for_asyncpg(statement), *values)
        if kind == "sqlalchemy" and hasattr(session, "scalar"):
            connection = await session.connection() if hasattr(session, "flush") else session
            _not_autocommit(connection.sync_connection)
            return await connection.scalar(_for_sqlalchemy(statement), {f"p{i}": v for i, v in enumerate(values, 1)})
        if kind == "psycopg" and inspect.iscoroutinefunction(getattr(session, "execute", None)):
            if session.autocommit and session.info.transaction_status == 0:  # IDLE
                raise NoTransactionError(_AUTOCOMMIT + "write: async with connection.transaction():")
            row = await (await session.execute(_for_psycopg(statement), values)).fetchone()
            return next(iter(row.values())) if isinstance(row, Mapping) else row[0]
    except Exception as error:
        _explain(error)
        raise
    raise UnsupportedSessionError(
        f"{type(session).__module__}.{type(session).__qualname__} is none of: a connection of asyncpg, "
        "an AsyncSession or AsyncConnection of SQLAlchemy, an AsyncConnection of psycopg"
    )


def _not_autocommit(connection: Any) -> None:
    level = connection.get_execution_options().get("isolation_level")
    # That of create_engine is kept by the dialect; older ones may lack the name.
    level = level or getattr(connection.dialect, "_on_connect_isolation_level", None)
    if level == "AUTOCOMMIT":
        raise NoTransactionError(_AUTOCOMMIT + 'use a session without isolation_level="AUTOCOMMIT"')


def _explain(error: Exception) -> None:
    """Raises what the user can mend, with what to run; other errors pass."""
    cause = getattr(error, "orig", None) or error  # SQLAlchemy wraps
    state = getattr(cause, "sqlstate", None) or getattr(cause, "pgcode", None)
    if state in ("42883", "42P01", "3F000"):  # no function, no table, no schema
        raise InboxSetupError(f"{cause}; next: await migrate(…), or cdc-relay migrate --inbox URL") from error
    if state == "42501":
        raise InboxSetupError(f"{cause}; next: grant cdc_relay_consumer to the role of this service") from error


async def execute(session: Any, statement: str) -> None:
    if _kind(session) == "sqlalchemy":
        import sqlalchemy

        await session.execute(sqlalchemy.text(statement))
    else:
        await session.execute(statement)


def transaction(database: Any) -> AbstractAsyncContextManager[Any]:
    """A transaction of its own, committed at the end of the block."""
    kind = _kind(database)
    if kind == "sqlalchemy" and hasattr(database, "begin") and not hasattr(database, "scalar"):
        begun: AbstractAsyncContextManager[Any] = database.begin()
        return begun
    if kind == "asyncpg" and hasattr(database, "acquire"):
        return _of_pool(database)
    if kind in ("asyncpg", "psycopg") and hasattr(database, "transaction"):
        its: AbstractAsyncContextManager[Any] = _of_connection(database)
        return its
    raise UnsupportedSessionError(
        f"{type(database).__module__}.{type(database).__qualname__} is none of: a pool of asyncpg, "
        "an async_sessionmaker or AsyncEngine of SQLAlchemy, a connection of asyncpg or psycopg"
    )


@asynccontextmanager
async def _of_pool(pool: Any) -> AsyncIterator[Any]:
    async with pool.acquire() as connection, connection.transaction():
        yield connection


@asynccontextmanager
async def _of_connection(connection: Any) -> AsyncIterator[Any]:
    async with connection.transaction():
        yield connection
