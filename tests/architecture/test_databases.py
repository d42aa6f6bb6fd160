"""Databases of tests are used again only if a test has changed nothing but rows."""

from collections.abc import AsyncIterator

import asyncpg
import pytest

from infrastructure.embedded import EmbeddedPostgres
from tests.support.databases import Databases

ADD_USER = "INSERT INTO users (email, name, password_hash, role) VALUES ($1, 'Ada', '', 'user') RETURNING id"


@pytest.fixture
async def own_databases(postgres: EmbeddedPostgres) -> AsyncIterator[Databases]:
    databases = Databases(postgres)
    yield databases
    await databases.close()


async def after(databases: Databases, *statements: str, closes: bool = True) -> tuple[str, str]:
    """The database in which a test ran these statements, and the one that the next test gets."""
    first = await databases.take()
    connection = await asyncpg.connect(first)
    for statement in statements:
        await connection.execute(statement)
    if closes:
        await connection.close()
    await databases.give_back(first)
    if not closes:
        connection.terminate()
    second = await databases.take()
    await databases.give_back(second)
    return first, second


async def test_next_test_finds_an_empty_database_with_ids_from_1(own_databases: Databases) -> None:
    first = await own_databases.take()
    connection = await asyncpg.connect(first)
    assert await connection.fetchval(ADD_USER, "ada@example.com") == 1
    await connection.close()
    await own_databases.give_back(first)
    assert await own_databases.take() == first
    connection = await asyncpg.connect(first)
    assert await connection.fetchval(ADD_USER, "ada@example.com") == 1
    await connection.close()
    await own_databases.give_back(first)


@pytest.mark.parametrize(
    "statement",
    [
        "ALTER TABLE users ADD COLUMN age int",
        "ALTER TABLE users ALTER COLUMN name DROP NOT NULL",
        "CREATE INDEX ON users (name)",
        "CREATE TABLE notes (id int)",
        "DROP TABLE alembic_version",
        "CREATE FUNCTION one() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "UPDATE alembic_version SET version_num = '0001'",
        "INSERT INTO users (email, name, password_hash, role) VALUES ('a@b.c', 'A', '', 'user'); ANALYZE users",
    ],
)
async def test_database_with_other_definitions_is_not_used_again(own_databases: Databases, statement: str) -> None:
    first, second = await after(own_databases, statement)
    assert first != second


async def test_database_with_an_open_connection_is_not_used_again(own_databases: Databases) -> None:
    first, second = await after(own_databases, closes=False)
    assert first != second


async def test_database_that_has_grown_is_not_used_again(own_databases: Databases) -> None:
    insert = """INSERT INTO users (email, name, password_hash, role)
                SELECT n || '@example.com', repeat('a', 200), '', 'user' FROM generate_series(1, 10000) n"""
    first, second = await after(own_databases, insert)
    assert first != second
