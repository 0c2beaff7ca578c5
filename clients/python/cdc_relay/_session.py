"""Statements on the sessions of others.

A session is told by the package its class comes from; nothing is imported that
the service has not imported itself. All parameters are text, which every driver
can send, whatever codecs the service has set."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

from .errors import DuplicateEventError, NoTransactionError, OutboxSetupError, UnsupportedSessionError

Parameters = Sequence["str | None"]
# A statement for a driver's way of numbering parameters.
Statement = Callable[[Callable[[int], str]], str]

_AUTOCOMMIT = (
    "the connection is in autocommit mode: the event would be published whatever becomes of your data; "
    "use a session without isolation_level=\"AUTOCOMMIT\""
)
_GIVE = "give an AsyncSession or AsyncConnection of SQLAlchemy, a connection of asyncpg, or an AsyncConnection of psycopg"
_GIVE_SYNC = "give a Session or Connection of SQLAlchemy, or a Connection of psycopg"


async def execute(session: Any, statement: Statement, parameters: Parameters) -> None:
    """Runs a statement in the transaction of an asynchronous session."""
    kind = _kind(session)
    if kind == "asyncpg":
        _in_asyncpg_transaction(session)
        call = session.execute(statement(_dollar), *parameters)
    elif kind == "sqlalchemy" and _is_async(session):
        connection = await session.connection() if _is_session(session) else session
        _not_autocommit(connection.sync_connection)
        call = connection.execute(_text(statement), _named(parameters))
    elif kind == "psycopg" and _is_async(session):
        _in_psycopg_transaction(session)
        call = session.execute(statement(_percent), parameters)
    else:
        sync = kind in ("sqlalchemy", "psycopg") and hasattr(session, "execute")
        raise _unsupported(session, kind, _GIVE, "SyncOutboxManager" if sync else "")
    try:
        await call
    except Exception as error:
        _explain(error)
        raise


def execute_sync(session: Any, statement: Statement, parameters: Parameters) -> None:
    """Runs a statement in the transaction of a synchronous session."""
    kind = _kind(session)
    if kind in ("sqlalchemy", "psycopg") and _is_async(session) or kind == "asyncpg":
        raise _unsupported(session, kind, _GIVE_SYNC, "OutboxManager" if hasattr(session, "execute") else "")
    try:
        if kind == "sqlalchemy" and hasattr(session, "execute"):
            connection = session.connection() if _is_session(session) else session
            _not_autocommit(connection)
            connection.execute(_text(statement), _named(parameters))
        elif kind == "psycopg" and hasattr(session, "info"):
            _in_psycopg_transaction(session)
            session.execute(statement(_percent), parameters)
        else:
            raise _unsupported(session, kind, _GIVE_SYNC, "")
    except Exception as error:
        _explain(error)
        raise


def _kind(session: Any) -> str:
    for base in type(session).__mro__:
        root = base.__module__.partition(".")[0]
        if root in ("asyncpg", "sqlalchemy", "psycopg"):
            return root
    return ""


def _is_async(session: Any) -> bool:
    return inspect.iscoroutinefunction(getattr(session, "execute", None))


def _is_session(session: Any) -> bool:
    """Sessions, scoped ones too, hand out their connection; connections do not."""
    return hasattr(type(session), "flush")


def _unsupported(session: Any, kind: str, give: str, other: str) -> UnsupportedSessionError:
    name = f"{type(session).__module__}.{type(session).__qualname__}"
    if session is None:
        return UnsupportedSessionError(f"no session: {give}, to the manager or to the call")
    if other:
        return UnsupportedSessionError(f"{name} is for {other}; here {give}")
    if kind:
        return UnsupportedSessionError(f"{name} is not a session with a transaction (a pool or an engine?): {give}")
    return UnsupportedSessionError(f"{name} is not known here: {give}")


# --- what each kind calls a transaction ---


def _in_asyncpg_transaction(connection: Any) -> None:
    if not hasattr(connection, "is_in_transaction"):
        raise _unsupported(connection, "asyncpg", _GIVE, "")
    if not connection.is_in_transaction():
        raise NoTransactionError("the connection is not in a transaction; write: async with connection.transaction():")


def _in_psycopg_transaction(connection: Any) -> None:
    if not hasattr(connection, "info"):  # a pool
        raise _unsupported(connection, "psycopg", f"{_GIVE}; {_GIVE_SYNC}", "")
    if connection.autocommit and connection.info.transaction_status == 0:  # IDLE
        raise NoTransactionError(f"{_AUTOCOMMIT}, or write: with connection.transaction():")


def _not_autocommit(connection: Any) -> None:
    if connection is None:  # not started, which SQLAlchemy says itself
        return
    level = connection.get_execution_options().get("isolation_level")
    # That of create_engine is kept by the dialect; older ones may lack the name.
    level = level or getattr(connection.dialect, "_on_connect_isolation_level", None)
    if level == "AUTOCOMMIT":
        raise NoTransactionError(_AUTOCOMMIT)


# --- statements ---


def _text(statement: Statement) -> Any:
    from sqlalchemy import text  # there: the session comes from it

    return text(statement(lambda i: f":p{i}"))


def _named(parameters: Parameters) -> dict[str, str | None]:
    return {f"p{i}": value for i, value in enumerate(parameters)}


def _dollar(i: int) -> str:
    return f"${i + 1}"


def _percent(_: int) -> str:
    return "%s"


# --- errors ---


def _explain(error: Exception) -> None:
    """Raises what error means, if that is the service's to know."""
    state = _sqlstate(error)
    if state in ("42P01", "3F000", "42883"):  # no table, schema, function
        raise OutboxSetupError(f"the database has no outbox of this version; next: cdc-relay migrate ({error})") from error
    if state == "42501":
        raise OutboxSetupError(f"the role may not write to the outbox; next: grant cdc_relay_writer to it ({error})") from error
    if state == "23505" and "outbox_pkey" in str(error):
        raise DuplicateEventError(f"the outbox holds an event with this id already ({error})") from error


def _sqlstate(error: BaseException) -> str | None:
    for e in (error, getattr(error, "orig", None), error.__cause__):
        for name in ("sqlstate", "pgcode"):
            if isinstance(state := getattr(e, name, None), str):
                return state
    return None
