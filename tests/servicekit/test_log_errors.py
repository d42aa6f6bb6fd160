"""Errors in the logs: without data of users, and not more than a few of one kind."""

import json
import logging
from collections.abc import Iterator
from typing import Any

import asyncpg
import pytest
import structlog
from sqlalchemy.exc import DBAPIError, StatementError

from servicekit.log_errors import ErrorLimit, error_text
from servicekit.logging import configure_logging, dropped_lines

PRIVATE = "Ada of Kensington"


@pytest.fixture(autouse=True)
def _previous_configuration() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level, configured = root.handlers[:], root.level, structlog.get_config()
    try:
        yield
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
        structlog.configure(**configured)


def postgres_error(state: str, message: str, **fields: str) -> asyncpg.PostgresError:
    error = asyncpg.exceptions.PostgresError.new({"C": state, "M": message, **fields})
    assert isinstance(error, asyncpg.PostgresError)
    return error


def unique_violation() -> asyncpg.PostgresError:
    fields = {"D": f"Key (name)=({PRIVATE}) already exists.", "t": "users", "n": "uq_users_name"}
    return postgres_error("23505", 'duplicate key value violates unique constraint "uq_users_name"', **fields)


def bad_value() -> asyncpg.PostgresError:
    return postgres_error("22P02", f'invalid input syntax for type integer: "{PRIVATE}"')


def through_sqlalchemy() -> DBAPIError:
    return DBAPIError("INSERT INTO users (name) VALUES ($1)", (PRIVATE,), unique_violation())


DATABASE_ERRORS: list[tuple[Any, str]] = [
    (
        unique_violation(),
        'duplicate key value violates unique constraint "uq_users_name" '
        "(SQLSTATE 23505, table users, constraint uq_users_name)",
    ),
    (bad_value(), "InvalidTextRepresentationError (SQLSTATE 22P02)"),
    (
        through_sqlalchemy(),
        'duplicate key value violates unique constraint "uq_users_name" '
        "(SQLSTATE 23505, table users, constraint uq_users_name)",
    ),
    (StatementError(f"no value {PRIVATE}", "SELECT $1", (PRIVATE,), ValueError(PRIVATE)), "StatementError"),
    (asyncpg.DataError(f"invalid input for query argument $1: '{PRIVATE}'"), "DataError (SQLSTATE 22000)"),
    (asyncpg.InterfaceError("connection is closed"), "connection is closed"),
    (postgres_error("57P01", "terminating connection"), "terminating connection (SQLSTATE 57P01)"),
]


@pytest.mark.parametrize(("error", "text"), DATABASE_ERRORS, ids=lambda value: type(value).__name__)
def test_text_of_a_database_error_has_no_values(error: BaseException, text: str) -> None:
    assert error_text(error) == text


@pytest.mark.parametrize("error", [error for error, _ in DATABASE_ERRORS], ids=lambda error: type(error).__name__)
def test_no_value_is_logged_with_a_database_error(error: BaseException, capfd: pytest.CaptureFixture[str]) -> None:
    configure_logging("info")
    wrapped = RuntimeError("outer")
    wrapped.__cause__ = error
    in_context = KeyError("inner")
    in_context.__context__ = ExceptionGroup("several", [ValueError("public"), wrapped])
    structlog.get_logger().error("failed", exc_info=in_context, error=error)
    logging.getLogger("a library").error("failed", exc_info=wrapped)
    written = capfd.readouterr().err
    assert PRIVATE not in written
    first, second = map(json.loads, written.splitlines())
    for line in (first, second):
        assert type(error).__name__ in line["exception"]
        assert error_text(error) in line["exception"]
        assert "RuntimeError: outer" in line["exception"]
    assert "ValueError: public" in first["exception"]
    assert first["error"] == error_text(error)


def test_errors_of_one_kind_are_limited_and_counted() -> None:
    now = 0.0
    limit = ErrorLimit(burst=2, seconds=60, monotonic=lambda: now)
    admitted = [limit.admit("failed", ValueError()) for _ in range(5)]
    assert admitted == [0, 0, None, None, None]
    assert [limit.admit("failed", KeyError()), limit.admit("other", ValueError()), limit.admit("failed", None)] == [
        0
    ] * 3
    now = 59.9
    assert limit.admit("failed", ValueError()) is None
    now = 60.0
    assert [limit.admit("failed", ValueError()) for _ in range(3)] == [4, 0, None]
    now = 200.0
    assert limit.admit("failed", KeyError()) == 0


def test_kinds_of_errors_are_bounded() -> None:
    limit = ErrorLimit(burst=1)
    for number in range(1500):
        limit.admit(f"event {number}", None)
    assert len(limit._kinds) == 1000


def test_repeated_errors_are_not_logged_and_other_levels_are(capfd: pytest.CaptureFixture[str]) -> None:
    configure_logging("info")
    before = dropped_lines()["repeated"]
    logger = structlog.get_logger()
    for number in range(25):
        logger.error("failed", exc_info=ValueError(str(number)))
        logger.warning("odd")
        logging.getLogger("a library").error("could not read %s", number)
        try:
            raise KeyError(number)  # noqa: TRY301
        except KeyError:
            logger.exception("failed")
    lines = [json.loads(line) for line in capfd.readouterr().err.splitlines()]
    assert sum(line["event"] == "odd" for line in lines) == 25
    assert sum("ValueError" in line.get("exception", "") for line in lines) == 10
    assert sum("KeyError" in line.get("exception", "") for line in lines) == 10
    assert sum(line.get("logger") == "a library" for line in lines) == 10
    assert dropped_lines()["repeated"] - before == 3 * 15
