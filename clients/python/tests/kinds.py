"""The sessions the package is for, each opened as its users do. An opener is given
work to do in a transaction, and commits it, or rolls it back."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import asyncpg
import psycopg
from sqlalchemy import create_engine
from sqlalchemy.ext.asyncio import AsyncSession, async_scoped_session, async_sessionmaker, create_async_engine
from sqlalchemy.orm import Session

Work = Callable[[Any], Awaitable[Any]]
Opener = Callable[[str, Work, bool], Awaitable[Any]]


def for_driver(url: str, driver: str) -> str:
    return url.replace("postgres://", "postgresql://").replace("postgresql://", f"postgresql+{driver}://").split("?")[0]


async def sqlalchemy_session(url: str, work: Work, commit: bool) -> Any:
    engine = create_async_engine(for_driver(url, "asyncpg"))
    try:
        async with async_sessionmaker(engine)() as session:
            done = await work(session)
            await (session.commit() if commit else session.rollback())
            return done
    finally:
        await engine.dispose()


async def sqlalchemy_scoped(url: str, work: Work, commit: bool) -> Any:
    engine = create_async_engine(for_driver(url, "psycopg"))
    scoped = async_scoped_session(async_sessionmaker(engine), scopefunc=asyncio.current_task)
    try:
        done = await work(scoped)
        await (scoped.commit() if commit else scoped.rollback())
        return done
    finally:
        await scoped.remove()
        await engine.dispose()


async def sqlalchemy_connection(url: str, work: Work, commit: bool) -> Any:
    engine = create_async_engine(for_driver(url, "asyncpg"))
    try:
        async with engine.connect() as connection:
            done = await work(connection)
            await (connection.commit() if commit else connection.rollback())
            return done
    finally:
        await engine.dispose()


async def sqlalchemy_savepoint(url: str, work: Work, commit: bool) -> Any:
    engine = create_async_engine(for_driver(url, "asyncpg"))
    try:
        async with AsyncSession(engine) as session, session.begin() as transaction:
            async with session.begin_nested():
                done = await work(session)
            if not commit:
                await transaction.rollback()
            return done
    finally:
        await engine.dispose()


async def asyncpg_connection(url: str, work: Work, commit: bool) -> Any:
    connection = await asyncpg.connect(url)
    # As many services do; the package must not be confused by it.
    for kind in ("json", "jsonb"):
        await connection.set_type_codec(kind, encoder=json.dumps, decoder=json.loads, schema="pg_catalog")
    try:
        transaction = connection.transaction()
        await transaction.start()
        done = await work(connection)
        await (transaction.commit() if commit else transaction.rollback())
        return done
    finally:
        await connection.close()


async def asyncpg_pooled(url: str, work: Work, commit: bool) -> Any:
    async with asyncpg.create_pool(url, min_size=1, max_size=1, statement_cache_size=0) as pool:
        async with pool.acquire() as connection:
            transaction = connection.transaction()
            await transaction.start()
            done = await work(connection)
            await (transaction.commit() if commit else transaction.rollback())
            return done


async def psycopg_connection(url: str, work: Work, commit: bool) -> Any:
    async with await psycopg.AsyncConnection.connect(url) as connection:
        done = await work(connection)
        await (connection.commit() if commit else connection.rollback())
        return done


ASYNC: dict[str, Opener] = {
    f.__name__: f
    for f in (
        sqlalchemy_session,
        sqlalchemy_scoped,
        sqlalchemy_connection,
        sqlalchemy_savepoint,
        asyncpg_connection,
        asyncpg_pooled,
        psycopg_connection,
    )
}

SyncWork = Callable[[Any], Any]
SyncOpener = Callable[[str, SyncWork, bool], Any]


def sync_session(url: str, work: SyncWork, commit: bool) -> Any:
    engine = create_engine(for_driver(url, "psycopg"))
    try:
        with Session(engine) as session:
            done = work(session)
            (session.commit if commit else session.rollback)()
            return done
    finally:
        engine.dispose()


def sync_connection(url: str, work: SyncWork, commit: bool) -> Any:
    engine = create_engine(for_driver(url, "psycopg"))
    try:
        with engine.connect() as connection:
            done = work(connection)
            (connection.commit if commit else connection.rollback)()
            return done
    finally:
        engine.dispose()


def sync_psycopg(url: str, work: SyncWork, commit: bool) -> Any:
    with psycopg.connect(url) as connection:
        done = work(connection)
        (connection.commit if commit else connection.rollback)()
        return done


SYNC: dict[str, SyncOpener] = {f.__name__: f for f in (sync_session, sync_connection, sync_psycopg)}
